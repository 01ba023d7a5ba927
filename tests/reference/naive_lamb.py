"""LAMB on nested lists of numbers, from its equations: one tensor, then one number, at a time."""

from __future__ import annotations

import math

Tensors = list[list[float]]  # every tensor flat


def norm(values: list[float]) -> float:
    return math.sqrt(sum(value * value for value in values))


def lamb(
    weights: Tensors,
    gradients: list[Tensors],
    rates: list[float],
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float,
) -> Tensors:
    """The weights after one step for each entry of `gradients` (steps, tensors, numbers) and `rates`."""
    weights = [list(tensor) for tensor in weights]
    means = [[0.0] * len(tensor) for tensor in weights]
    squares = [[0.0] * len(tensor) for tensor in weights]
    for step, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        for w, g, m, v in zip(weights, gradient, means, squares, strict=True):
            update = []
            for i in range(len(w)):
                m[i] = betas[0] * m[i] + (1 - betas[0]) * g[i]
                v[i] = betas[1] * v[i] + (1 - betas[1]) * g[i] ** 2
                corrected = m[i] / (1 - betas[0] ** step), v[i] / (1 - betas[1] ** step)
                update.append(corrected[0] / (math.sqrt(corrected[1]) + eps) + weight_decay * w[i])
            ratio = norm(w) / norm(update) if norm(w) > 0 and norm(update) > 0 else 1.0
            for i in range(len(w)):
                w[i] -= rate * ratio * update[i]
    return weights

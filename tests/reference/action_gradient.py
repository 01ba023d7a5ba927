"""Algorithm 1 and eq. 1, 2, 6, 7, 8 of the Action Gradient paper, one number at a time."""

from __future__ import annotations

import math
from collections.abc import Callable


def deltas(rule: str, variant: str, gradients: list[float]) -> list[float]:
    """What eta multiplies at step i = 0, 1, ..., for one action dim whose gradients are given."""
    zeta, zeta1, zeta2, epsilon = 0.9, 0.9, 0.999, 1e-8
    v = r = m = 0.0
    result = []
    for i, g in enumerate(gradients):
        if rule == "none":
            result.append(g)
        elif rule == "fm":
            v = v + zeta * g if variant == "paper" else zeta * v + g
            result.append(v)
        elif rule == "sm":
            r = zeta * r + (1 - zeta) * g**2
            corrected = r if variant == "paper" else r / (1 - zeta ** (i + 1))
            result.append(g / (math.sqrt(corrected) + epsilon))
        else:
            m = zeta1 * m + (1 - zeta1) * g
            v = zeta2 * v + (1 - zeta2) * g**2
            exponent = 1 if variant == "paper" else i + 1
            m_hat, v_hat = m / (1 - zeta1**exponent), v / (1 - zeta2**exponent)
            result.append(m_hat / (math.sqrt(v_hat) + epsilon))
    return result


def refine_row(
    q: Callable[[list[float]], float],
    gradient: Callable[[list[float]], list[float]],
    action: list[float],
    *,
    eta: float,
    n_steps: int,
    rule: str,
    variant: str,
    low: float,
    high: float,
) -> tuple[list[float], int]:
    """The chosen action of one row and its index among a^0, ..., a^n, clipping each iterate."""
    candidates = [list(action)]
    history: list[list[float]] = []
    for _ in range(n_steps):
        history.append(gradient(candidates[-1]))
        following = []
        for dim, value in enumerate(candidates[-1]):
            delta = deltas(rule, variant, [g[dim] for g in history])[-1]
            following.append(min(max(value + eta * delta, low), high))
        candidates.append(following)
    values = [q(candidate) for candidate in candidates]
    chosen = values.index(max(values))
    return candidates[chosen], chosen

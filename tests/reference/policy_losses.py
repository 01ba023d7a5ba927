"""The policy's loss terms, one number at a time. Nested lists of numbers in; mask[b][k] says which steps count."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

Rows = Sequence[Sequence[Sequence[float]]]  # (B, K, dims)
Mask = Sequence[Sequence[bool]]


def valid_steps(mask: Mask) -> Iterator[tuple[int, int]]:
    return ((b, k) for b, row in enumerate(mask) for k, valid in enumerate(row) if valid)


def normal_nll(actions: Rows, means: Rows, stds: Rows, mask: Mask) -> float:
    total, count = 0.0, 0
    for b, k in valid_steps(mask):
        count += 1
        for a, mean, std in zip(actions[b][k], means[b][k], stds[b][k], strict=True):
            total += 0.5 * ((a - mean) / std) ** 2 + math.log(std) + 0.5 * math.log(2 * math.pi)
    return total / count


def normal_entropy(stds: Rows, mask: Mask) -> float:
    total, count = 0.0, 0
    for b, k in valid_steps(mask):
        count += 1
        total += sum(0.5 + 0.5 * math.log(2 * math.pi) + math.log(std) for std in stds[b][k])
    return total / count


def action_mse(actions: Rows, means: Rows, mask: Mask, denominator: str) -> float:
    total, count = 0.0, 0
    for b, row in enumerate(mask):
        for k, valid in enumerate(row):
            if valid or denominator == "all":
                count += len(actions[b][k])
            if valid:
                total += sum((mean - a) ** 2 for a, mean in zip(actions[b][k], means[b][k], strict=True))
    return total / count


def return_expectile(returns: Rows, predictions: Rows, mask: Mask, expectile: float) -> float:
    steps = list(valid_steps(mask))
    norm = max(sum(abs(returns[b][k][0]) for b, k in steps) / len(steps), 1e-6)
    total = 0.0
    for b, k in steps:
        u = (returns[b][k][0] - predictions[b][k][0]) / norm
        total += (1 - expectile if u < 0 else expectile) * u**2
    return total / len(steps)


def policy_gradient(q: Sequence[Sequence[float]], mask: Mask, normalize: bool) -> float:
    """q: Q at the policy's action, (B, K)."""
    steps = list(valid_steps(mask))
    mean = sum(q[b][k] for b, k in steps) / len(steps)
    size = sum(abs(q[b][k]) for b, k in steps) / len(steps)
    return -mean / size if normalize else -mean


def weighted_regression(
    distances: Sequence[Sequence[float]],
    advantages: Sequence[Sequence[float]],
    mask: Mask,
    temperature: float,
    max_weight: float,
) -> float:
    """Mean of min(e^(advantage / temperature), max) * distance over valid steps."""
    total, count = 0.0, 0
    for b, k in valid_steps(mask):
        total += min(math.exp(advantages[b][k] / temperature), max_weight) * distances[b][k]
        count += 1
    return total / count


def clipped_ratio(
    log_prob: Sequence[Sequence[float]],
    old_log_prob: Sequence[Sequence[float]],
    advantages: Sequence[Sequence[float]],
    mask: Mask,
    epsilon: float,
    max_log_ratio: float,
) -> float:
    """PPO's loss; every argument (B, K)."""
    total, count = 0.0, 0
    for b, k in valid_steps(mask):
        count += 1
        ratio = math.exp(min(log_prob[b][k] - old_log_prob[b][k], max_log_ratio))
        bounded = max(1.0 - epsilon, min(ratio, 1.0 + epsilon))
        total += min(ratio * advantages[b][k], bounded * advantages[b][k])
    return -total / count

"""Temporal-difference and conservative losses, one transition at a time; plain numbers in and out."""

from __future__ import annotations

import math
from collections.abc import Sequence


def bellman_loss(
    q: Sequence[Sequence[float]],
    next_q: Sequence[Sequence[float]],
    rewards: Sequence[float],
    terminated: Sequence[float],
    discount: float,
    reduce: str,
) -> float:
    """q, next_q: one list per member. Sum over members of the mean squared error to r + discount (1 - d) reduce(next_q)."""
    total, n = 0.0, len(rewards)
    for i in range(n):
        values = [member[i] for member in next_q]
        following = min(values) if reduce == "min" else sum(values) / len(values)
        y = rewards[i] + (0.0 if terminated[i] else discount * following)
        total += sum((member[i] - y) ** 2 for member in q)
    return total / n


def conservative_gaps(
    q: Sequence[Sequence[Sequence[float]]],
    log_density: Sequence[Sequence[float]],
    q_data: Sequence[Sequence[float]],
    temperature: float = 1.0,
) -> list[float]:
    """Each member's mean of t log sum_a exp((Q(s, a) - log density of a) / t) - Q(s, a_D), t the temperature.

    q: [member][candidate][transition].
    """
    gaps = []
    for member, data in zip(q, q_data, strict=True):
        n = len(data)
        total = 0.0
        for i in range(n):
            pairs = zip(member, log_density, strict=True)
            values = [(candidate[i] - density[i]) / temperature for candidate, density in pairs]
            top = max(values)
            total += temperature * (top + math.log(sum(math.exp(v - top) for v in values))) - data[i]
        gaps.append(total / n)
    return gaps

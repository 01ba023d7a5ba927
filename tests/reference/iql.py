"""IQL's losses, one transition at a time."""

from __future__ import annotations


def expectile_term(u: float, expectile: float) -> float:
    return abs(expectile - (1 if u < 0 else 0)) * u**2


def iql_losses(
    q: list[list[float]],
    q_target: list[list[float]],
    value: list[float],
    next_value: list[float],
    rewards: list[float],
    terminated: list[bool],
    *,
    expectile: float,
    discount: float,
) -> tuple[float, float]:
    """(L_Q, L_V). q, q_target: one list per member, one number per transition."""
    n = len(rewards)
    loss_q = loss_v = 0.0
    for b in range(n):
        target = rewards[b] + discount * (1 - int(terminated[b])) * next_value[b]
        loss_q += sum((member[b] - target) ** 2 for member in q) / len(q) / n
        loss_v += expectile_term(min(member[b] for member in q_target) - value[b], expectile) / n
    return loss_q, loss_v

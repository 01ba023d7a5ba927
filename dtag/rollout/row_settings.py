"""What one row of a rollout may have of its own; a grid is many rows that differ in these."""

from __future__ import annotations

from dataclasses import dataclass

from dtag.refiners.action_gradient import RuleName
from dtag.rollout.context_rule import ContextRule


@dataclass(frozen=True)
class RowSettings:
    """n_steps, eta, rule: of Action Gradient, n_steps 0 = off. context: the adaptive rule. target_return: raw initial
    return-to-go for policies without a return model; None = the agent's.
    """

    n_steps: int = 0
    eta: float = 0.0
    rule: RuleName = "none"
    context: ContextRule = "chain"
    target_return: float | None = None

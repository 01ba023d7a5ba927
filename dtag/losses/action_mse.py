"""Squared error to the data's actions: Decision Transformer's loss."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from dtag.critic.critic import Critic
from dtag.data.segments import SegmentBatch
from dtag.losses.term import Info
from dtag.policy.output import PolicyOutput
from dtag.reductions.masked_mean import masked_mean


class ActionMSE:
    """L = mean_{m, A}[ (mu_t - a_t)^2 ]  (Chen et al. 2021, Sec. 3).

    weight: of this term in the sum. denominator: "valid" positions (DT), or "all" including padding (CORL's DT, whose
    loss shrinks with padding).
    """

    def __init__(self, *, weight: float = 1.0, denominator: Literal["valid", "all"] = "valid") -> None:
        self.weight, self.denominator = weight, denominator

    def __call__(self, batch: SegmentBatch, output: PolicyOutput, critic: Critic | None = None) -> tuple[Tensor, Info]:
        """The scalar loss; info: mse over valid positions."""
        mse = masked_mean((output.action - batch.actions).square(), batch.mask)
        loss = mse * batch.mask.float().mean() if self.denominator == "all" else mse
        return loss, {"mse": mse.detach()}

"""Regression of the data's actions weighted by Q - V: IQL's policy extraction and ADT's action loss."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from dtag.critic.critic import ValueCritic
from dtag.critic.networks import QChoice
from dtag.data.segments import SegmentBatch
from dtag.losses.advantage_weight import advantage_weight
from dtag.losses.policy_gradient import q_of_segments
from dtag.losses.term import Info
from dtag.policy.output import PolicyOutput
from dtag.reductions.masked_mean import masked_mean


class AdvantageRegression:
    """L = mean_m[ w_t d_t ],  w_t = min( exp( beta (Q'(s_t, a_t) - V(s_t)) ), max )   (Kostrikov et al. 2021, eq. 7)

    Q' is the target networks' least. Neither w nor the critic carries gradient.

    weight: of this term in the sum. distance: d_t, "nll" is -log pi(a_t | tau_t) (IQL), "mse" the mean squared error of
    the mean action over action dims (ADT). beta: inverse temperature; IQL has 3 (antmaze 10), ADT 3 (antmaze 6).
    max_weight: 100 in both. denominator: "all" divides by every position, padding included, as ADT's code does. q:
    "target_min", of the target networks, or "min" of the twins, "q1", their "mean".
    """

    def __init__(
        self,
        *,
        weight: float = 1.0,
        beta: float = 3.0,
        max_weight: float = 100.0,
        distance: Literal["nll", "mse"] = "nll",
        denominator: Literal["valid", "all"] = "valid",
        q: QChoice = "target_min",
    ) -> None:
        if beta <= 0 or max_weight <= 0:
            raise ValueError(f"AdvantageRegression: beta={beta} and max_weight={max_weight} must be positive")
        self.weight, self.beta, self.max_weight = weight, beta, max_weight
        self.distance, self.denominator, self.q = distance, denominator, q

    def __call__(self, batch: SegmentBatch, output: PolicyOutput, critic: ValueCritic | None) -> tuple[Tensor, Info]:
        """The scalar loss; info: advantage and importance, the mean weight."""
        if critic is None:
            raise ValueError("AdvantageRegression needs a critic with a value: the config has critic=null")
        with torch.no_grad():
            value = critic.value(batch.states.flatten(0, 1)).view(batch.mask.shape)
            advantage = q_of_segments(critic, batch, batch.actions, self.q) - value
            importance = advantage_weight(advantage, 1.0 / self.beta, self.max_weight)  # (B, K)
        distance = self._distance(batch, output)
        loss = masked_mean(importance.to(distance.dtype) * distance, batch.mask)
        if self.denominator == "all":
            loss = loss * batch.mask.float().mean()
        return loss, {
            "advantage": masked_mean(advantage, batch.mask),
            "importance": masked_mean(importance, batch.mask),
        }

    def _distance(self, batch: SegmentBatch, output: PolicyOutput) -> Tensor:
        """(B, K)"""
        if self.distance == "mse":
            return (output.action - batch.actions).square().mean(-1)
        if output.distribution is None:
            raise ValueError("AdvantageRegression with distance='nll' needs a head with a distribution; or use 'mse'")
        return -output.distribution.log_prob(batch.actions).sum(-1)

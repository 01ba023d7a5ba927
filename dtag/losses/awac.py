"""AWAC: likelihood of the data's actions, weighted by how much better than the policy's own the critic finds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from dtag.critic.critic import Critic
from dtag.critic.networks import QChoice
from dtag.data.segments import SegmentBatch
from dtag.losses.advantage_weight import advantage_weight
from dtag.losses.policy_gradient import clipped, q_of_segments
from dtag.losses.term import Info
from dtag.policy.output import PolicyOutput
from dtag.reductions.masked_mean import masked_mean


class AWAC:
    """L = -mean_m[ w_t log pi(a_t | tau_t) ],  w_t = min( exp( (Q(s_t, a_t) - Q(s_t, pi(tau_t))) / lambda ), max )
    (Action Gradient paper, eq. 10, printed there without the minus sign; Nair et al. 2020)

    w and both Q carry no gradient. The entropy is a term of its own (EntropyBonus), which w does not touch.

    weight: of this term in the sum. temperature: lambda, in units of Q; CORL has 1/3 for locomotion, with raw rewards,
    and 0.1 elsewhere. max_weight: CORL's 100; TD3+ODT's code has 20. action: what Q(s, pi) is taken at, the policy's
    "mean" or a "sample" (CORL's AWAC), which is clipped to the action bounds, if given: beyond them Q has seen nothing.
    q: "min" of the twins, "q1", their "mean", or "target_min" of the target networks.
    """

    def __init__(
        self,
        action_low: Sequence[float] = (),
        action_high: Sequence[float] = (),
        *,
        weight: float = 1.0,
        temperature: float = 1.0 / 3.0,
        max_weight: float = 100.0,
        action: Literal["mean", "sample"] = "mean",
        q: QChoice = "min",
    ) -> None:
        if temperature <= 0 or max_weight <= 0:
            raise ValueError(f"AWAC: temperature={temperature} and max_weight={max_weight} must be positive")
        self.weight, self.temperature, self.max_weight = weight, temperature, max_weight
        self.action, self.q, self.bounds = action, q, (action_low, action_high)

    def __call__(self, batch: SegmentBatch, output: PolicyOutput, critic: Critic | None) -> tuple[Tensor, Info]:
        """The scalar loss; info: advantage and importance, the mean weight."""
        if critic is None:
            raise ValueError("AWAC needs a critic: the config has critic=null")
        if output.distribution is None:
            raise ValueError("AWAC needs a policy with a distribution: head='gaussian' or 'squashed'")
        with torch.no_grad():
            own = output.action if self.action == "mean" else clipped(output.distribution.sample(), *self.bounds)
            advantage = q_of_segments(critic, batch, batch.actions, self.q) - q_of_segments(critic, batch, own, self.q)
            importance = advantage_weight(advantage, self.temperature, self.max_weight)  # (B, K)
        log_prob = output.distribution.log_prob(batch.actions).sum(-1)
        loss = -masked_mean(importance.to(log_prob.dtype) * log_prob, batch.mask)
        return loss, {
            "advantage": masked_mean(advantage, batch.mask),
            "importance": masked_mean(importance, batch.mask),
        }

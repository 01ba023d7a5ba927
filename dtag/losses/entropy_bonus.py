"""The policy's entropy with a temperature that holds it at a target: ODT's, Reinformer's and SAC's."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dtag.critic.critic import Critic
from dtag.data.segments import SegmentBatch
from dtag.losses.term import Info
from dtag.policy.output import PolicyOutput
from dtag.reductions.masked_mean import masked_mean


class EntropyBonus(nn.Module):
    """L = -lambda H + lambda_t stopgrad(H - H_target),  H = mean_m[ entropy of pi ], summed over action dims.

    lambda = exp(log_temperature) carries no gradient in the first summand and all of it in the second, H the other way
    round (Zheng et al. 2022, Sec. 3.3; Haarnoja et al. 2018b, eq. 18). Mean over valid positions only: the authors
    average over padding too, which for a state-independent std is the same number.

    weight: of this term in the sum. temperature: lambda's start. learning_rate: Adam's, for lambda alone.
    target_entropy: None = -A for actions within -1 and 1, the papers' tasks, and the same policy's entropy in other bounds:
    -A + sum_i log((high_i - low_i) / 2), as likelihoods are of actions in environment units.
    """

    def __init__(
        self,
        action_dim: int,
        action_low: Sequence[float] = (),
        action_high: Sequence[float] = (),
        *,
        weight: float = 1.0,
        temperature: float = 0.1,
        target_entropy: float | None = None,
        learning_rate: float = 1e-4,
    ) -> None:
        super().__init__()
        self.weight, self.learning_rate = weight, learning_rate
        wider = sum(math.log((high - low) / 2) for low, high in zip(action_low, action_high, strict=True))
        self.target_entropy = wider - action_dim if target_entropy is None else target_entropy
        # A Parameter, so that it is saved, moved and resumed with the model.
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)))

    def forward(self, batch: SegmentBatch, output: PolicyOutput, critic: Critic | None = None) -> tuple[Tensor, Info]:
        """The scalar loss; info: entropy, temperature."""
        if output.distribution is None:
            raise ValueError("EntropyBonus needs a policy with a distribution: head='gaussian' or 'squashed'")
        entropy = masked_mean(output.distribution.entropy().sum(-1), batch.mask)
        temperature = self.log_temperature.exp()
        loss = temperature * (entropy - self.target_entropy).detach() - temperature.detach() * entropy
        return loss, {"entropy": entropy.detach(), "temperature": temperature.detach()}

"""Negative log-likelihood of the data's actions with an entropy temperature: Reinformer's and ODT's action loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dtag.critic.critic import Critic
from dtag.data.segments import SegmentBatch
from dtag.losses.term import Info
from dtag.policy.output import PolicyOutput
from dtag.reductions.masked_mean import masked_mean


class ActionNLL(nn.Module):
    """L = -( mean_m[ log pi(a_t | tau_t) ] + lambda H ),  log-likelihood and entropy summed over action dims.

    lambda = exp(log_temperature), no gradient here; it is trained by lambda * stopgrad(H - H_target), H_target = -A
    (Zheng et al. 2022, Sec. 3.3; Zhuang et al. 2024). Mean over valid positions only: the authors average the entropy
    over padding too, which for a state-independent std is the same number.

    weight: of this term in the sum. temperature: lambda's start. learning_rate: Adam's, for lambda alone.
    target_entropy: None = -A. entropy: False drops the entropy term and its temperature.
    """

    def __init__(
        self,
        action_dim: int,
        *,
        weight: float = 1.0,
        entropy: bool = True,
        temperature: float = 0.1,
        target_entropy: float | None = None,
        learning_rate: float = 1e-4,
    ) -> None:
        super().__init__()
        self.weight, self.learning_rate = weight, learning_rate
        self.target_entropy = -float(action_dim) if target_entropy is None else target_entropy
        # A Parameter, so that it is saved, moved and resumed with the model.
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature))) if entropy else None

    def forward(self, batch: SegmentBatch, output: PolicyOutput, critic: Critic | None = None) -> tuple[Tensor, Info]:
        """The scalar loss; info: nll, entropy, temperature."""
        if output.distribution is None:
            raise ValueError("ActionNLL needs a policy with a distribution: head='gaussian'")
        nll = -masked_mean(output.distribution.log_prob(batch.actions).sum(-1), batch.mask)
        if self.log_temperature is None:
            return nll, {"nll": nll.detach()}
        entropy = masked_mean(output.distribution.entropy().sum(-1), batch.mask)
        temperature = self.log_temperature.exp()
        loss = nll - temperature.detach() * entropy + temperature * (entropy - self.target_entropy).detach()
        return loss, {"nll": nll.detach(), "entropy": entropy.detach(), "temperature": temperature.detach()}

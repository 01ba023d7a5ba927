"""Negative log-likelihood of the data's actions with an entropy temperature: Reinformer's and ODT's action loss."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from dtag.critic.critic import Critic
from dtag.data.segments import SegmentBatch
from dtag.losses.entropy_bonus import EntropyBonus
from dtag.losses.term import Info
from dtag.policy.output import PolicyOutput
from dtag.reductions.masked_mean import masked_mean


class ActionNLL(nn.Module):
    """L = -( mean_m[ log pi(a_t | tau_t) ] + lambda H ),  log-likelihood and entropy summed over action dims.

    The second summand and lambda's own loss are EntropyBonus (Zheng et al. 2022, Sec. 3.3; Zhuang et al. 2024).

    weight: of this term in the sum. temperature: lambda's start. learning_rate: Adam's, for lambda alone.
    target_entropy: see EntropyBonus. entropy: False drops the entropy term and its temperature.
    """

    def __init__(
        self,
        action_dim: int,
        action_low: Sequence[float] = (),
        action_high: Sequence[float] = (),
        *,
        weight: float = 1.0,
        entropy: bool = True,
        temperature: float = 0.1,
        target_entropy: float | None = None,
        learning_rate: float = 1e-4,
    ) -> None:
        super().__init__()
        self.weight, self.learning_rate = weight, learning_rate
        bounds = (action_low, action_high)
        self.bonus = (
            EntropyBonus(action_dim, *bounds, temperature=temperature, target_entropy=target_entropy)
            if entropy
            else None
        )

    def forward(self, batch: SegmentBatch, output: PolicyOutput, critic: Critic | None = None) -> tuple[Tensor, Info]:
        """The scalar loss; info: nll, entropy, temperature."""
        if output.distribution is None:
            raise ValueError("ActionNLL needs a policy with a distribution: head='gaussian' or 'squashed'")
        nll = -masked_mean(output.distribution.log_prob(batch.actions).sum(-1), batch.mask)
        info = {"nll": nll.detach()}
        if self.bonus is None:
            return nll, info
        bonus, own = self.bonus(batch, output)
        return nll + bonus, {**info, **own}

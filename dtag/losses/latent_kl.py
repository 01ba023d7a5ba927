"""PDT's two divergences: what a latent may say of the future, and how the prior learns to say it (Xie et al. 2023)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from dtag.critic.critic import Critic
from dtag.data.segments import SegmentBatch
from dtag.losses.term import Info
from dtag.policy.output import LatentOutput, PolicyOutput
from dtag.reductions.masked_mean import masked_mean


class LatentKL:
    """L = mean_{m, Z}[ KL( q(z_t | future) || N(0, 1) ) ]  with to="standard_normal", or
    L = mean_{m, Z}[ KL( sg(q(z_t | future)) || p(z | s_t) ) ]  with to="prior".

    Both are means over valid steps and latent dimensions, as in the authors' code.

    to: which of the two, "standard_normal" or "prior". weight: of this term in the sum; beta of the first, 1.
    """

    def __init__(self, *, to: Literal["standard_normal", "prior"], weight: float = 1.0) -> None:
        self.to, self.weight = to, weight

    def __call__(self, batch: SegmentBatch, output: PolicyOutput, critic: Critic | None = None) -> tuple[Tensor, Info]:
        """The scalar loss; info: the mean std of the distribution that learns."""
        latent = latent_of(output)
        posterior, prior = latent.posterior, latent.prior
        if self.to == "prior":
            fixed = Normal(posterior.loc.detach(), posterior.scale.detach(), validate_args=False)
            divergence, learns = kl_divergence(fixed, prior), prior
        else:
            zero, one = torch.zeros_like(posterior.loc), torch.ones_like(posterior.scale)
            divergence, learns = kl_divergence(posterior, Normal(zero, one, validate_args=False)), posterior
        return masked_mean(divergence, batch.mask), {"std": masked_mean(learns.scale, batch.mask).detach()}


def latent_of(output: PolicyOutput) -> LatentOutput:
    """The output's latent. Raises ValueError where the policy has none."""
    if output.latent is None:
        raise ValueError("this term needs policy.target=dtag.policy.future_policy.FuturePolicy (PDT)")
    return output.latent

"""PPO: the clipped ratio of the policy's likelihood to that of the policy that collected the data."""

from __future__ import annotations

import torch
from torch import Tensor

from dtag.critic.critic import Critic
from dtag.data.segments import SegmentBatch
from dtag.losses.term import Info, Source, collected_of
from dtag.policy.output import PolicyOutput
from dtag.reductions.masked_mean import masked_mean


class PPO:
    """L = -mean_m[ min( rho_t A_t, clip(rho_t, 1 - epsilon, 1 + epsilon) A_t ) ],
    rho_t = exp( min( log pi(a_t | tau_t) - log pi_old(a_t | tau_t), max ) )      (Schulman et al. 2017, eq. 7; paper 2, eq. 7)

    Over the newest collected episodes; online.recent_steps=0 keeps to the round's own, which is on-policy. A: GAE.

    tau is a training segment, of the same steps in numerator and denominator: up to K steps and hindsight
    returns-to-go. pi_old is the policy as it was when it collected, asked right after collection; so rho is 1, up to
    rounding, until the first update. The action was drawn in another context, the newest T_eval steps and the return
    asked for; given tau its old likelihood can be tiny, which is what paper 2 (App. C) finds PPO to fail by.
    Differs from the papers: the exponent is bounded, as in paper 2's code. No entropy bonus (add EntropyBonus).

    weight: of this term in the sum. epsilon: how far rho may move. max_log_ratio: bound of its logarithm, against
    overflow where A < 0, where clip bounds nothing: an action above it is not pushed back. normalize: bring the batch's
    advantages to mean 0 and std 1, as most implementations do; the papers do not.
    """

    source: Source = "recent"
    needs_log_prob = True

    def __init__(
        self, *, weight: float = 1.0, epsilon: float = 0.2, max_log_ratio: float = 20.0, normalize: bool = False
    ) -> None:
        if epsilon <= 0 or max_log_ratio <= 0:
            raise ValueError(f"PPO: epsilon={epsilon} and max_log_ratio={max_log_ratio} must be positive")
        self.weight, self.epsilon, self.max_log_ratio, self.normalize = weight, epsilon, max_log_ratio, normalize

    def __call__(self, batch: SegmentBatch, output: PolicyOutput, critic: Critic | None) -> tuple[Tensor, Info]:
        """The scalar loss; info: advantage, ratio, clipped (share of steps beyond epsilon), kl (-mean log ratio)."""
        collected = collected_of(batch, "PPO")
        if output.distribution is None:
            raise ValueError("PPO needs a policy with a distribution: head='gaussian' or 'squashed'")
        log_ratio = output.distribution.log_prob(batch.actions).sum(-1) - collected.log_prob  # (B, K)
        ratio = log_ratio.clamp(max=self.max_log_ratio).exp()
        advantages = collected.advantages.to(ratio.dtype)
        if self.normalize:
            advantages = standardized(advantages, batch.mask)
        clipped = ratio.clamp(1.0 - self.epsilon, 1.0 + self.epsilon)
        loss = -masked_mean(torch.minimum(ratio * advantages, clipped * advantages), batch.mask)
        beyond = (ratio.detach() - 1.0).abs() > self.epsilon
        return loss, {
            "advantage": masked_mean(collected.advantages, batch.mask),
            "ratio": masked_mean(ratio.detach(), batch.mask),
            "clipped": masked_mean(beyond.float(), batch.mask),
            "kl": -masked_mean(log_ratio.detach(), batch.mask),
        }


def standardized(x: Tensor, mask: Tensor) -> Tensor:
    """(x - mean_m[x]) / std_m[x]; x, mask: (B, K). The std is the population's, and at least 1e-6."""
    centred = x - masked_mean(x, mask)
    return centred / masked_mean(centred.square(), mask).sqrt().clamp(min=1e-6)

"""The critic's gradient through the policy's action: PG, and the RL half of TD3+ODT, DDPG+ODT, TD3+BC and SAC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from dtag.critic.critic import Critic, SegmentCritic
from dtag.critic.networks import QChoice
from dtag.data.segments import SegmentBatch
from dtag.losses.term import Info
from dtag.policy.output import PolicyOutput
from dtag.reductions.masked_mean import masked_mean


class PolicyGradient:
    """L = -mean_m[ Q(s_t, pi(tau_t)) ] / sg( mean_m |Q(s_t, pi(tau_t))| )   (Action Gradient paper, eq. 9)

    pi is the mean action, differentiable; gradients pass through Q to it and stop there (the critic does not move).
    The denominator carries no gradient: with it, a Q of one sign would give exactly 0.

    weight: alpha. normalize: False drops the denominator, which is TD3+ODT's eq. 2 (q="q1", weight=0.1) and its DDPG
    form; True with q="q1" and weight=2.5 is TD3+BC (Fujimoto & Gu 2021). action: "sample" draws it from the policy
    (SAC, CQL; add EntropyBonus) and clips it to the action bounds, if given, as a Gaussian head's needs it.
    q: "min" of the twins, "q1", their "mean", or "target_min" of the target networks.
    """

    def __init__(
        self,
        action_low: Sequence[float] = (),
        action_high: Sequence[float] = (),
        *,
        weight: float = 1.0,
        q: QChoice = "min",
        normalize: bool = True,
        action: Literal["mean", "sample"] = "mean",
    ) -> None:
        self.weight, self.q, self.normalize, self.action = weight, q, normalize, action
        self.bounds = (action_low, action_high)

    def __call__(self, batch: SegmentBatch, output: PolicyOutput, critic: Critic | None) -> tuple[Tensor, Info]:
        """The scalar loss; info: q, Q at the policy's action, and gradient_scale, what its gradient is multiplied by."""
        if critic is None:
            raise ValueError("PolicyGradient needs a critic: the config has critic=null")
        actions = output.action
        if self.action == "sample":
            if output.distribution is None:
                raise ValueError("PolicyGradient with action='sample' needs a head with a distribution")
            actions = clipped(output.distribution.rsample(), *self.bounds)
        q = q_of_segments(critic, batch, actions, self.q)
        mean = masked_mean(q, batch.mask)
        scale = masked_mean(q.detach().abs(), batch.mask).clamp(min=1e-6).reciprocal() if self.normalize else None
        info = {"q": mean.detach()} if scale is None else {"q": mean.detach(), "gradient_scale": scale}
        return (-mean if scale is None else -mean * scale), info


def clipped(actions: Tensor, low: Sequence[float], high: Sequence[float]) -> Tensor:
    """Actions (..., A) within their bounds (A,); as they are where the bounds are empty."""
    return actions.clamp(actions.new_tensor(low), actions.new_tensor(high)) if len(low) else actions


def q_of_segments(critic: Critic | SegmentCritic, batch: SegmentBatch, actions: Tensor, choice: QChoice) -> Tensor:
    """Q of each position's state and an action (B, K, A) of its own, (B, K); padding holds whatever Q says of zeros."""
    if isinstance(critic, SegmentCritic):
        return critic.q_along(batch, actions, choice)
    q = critic.q_reduced(batch.states.flatten(0, 1), actions.flatten(0, 1), choice)
    return q.view(batch.mask.shape)

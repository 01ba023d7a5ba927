"""CGDT's policy objective: imitate, and act so that the critic expects the return asked for."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dtag.data.segments import SegmentBatch
from dtag.losses.term import Info, LossTerm
from dtag.policy.output import PolicyOutput
from dtag.policy.return_critic import ReturnCritic
from dtag.reductions.expectile import asymmetric_square
from dtag.reductions.masked_mean import masked_mean


class CriticGuidance(nn.Module):
    """L = (L_a + c L_g) / (1 + c),  L_g = mean_m[ |expectile - 1(u < 0)| u^2 ] / max(expectile, 1 - expectile),
    u = (R_t - mean_t) / std_t,  (mean, std) = critic(s_1..K, pi_1..K)     (CGDT, Wang et al. 2024, stage 2)

    Every action of the window is the policy's, so position t also teaches earlier actions. Gradients flow through mean
    and std; the critic does not move. R is the data's return-to-go.

    weight: of this term in the sum. action: the imitation term L_a, with a weight of its own, like ActionMSE.
    coefficient: what c grows to. start: the policy step from which c grows. warmup: how many steps it takes; 0 = c is
    whole at once. expectile: above 0.5 returns that the critic finds too low weigh more. masked: L_g is a mean over
    valid positions. Differs from the authors' code, which counts padding too, where the critic was never trained: false.
    """

    n_updates: Tensor

    def __init__(
        self,
        *,
        action: LossTerm,
        weight: float = 1.0,
        coefficient: float = 1.0,
        expectile: float = 0.5,
        start: int = 0,
        warmup: int = 0,
        masked: bool = True,
    ) -> None:
        super().__init__()
        if coefficient < 0 or not 0.0 < expectile < 1.0:
            raise ValueError(f"CriticGuidance: coefficient={coefficient} must be >= 0, expectile={expectile} in (0, 1)")
        self.weight, self.action, self.coefficient = weight, action, coefficient
        self.learning_rate = getattr(action, "learning_rate", 0.0)  # of what the imitation term learns itself
        self.expectile, self.start, self.warmup, self.masked = expectile, start, warmup, masked
        self.register_buffer("n_updates", torch.zeros((), dtype=torch.long))  # saved, so that c resumes

    def forward(self, batch: SegmentBatch, output: PolicyOutput, critic: ReturnCritic | None) -> tuple[Tensor, Info]:
        """The scalar loss; info: the action term's, and guidance, coefficient."""
        if not isinstance(critic, ReturnCritic):
            raise ValueError("CriticGuidance needs critic.model.target=dtag.policy.return_critic.ReturnCritic")
        imitation, info = self.action(batch, output, critic)  # type: ignore[arg-type]
        imitation = self.action.weight * imitation
        mean, std = critic(batch.states, output.action, batch.timesteps)
        square = asymmetric_square((batch.returns_to_go[..., 0] - mean) / std, self.expectile)
        guidance = masked_mean(square, batch.mask) if self.masked else square.mean()
        guidance = guidance / max(self.expectile, 1.0 - self.expectile)
        c = self.scheduled_coefficient(int(self.n_updates))
        if self.training:
            self.n_updates += 1
        info = {**info, "guidance": guidance.detach(), "coefficient": guidance.new_tensor(c)}
        return (imitation + c * guidance) / (1.0 + c), info

    def scheduled_coefficient(self, n_updates: int) -> float:
        """c after n_updates policy steps: coefficient * (max(n - start, 0) + 1) / max(1, warmup), at most coefficient."""
        share = (max(n_updates - self.start, 0) + 1) / max(1, self.warmup)
        return min(self.coefficient * share, self.coefficient)

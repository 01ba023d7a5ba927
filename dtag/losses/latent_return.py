"""PDT's return model: the return-to-go that a state and a latent of its future lead to (Xie et al. 2023)."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Normal

from dtag.critic.critic import Critic
from dtag.data.segments import SegmentBatch
from dtag.losses.latent_kl import latent_of
from dtag.losses.term import Info
from dtag.policy.output import PolicyOutput
from dtag.reductions.masked_mean import masked_mean


class LatentReturn:
    """L = mean_m[ -log N( R_t; return model(s_t, z_t) ) ],  z_t the sample that the action was predicted from.

    R_t: scaled return-to-go. Its gradient reaches the latent, the future encoder and both embeddings too.

    weight: of this term in the sum.
    """

    def __init__(self, *, weight: float = 1.0) -> None:
        self.weight = weight

    def __call__(self, batch: SegmentBatch, output: PolicyOutput, critic: Critic | None = None) -> tuple[Tensor, Info]:
        """The scalar loss; info: mean predicted return-to-go and std, scaled."""
        return self.of_prediction(batch, latent_of(output).predicted_return)

    def of_prediction(self, batch: SegmentBatch, predicted: Normal) -> tuple[Tensor, Info]:
        """The same from the prediction alone, N over (B, K, 1)."""
        loss = -masked_mean(predicted.log_prob(batch.returns_to_go), batch.mask)
        info = {"predicted": masked_mean(predicted.loc, batch.mask), "std": masked_mean(predicted.scale, batch.mask)}
        return loss, {name: value.detach() for name, value in info.items()}

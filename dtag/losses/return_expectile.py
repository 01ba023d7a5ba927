"""Expectile regression of the return-to-go: how Reinformer learns the largest return the data promises."""

from __future__ import annotations

from torch import Tensor

from dtag.critic.critic import Critic
from dtag.data.segments import SegmentBatch
from dtag.losses.term import Info
from dtag.policy.output import PolicyOutput
from dtag.reductions.expectile import asymmetric_square
from dtag.reductions.masked_mean import masked_mean


class ReturnExpectile:
    """L = mean_m[ |tau - 1(u < 0)| u^2 ],  u = (g - g_hat) / N,  N = mean_m |g|   (Zhuang et al. 2024, eq. 7)

    g: scaled return-to-go, g_hat: its prediction. u is target minus prediction, so tau -> 1 punishes predicting too
    little and g_hat tends to the largest return in the data. N carries no gradient; it makes the loss independent of
    the return's scale. Differs from the authors' code: N is at least 1e-6 (a batch of zero returns gave NaN).

    weight: of this term in the sum. expectile: tau in (0, 1); 0.5 is half the squared error. Lower it if the predicted
    return is out of reach.
    """

    def __init__(self, *, weight: float = 1.0, expectile: float = 0.99) -> None:
        if not 0 < expectile < 1:
            raise ValueError(f"expectile={expectile} must lie in (0, 1)")
        self.weight, self.expectile = weight, expectile

    def __call__(self, batch: SegmentBatch, output: PolicyOutput, critic: Critic | None = None) -> tuple[Tensor, Info]:
        """The scalar loss; info: mean predicted return-to-go, scaled."""
        if output.predicted_return is None:
            raise ValueError("ReturnExpectile needs a return model, or a policy with predicts_return=True")
        target, prediction = batch.returns_to_go[..., 0], output.predicted_return[..., 0]  # (B, K)
        norm = masked_mean(target.abs(), batch.mask).detach().clamp(min=1e-6)
        loss = masked_mean(asymmetric_square((target - prediction) / norm, self.expectile), batch.mask)
        return loss, {"predicted": masked_mean(prediction, batch.mask).detach()}

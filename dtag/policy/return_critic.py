"""CGDT's critic: the distribution of the return-to-go that a history of states and actions leads to."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dtag.data.segments import SegmentBatch
from dtag.errors import UsageError
from dtag.policy.sequence_model import SequenceModel
from dtag.policy.transformer import Activation, DropoutPlace, Norm
from dtag.reductions.masked_mean import masked_mean


class ReturnCritic(nn.Module):
    """N(mean, std) of the scaled return-to-go at each a_t, from s_1..t and a_1..t; no bootstrap, no target network.

    L = mean_m[ |expectile - 1(u < 0)| NLL(R; mean, std) ] / max(expectile, 1 - expectile),  u = (R - mean) / std
    (CGDT, Wang et al. 2024, stage 1.)

    expectile: above 0.5 the critic is optimistic, 0.5 is the plain likelihood. Others: see SequenceModel.

    Orthogonal heads with zero bias, log std clamped to [-10, 2]. Differs from the authors' code: a fixed number of
    updates in place of stopping on held-out trajectories.
    """

    learns_from = "segments"
    of_returns = True  # as scaled as the policy's
    log_std_bounds = (-10.0, 2.0)

    def __init__(
        self,
        state_dim: int,
        action_dim: int,
        max_timestep: int,
        *,
        expectile: float = 0.5,
        hidden: int = 512,
        n_layers: int = 4,
        n_heads: int = 4,
        norm: Norm = "pre",
        activation: Activation = "relu",
        embedding_dropout: float = 0.1,
        attention_dropout: float = 0.1,
        attention_dropout_on: DropoutPlace = "weights",
        residual_dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if not 0.0 < expectile < 1.0:
            raise UsageError(f"critic.model.expectile={expectile} must lie in (0, 1)")
        self.expectile = expectile
        self.model = SequenceModel(
            state_dim,
            action_dim,
            max_timestep,
            hidden=hidden,
            n_layers=n_layers,
            n_heads=n_heads,
            token_order="sa",
            time_embedding="none",
            norm=norm,
            activation=activation,
            embedding_dropout=embedding_dropout,
            attention_dropout=attention_dropout,
            attention_dropout_on=attention_dropout_on,
            residual_dropout=residual_dropout,
            init="gpt2",
        )
        self.mean, self.log_std = nn.Linear(hidden, 1), nn.Linear(hidden, 1)
        for head in (self.mean, self.log_std):
            nn.init.orthogonal_(head.weight)
            nn.init.zeros_(head.bias)

    def forward(self, states: Tensor, actions: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """(B, K, S), (B, K, A), (B, K) -> mean and std (B, K), differentiable in the actions of t and before."""
        nothing = states[..., :1]  # the order "sa" reads no return
        features = self.model.encode(states, actions, nothing, timesteps, ("action",))[:, :, 0]
        mean, log_std = self.mean(features)[..., 0], self.log_std(features)[..., 0]
        kind = torch.promote_types(mean.dtype, torch.float32)  # 1 / std^2 needs more than bfloat16
        return mean.to(kind), log_std.to(kind).clamp(*self.log_std_bounds).exp()

    def loss(self, batch: SegmentBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar loss; info: the mean standard deviation and absolute error, in scaled return."""
        mean, std = self(batch.states, batch.actions, batch.timesteps)
        error = batch.returns_to_go[..., 0] - mean
        nll = -torch.distributions.Normal(mean, std, validate_args=False).log_prob(batch.returns_to_go[..., 0])
        weight = (self.expectile - (error < 0).to(nll.dtype)).abs()
        loss = masked_mean(weight * nll, batch.mask) / max(self.expectile, 1.0 - self.expectile)
        info = {"std": masked_mean(std, batch.mask), "error_abs": masked_mean(error.abs(), batch.mask)}
        return loss, {name: value.detach() for name, value in info.items()}

    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW; the authors' LAMB with warm-up is critic.optimizer's."""
        return torch.optim.AdamW(self.parameters(), lr=1e-4, fused=True)

    def update_target(self) -> None:
        """There is none."""

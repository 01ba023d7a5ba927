"""PDT's policy: actions conditioned on a latent of the future in the place of a return (Xie et al. 2023).

Letters: B batch, K context steps, F steps behind them, n candidates, S state dim, A action dim, Z latent dim, D hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn.functional import relu

from dtag.data.segments import SegmentBatch
from dtag.errors import UsageError
from dtag.policy.diagonal_gaussian import DiagonalGaussian
from dtag.policy.future_encoder import FutureEncoder
from dtag.policy.heads import HeadName, make_head, newest_action
from dtag.policy.output import LatentOutput, PolicyOutput
from dtag.policy.sequence_model import Init, SequenceModel, Window, init_normal
from dtag.policy.transformer import Activation, DropoutPlace, Norm

NO_FUTURE = "a FuturePolicy learns from the steps behind each segment: set data.future_steps, PDT's is 20"


class FuturePolicy(nn.Module):
    """Tokens (s, z, a); the action is read from z's. While it learns, z_t ~ q(z_t | what came); when it acts,
    z_t ~ p(z | s_t), or once it knows returns, of `candidates` draws the one whose return it finds highest in the mean.

    p(z | s) = Gaussian(ReLU(embed s)), R ~ Gaussian(ReLU([embed s, embed z])). The second is linear behind its ReLU, so
    which z is best depends on the state through p alone. Past z stay as they were drawn.
    knows_return: set by online.return_warmup, saved with the weights. Until fine-tuning the return model does not learn.

    latent_dim: Z. candidates: latents drawn at each step, of which the best is taken. head: see make_head. Others: see
    SequenceModel.

    Defaults are ODT's, as in PDT. Differs from the authors' code: how much future step t sees, see FutureEncoder.
    """

    knows_return: Tensor

    def __init__(
        self,
        state_dim: int,
        action_low: Sequence[float],
        action_high: Sequence[float],
        *,
        latent_dim: int = 16,
        candidates: int = 256,
        hidden: int = 512,
        n_layers: int = 4,
        n_heads: int = 4,
        head: HeadName = "squashed",
        norm: Norm = "pre",
        activation: Activation = "relu",
        embedding_dropout: float = 0.1,
        attention_dropout: float = 0.1,
        attention_dropout_on: DropoutPlace = "weights",
        residual_dropout: float = 0.1,
        init: Init = "gpt2",
    ) -> None:
        super().__init__()
        if latent_dim < 1 or candidates < 1:
            raise ValueError(f"latent_dim={latent_dim} and candidates={candidates} must be at least 1")
        transformer: dict[str, Any] = {
            "n_layers": n_layers,
            "n_heads": n_heads,
            "time_embedding": "none",
            "norm": norm,
            "activation": activation,
            "embedding_dropout": embedding_dropout,
            "attention_dropout": attention_dropout,
            "attention_dropout_on": attention_dropout_on,
            "residual_dropout": residual_dropout,
            "init": init,
        }
        dims = (state_dim, len(action_low))
        self.latent_dim, self.candidates = latent_dim, candidates
        self.model = SequenceModel(*dims, 0, hidden=hidden, token_order="sra", return_dim=latent_dim, **transformer)
        self.head = make_head(head, hidden, action_low, action_high, learn_std=False)
        if init == "normal" and head != "squashed":
            self.head.apply(init_normal)
        self.future = FutureEncoder(*dims, latent_dim, hidden, transformer)
        self.prior_head = DiagonalGaussian(hidden, latent_dim)
        self.return_head = DiagonalGaussian(2 * hidden, 1).requires_grad_(False)
        self.register_buffer("knows_return", torch.tensor(False))

    @property
    def predicts_return(self) -> bool:
        return True

    @property
    def condition_dim(self) -> int:
        """Z: how wide what stands in the return's place is."""
        return self.latent_dim

    @property
    def latent_noise_shape(self) -> tuple[int, int]:
        """(n, Z): the standard normal numbers that acting one step takes."""
        return (self.candidates if bool(self.knows_return) else 1, self.latent_dim)

    def forward(self, states: Tensor, actions: Tensor, latents: Tensor, timesteps: Tensor) -> PolicyOutput:
        """Predictions given latents: (B, K, S), (B, K, A), (B, K, Z), (B, K) -> PolicyOutput."""
        features = self.model.encode(states, actions, latents, timesteps, ("return",))[:, :, 0]
        action, distribution = self.head(features)
        return PolicyOutput(action, distribution, None)

    def learn(self, batch: SegmentBatch) -> PolicyOutput:
        """Predictions given one sample of each step's posterior, zero at padding, with what the loss terms need."""
        posterior = self.posterior(batch)
        latents = posterior.rsample() * batch.mask.unsqueeze(2)
        output = self(batch.states, batch.actions, latents.to(batch.states.dtype), batch.timesteps)
        told = LatentOutput(posterior, self.prior(batch.states), self.return_of(batch.states, latents))
        return output._replace(latent=told)

    def posterior(self, batch: SegmentBatch) -> Normal:
        """q(z_t | what came), over (B, K, Z). Raises UsageError when the batch holds no future."""
        future = batch.future
        if future is None:
            raise UsageError(NO_FUTURE)
        pairs = ((batch.states, future.states), (batch.actions, future.actions), (batch.mask, future.mask))
        states, actions, mask = (torch.cat(pair, dim=1) for pair in pairs)
        return self.future(states, actions, mask, batch.mask.shape[1])

    def prior(self, states: Tensor) -> Normal:
        """p(z | s), (..., S) -> over (..., Z)."""
        return self.prior_head(relu(self.model.embed_state(states)))

    def return_of(self, states: Tensor, latents: Tensor) -> Normal:
        """The scaled return-to-go, (..., S), (..., Z) -> over (..., 1)."""
        embedded = (self.model.embed_state(states), self.model.embed_return(latents.to(states.dtype)))
        return self.return_head(relu(torch.cat(embedded, dim=-1)))

    def act(self, window: Window) -> Tensor:
        """Action (B, A) for each row's newest step, whose latent is in the window."""
        return newest_action(self.head, self.model.encode_last(window, "return"), window.noise)

    def predict_return_and_act(self, window: Window) -> tuple[Tensor, Tensor]:
        """The newest step's latent (B, Z), and the action (B, A) given it."""
        newest = (window.lengths - 1)[:, None, None]
        states = window.states.gather(1, newest.expand(-1, 1, window.states.shape[2]))[:, 0]
        latents = self.choose_latent(states, window.latent_noise).to(window.states.dtype)
        at = newest.expand(-1, 1, self.latent_dim)
        filled = window._replace(returns_to_go=window.returns_to_go.scatter(1, at, latents.unsqueeze(1)))
        return latents, self.act(filled)

    def choose_latent(self, states: Tensor, noise: Tensor | None) -> Tensor:
        """(B, S) and noise (B, n, Z) -> (B, Z): the draw of highest predicted return, or the first. None: p's mean."""
        prior = self.prior(states)
        if noise is None:
            return prior.loc
        drawn = prior.loc.unsqueeze(1) + prior.scale.unsqueeze(1) * noise  # (B, n, Z)
        if noise.shape[1] == 1:
            return drawn[:, 0]
        promised = self.return_of(states.unsqueeze(1).expand(-1, noise.shape[1], -1), drawn).loc[..., 0]  # (B, n)
        best = promised.argmax(1)[:, None, None].expand(-1, 1, self.latent_dim)
        return drawn.gather(1, best)[:, 0]

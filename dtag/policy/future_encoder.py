"""PDT's future encoder: a latent of what came from each step on (Xie et al. 2023).

Letters: B batch, L steps, K of them encoded, S state dim, A action dim, Z latent dim, D hidden.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from dtag.policy.diagonal_gaussian import DiagonalGaussian
from dtag.policy.sequence_model import SequenceModel


class FutureEncoder(nn.Module):
    """q(z_t | s_t, a_t, s_t+1, a_t+1, ...): a causal transformer over the (s, a) tokens in reverse, read from a's.

    One pass serves all steps of a segment of K with F steps behind it, so step t sees itself and at least F more
    where there are as many, up to F + K - 1; a window of exactly F for each would cost K passes. transformer: as
    SequenceModel's, whose order is "sa".
    """

    def __init__(
        self, state_dim: int, action_dim: int, latent_dim: int, hidden: int, transformer: dict[str, Any]
    ) -> None:
        super().__init__()
        self.model = SequenceModel(state_dim, action_dim, 0, hidden=hidden, token_order="sa", **transformer)
        self.head = DiagonalGaussian(hidden, latent_dim)

    def forward(self, states: Tensor, actions: Tensor, mask: Tensor, n_read: int) -> Normal:
        """Over the latents (B, K, Z) of the first n_read = K steps of (B, L, S), (B, L, A), whose valid steps come first.

        mask (B, L) bool. Steps that are padding have latents of no meaning.
        """
        backwards = reversed_steps(mask)
        states, actions = (part.gather(1, backwards.unsqueeze(2).expand_as(part)) for part in (states, actions))
        nothing = states[..., :1]  # the order "sa" reads no return
        features = self.model.encode(states, actions, nothing, backwards, ("action",))[:, :, 0]  # (B, L, D)
        forwards = backwards[:, :n_read]  # the reversal is its own inverse
        return self.head(features.gather(1, forwards.unsqueeze(2).expand(-1, -1, features.shape[2])))


def reversed_steps(mask: Tensor) -> Tensor:
    """(B, L): the valid steps of each row from its last to its first; padding, which stays on the right, repeats step 0."""
    steps = torch.arange(mask.shape[1], device=mask.device)
    return (mask.sum(1, keepdim=True) - 1 - steps).clamp(min=0)

"""Action heads: hidden features (..., D) -> an action (..., A) or a distribution over it, in environment units."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Normal


class BoundedMean(nn.Module):
    """middle + half_range * tanh(W h): always within the action bounds (A,); plain tanh(W h) for bounds of -1 and 1."""

    middle: Tensor
    half_range: Tensor

    def __init__(self, hidden: int, action_low: Sequence[float], action_high: Sequence[float]) -> None:
        super().__init__()
        low, high = torch.tensor(action_low), torch.tensor(action_high)
        self.linear = nn.Linear(hidden, len(low))
        self.register_buffer("middle", (low + high) / 2)
        self.register_buffer("half_range", (high - low) / 2)

    def forward(self, features: Tensor) -> Tensor:
        return self.middle + self.half_range * torch.tanh(self.linear(features))


class GaussianHead(nn.Module):
    """N(mean, std), mean = tanh(W h), not squashed, std independent of the state: Reinformer's BaseActor.

    learn_std False holds std at 1, which is what Reinformer's recipe amounts to: LAMB's trust ratio freezes its
    zero-initialised log_std (METHODS: end value about -2e-6 after 50,000 steps), so its NLL is 0.5 |a - mean|^2.
    """

    log_std_bounds = (-20.0, 2.0)

    def __init__(
        self, hidden: int, action_low: Sequence[float], action_high: Sequence[float], learn_std: bool = False
    ) -> None:
        super().__init__()
        self.mean = BoundedMean(hidden, action_low, action_high)
        log_std = torch.zeros(len(action_low))
        if learn_std:
            self.log_std = nn.Parameter(log_std)
        else:
            self.register_buffer("log_std", log_std)

    def forward(self, features: Tensor) -> tuple[Tensor, Distribution]:
        """The mean action and the distribution, both (..., A)."""
        mean = self.mean(features)
        std = self.log_std.clamp(*self.log_std_bounds).exp()
        return mean, Normal(mean, std, validate_args=False)


class DeterministicHead(nn.Module):
    """The bounded mean alone: Decision Transformer's action head."""

    def __init__(self, hidden: int, action_low: Sequence[float], action_high: Sequence[float]) -> None:
        super().__init__()
        self.mean = BoundedMean(hidden, action_low, action_high)

    def forward(self, features: Tensor) -> tuple[Tensor, None]:
        """The action (..., A); there is no distribution."""
        return self.mean(features), None

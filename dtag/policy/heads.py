"""Action heads: hidden features (..., D) -> an action (..., A) or a distribution over it, in environment units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Normal

from dtag.errors import UsageError
from dtag.policy.row_stable_linear import RowStableLinear
from dtag.policy.squashed_normal import SquashedNormal

HeadName = Literal["gaussian", "squashed", "deterministic"]

NO_SAMPLE = (
    "online.exploration=sample needs a policy with a distribution, policy.head=gaussian or squashed: set "
    "online.exploration=noise for this one"
)


class BoundedMean(nn.Module):
    """middle + half_range * tanh(W h): always within the action bounds (A,); plain tanh(W h) for bounds of -1 and 1."""

    middle: Tensor
    half_range: Tensor

    def __init__(self, hidden: int, action_low: Sequence[float], action_high: Sequence[float]) -> None:
        super().__init__()
        low, high = torch.tensor(action_low), torch.tensor(action_high)
        self.linear = RowStableLinear(hidden, len(low))
        self.register_buffer("middle", (low + high) / 2)
        self.register_buffer("half_range", (high - low) / 2)

    def forward(self, features: Tensor) -> Tensor:
        return self.middle + self.half_range * torch.tanh(self.linear(features))


class GaussianHead(nn.Module):
    """N(mean, std), mean = tanh(W h), not squashed, std independent of the state: Reinformer's BaseActor.

    learn_std: learn the std of each action dimension. False holds it at 1, which is what Reinformer's recipe amounts
    to: LAMB's trust ratio freezes its zero-initialised log_std (simulated: end value about -2e-6 after 50,000 steps), so
    its NLL is 0.5 |a - mean|^2.
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


class SquashedGaussianHead(nn.Module):
    """tanh(N(mean, std)) with both a linear map of the features: ODT's stochastic head (and SAC's, CQL's).

    log std = -5 + 3.5 (tanh(W h) + 1), in [-5, 2]; orthogonal weights, zero biases (Zheng et al. 2022, App. A).
    The executed action is tanh(mean), in environment units.
    """

    log_std_bounds = (-5.0, 2.0)
    middle: Tensor
    half_range: Tensor

    def __init__(self, hidden: int, action_low: Sequence[float], action_high: Sequence[float]) -> None:
        super().__init__()
        low, high = torch.tensor(action_low), torch.tensor(action_high)
        self.mean, self.log_std = RowStableLinear(hidden, len(low)), RowStableLinear(hidden, len(low))
        for linear in (self.mean, self.log_std):
            nn.init.orthogonal_(linear.weight)
            nn.init.zeros_(linear.bias)
        self.register_buffer("middle", (low + high) / 2)
        self.register_buffer("half_range", (high - low) / 2)

    def forward(self, features: Tensor) -> tuple[Tensor, Distribution]:
        """The action of the mode and the distribution, both (..., A)."""
        low, high = self.log_std_bounds
        log_std = low + 0.5 * (high - low) * (torch.tanh(self.log_std(features).float()) + 1.0)
        distribution = SquashedNormal(self.mean(features), log_std.exp(), self.middle, self.half_range)
        return distribution.mode_action, distribution


def newest_action(head: nn.Module, features: Tensor, noise: Tensor | None) -> Tensor:
    """The head's mean action (B, A), or with noise (B, A) the sample that the noise stands for.

    Rows sample with noise of their own, drawn outside, so that what a row does never depends on its neighbours. Raises
    UsageError when the head has no distribution to sample from.
    """
    action, distribution = head(features)
    if noise is None:
        return action
    if isinstance(distribution, SquashedNormal):
        return distribution.at_noise(noise)
    if isinstance(distribution, Normal):
        return distribution.loc + distribution.scale * noise
    raise UsageError(NO_SAMPLE)


def make_head(
    head: HeadName, hidden: int, action_low: Sequence[float], action_high: Sequence[float], learn_std: bool
) -> nn.Module:
    """The head of that name.

    head: "gaussian" (Reinformer, IQL, AWAC), "squashed" (ODT, SAC, CQL) or "deterministic" (DT, BC, TD3).
    learn_std: of "gaussian"; "squashed" always learns its std, "deterministic" has none.
    """
    if head == "gaussian":
        return GaussianHead(hidden, action_low, action_high, learn_std)
    kind = SquashedGaussianHead if head == "squashed" else DeterministicHead
    return kind(hidden, action_low, action_high)

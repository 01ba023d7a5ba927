"""What a policy says of a batch of segments; the only thing loss terms read."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.distributions import Distribution


class PolicyOutput(NamedTuple):
    """action: (B, K, A) mean action in environment units. distribution: over (B, K, A), None for a deterministic head.
    predicted_return: (B, K, 1) scaled return-to-go predicted before the action, None when nobody predicts it.
    """

    action: Tensor
    distribution: Distribution | None
    predicted_return: Tensor | None

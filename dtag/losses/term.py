"""What a loss term is: anything with a weight that turns (batch, output, critic) into (loss, info)."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from dtag.critic.critic import Critic
from dtag.data.segments import SegmentBatch
from dtag.policy.output import PolicyOutput

Info = dict[str, Tensor]


class LossTerm(Protocol):
    """One named summand of a policy's objective, mixed in by a config line.

    weight multiplies the term in the sum. Calling returns a scalar loss and detached scalars to log. A term may be an
    nn.Module with parameters of its own (a temperature); they are trained by Adam with `learning_rate`.
    """

    weight: float

    def __call__(self, batch: SegmentBatch, output: PolicyOutput, critic: Critic | None) -> tuple[Tensor, Info]: ...

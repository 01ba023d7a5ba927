"""What rollouts ask of a policy and of a return model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor, nn

from dtag.policy.sequence_model import Window


class Policy(Protocol):
    """Actions from a window of context. predicts_return: whether `predict_return_and_act` may be called.

    A policy that has `reads_return`, and has it True, is refused in a rollout where nobody says or predicts a return.
    """

    @property
    def predicts_return(self) -> bool: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def act(self, window: Window) -> Tensor:
        """Action (B, A) for each row's newest step: the mean, or where the window holds noise a sample."""
        ...

    def predict_return_and_act(self, window: Window) -> tuple[Tensor, Tensor]:
        """Scaled return-to-go (B, 1) of the newest step, and the action (B, A) given it."""
        ...


class ReturnModel(Protocol):
    """Scaled return-to-go (B, 1) at each row's newest step."""

    def predict_return(self, window: Window) -> Tensor: ...

"""A critic that learns from data alone, made to learn along with the policy: IQL, online."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dtag.critic.actor import Actor
from dtag.critic.networks import QChoice
from dtag.data.transitions import TransitionBatch


class LearnsAlong(nn.Module):
    """A critic like IQL, updated at every critic step of the policy's training; it asks nothing of the policy.

    model: that critic, like dtag.critic.iql.IQL. Its targets move with the policy's steps, as those of every critic
    that learns along.

    IQL+ODT in paper 2 is this beside AdvantageRegression; theirs bootstraps from a slow copy of V, this from V itself,
    as Kostrikov et al. 2021 do. It takes the weights of a bare model too: those of one that was trained offline.
    """

    learns_along = True

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model
        self.register_load_state_dict_pre_hook(_of_bare_model)

    @property
    def polyak(self) -> float:
        """The model's own."""
        return float(self.model.polyak)

    def q(self, states: Tensor, actions: Tensor) -> Tensor:
        """(B, S), (B, A) -> (n_q, B)"""
        found: Tensor = self.model.q(states, actions)
        return found

    def q_target(self, states: Tensor, actions: Tensor) -> Tensor:
        """(B, S), (B, A) -> (n_q, B), from the target networks."""
        found: Tensor = self.model.q_target(states, actions)
        return found

    def q_reduced(self, states: Tensor, actions: Tensor, choice: QChoice = "min", kappa: float = 1.0) -> Tensor:
        """(B, S), (B, A) -> (B,)"""
        found: Tensor = self.model.q_reduced(states, actions, choice, kappa)
        return found

    def value(self, states: Tensor) -> Tensor:
        """(B, S) -> (B,)"""
        found: Tensor = self.model.value(states)
        return found

    def loss(self, batch: TransitionBatch, actor: Actor) -> tuple[Tensor, dict[str, Tensor]]:
        """The model's own loss."""
        found: tuple[Tensor, dict[str, Tensor]] = self.model.loss(batch)
        return found

    def optimizer(self) -> torch.optim.Optimizer:
        """The model's own."""
        made: torch.optim.Optimizer = self.model.optimizer()
        return made

    def update_target(self) -> None:
        """Targets a step towards the online networks."""
        self.model.update_target()

    def copy_to_target(self) -> None:
        """Targets equal to the online networks."""
        self.model.copy_to_target()


def _of_bare_model(_: nn.Module, state: dict[str, Any], prefix: str, *__: Any) -> None:
    """Puts a bare model's weights where LearnsAlong has its own."""
    own = [name for name in state if name.startswith(prefix)]
    if not any(name.startswith(f"{prefix}model.") for name in own):
        for name in own:
            state[f"{prefix}model.{name.removeprefix(prefix)}"] = state.pop(name)

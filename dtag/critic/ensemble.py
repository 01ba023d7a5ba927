"""Several critics, trained apart on the same batches, that Action Gradient climbs on average."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dtag.critic.networks import QChoice
from dtag.data.transitions import TransitionBatch


class CriticEnsemble(nn.Module):
    """Independent critics, each with its own twins, targets and V; their reduced values are averaged.

    Much of one critic's slope in the action is fitting noise, and the twins of one critic share V and so their errors;
    averaging independent ones lessens it. tests/results says what that was measured to be worth.
    members: named critics, like dtag.critic.iql.IQL; any number, of any kinds.
    """

    def __init__(self, members: dict[str, nn.Module]) -> None:
        super().__init__()
        if not members:
            raise ValueError("a CriticEnsemble needs at least one member")
        self.members: Any = nn.ModuleDict(members)

    def q(self, states: Tensor, actions: Tensor) -> Tensor:
        """(B, S), (B, A) -> every member's Qs, one after another, (n, B)."""
        return torch.cat([member.q(states, actions) for member in self.members.values()])

    def q_target(self, states: Tensor, actions: Tensor) -> Tensor:
        """(B, S), (B, A) -> (n, B), from every member's target networks."""
        return torch.cat([member.q_target(states, actions) for member in self.members.values()])

    def q_reduced(self, states: Tensor, actions: Tensor, choice: QChoice = "min", kappa: float = 1.0) -> Tensor:
        """(B, S), (B, A) -> (B,): the mean over members of each one's own choice."""
        return torch.stack([m.q_reduced(states, actions, choice, kappa) for m in self.members.values()]).mean(0)

    def value(self, states: Tensor) -> Tensor:
        """(B, S) -> (B,): the mean over members of V, where they have one."""
        return torch.stack([member.value(states) for member in self.members.values()]).mean(0)

    def loss(self, batch: TransitionBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum of the members' losses; info: the mean of theirs."""
        losses, infos = zip(*(member.loss(batch) for member in self.members.values()), strict=True)
        shared = [name for name in infos[0] if all(name in info for info in infos)]
        return sum(losses[1:], losses[0]), {name: torch.stack([i[name] for i in infos]).mean() for name in shared}

    def optimizer(self) -> torch.optim.Optimizer:
        """The first member's kind of optimiser over every member's parameters, each with its member's learning rate."""
        optimizers = [member.optimizer() for member in self.members.values()]
        for other in optimizers[1:]:
            for group in other.param_groups:
                optimizers[0].add_param_group(group)
        return optimizers[0]

    def update_target(self) -> None:
        """Moves every member's targets; call once after every optimiser step."""
        for member in self.members.values():
            member.update_target()

    def copy_to_target(self) -> None:
        """Every member's targets equal to its online networks."""
        for member in self.members.values():
            member.copy_to_target()

    @property
    def polyak(self) -> float:
        """The first member's: how far a target policy beside this critic moves in a step."""
        return float(next(iter(self.members.values())).polyak)

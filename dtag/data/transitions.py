"""One-step transitions, what a critic learns from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dtag.data.spec import DataSpec
from dtag.data.trajectories import Trajectories
from dtag.errors import DataError


class TransitionBatch(NamedTuple):
    """B steps drawn from anywhere in the data.

    states, next_states: (B, S), normalised. actions: (B, A), environment units. rewards: (B,), as the critic is to see them.
    terminated: (B,) bool or 0/1 float; never set by a time limit. Where it is set next_states may hold anything.
    """

    states: Tensor
    actions: Tensor
    rewards: Tensor
    next_states: Tensor
    terminated: Tensor

    def split(self, size: int) -> Iterator[TransitionBatch]:
        """The batch in parts of `size` transitions."""
        return (TransitionBatch(*parts) for parts in zip(*(field.split(size) for field in self), strict=True))


class TransitionSampler:
    """Draws transitions uniformly from every step whose next state is known.

    The next state of an episode's last step is its `final_states` row, never the next episode's first state; where it
    is unknown the step is left out, unless it terminated and the next state does not matter. Steps of an unfinished
    tail count: a transition needs no return.

    Raises DataError when no step has a known next state.
    """

    def __init__(self, trajectories: Trajectories, spec: DataSpec) -> None:
        last = trajectories.offsets[1:] - 1
        next_rows = np.arange(1, trajectories.n_steps + 1)
        next_rows[last] = trajectories.n_steps + np.arange(trajectories.n_episodes)
        usable = np.ones(trajectories.n_steps, bool)
        usable[last] = trajectories.has_final_state | trajectories.terminated[last]
        if not usable.any():
            raise DataError(
                f"{spec.info.id}: no step has a known next state; give next_states, or episodes longer than one step"
            )
        packed = np.concatenate([spec.normalize(trajectories.states), spec.normalize(trajectories.final_states)])
        self.states = torch.from_numpy(packed)  # (N + M, S): steps, then final states
        self.actions = torch.from_numpy(np.array(trajectories.actions))
        self.rewards = torch.from_numpy(
            (trajectories.rewards * spec.reward_scale + spec.reward_shift).astype(np.float32)
        )
        self.terminated = torch.from_numpy(trajectories.terminated.astype(np.float32))
        self.next_rows = torch.from_numpy(next_rows)
        self.usable = torch.from_numpy(np.flatnonzero(usable))
        self.known = torch.from_numpy(usable)
        self.has_next = self.next_rows < trajectories.n_steps  # False at an episode's last step

    def to(self, device: torch.device | str) -> TransitionSampler:
        """Moves the packed arrays, so that a batch is gathered where it is used. In place."""
        for name, value in vars(self).items():
            setattr(self, name, value.to(device))
        return self

    def sample(self, batch_size: int, generator: torch.Generator) -> TransitionBatch:
        """batch_size transitions, with replacement."""
        device = self.states.device
        return self.gather(
            self.usable[torch.randint(len(self.usable), (batch_size,), generator=generator, device=device)]
        )

    def gather(self, rows: Tensor) -> TransitionBatch:
        """The transitions of the given steps (B,)."""
        return TransitionBatch(
            states=self.states.index_select(0, rows),
            actions=self.actions.index_select(0, rows),
            rewards=self.rewards.index_select(0, rows),
            next_states=self.states.index_select(0, self.next_rows.index_select(0, rows)),
            terminated=self.terminated.index_select(0, rows),
        )

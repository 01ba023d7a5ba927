"""Exploration of rows that collect data: Gaussian noise on executed actions, or samples of the policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dtag.rollout.row_settings import RowSettings

STREAM = 2  # beside the seed: the environment draws its start from a generator of the seed alone
EDGE = 1e-6  # how far from a bound, in units of half the action range, a noisy action is held: TD3+ODT clamps likewise


class Noise(NamedTuple):
    """One step's draws. sampling (E, A): standard normal for rows that sample, zeros (the mean) for others; None where no
    row samples. added (E, A): environment units, for rows with added noise; None where there is none. noisy (E,) bool:
    those rows. low, high (A,): where noisy actions are held.
    """

    sampling: Tensor | None
    added: Tensor | None
    noisy: Tensor
    low: Tensor
    high: Tensor

    def added_to(self, actions: Tensor, rows: Tensor) -> Tensor:
        """The actions (n, A) to be executed in slots `rows` (n,); untouched where no noise is added."""
        if self.added is None:
            return actions
        moved = torch.minimum(torch.maximum(actions + self.added[rows], self.low), self.high)
        return torch.where(self.noisy[rows].unsqueeze(1), moved, actions)


class Explorer:
    """Noise for E slots, each row's drawn from a generator of its own: seeded by its episode, so that what a row does
    depends neither on its slot nor on its neighbours.

    low, high: (A,), the action bounds.
    """

    def __init__(self, n_slots: int, low: Tensor, high: Tensor) -> None:
        self.half_range = (high - low) / 2
        self.low, self.high = low + EDGE * self.half_range, high - EDGE * self.half_range
        self.settings = [RowSettings()] * n_slots
        self.generators: list[np.random.Generator | None] = [None] * n_slots
        self.noisy = torch.zeros(n_slots, dtype=torch.bool, device=low.device)

    def restart(self, slots: Sequence[int], settings: Sequence[RowSettings], seeds: Sequence[int]) -> None:
        """A new episode in each slot."""
        for slot, own, seed in zip(slots, settings, seeds, strict=True):
            self.settings[slot] = own
            self.generators[slot] = None if own.exploration == "none" else np.random.default_rng((STREAM, seed))
            self.noisy[slot] = own.exploration == "noise"

    def draw(self, slots: Sequence[int]) -> Noise:
        """One step's noise for the given slots."""
        exploring = [slot for slot in slots if self.generators[slot] is not None]
        if not exploring:
            return Noise(None, None, self.noisy, self.low, self.high)
        drawn = torch.zeros(len(self.settings), len(self.low), device=self.low.device)
        for slot in exploring:
            generator = self.generators[slot]
            assert generator is not None
            drawn[slot] = torch.from_numpy(generator.standard_normal(len(self.low)).astype(np.float32)).to(drawn.device)
        kinds = {self.settings[slot].exploration for slot in exploring}
        scale = torch.tensor([own.noise for own in self.settings], device=drawn.device).unsqueeze(1)
        sampling = torch.where(self.noisy.unsqueeze(1), 0.0, drawn) if "sample" in kinds else None
        added = drawn * scale * self.half_range if "noise" in kinds else None
        return Noise(sampling, added, self.noisy, self.low, self.high)

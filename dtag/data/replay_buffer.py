"""A replay buffer of whole trajectories: what an online policy and its critic learn from.

Letters: C slots, N rows of steps, S state dim, A action dim, B batch, K context steps.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from dtag.data.segments import Following, Future, SegmentBatch
from dtag.data.spec import DataSpec
from dtag.data.trajectories import Trajectories
from dtag.errors import DataError

Draw = Literal["length", "return"]


class ReplayBuffer:
    """The latest `capacity` trajectories, one to a slot, their steps packed in arrays laid out once.

    Slots are filled in order and then overwritten in the same order, first in, first out; filled first from offline data
    in ascending order of return, it forgets the worst of them first (paper 2's code; Zheng et al. 2022, Alg. 1).
    Segments are drawn with a trajectory's probability proportional to its length and any of its steps as the start
    (ODT, Sec. 4.2), with return-to-go in hindsight: the sum of the rewards that were really earned.

    weighting: "return" draws a trajectory with probability proportional to its return instead (PDT), lifted where the
    lowest is below 0 so that it is 0. future_steps: see SegmentSampler.

    States are kept normalised by `spec`, which is the offline data's and does not move. A trajectory of L steps lies in
    L + 1 rows on end, the last for the state it ended in; the rows are a ring that is overwritten as slots are. room: rows
    laid out at first; there will be more if that is too little.
    """

    def __init__(
        self,
        capacity: int,
        spec: DataSpec,
        *,
        room: int,
        context_length: int,
        weighting: Draw = "length",
        future_steps: int = 0,
    ) -> None:
        if capacity < 1 or room < 1:
            raise ValueError(f"a replay buffer needs room: capacity={capacity}, room={room}")
        self.capacity, self.spec, self.context_length = capacity, spec, context_length
        self.weighting, self.future_steps = weighting, future_steps
        self.n_added = 0  # trajectories, ever
        self.oldest = 0  # the number of the oldest that is held, counted as n_added is
        self.lengths, self.begins = torch.zeros(2, capacity, dtype=torch.long)  # (C,), by slot
        self.has_final_state = torch.zeros(capacity, dtype=torch.bool)
        self._lay_out(room)

    def _lay_out(self, room: int) -> None:
        self.room = room
        self.states, self.actions = torch.zeros(room, self.spec.state_dim), torch.zeros(room, self.spec.action_dim)
        self.rewards, self.returns_to_go = torch.zeros(2, room)
        self.terminated = torch.zeros(room, dtype=torch.bool)

    @property
    def n_trajectories(self) -> int:
        return min(self.n_added, self.capacity)

    @property
    def n_steps(self) -> int:
        return int(self.lengths.sum())

    def returns(self) -> Tensor:
        """(n_trajectories,) raw return of each trajectory held, by slot."""
        held = slice(self.n_trajectories)
        raw = self.spec.raw_returns(self.returns_to_go[self.begins[held]].numpy(), self.lengths[held].numpy())
        return torch.from_numpy(np.asarray(raw))

    def add(self, trajectories: Trajectories) -> None:
        """Append complete episodes in their order, each into the oldest slot. Raises DataError on other dims."""
        dims = (trajectories.state_dim, trajectories.action_dim)
        if dims != (self.spec.state_dim, self.spec.action_dim):
            raise DataError(f"trajectories of (state, action) dims {dims} do not fit a buffer of {self.spec.info.id}")
        states, final = (self.spec.normalize(x) for x in (trajectories.states, trajectories.final_states))
        returns_to_go = self.spec.scaled_returns_to_go(trajectories)
        rewards = (trajectories.rewards * self.spec.reward_scale + self.spec.reward_shift).astype(np.float32)
        columns = (states, trajectories.actions, rewards, returns_to_go, trajectories.terminated)
        for episode in np.flatnonzero(trajectories.complete):
            at = slice(trajectories.offsets[episode], trajectories.offsets[episode + 1])
            length = int(trajectories.lengths[episode])
            row = self._append(length, bool(trajectories.has_final_state[episode]))
            for name, values in zip(_PER_STEP, columns, strict=True):
                getattr(self, name)[row : row + length] = torch.from_numpy(np.array(values[at]))
            self.states[row + length] = torch.from_numpy(final[episode])

    def _append(self, length: int, has_final_state: bool) -> int:
        """The first row of a new trajectory, whose steps are still to be written; the oldest goes where all slots are full."""
        if self.n_added - self.oldest == self.capacity:
            self.oldest += 1
        row = self._free_rows(length + 1)
        slot = self.n_added % self.capacity
        self.lengths[slot], self.begins[slot], self.has_final_state[slot] = length, row, has_final_state
        self.n_added += 1
        return row

    def _free_rows(self, n: int) -> int:
        """Where n rows on end are free: behind the newest trajectory, or in front of all."""
        if self.n_added == self.oldest:
            if n > self.room:
                self._lay_out(n)
            return 0
        newest, oldest = (self.n_added - 1) % self.capacity, self.oldest % self.capacity
        head, tail = int(self.begins[newest] + self.lengths[newest]) + 1, int(self.begins[oldest])
        wrapped = self.begins[newest] < self.begins[oldest]
        if (tail if wrapped else self.room) - head >= n:
            return head
        if not wrapped and tail >= n:
            return 0
        return self._repack(n)

    def _repack(self, n: int) -> int:
        """Everything in arrays twice as long, or what n more rows ask for, in order from the first row; the row behind."""
        slots = torch.arange(self.oldest, self.n_added) % self.capacity
        held = {name: getattr(self, name)[self.rows_of(slots)] for name in _PER_STEP}
        used = len(held["rewards"])
        self._lay_out(max(2 * self.room, used + n))
        for name, values in held.items():
            getattr(self, name)[:used] = values
        sizes = self.lengths[slots] + 1
        self.begins[slots] = sizes.cumsum(0) - sizes
        return used

    def rows_of(self, slots: Tensor) -> Tensor:
        """All rows of the slots' trajectories, L + 1 each, one behind the other."""
        bounds = zip(self.begins[slots].tolist(), self.lengths[slots].tolist(), strict=True)
        parts = [torch.arange(begin, begin + length + 1) for begin, length in bounds]
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.long)

    def fill_from(self, trajectories: Trajectories) -> None:
        """The complete episodes of highest return, worst first, so that the worst are the first to be overwritten."""
        complete = np.flatnonzero(trajectories.complete)
        if not len(complete):
            raise DataError(f"{self.spec.info.id}: no episode ends, so there is none to start the replay buffer with")
        ascending = complete[np.argsort(trajectories.returns[complete], kind="stable")]
        self.add(trajectories.select(ascending[-self.capacity :]))

    def sample(self, batch_size: int, generator: torch.Generator) -> SegmentBatch:
        """batch_size segments, with replacement. Raises DataError while the buffer is empty."""
        if not self.n_trajectories:
            raise DataError("the replay buffer is empty: collect an episode, or start it from the offline data")
        slots = self._draw_slots(batch_size, generator)
        uniform = torch.rand(batch_size, generator=generator, dtype=torch.float64)
        return self.gather(slots, (uniform * self.lengths[slots]).long())

    def _draw_slots(self, batch_size: int, generator: torch.Generator) -> Tensor:
        if self.weighting == "return":
            returns = self.returns()
            lifted = returns - returns.min().clamp(max=0.0)
            weights = lifted if float(lifted.sum()) > 0 else torch.ones_like(lifted)  # all 0: nothing to prefer
            return torch.multinomial(weights, batch_size, replacement=True, generator=generator)
        cumulative = self.lengths[: self.n_trajectories].cumsum(0)
        drawn = torch.randint(int(cumulative[-1]), (batch_size,), generator=generator)
        return torch.searchsorted(cumulative, drawn, right=True)

    def gather(self, slots: Tensor, starts: Tensor) -> SegmentBatch:
        """The segments that begin at steps `starts` (B,) of slots (B,), and what follows each of their steps."""
        offsets = torch.arange(self.context_length)
        remaining = (self.lengths[slots] - starts).unsqueeze(1)
        mask = offsets < remaining  # (B, K)
        steps = starts.unsqueeze(1) + torch.minimum(offsets, remaining - 1)
        rows, valid = self.begins[slots].unsqueeze(1) + steps, mask.unsqueeze(2)
        last = steps == self.lengths[slots].unsqueeze(1) - 1
        terminated = _take(self.terminated, rows)
        after = _take(self.returns_to_go, rows + 1) * ~last
        return SegmentBatch(
            states=_take(self.states, rows) * valid,
            actions=_take(self.actions, rows) * valid,
            returns_to_go=(_take(self.returns_to_go, rows) * mask).unsqueeze(2),
            timesteps=steps * mask,
            mask=mask,
            rows=rows,
            following=Following(
                rewards=_take(self.rewards, rows) * mask,
                terminated=(terminated & mask).float(),
                states=_take(self.states, rows + 1) * valid,
                returns_to_go=(after * mask).unsqueeze(2),
                timesteps=(steps + 1) * mask,
                known=mask & (~last | terminated | self.has_final_state[slots].unsqueeze(1)),
            ),
            future=self._future(slots, starts, remaining) if self.future_steps else None,
        )

    def _future(self, slots: Tensor, starts: Tensor, remaining: Tensor) -> Future:
        """The F steps behind the segments; remaining (B, 1): steps from the segment's first on."""
        offsets = self.context_length + torch.arange(self.future_steps)
        mask = offsets < remaining  # (B, F)
        rows, valid = (self.begins[slots] + starts).unsqueeze(1) + offsets * mask, mask.unsqueeze(2)
        return Future(states=_take(self.states, rows) * valid, actions=_take(self.actions, rows) * valid, mask=mask)

    def episodes(self, slots: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """states (n, T + 1, S), rewards (n, T) and terminated (n, T) of whole trajectories, zeros behind their ends."""
        lengths = self.lengths[slots].unsqueeze(1)
        steps = torch.arange(int(lengths.max()) + 1)
        rows, held = self.begins[slots].unsqueeze(1) + torch.minimum(steps, lengths), steps <= lengths
        acted = (steps < lengths)[:, :-1]
        states = _take(self.states, rows) * held.unsqueeze(2)
        rewards, terminated = (_take(x, rows[:, :-1]) * acted for x in (self.rewards, self.terminated))
        return states, rewards, terminated

    def state_dict(self, since: int = 0) -> dict[str, Any]:
        """Plain tensors of what was added since the first `since` trajectories; those are the offline data's to restore."""
        slots = torch.arange(max(since, self.oldest), self.n_added) % self.capacity
        kept = {name: getattr(self, name)[self.rows_of(slots)] for name in _PER_STEP}
        per_slot = {name: getattr(self, name)[slots] for name in ("lengths", "has_final_state")}
        return {**kept, **per_slot, "n_added": self.n_added}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave, over a buffer that holds the offline data as it did then."""
        first = state["n_added"] - len(state["lengths"])
        if first > self.n_added:  # all of what is here was overwritten, and some of what came then
            self.oldest = self.n_added = first
        ends = (state["lengths"] + 1).cumsum(0).tolist()
        for end, length, has_final in zip(
            ends, state["lengths"].tolist(), state["has_final_state"].tolist(), strict=True
        ):
            row = self._append(length, has_final)
            for name in _PER_STEP:
                getattr(self, name)[row : row + length + 1] = state[name][end - length - 1 : end]


_PER_STEP = ("states", "actions", "rewards", "returns_to_go", "terminated")


def _take(values: Tensor, rows: Tensor) -> Tensor:
    """values (N, ...) at rows (B, K) -> (B, K, ...)"""
    return values.index_select(0, rows.flatten()).view(*rows.shape, *values.shape[1:])

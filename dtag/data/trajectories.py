"""Episodes packed in flat arrays: the one form in which dtag holds offline data.

Letters: N steps over all episodes, M episodes, S state dim, A action dim.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dtag.errors import DataError

SplitOn = Literal["either", "truncated"]


@dataclass(frozen=True)
class Trajectories:
    """M episodes laid end to end.

    states: (N, S) float32, what the agent saw before each action. actions: (N, A) float32, in environment units.
    rewards: (N,) float32, raw. terminated, truncated: (N,) bool, apart: only `terminated` cuts a bootstrap.
    Interior steps may be terminated (D4RL antmaze pays and "terminates" on while the episode goes on).
    offsets: (M + 1,) int64; episode e is rows offsets[e]:offsets[e + 1].
    final_states: (M, S) float32, the true state after each episode's last action; zeros where `has_final_state`,
    (M,) bool, is False because the file does not say.

    Build with `from_arrays`, which validates; the constructor does not.
    """

    states: NDArray[np.float32]
    actions: NDArray[np.float32]
    rewards: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    offsets: NDArray[np.int64]
    final_states: NDArray[np.float32]
    has_final_state: NDArray[np.bool_]

    @property
    def n_steps(self) -> int:
        return len(self.rewards)

    @property
    def n_episodes(self) -> int:
        return len(self.offsets) - 1

    @property
    def state_dim(self) -> int:
        return int(self.states.shape[1])

    @property
    def action_dim(self) -> int:
        return int(self.actions.shape[1])

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """(M,) steps of each episode."""
        return np.diff(self.offsets)

    @cached_property
    def complete(self) -> NDArray[np.bool_]:
        """(M,) whether an episode ended; False for the unfinished tail of a cut file, whose return is no return."""
        last = self.offsets[1:] - 1
        return self.terminated[last] | self.truncated[last]

    @cached_property
    def returns(self) -> NDArray[np.float64]:
        """(M,) undiscounted raw return of each episode (of an unfinished one: so far)."""
        return np.add.reduceat(self.rewards.astype(np.float64), self.offsets[:-1])

    def returns_to_go(self) -> NDArray[np.float32]:
        """(N,) undiscounted raw sum of rewards from each step to its episode's end, that step's reward included."""
        total = np.cumsum(self.rewards, dtype=np.float64)
        end = np.repeat(total[self.offsets[1:] - 1], self.lengths)
        return (end - total + self.rewards).astype(np.float32)

    def timesteps(self) -> NDArray[np.int64]:
        """(N,) step number within the episode, from 0."""
        return np.arange(self.n_steps) - np.repeat(self.offsets[:-1], self.lengths)

    def select(self, episodes: ArrayLike) -> Trajectories:
        """The given episodes (indices or a boolean mask), packed in the order given. Copies."""
        chosen = np.asarray(episodes)
        chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64)
        lengths = self.lengths[chosen]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        rows = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][chosen] - offsets[:-1], lengths)
        per_step = {name: getattr(self, name)[rows] for name in _PER_STEP}
        return Trajectories(
            **per_step,
            offsets=offsets,
            final_states=self.final_states[chosen],
            has_final_state=self.has_final_state[chosen],
        )

    @staticmethod
    def concatenate(parts: list[Trajectories]) -> Trajectories:
        """All episodes of all parts, in order; e.g. medium + expert.

        Raises DataError if state or action dims differ.
        """
        dims = {(part.state_dim, part.action_dim) for part in parts}
        if len(dims) != 1:
            raise DataError(f"cannot combine datasets of different (state, action) dims: {sorted(dims)}")
        names = [entry.name for entry in fields(Trajectories) if entry.name != "offsets"]
        merged = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        lengths = np.concatenate([part.lengths for part in parts])
        return Trajectories(**merged, offsets=np.concatenate([[0], np.cumsum(lengths)]))

    @staticmethod
    def from_arrays(
        states: ArrayLike,
        actions: ArrayLike,
        rewards: ArrayLike,
        terminated: ArrayLike,
        truncated: ArrayLike | None = None,
        *,
        next_states: ArrayLike | None = None,
        split_on: SplitOn = "either",
        source: str = "arrays",
        keys: Mapping[str, str] | None = None,
    ) -> Trajectories:
        """Split flat arrays into episodes, after checking every value.

        states (N, S) or (N,), actions (N, A) or (N,), rewards (N,) or (N, 1), terminated and truncated (N,) or (N, 1),
        bool or 0/1 numbers. An episode ends where either flag is set, or with split_on="truncated" only there (D4RL's
        antmaze is "terminated" on every step inside the goal while the episode goes on); what follows the last end is
        kept as an unfinished episode. next_states (N, S): used at episode ends, the only rows where it says anything
        new; without it the state after an episode's last step is unknown. `source` names the data in error messages and
        `keys` what the source calls an argument.

        Raises DataError naming source, key and first bad row: wrong shape or length, empty, NaN or infinite, flags
        that are not 0/1.
        """
        called = {**{key: key for key in (*_PER_STEP, "next_states")}, **(keys or {})}
        arrays: dict[str, NDArray[Any]] = {
            "states": _matrix(states, called["states"], source),
            "actions": _matrix(actions, called["actions"], source),
            "rewards": _column(rewards, called["rewards"], source).astype(np.float32, copy=False),
            "terminated": _flags(terminated, called["terminated"], source),
        }
        n = len(arrays["states"])
        if n == 0:
            raise DataError(f"{source}: '{called['states']}' is empty: there is nothing to train on")
        if truncated is None:
            arrays["truncated"] = np.zeros(n, bool)
        else:
            arrays["truncated"] = _flags(truncated, called["truncated"], source)
        if next_states is not None:
            arrays["next_states"] = _matrix(next_states, called["next_states"], source)
        _check_rows(arrays, called, source)
        following = arrays.pop("next_states", None)
        ends = arrays["truncated"] if split_on == "truncated" else arrays["terminated"] | arrays["truncated"]
        offsets = _offsets(ends)
        last = offsets[1:] - 1
        known = np.full(len(last), following is not None)
        final = np.zeros_like(arrays["states"], shape=(len(last), arrays["states"].shape[1]))
        if following is not None:
            final = following[last]
        return Trajectories(**arrays, offsets=offsets, final_states=final, has_final_state=known)


_PER_STEP = ("states", "actions", "rewards", "terminated", "truncated")


def _check_rows(arrays: Mapping[str, NDArray[Any]], called: Mapping[str, str], source: str) -> None:
    """Raises DataError for the first array whose length, dims or values do not fit."""
    states = arrays["states"]
    for key, array in arrays.items():
        if len(array) != len(states):
            raise DataError(
                f"{source}: '{called[key]}' has {len(array):,} rows, '{called['states']}' has {len(states):,}; "
                "they must agree"
            )
        if array.dtype != bool and not np.isfinite(array).all():
            where = np.argwhere(~np.isfinite(array))[0]
            place = f"row {where[0]:,}" + (f", dim {where[1]}" if len(where) > 1 else "")
            raise DataError(f"{source}: '{called[key]}' holds NaN or infinity, first at {place}: {array[tuple(where)]}")
    following = arrays.get("next_states", states)
    if following.shape != states.shape:
        raise DataError(
            f"{source}: '{called['next_states']}' is {following.shape}, '{called['states']}' is {states.shape}"
        )


def _offsets(ends: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(M + 1,) where episodes begin, given (N,) which steps end one; a tail without an end is an episode too."""
    after = np.flatnonzero(ends) + 1
    tail = [] if len(after) and after[-1] == len(ends) else [len(ends)]
    return np.concatenate([[0], after, tail]).astype(np.int64)


def _matrix(value: ArrayLike, key: str, source: str) -> NDArray[np.float32]:
    array = _numeric(value, key, source)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:
        raise DataError(f"{source}: '{key}' has shape {array.shape}; it must be (rows, dims)")
    return np.ascontiguousarray(array, dtype=np.float32)


def _column(value: ArrayLike, key: str, source: str) -> NDArray[Any]:
    array = _numeric(value, key, source)
    if array.ndim == 2 and array.shape[1] == 1:  # D4RL writes [N, 1] rewards in some files
        array = array[:, 0]
    if array.ndim != 1:
        raise DataError(f"{source}: '{key}' has shape {array.shape}; it must be (rows,) or (rows, 1)")
    return array


def _flags(value: ArrayLike, key: str, source: str) -> NDArray[np.bool_]:
    array = _column(value, key, source)
    if array.dtype == bool:
        return array
    odd = ~np.isin(array, (0, 1))  # D4RL antmaze stores terminals as floats
    if odd.any():
        row = int(np.argmax(odd))
        raise DataError(f"{source}: '{key}' must hold 0 or 1, row {row:,} holds {array[row]}")
    return array.astype(bool)


def _numeric(value: ArrayLike, key: str, source: str) -> NDArray[Any]:
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise DataError(f"{source}: '{key}' is not numeric (dtype {array.dtype})")
    return array

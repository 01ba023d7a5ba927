"""What is in a dataset, in numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dtag.data.dataset import Dataset
from dtag.data.trajectories import Trajectories

QUANTILES = {"min": 0.0, "25 %": 0.25, "median": 0.5, "75 %": 0.75, "max": 1.0}
_BLOCK = 262_144  # rows looked at together, so that a memory-mapped dataset is never held whole


@dataclass(frozen=True)
class Summary:
    """Counts and distributions of a dataset.

    returns, lengths: of complete episodes, by QUANTILES and "mean"; empty when none is complete. normalized_mean: of
    the complete episodes; None without a reference. n_unfinished_steps: in episodes that do not end. n_interior_terminals:
    steps called terminal within an episode that goes on. action_low, action_high: (A,) seen. n_actions_outside,
    n_actions_at_bounds: steps with a component beyond, or exactly at, a bound; None where bounds are unknown.
    n_not_finite: NaN and infinite values in states, actions and rewards.
    """

    n_steps: int
    n_episodes: int
    n_complete: int
    n_unfinished_steps: int
    n_known_final_states: int
    n_interior_terminals: int
    n_not_finite: int
    returns: dict[str, float]
    lengths: dict[str, float]
    normalized_mean: float | None
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    n_actions_outside: int | None
    n_actions_at_bounds: int | None


def summarize(dataset: Dataset) -> Summary:
    """One pass over the data in blocks."""
    trajectories, info = dataset.trajectories, dataset.info
    complete = trajectories.complete
    returns = trajectories.returns[complete]
    outside, at_bounds = _beyond_bounds(dataset)
    return Summary(
        n_steps=trajectories.n_steps,
        n_episodes=trajectories.n_episodes,
        n_complete=int(complete.sum()),
        n_unfinished_steps=int(trajectories.lengths[~complete].sum()),
        n_known_final_states=int(trajectories.has_final_state.sum()),
        n_interior_terminals=int(trajectories.terminated.sum() - trajectories.terminated[_last(trajectories)].sum()),
        n_not_finite=_count_not_finite(trajectories),
        returns=_distribution(returns),
        lengths=_distribution(trajectories.lengths[complete]),
        normalized_mean=float(info.reference.score(returns).mean()) if info.reference and len(returns) else None,
        action_low=tuple(trajectories.actions.min(0).tolist()),
        action_high=tuple(trajectories.actions.max(0).tolist()),
        n_actions_outside=outside,
        n_actions_at_bounds=at_bounds,
    )


def _last(trajectories: Trajectories) -> NDArray[np.int64]:
    return trajectories.offsets[1:] - 1


def _distribution(values: NDArray[np.float64] | NDArray[np.int64]) -> dict[str, float]:
    if not len(values):
        return {}
    quantiles = np.quantile(values, list(QUANTILES.values()))
    return {**dict(zip(QUANTILES, quantiles.tolist(), strict=True)), "mean": float(values.mean())}


def _beyond_bounds(dataset: Dataset) -> tuple[int | None, int | None]:
    """Steps with an action component outside, and of the others those with one at, the bounds."""
    if not dataset.info.action_low:
        return None, None
    actions = dataset.trajectories.actions
    low, high = (np.asarray(bound, np.float32) for bound in (dataset.info.action_low, dataset.info.action_high))
    outside = at_bounds = 0
    for start in range(0, len(actions), _BLOCK):
        block = actions[start : start + _BLOCK]
        beyond = ((block < low) | (block > high)).any(1)
        outside += int(beyond.sum())
        at_bounds += int((((block == low) | (block == high)).any(1) & ~beyond).sum())
    return outside, at_bounds


def _count_not_finite(trajectories: Trajectories) -> int:
    return sum(
        int((~np.isfinite(array[start : start + _BLOCK])).sum())
        for array in (trajectories.states, trajectories.actions, trajectories.rewards)
        for start in range(0, len(array), _BLOCK)
    )

"""Reads local Minari datasets, dtag's own and others'."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import Space, spaces
from minari import MinariDataset
from numpy.typing import NDArray

from dtag.data.dataset import Dataset, DatasetInfo, Reference
from dtag.data.local_datasets import datasets_root, is_local, minari_environment, read_metadata
from dtag.data.packed_cache import load_packed, save_packed
from dtag.data.reference_scores import reference_for_environment
from dtag.data.source_file import first_line
from dtag.data.trajectories import Trajectories
from dtag.errors import DataError

# Entries of a goal-conditioned observation that make up the state; achieved_goal repeats part of the first.
_GOAL_KEYS = ("observation", "desired_goal")
_MINARI_LABEL = "minari"


def load(id: str) -> Dataset:
    """The Minari dataset of that id below `datasets_root`.

    The first load of another's dataset packs it; later ones map the packed copy and cost milliseconds. Entries of dict
    observations are joined into one state: observation and desired_goal where there are such, else all, by name.

    Raises DataError when it is not there, damaged, of an unsupported Minari version, or not continuous.
    """
    folder = datasets_root() / id
    if not is_local(id):
        raise DataError(f"there is no dataset '{id}' at {folder}")
    metadata = read_metadata(folder)
    own = metadata.get("dtag")
    trajectories = load_packed(folder)
    if trajectories is None:
        trajectories = _pack(folder, [] if own is None else own["unknown_final_states"])
    info = DatasetInfo.from_dict(own["info"]) if own else _describe(id, folder, metadata)
    return Dataset(trajectories, info)


def _pack(folder: Path, unknown_final_states: list[int]) -> Trajectories:
    trajectories = _read(folder)
    known = trajectories.has_final_state.copy()
    known[unknown_final_states] = False
    final_states = np.where(known[:, None], trajectories.final_states, np.float32(0))
    trajectories = replace(trajectories, has_final_state=known, final_states=final_states)
    try:
        save_packed(trajectories, folder)
    except OSError:
        return trajectories  # a disk without room for the copy is no reason not to train
    return load_packed(folder) or trajectories


def _read(folder: Path) -> Trajectories:
    """Every episode, packed as it is read, so that the arrays are held once. Infos are not kept."""
    dataset = _open(folder)
    keys = _state_keys(dataset.observation_space)
    _check_actions(dataset.action_space, str(folder))
    n, episodes = int(dataset.total_steps), dataset.total_episodes
    if n == 0:
        raise DataError(f"{folder}: holds no steps: there is nothing to train on")
    states, final_states, actions = _empty(dataset, keys, n, episodes)
    rewards = np.empty(n, np.float32)
    terminated, truncated, ends = (np.zeros(n, bool) for _ in range(3))
    row = 0
    try:
        for number, episode in enumerate(dataset.iterate_episodes()):
            length = len(episode.rewards)
            rows = slice(row, row + length)
            observations = _join(episode.observations, keys)
            dims = (states.shape[1], actions.shape[1])
            _check_episode(observations, episode.actions, dims, f"{folder}: episode {number}")
            states[rows], final_states[number] = observations[:-1], observations[-1]
            actions[rows], rewards[rows] = episode.actions, np.ravel(episode.rewards)
            terminated[rows], truncated[rows] = np.ravel(episode.terminations), np.ravel(episode.truncations)
            row += length
            ends[row - 1] = True
    except (OSError, RuntimeError, KeyError, ValueError, IndexError, AssertionError) as error:
        raise DataError(f"{folder}: is damaged, fetch or import it again: {first_line(error)}") from error
    if row != n:
        raise DataError(f"{folder}: is damaged, fetch or import it again: {row:,} of {n:,} steps are there")
    checked = Trajectories.from_arrays(
        states, actions, rewards, terminated, ends, split_on="truncated", source=str(folder)
    )
    if not np.isfinite(final_states).all():
        raise DataError(f"{folder}: a final observation holds NaN or infinity")
    return replace(
        checked, truncated=truncated, final_states=final_states, has_final_state=np.ones(len(final_states), bool)
    )


def _open(folder: Path) -> MinariDataset:
    try:
        return MinariDataset(folder / "data")
    except Exception as error:  # Minari asserts, and rebuilds spaces from text and environments
        raise DataError(f"{folder}: Minari cannot open it: {first_line(error)}") from error


def _state_keys(space: Space[Any]) -> tuple[str, ...]:
    """The entries of a dict observation to join; none for a flat one."""
    if not isinstance(space, spaces.Dict):
        return ()
    flat = [key for key, entry in space.spaces.items() if isinstance(entry, spaces.Box)]
    return tuple(key for key in _GOAL_KEYS if key in flat) or tuple(sorted(flat))


def _check_actions(space: Space[Any], source: str) -> None:
    if not isinstance(space, spaces.Box) or len(space.shape) != 1:
        raise DataError(f"{source}: actions are {space}; dtag needs a vector of continuous numbers")


def _empty(
    dataset: MinariDataset, keys: tuple[str, ...], n_steps: int, n_episodes: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Room for states (N, S), final states (M, S) and actions (N, A)."""
    space = dataset.observation_space
    parts = [space.spaces[key] for key in keys] if keys else [space]
    if not parts or any(not isinstance(part, spaces.Box) or len(part.shape) != 1 for part in parts):
        raise DataError(f"{dataset.id}: observations are {space}; dtag needs vectors of numbers")
    state_dim = sum(part.shape[0] for part in parts)
    return (
        np.empty((n_steps, state_dim), np.float32),
        np.empty((n_episodes, state_dim), np.float32),
        np.empty((n_steps, dataset.action_space.shape[0]), np.float32),
    )


def _join(observations: NDArray[Any] | Mapping[str, NDArray[Any]], keys: tuple[str, ...]) -> NDArray[Any]:
    """(T + 1, S)"""
    if isinstance(observations, Mapping):
        return np.concatenate([observations[key] for key in keys], axis=1)
    return observations


def _check_episode(observations: NDArray[Any], actions: NDArray[Any], dims: tuple[int, int], source: str) -> None:
    """dims: of states and actions. Assigned as they are, other shapes could be spread over the row in silence."""
    length = len(actions)
    if length == 0 or len(observations) != length + 1:
        raise DataError(
            f"{source} has {len(observations)} observations and {length} actions; there must be one observation more, "
            "and at least one action"
        )
    if observations.shape != (length + 1, dims[0]) or actions.shape != (length, dims[1]):
        raise DataError(
            f"{source} has observations {observations.shape} and actions {actions.shape}; the dataset says {dims[0]} "
            f"and {dims[1]} dims"
        )


def _describe(id: str, folder: Path, metadata: dict[str, Any]) -> DatasetInfo:
    """What another's dataset says of itself, in dtag's terms."""
    environment = minari_environment(metadata)
    dataset = _open(folder)
    kept = ("author", "algorithm_name", "code_permalink", "description", "minari_version", "requirements")
    return DatasetInfo(
        id=id,
        environment=environment.get("id"),
        environment_kwargs={k: v for k, v in (environment.get("kwargs") or {}).items() if k != "render_mode"},
        max_episode_steps=environment.get("max_episode_steps"),
        action_low=tuple(dataset.action_space.low.astype(float).tolist()),
        action_high=tuple(dataset.action_space.high.astype(float).tolist()),
        reference=_reference(metadata, environment.get("id")),
        observation_keys=_state_keys(dataset.observation_space),
        provenance={"source": "minari", **{key: metadata[key] for key in kept if key in metadata}},
    )


def _reference(metadata: dict[str, Any], environment: str | None) -> Reference | None:
    low, high = metadata.get("ref_min_score"), metadata.get("ref_max_score")
    if low is not None and high is not None and high != low:
        return Reference(float(low), float(high), _MINARI_LABEL)
    return reference_for_environment(environment) if environment else None

"""Reads trajectories from HDF5 files in D4RL's layout (Fu et al. 2020)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from dtag.data.source_file import first_line, readable_file, state_columns
from dtag.data.trajectories import SplitOn, Trajectories
from dtag.errors import DataError

_KEYS = {"states": "observations", "actions": "actions", "rewards": "rewards", "terminated": "terminals"}
_BLOCK = 131_072  # rows read at a time where few of them are kept


def read_d4rl(path: str | Path, *, split_on: SplitOn | None = None, state_dims: int | None = None) -> Trajectories:
    """Episodes of a file with observations (N, S), actions (N, A), rewards, terminals and timeouts (N,) or (N, 1).

    split_on: "either" ends an episode at a terminal or a timeout, "truncated" at timeouts only; None looks: antmaze
    sets `terminals` on every step inside the goal while the trajectory goes on, so a file with timeouts whose terminals
    mostly follow one another is split at timeouts only. state_dims: keep the first that many dims of a state (27 of
    ant's 111: the others are contact forces, all 0 in D4RL's files).

    next_observations gives the state after each episode's last step. Without it (maze2d, adroit, antmaze) that state is
    unknown: the row below belongs to another episode. maze2d's timeouts mean "random goal reached", not "out of time".

    Raises DataError naming file, key and row.
    """
    file_path = readable_file(path)
    try:
        with h5py.File(file_path, "r") as file:
            return _read(file, str(file_path), split_on, state_dims)
    except (OSError, RuntimeError, KeyError) as error:  # h5py raises all three for damaged files
        if not h5py.is_hdf5(file_path):
            raise DataError(f"{file_path}: is not an HDF5 file") from error
        raise DataError(f"{file_path}: is damaged or cut short, fetch it again: {first_line(error)}") from error


def read_d4rl_attributes(path: str | Path) -> dict[str, str]:
    """The file's own text attributes, e.g. env_id and description; empty when it has none or cannot be read."""
    try:
        with h5py.File(path, "r") as file:
            return {key: value for key, value in file.attrs.items() if isinstance(value, str)}
    except (OSError, RuntimeError):
        return {}


def _read(file: h5py.File, source: str, split_on: SplitOn | None, state_dims: int | None) -> Trajectories:
    _check_keys(file, source)
    columns = state_columns(file["observations"].shape, "observations", source, state_dims)
    terminals, timeouts = file["terminals"][()], file["timeouts"][()]
    trajectories = Trajectories.from_arrays(
        _floats(file["observations"], source, columns),
        _floats(file["actions"], source),
        _floats(file["rewards"], source),
        terminals,
        timeouts,
        split_on=split_on or _where_to_split(np.ravel(terminals), np.ravel(timeouts)),
        source=source,
        keys={**_KEYS, "truncated": "timeouts"},
    )
    if "next_observations" not in file:
        return trajectories
    final_states = _final_states(file["next_observations"], trajectories, source, columns)
    return replace(trajectories, final_states=final_states, has_final_state=np.ones(len(final_states), bool))


def _check_keys(file: h5py.File, source: str) -> None:
    missing = [key for key in (*_KEYS.values(), "timeouts") if not isinstance(file.get(key), h5py.Dataset)]
    if missing == ["timeouts"]:
        raise DataError(
            f"{source}: 'timeouts' is missing: where episodes are cut off cannot be told without it, and terminals "
            "alone would join episodes that are not one. D4RL's first files (-v0) lack it: use a later version"
        )
    if missing:
        names = ", ".join(f"'{key}'" for key in missing)
        raise DataError(f"{source}: {names} missing; D4RL's layout has {', '.join(_KEYS.values())}, timeouts")


def _floats(dataset: h5py.Dataset, source: str, columns: slice = slice(None)) -> NDArray[np.float32]:
    """The dataset as float32, converted while it is read: a float64 file is never held whole."""
    if dataset.dtype.kind not in "fiu":
        raise DataError(f"{source}: '{dataset.name.lstrip('/')}' is not numeric (dtype {dataset.dtype})")
    if dataset.ndim != 2 or columns == slice(None):
        array = np.empty(dataset.shape, np.float32)
        if array.size:
            dataset.read_direct(array)
        return array
    array = np.empty((len(dataset), columns.stop), np.float32)
    if array.size:
        dataset.read_direct(array, np.s_[:, columns])
    return array


def _where_to_split(terminals: NDArray[np.generic], timeouts: NDArray[np.generic]) -> SplitOn:
    """ "truncated" when an episode goes on after most terminals, as in antmaze.

    One-step episodes, which look alike, have no timeouts.
    """
    rows = np.flatnonzero(terminals[:-1]) if np.any(timeouts) else np.array([], np.int64)
    followed = terminals[rows + 1].astype(bool) if len(rows) else np.zeros(1, bool)
    return "truncated" if followed.mean() > 0.5 else "either"


def _final_states(
    dataset: h5py.Dataset, trajectories: Trajectories, source: str, columns: slice
) -> NDArray[np.float32]:
    """(M, S) next_observations at the last row of each episode."""
    stored = (len(dataset), len(range(*columns.indices(dataset.shape[1])))) if dataset.ndim == 2 else dataset.shape
    if stored != trajectories.states.shape:
        raise DataError(
            f"{source}: 'next_observations' is {dataset.shape}, which does not go with 'observations' "
            f"{trajectories.states.shape}"
        )
    rows = trajectories.offsets[1:] - 1
    final_states = np.empty((len(rows), trajectories.state_dim), np.float32)
    for start in range(0, len(dataset), _BLOCK):
        inside = np.flatnonzero((rows >= start) & (rows < start + _BLOCK))
        if len(inside):
            final_states[inside] = dataset[start : start + _BLOCK, columns][rows[inside] - start]
    bad = ~np.isfinite(final_states).all(1)
    if bad.any():
        raise DataError(f"{source}: 'next_observations' holds NaN or infinity, first at row {rows[np.argmax(bad)]:,}")
    return final_states

"""Reads trajectories from a user's own NumPy arrays."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dtag.data.source_file import first_line, readable_file, state_columns
from dtag.data.trajectories import SplitOn, Trajectories
from dtag.errors import DataError

# dtag's name of an array -> the keys under which a file may hold it.
_KEYS = {
    "states": ("states", "observations"),
    "actions": ("actions",),
    "rewards": ("rewards",),
    "terminated": ("terminated", "terminals"),
    "truncated": ("truncated", "timeouts"),
    "next_states": ("next_states", "next_observations"),
}
_OPTIONAL = "next_states"


def read_npz(path: str | Path, *, split_on: SplitOn = "either", state_dims: int | None = None) -> Trajectories:
    """Episodes of a file written by `np.savez(path, states=..., actions=..., ...)`, laid end to end.

    states or observations (N, S), actions (N, A), rewards (N,), terminated or terminals (N,), truncated or timeouts
    (N,); next_states or next_observations (N, S) may be left out, then the state after an episode's end is unknown.
    split_on: see `Trajectories.from_arrays`. state_dims: keep the first that many dims of a state.

    Raises DataError naming file, key and row.
    """
    file_path = readable_file(path)
    try:
        archive = np.load(file_path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DataError(f"{file_path}: holds one array; save all of them with np.savez(path, states=..., ...)")
        with archive:
            keys = _find_keys(archive.files, str(file_path))
            arrays = {name: _load(archive, key, file_path) for name, key in keys.items()}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{file_path}: is not a readable .npz file: {first_line(error)}") from error
    for name in ("states", "next_states"):
        if name in arrays:
            columns = state_columns(arrays[name].shape, keys[name], str(file_path), state_dims)
            arrays[name] = arrays[name][..., columns]
    return Trajectories.from_arrays(**arrays, split_on=split_on, source=str(file_path), keys=keys)


def _find_keys(present: list[str], source: str) -> dict[str, str]:
    """dtag's name of each array -> the key the file has it under."""
    keys = {name: next((key for key in names if key in present), "") for name, names in _KEYS.items()}
    missing = [" or ".join(f"'{key}'" for key in _KEYS[name]) for name in keys if not keys[name] and name != _OPTIONAL]
    if missing:
        held = ", ".join(present) or "no arrays"
        hint = "; where no episode was cut off it is all False" if len(missing) == 1 and not keys["truncated"] else ""
        raise DataError(f"{source}: {', '.join(missing)} missing{hint}; the file holds {held}")
    return {name: key for name, key in keys.items() if key}


def _load(archive: Mapping[str, NDArray[np.generic]], key: str, source: Path) -> NDArray[np.generic]:
    try:
        return archive[key]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{source}: '{key}' cannot be read: {first_line(error)}") from error

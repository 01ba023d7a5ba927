"""Checks of a data file before it is opened."""

from __future__ import annotations

import os
from pathlib import Path

from dtag.errors import DataError


def readable_file(path: str | Path) -> Path:
    """The path, if a readable, non-empty file is there; DataError saying what is wrong otherwise."""
    found = Path(path).expanduser()
    if found.is_dir():
        raise DataError(f"{found}: is a directory, not a data file")
    if not found.exists():
        raise DataError(f"{found}: there is no such file")
    if not os.access(found, os.R_OK):
        raise DataError(f"{found}: may not be read (permission denied)")
    if found.stat().st_size == 0:
        raise DataError(f"{found}: is empty (0 bytes); was a download or copy interrupted?")
    return found


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, or its type's name when it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def state_columns(shape: tuple[int, ...], key: str, source: str, state_dims: int | None) -> slice:
    """Which columns of an array of states (N, S) to read: all, or the first state_dims; DataError if there are not as many."""
    if state_dims is None or len(shape) != 2:
        return slice(None)
    if not 1 <= state_dims <= shape[1]:
        raise DataError(f"{source}: cannot keep {state_dims} state dims, '{key}' has {shape[1]}")
    return slice(state_dims)

"""One sweep at a time in a folder."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dtag.errors import UsageError


@contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Holds the folder; a file descriptor for the processes that must be over before another may hold it.

    The system lets go when the last process that has the descriptor ends, however it ends: a sweep that was killed
    leaves no stale lock, and runs that outlive it are not started a second time. UsageError when the folder is held.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"another sweep, or a run that it started, is still at work in {folder}: wait for it, stop it, or choose "
                "another experiment=NAME"
            ) from None
        yield file.fileno()

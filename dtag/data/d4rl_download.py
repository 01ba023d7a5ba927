"""Fetches D4RL's files once and keeps them."""

from __future__ import annotations

import os
import tempfile
import urllib.request
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO

from dtag.data.cache_folder import cache_folder
from dtag.data.d4rl_catalog import D4RLSource
from dtag.data.reachability import is_reachable
from dtag.data.source_file import first_line
from dtag.errors import DataError

Progress = Callable[[int, int], None]

_BLOCK = 1 << 20
_STALL_SECONDS = 20.0
# Minari's nearest to each family: other policies on other versions of the environments, not D4RL's data.
_MINARI = {
    "hopper": "mujoco/hopper/medium-v0",
    "halfcheetah": "mujoco/halfcheetah/medium-v0",
    "walker2d": "mujoco/walker2d/medium-v0",
    "ant": "mujoco/ant/medium-v0",
    "antmaze": "D4RL/antmaze/umaze-v1",
    "pen": "D4RL/pen/human-v2",
    "hammer": "D4RL/hammer/human-v2",
    "door": "D4RL/door/human-v2",
    "relocate": "D4RL/relocate/human-v2",
    "kitchen": "D4RL/kitchen/complete-v2",
}


def d4rl_cache_path(source: D4RLSource) -> Path:
    """Where the file of a D4RL dataset is kept; one placed there by hand is used as it is."""
    return cache_folder() / "d4rl" / Path(source.file).name


def fetch_d4rl(source: D4RLSource, *, progress: Progress | None = None) -> Path:
    """The path of the file, downloaded if it is not in the cache yet.

    progress: called with (bytes so far, bytes in all or 0). Raises DataError, within seconds where the server cannot be
    reached, naming what to do instead. A download that breaks off leaves nothing.
    """
    path = d4rl_cache_path(source)
    if path.exists():
        return path
    if not is_reachable(source.url):
        raise DataError(f"{source.name}: {source.url} cannot be reached from here. {_alternatives(source, path)}")
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file, urllib.request.urlopen(source.url, timeout=_STALL_SECONDS) as response:
            _copy(response, file, progress)
        os.replace(temporary, path)
    except (OSError, HTTPException) as error:  # URLError and timeouts are OSErrors
        raise DataError(
            f"{source.name}: fetching {source.url} failed: {first_line(error)}. {_alternatives(source, path)}"
        ) from error
    finally:
        if temporary:
            temporary.unlink(missing_ok=True)
    return path


def _copy(response: HTTPResponse, file: BinaryIO, progress: Progress | None) -> None:
    total = int(response.headers.get("Content-Length") or 0)
    done = 0
    while block := response.read(_BLOCK):
        file.write(block)
        done += len(block)
        if progress:
            progress(done, total)
    if total and done != total:
        raise OSError(f"the connection ended after {done:,} of {total:,} bytes")


def _alternatives(source: D4RLSource, path: Path) -> str:
    instead = f"use a re-made set of Minari's (`dtag data get {_MINARI.get(source.family, '')}`)"
    if source.family == "maze2d":
        instead = "make one of the same task here: dtag data make pointmaze-umaze"
    return f"Place the file by hand at {path}, or {instead}"

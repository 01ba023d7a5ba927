"""Writes datasets as local Minari datasets, whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage
from minari.namespace import create_namespace, list_local_namespaces

from dtag.data.dataset import Dataset
from dtag.data.environment_facts import environment_facts
from dtag.data.local_datasets import datasets_root
from dtag.data.packed_cache import save_packed
from dtag.data.source_file import first_line
from dtag.data.trajectories import Trajectories
from dtag.errors import DataError, DtagError, UsageError

Progress = Callable[[int, int], None]

_HIDDEN = ".dtag-writing-"
_ABANDONED_SECONDS = 86_400
_FULL = re.compile(r"No space left|\d+ requested and \d+ written")  # as h5py and NumPy put it, without an errno
_ID = re.compile(r"([\w-]+/)*[\w-]+-v\d+")


def save(dataset: Dataset, *, overwrite: bool = False, progress: Progress | None = None) -> Path:
    """Write the dataset under its id below `datasets_root`; returns its folder.

    Everything goes into a hidden folder that is renamed when it is complete: after an interruption or a full disk
    nothing is there that Minari or dtag would list, and with `overwrite` what was there before still is.
    progress: called with (episodes done, episodes).

    Raises UsageError for an id Minari does not allow, DataError when the id is taken or the disk refuses the data.
    """
    id, root = dataset.info.id, datasets_root()
    check_free(id, overwrite=overwrite)
    target = root / id
    spec = _environment_spec(dataset)
    needed = _bytes_needed(dataset.trajectories)
    try:
        with _hidden_folder(root) as hidden:
            _reserve(hidden, needed)
            staged = hidden / "dataset"
            (staged / "data").mkdir(parents=True)
            _write_minari(dataset, staged / "data", spec, progress)
            save_packed(dataset.trajectories, staged)
            _put_in_place(staged, target, hidden / "before", overwrite)
    except (OSError, RuntimeError, ValueError) as error:  # h5py raises any of them for a failed write
        raise DataError(_why_not_written(error, id, root, needed)) from error
    _register_namespace(id)
    return target


def check_free(id: str, *, overwrite: bool = False) -> None:
    """Raises what `save` would raise for this id; for asking before the work rather than after it."""
    if not _ID.fullmatch(id):
        raise UsageError(f"'{id}' is not a dataset id like 'local/hopper/medium-v0' (letters, digits, -, _; -vN last)")
    root = datasets_root()
    target = root / id
    between = target.parents[: len(target.relative_to(root).parts) - 1]
    above = next((parent for parent in between if (parent / "data").is_dir()), None)
    if above:
        raise DataError(f"{above} is a dataset: none can be stored below it, choose another id")
    if target.exists() and not (target / "data").is_dir():
        raise DataError(f"{target} exists and is not a dataset: choose another id")
    if target.exists() and not overwrite:
        raise DataError(f"there is a dataset at {target} already: choose another id, or overwrite it (--overwrite)")


def _environment_spec(dataset: Dataset) -> EnvSpec | None:
    """The spec other users of Minari recover the environment from, where it is registered and can be made here."""
    if dataset.info.environment is None:
        return None
    try:
        return environment_facts(dataset.info.environment, dataset.info.environment_kwargs).spec
    except DtagError:
        return None


def _write_minari(dataset: Dataset, folder: Path, spec: EnvSpec | None, progress: Progress | None) -> None:
    """Minari's own layout. Where the final state is unknown, the T+1-th observation repeats the last and is noted."""
    trajectories, info = dataset.trajectories, dataset.info
    bound = np.full(trajectories.action_dim, np.inf, np.float32)
    storage = MinariStorage.new(
        folder,
        observation_space=Box(-np.inf, np.inf, (trajectories.state_dim,), np.float32),
        action_space=Box(
            np.asarray(info.action_low or -bound, np.float32), np.asarray(info.action_high or bound, np.float32)
        ),
        env_spec=spec,
        data_format="hdf5",
    )
    metadata: dict[str, Any] = {
        "dataset_id": info.id,
        "minari_version": version("minari"),
        "description": str(info.provenance.get("source", "")),
        "dtag": {
            "info": info.to_dict(),
            "unknown_final_states": np.flatnonzero(~trajectories.has_final_state).tolist(),
        },
    }
    if info.reference:
        metadata |= {"ref_min_score": info.reference.minimum, "ref_max_score": info.reference.maximum}
    storage.update_metadata(metadata)
    storage.update_episodes(_episodes(trajectories, progress))


def _episodes(trajectories: Trajectories, progress: Progress | None) -> Iterator[EpisodeBuffer]:
    for episode in range(trajectories.n_episodes):
        rows = slice(trajectories.offsets[episode], trajectories.offsets[episode + 1])
        states = trajectories.states[rows]
        final = trajectories.final_states[episode] if trajectories.has_final_state[episode] else states[-1]
        yield EpisodeBuffer(
            id=episode,
            observations=np.concatenate([states, final[None]]),
            actions=trajectories.actions[rows],
            rewards=trajectories.rewards[rows],
            terminations=trajectories.terminated[rows],
            truncations=trajectories.truncated[rows],
        )
        if progress and (episode % 32 == 0 or episode + 1 == trajectories.n_episodes):
            progress(episode + 1, trajectories.n_episodes)


def _bytes_needed(trajectories: Trajectories) -> int:
    """What Minari's file and the packed copy take at most: chunks are up to twice what is in them, groups some 13 KB."""
    arrays = (getattr(trajectories, entry.name) for entry in fields(Trajectories))
    return 3 * sum(int(array.nbytes) for array in arrays) + 16_384 * trajectories.n_episodes + 2_000_000


def _reserve(folder: Path, size: int) -> None:
    """Raises OSError if the disk, or the user's quota, has no room for `size` bytes.

    HDF5 does not survive running out of space: it may crash the process when it closes the file.
    """
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, size)
    elif shutil.disk_usage(folder).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextlib.contextmanager
def _hidden_folder(root: Path) -> Iterator[Path]:
    root.mkdir(parents=True, exist_ok=True)
    for left in root.glob(f"{_HIDDEN}*"):  # by a process that was killed
        if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
    hidden = Path(tempfile.mkdtemp(prefix=_HIDDEN, dir=root))
    try:
        yield hidden
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _put_in_place(staged: Path, target: Path, before: Path, overwrite: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if overwrite and target.exists():
        os.rename(target, before)
    try:
        os.rename(staged, target)
    except BaseException:
        if before.exists():
            os.rename(before, target)
        raise


def _why_not_written(error: Exception, id: str, root: Path, needed: int) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
        return f"'{id}' was written by another process in the meantime; that one was kept"
    if _is_full(error):
        return (
            f"the disk is full: '{id}' was not written to {root} and nothing is left of it. It needs up to "
            f"{needed / 1e6:,.0f} MB: free some space, or set MINARI_DATASETS_PATH to a folder that has more"
        )
    return f"'{id}' cannot be written to {root}: {first_line(error)}"


def _is_full(error: BaseException | None) -> bool:
    """Whether the error, or one it arose from, says so; h5py often has it in the text alone."""
    while error is not None:
        number = getattr(error, "errno", None)
        if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or _FULL.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def _register_namespace(id: str) -> None:
    """Minari wants a namespace's description when a dataset is uploaded; nothing else needs it."""
    namespace = id.rpartition("/")[0]
    if namespace and namespace not in list_local_namespaces():
        with contextlib.suppress(OSError):
            create_namespace(namespace)

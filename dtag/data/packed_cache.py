"""A dataset's arrays as flat .npy files beside it, memory-mapped on later loads."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np

from dtag.data.cache_folder import cache_folder
from dtag.data.trajectories import Trajectories

_NAMES = tuple(entry.name for entry in fields(Trajectories))
_FORMAT = 1  # part of every fingerprint: raise it when what is written changes meaning
_FINGERPRINTED = ("main_data.hdf5", "metadata.json")


def load_packed(dataset: Path) -> Trajectories | None:
    """The packed copy of the dataset in this folder, memory-mapped; None when there is none that matches its data."""
    for folder in _folders(dataset):
        packed = folder / _fingerprint(dataset)
        with contextlib.suppress(OSError, ValueError, EOFError):  # absent, or damaged and to be made again
            arrays = {name: np.asarray(np.load(packed / f"{name}.npy", mmap_mode="r")) for name in _NAMES}
            return Trajectories(**arrays)
    return None


def save_packed(trajectories: Trajectories, dataset: Path) -> Path:
    """Write the packed copy into the dataset's folder, or into the cache folder where that cannot be written.

    It appears whole or not at all; copies of the data as it was before are removed. Raises OSError when neither place
    takes it.
    """
    inside, outside = _folders(dataset)
    try:
        return _write(trajectories, inside, _fingerprint(dataset))
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return _write(trajectories, outside, _fingerprint(dataset))


def _write(trajectories: Trajectories, folder: Path, fingerprint: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with _temporary_folder(folder) as temporary:
        for name in _NAMES:
            np.save(temporary / f"{name}.npy", getattr(trajectories, name))
        for old in folder.glob("[!.]*"):
            shutil.rmtree(old, ignore_errors=True)
        try:
            os.rename(temporary, folder / fingerprint)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # another process was as fast; its copy is as good
                raise
    return folder / fingerprint


@contextlib.contextmanager
def _temporary_folder(parent: Path) -> Iterator[Path]:
    temporary = Path(tempfile.mkdtemp(prefix=".", dir=parent))
    try:
        temporary.chmod(parent.stat().st_mode & 0o777)  # mkdtemp's is private, a shared dataset is not
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _folders(dataset: Path) -> tuple[Path, Path]:
    name = hashlib.sha256(str(dataset.resolve()).encode()).hexdigest()[:16]
    return dataset / "packed", cache_folder() / "packed" / name


def _fingerprint(dataset: Path) -> str:
    """Format, sizes and modification times of the files the packed arrays were made from."""
    stats = [(dataset / "data" / name).stat() for name in _FINGERPRINTED if (dataset / "data" / name).exists()]
    return "-".join([str(_FORMAT), *(f"{stat.st_size:x}-{stat.st_mtime_ns:x}" for stat in stats)])

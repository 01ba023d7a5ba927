"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from dtag.errors import CheckpointError, DtagError


def save_atomically(value: Any, path: Path) -> None:
    """torch.save to a temporary file beside `path`, flushed to disk, then renamed over it.

    Raises DtagError when the disk is full or the folder cannot be written; what stood at `path` still stands.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            torch.save(value, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch reports a failed write as RuntimeError
        raise DtagError(f"cannot write {path}: {error}; the file before it, if any, is untouched") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text_atomically(text: str, path: Path) -> None:
    """Like `save_atomically`, for text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text)
        os.replace(temporary, path)
    except OSError as error:
        raise DtagError(f"cannot write {path}: {error}; the file before it, if any, is untouched") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replaced_when_whole(path: Path) -> Iterator[Path]:
    """A temporary path of the same suffix beside `path`, to be written by a library; moved over it if nothing is raised.

    Raises DtagError when the folder or the file cannot be written; what stood at `path` still stands.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise DtagError(f"cannot write {path}: {error}; the file before it, if any, is untouched") from error
    finally:
        temporary.unlink(missing_ok=True)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoints, written atomically; load_checkpoint raises CheckpointError for one that is damaged."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        save_atomically(checkpoint, Path(path))

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().load_checkpoint(path, *args, **kwargs)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise CheckpointError(
                f"{path} is damaged ({str(error).splitlines()[0]}): remove it, and --resume begins this stage again"
            ) from error

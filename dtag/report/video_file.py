"""MP4 and GIF files, written by imageio as the frames come, and there whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtag.errors import DtagError, UsageError
from dtag.training.atomic_file import replaced_when_whole

INSTALL = "pip install -e '.[video]'"
SUFFIXES = (".mp4", ".gif")


def check_video_path(path: Path) -> None:
    """Raises UsageError for another suffix, DtagError when the library that writes it is missing."""
    if path.suffix not in SUFFIXES:
        raise UsageError(f"--video {path}: the file's name must end in {' or '.join(SUFFIXES)}")
    try:
        import imageio  # noqa: F401

        if path.suffix == ".mp4":
            import imageio_ffmpeg

            imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        other = "; a .gif needs imageio alone" if path.suffix == ".mp4" else ""
        raise DtagError(f"writing {path.suffix} needs imageio and its ffmpeg ({error}): {INSTALL}{other}") from error


@contextlib.contextmanager
def video_file(path: Path, frames_per_second: float) -> Iterator[Callable[[NDArray[np.uint8]], None]]:
    """A function that appends a frame (h, w, 3) of even h and w; the film is at `path` once the block ends well."""
    import imageio.v2 as imageio

    options: dict[str, Any] = {"fps": frames_per_second, "codec": "libx264", "quality": 8, "macro_block_size": 2}
    if path.suffix == ".gif":
        options = {"duration": 1000.0 / frames_per_second, "loop": 0}
    with replaced_when_whole(path) as temporary:
        writer: Any = imageio.get_writer(temporary, mode="I", **options)
        with writer:
            yield writer.append_data

"""Where dtag keeps what it can make or fetch again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """$DTAG_CACHE, else ~/.cache/dtag. May not exist yet."""
    return Path(os.environ.get("DTAG_CACHE") or Path.home() / ".cache" / "dtag").expanduser()

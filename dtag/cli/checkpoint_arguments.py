"""What commands on a checkpoint share: its arguments, and where their files go."""

from __future__ import annotations

import argparse
import itertools
import json
import os
from pathlib import Path
from typing import Any

from dtag.errors import UsageError


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """--ckpt, which the command cannot do without."""
    parser.add_argument("--ckpt", required=True, metavar="FILE", help="an agent.ckpt, or the run folder that holds it")


def add_trust(parser: argparse.ArgumentParser) -> None:
    """--trust, for checkpoints of one's own code."""
    parser.add_argument(
        "--trust", action="store_true", help="allow a checkpoint that names code other than parts of dtag and torch"
    )


def beside(checkpoint: str, kind: str) -> Path:
    """KIND.json in a run's folder, or NAME.KIND.json beside the file NAME.ckpt."""
    path = Path(checkpoint)
    return path / f"{kind}.json" if path.is_dir() else path.with_name(f"{path.stem}.{kind}.json")


def refuse_unwritable(path: str | None) -> None:
    """Raises UsageError, before anything is run, where no file can be written at `path`."""
    if path is None:
        return
    folder = Path(path).absolute().parent
    if Path(path).is_dir() or (folder.exists() and not (folder.is_dir() and os.access(folder, os.W_OK))):
        raise UsageError(f"--json {path}: no file can be written there")


def keep_earlier(path: Path, config: dict[str, Any]) -> None:
    """Gives what is at `path` another name, N.KIND.json, when it was made with another config; reports find it there."""
    try:
        earlier = json.loads(path.read_text())["config"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if earlier == json.loads(json.dumps(config)):
        return
    others = (path.with_name(f"{number}.{path.name}") for number in itertools.count(1))
    path.rename(next(other for other in others if not other.exists()))

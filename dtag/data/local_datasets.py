"""What datasets are on this machine; needs no Minari."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dtag.data.source_file import first_line
from dtag.errors import DataError


@dataclass(frozen=True)
class LocalDataset:
    """One dataset below `datasets_root`, as its metadata describes it."""

    id: str
    path: Path
    n_episodes: int
    n_steps: int
    n_bytes: int
    environment: str | None


def datasets_root() -> Path:
    """Minari's folder: $MINARI_DATASETS_PATH, else ~/.minari/datasets. May not exist yet."""
    return Path(os.environ.get("MINARI_DATASETS_PATH") or Path.home() / ".minari" / "datasets").expanduser()


def is_local(id: str) -> bool:
    return (datasets_root() / id / "data").is_dir()


def local_datasets() -> list[LocalDataset]:
    """Every dataset on this machine, by id; folders without readable metadata are passed over."""
    root = datasets_root()
    found = []
    for path in _dataset_folders(root):
        try:
            metadata = read_metadata(path)
        except DataError:
            continue
        described = metadata.get("dtag", {}).get("info", {})
        environment = described.get("environment") or minari_environment(metadata).get("id")
        n_bytes = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        n_episodes, n_steps = (int(metadata.get(key, 0)) for key in ("total_episodes", "total_steps"))
        found.append(LocalDataset(path.relative_to(root).as_posix(), path, n_episodes, n_steps, n_bytes, environment))
    return sorted(found, key=lambda dataset: dataset.id.lower())


def read_metadata(dataset: Path) -> dict[str, Any]:
    """A Minari dataset's metadata.json. Raises DataError when it is absent or not JSON."""
    path = dataset / "data" / "metadata.json"
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: the dataset's description cannot be read: {first_line(error)}") from error
    if not isinstance(metadata, dict):
        raise DataError(f"{path}: the dataset's description is not a mapping")
    return metadata


def minari_environment(metadata: dict[str, Any]) -> dict[str, Any]:
    """The environment to evaluate a Minari dataset on (id, kwargs, max_episode_steps); empty when not recorded."""
    try:
        spec = json.loads(metadata.get("eval_env_spec") or metadata.get("env_spec") or "{}")
    except (TypeError, ValueError):
        return {}
    return spec if isinstance(spec, dict) else {}


def _dataset_folders(folder: Path) -> Iterator[Path]:
    """Folders that hold a `data` folder, as Minari looks for them; hidden ones are being written."""
    if (folder / "data").is_dir():
        yield folder
    elif folder.is_dir():
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.name.startswith("."):
                yield from _dataset_folders(entry)

"""load_dataset: a dataset from whatever names it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from dtag.data.catalog import GENERATED, generated_id, suggestion
from dtag.data.d4rl_catalog import D4RLSource, d4rl_sources
from dtag.data.d4rl_download import fetch_d4rl
from dtag.data.dataset import Dataset, DatasetInfo
from dtag.data.local_datasets import is_local
from dtag.data.trajectories import Trajectories
from dtag.errors import DataError, UsageError

Progress = Callable[[int, int], None]

_MINARI_ID = re.compile(r"([\w-]+/)+[\w-]+-v\d+")
_OWN_NAMESPACES = ("local", "d4rl")


def load_dataset(id: str | list[str]) -> Dataset:
    """The dataset that `id` names: the one entry point.

    A path to a .hdf5, .h5 (D4RL's layout) or .npz file; a D4RL name ("hopper-medium-v2", fetched and imported the first
    time); a Minari id ("local/hopper/medium-v0", "mujoco/hopper/medium-v0", fetched the first time); a generated one
    ("pointmaze-umaze", once made). Several, as a list or joined by "+", become one dataset on the first's environment.

    Raises DataError naming what is wrong, the nearest names and what to do.
    """
    if isinstance(id, str):
        id = [id] if Path(id).expanduser().exists() else id.split("+")
    if not id:
        raise UsageError("no dataset is named: give at least one")
    parts = [_load_one(part.strip()) for part in id]
    return parts[0] if len(parts) == 1 else _join(parts)


def obtain_d4rl(source: D4RLSource, *, progress: Progress | None = None) -> Dataset:
    """The D4RL dataset from this machine, else fetched (progress in bytes) and kept as a local Minari dataset."""
    from dtag.data.d4rl_file import read_d4rl
    from dtag.data.import_file import sha256
    from dtag.data.minari_dataset import load
    from dtag.data.minari_store import save

    if is_local(source.local_id):
        return load(source.local_id)
    path = fetch_d4rl(source, progress=progress)
    trajectories = read_d4rl(path, split_on=source.split_on, state_dims=source.state_dims)
    info = DatasetInfo(
        id=source.local_id,
        environment=source.environment,
        environment_kwargs=source.environment_kwargs,
        max_episode_steps=source.max_episode_steps,
        action_low=(-1.0,) * trajectories.action_dim,
        action_high=(1.0,) * trajectories.action_dim,
        reference=source.reference,
        provenance={"source": source.url, "sha256": sha256(path), "d4rl_name": source.name, "note": source.note},
    )
    try:
        save(Dataset(trajectories, info))
    except DataError:
        if not is_local(source.local_id):  # another rank or run may have been as fast
            raise
    return load(source.local_id)


def _load_one(id: str) -> Dataset:
    path = Path(id).expanduser()
    if path.suffix in (".hdf5", ".h5", ".npz") or path.is_file():
        from dtag.data.import_file import import_file

        return import_file(path)
    if id in d4rl_sources():
        return obtain_d4rl(d4rl_sources()[id])
    return load_minari(generated_id(id) if id in GENERATED else id)


def load_minari(id: str) -> Dataset:
    """The Minari dataset of that id, fetched the first time if it is one of a server's."""
    if not is_local(id):
        made = next((name for name in GENERATED if generated_id(name) == id), None)
        if made:
            raise DataError(f"the dataset '{id}' has not been made on this machine yet: run `dtag data make {made}`")
        if not _MINARI_ID.fullmatch(id) or id.partition("/")[0] in _OWN_NAMESPACES:
            raise DataError(f"there is no dataset '{id}'{suggestion(id)}")
        from dtag.data.minari_download import download_minari

        download_minari(id)
    from dtag.data.minari_dataset import load

    return load(id)


def _join(parts: list[Dataset]) -> Dataset:
    """All episodes of all parts under the first one's info; provenance lists every part."""
    first = parts[0].info
    for part in parts[1:]:
        if (part.info.environment, part.info.environment_kwargs) != (first.environment, first.environment_kwargs):
            raise DataError(
                f"cannot join datasets of different environments: '{first.id}' is of {_environment(first)}, "
                f"'{part.info.id}' of {_environment(part.info)}"
            )
        if part.info.observation_keys != first.observation_keys:
            raise DataError(
                f"cannot join '{first.id}' and '{part.info.id}': their states are made of different entries, "
                f"{list(first.observation_keys)} and {list(part.info.observation_keys)}"
            )
    info = replace(
        first,
        id="+".join(part.info.id for part in parts),
        provenance={"source": "joined", "parts": [{"id": p.info.id, **p.info.provenance} for p in parts]},
    )
    return Dataset(Trajectories.concatenate([part.trajectories for part in parts]), info)


def _environment(info: DatasetInfo) -> str:
    kwargs = f" {info.environment_kwargs}" if info.environment_kwargs else ""
    return f"{info.environment or 'no environment'}{kwargs}"

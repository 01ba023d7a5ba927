"""Turns a data file and what is known of it into a dataset."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dtag.data.d4rl_catalog import D4RLSource, d4rl_sources
from dtag.data.d4rl_file import read_d4rl, read_d4rl_attributes
from dtag.data.dataset import Dataset, DatasetInfo, Reference
from dtag.data.environment_facts import EnvironmentFacts, environment_facts
from dtag.data.npz_file import read_npz
from dtag.data.reference_scores import D4RL_SCALE_LABEL, d4rl_reference, reference_for_environment
from dtag.data.source_file import readable_file
from dtag.data.trajectories import SplitOn, Trajectories
from dtag.errors import DataError, UsageError

SUFFIXES = (".hdf5", ".h5", ".npz")


def import_file(
    path: str | Path,
    *,
    id: str | None = None,
    environment: str | None = None,
    reference: str | None = None,
    split_on: SplitOn | None = None,
    state_dims: int | None = None,
) -> Dataset:
    """The dataset in a D4RL-layout HDF5 file or an .npz file of one's own.

    id: default from the file's name. environment: what to evaluate on; default the file's own `env_id`, then D4RL's for
    a file that is named as D4RL names it. reference: the D4RL dataset whose constants score it; default the
    environment's family. split_on, state_dims: see `read_d4rl`.

    Raises DataError for a bad file, or dims that are not the environment's (where it can be made here; where not,
    provenance says so); UsageError for an unknown environment or reference.
    """
    file_path = readable_file(path)
    published = _published(file_path)
    attributes = read_d4rl_attributes(file_path) if file_path.suffix != ".npz" else {}
    if published:
        split_on, state_dims = split_on or published.split_on, state_dims or published.state_dims
    chosen = environment or attributes.get("env_id") or (published.environment if published else None)
    kwargs = published.environment_kwargs if published and chosen == published.environment else {}
    scores = _reference(reference, chosen, published)  # before reading, so that a misspelt name costs no time
    facts, unchecked = _facts(chosen, kwargs, explicit=environment is not None)
    trajectories = _read(file_path, split_on, state_dims)
    if facts:
        _check_dims(trajectories, facts, str(chosen), str(file_path))
    bounds = (facts.action_low, facts.action_high) if facts else _published_bounds(published, trajectories)
    provenance = {
        "source": str(file_path.resolve()),
        "sha256": sha256(file_path),
        "imported": datetime.now(UTC).isoformat(timespec="seconds"),
        **{key: attributes[key] for key in ("env_id", "description") if key in attributes},
        **({"note": published.note} if published and published.note else {}),
        **({"environment_not_checked": unchecked} if unchecked else {}),
    }
    info = DatasetInfo(
        id=id or default_id(file_path),
        environment=chosen,
        environment_kwargs=kwargs,
        max_episode_steps=published.max_episode_steps if published and chosen == published.environment else None,
        action_low=bounds[0],
        action_high=bounds[1],
        reference=scores,
        provenance=provenance,
    )
    return Dataset(trajectories, info)


def default_id(path: Path) -> str:
    """An id made of a file's name: hopper_medium-v2.hdf5 -> local/hopper/medium-v2, walk.npz -> local/walk-v0."""
    words = [word for word in re.split(r"[\W_]+", path.stem.lower()) if word]
    version = words.pop() if len(words) > 1 and re.fullmatch(r"v\d+", words[-1]) else "v0"
    family, rest = (words or ["dataset"])[0], "-".join(words[1:])
    return f"local/{family}/{rest}-{version}" if rest else f"local/{family}-{version}"


def _published(path: Path) -> D4RLSource | None:
    """The D4RL dataset a file holds, told from its name: D4RL's file name, or the dataset's."""
    for source in d4rl_sources().values():
        if path.stem in (Path(source.file).stem, source.name):
            return source
    return None


def _read(path: Path, split_on: SplitOn | None, state_dims: int | None) -> Trajectories:
    if path.suffix == ".npz":
        return read_npz(path, split_on=split_on or "either", state_dims=state_dims)
    if path.suffix in SUFFIXES:
        return read_d4rl(path, split_on=split_on, state_dims=state_dims)
    raise DataError(f"{path}: of the kinds {', '.join(SUFFIXES)} it is none")


def _facts(environment: str | None, kwargs: dict[str, Any], *, explicit: bool) -> tuple[EnvironmentFacts | None, str]:
    """The environment's facts, or why there are none. A name the user gave must exist; a file's need not, here."""
    if environment is None:
        return None, ""
    try:
        return environment_facts(environment, kwargs), ""
    except UsageError as error:
        if explicit:
            raise
        return None, str(error)
    except DataError as error:
        return None, str(error)


def _check_dims(trajectories: Trajectories, facts: EnvironmentFacts, environment: str, source: str) -> None:
    if facts.state_dim is not None and trajectories.state_dim != facts.state_dim:
        extra = trajectories.states[:, facts.state_dim :]
        hint = ""
        if trajectories.state_dim > facts.state_dim and not extra.any():
            hint = f"; the last {extra.shape[1]} are 0 throughout: leave them out with --state-dims {facts.state_dim}"
        raise DataError(
            f"{source}: 'observations' have {trajectories.state_dim} dims, {environment} has {facts.state_dim}{hint}"
        )
    if trajectories.action_dim != len(facts.action_low):
        raise DataError(
            f"{source}: 'actions' have {trajectories.action_dim} dims, {environment} takes {len(facts.action_low)}"
        )


def _published_bounds(
    published: D4RLSource | None, trajectories: Trajectories
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """[-1, 1] for D4RL's own files; nothing for others, so that training takes what the data spans."""
    dims = trajectories.action_dim if published else 0
    return (-1.0,) * dims, (1.0,) * dims


def _reference(name: str | None, environment: str | None, published: D4RLSource | None) -> Reference | None:
    if name is not None:
        scores = d4rl_reference(name)
        source = d4rl_sources().get(name)
        if environment is None or (source and environment == source.environment):
            return source.reference if source else scores
        return Reference(scores.minimum, scores.maximum, D4RL_SCALE_LABEL)
    if published and environment == published.environment:
        return published.reference
    return reference_for_environment(environment) if environment else None


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

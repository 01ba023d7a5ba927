"""Tiny data files and datasets for the tests of reading and writing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dtag.data.dataset import Dataset, DatasetInfo, Reference
from dtag.data.trajectories import Trajectories


def flat_arrays(lengths: tuple[int, ...] = (3, 2, 4), ends: str = "tou", state_dim: int = 3) -> dict[str, Any]:
    """Arrays under D4RL's keys: per episode ends in t (terminal), o (timeout) or u (unfinished).

    A state is its step's number, a next state that number plus a half, so that neighbours cannot be confused.
    """
    n = sum(lengths)
    last = np.cumsum(lengths) - 1
    number = np.arange(n, dtype=np.float32)
    arrays = {
        "observations": np.repeat(number[:, None], state_dim, 1),
        "next_observations": np.repeat(number[:, None] + 0.5, state_dim, 1),
        "actions": np.stack([np.sin(number), np.cos(number)], 1),
        "rewards": number + 1,
        "terminals": np.zeros(n, bool),
        "timeouts": np.zeros(n, bool),
    }
    for row, end in zip(last, ends, strict=True):
        arrays["terminals"][row], arrays["timeouts"][row] = end == "t", end == "o"
    return arrays


def write_hdf5(path: Path, arrays: dict[str, Any], **attributes: str) -> Path:
    with h5py.File(path, "w") as file:
        for key, value in arrays.items():
            file[key] = value
        file.attrs.update(attributes)
    return path


def example_dataset(id: str = "local/example/tiny-v0", environment: str | None = None, **arguments: Any) -> Dataset:
    """Three episodes: terminated, truncated, unfinished; final states known."""
    arrays = flat_arrays(**arguments)
    trajectories = Trajectories.from_arrays(
        arrays["observations"],
        arrays["actions"],
        arrays["rewards"],
        arrays["terminals"],
        arrays["timeouts"],
        next_states=arrays["next_observations"],
    )
    info = DatasetInfo(
        id=id,
        environment=environment,
        environment_kwargs={"size": "small"} if environment else {},
        max_episode_steps=7,
        action_low=(-1.0, -1.0),
        action_high=(1.0, 1.0),
        reference=Reference(0.0, 10.0, "local"),
        provenance={"source": "test", "versions": {"numpy": np.__version__}},
    )
    return Dataset(trajectories, info)


def assert_equal(one: Trajectories, other: Trajectories) -> None:
    for name in Trajectories.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
        assert getattr(one, name).dtype == getattr(other, name).dtype, name

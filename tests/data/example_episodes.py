"""Small packed episodes for the samplers' tests, every number its own."""

from __future__ import annotations

import numpy as np

from dtag.data.dataset import DatasetInfo
from dtag.data.spec import DataSpec
from dtag.data.trajectories import Trajectories

S, A = 3, 2


def episodes(lengths: list[int], endings: str, *, next_states: bool = True, seed: int = 0) -> Trajectories:
    """Episodes of the given lengths; endings says how each ends: t(erminated), l(imit: truncated), - (unfinished, last)."""
    generator = np.random.default_rng(seed)
    n, last = sum(lengths), np.cumsum(lengths) - 1
    terminated, truncated = np.zeros(n, bool), np.zeros(n, bool)
    terminated[last[[c == "t" for c in endings]]] = True
    truncated[last[[c == "l" for c in endings]]] = True
    return Trajectories.from_arrays(
        generator.normal(size=(n, S)),
        generator.uniform(-1, 1, (n, A)),
        generator.normal(size=n),
        terminated,
        truncated,
        next_states=generator.normal(size=(n, S)) if next_states else None,
    )


def spec(**changes) -> DataSpec:
    """A spec with a normaliser and scales that are not the identity."""
    values = {
        "info": DatasetInfo("toy", None),
        "state_mean": (0.5, -1.0, 2.0),
        "state_std": (2.0, 0.5, 1.0),
        "action_low": (-1.0,) * A,
        "action_high": (1.0,) * A,
        "max_timestep": 9,
        "return_scale": 4.0,
        "reward_scale": 1.0,
        "reward_shift": 0.0,
    }
    return DataSpec(**{**values, **changes})

"""A dataset: its trajectories and what must be known to train on, evaluate and score them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dtag.data.trajectories import Trajectories


@dataclass(frozen=True)
class Reference:
    """The returns that score 0 and 100.

    label says whose they are and is printed beside every score: "d4rl" (D4RL's constants on D4RL's own environment),
    "d4rl scale" (D4RL's constants on another version of the environment: not comparable with published tables),
    "minari" (the Minari dataset's own), "local" (measured by dtag; provenance says how).
    """

    minimum: float
    maximum: float
    label: str

    def score(self, returns: ArrayLike) -> NDArray[np.float64]:
        """100 * (return - minimum) / (maximum - minimum)  (Fu et al. 2020), of the same shape."""
        return 100.0 * (np.asarray(returns, np.float64) - self.minimum) / (self.maximum - self.minimum)


@dataclass(frozen=True)
class DatasetInfo:
    """What a dataset says of itself, kept in its metadata.

    id: e.g. "local/hopper/medium-v0". environment: Gymnasium id or import path "package.module:name"; None when there
    is none. max_episode_steps: the evaluation's limit; None = the environment's own. action_low, action_high: (A,)
    bounds in environment units. observation_keys: for dict observations, the entries that were joined into the state,
    in order; empty for flat ones. provenance: plain containers only (source, sha256, versions, command, date, ...).
    """

    id: str
    environment: str | None
    environment_kwargs: dict[str, Any] = field(default_factory=dict)
    max_episode_steps: int | None = None
    action_low: tuple[float, ...] = ()
    action_high: tuple[float, ...] = ()
    reference: Reference | None = None
    observation_keys: tuple[str, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_dict(value: dict[str, Any]) -> DatasetInfo:
        """Inverse of `to_dict`, also after a trip through JSON (tuples come back as lists)."""
        reference = value.get("reference")
        return DatasetInfo(
            **{
                k: v
                for k, v in value.items()
                if k not in ("reference", "action_low", "action_high", "observation_keys")
            },
            action_low=tuple(value.get("action_low", ())),
            action_high=tuple(value.get("action_high", ())),
            observation_keys=tuple(value.get("observation_keys", ())),
            reference=Reference(**reference) if reference else None,
        )


@dataclass(frozen=True)
class Dataset:
    """Validated trajectories and their description."""

    trajectories: Trajectories
    info: DatasetInfo

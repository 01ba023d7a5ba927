"""DataSpec: what a trained agent must remember of its data; travels in every checkpoint as plain containers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dtag.data.dataset import Dataset, DatasetInfo
from dtag.data.trajectories import Trajectories

RewardRule = Literal["raw", "locomotion", "antmaze", "antmaze_cql"]

# A constant dimension has std 0; dividing by a tiny epsilon would blow up the first non-zero value a simulator returns.
MINIMUM_STD = 1e-3


@dataclass(frozen=True)
class DataSpec:
    """Dims, normalisation, scales and the evaluation's environment.

    state_mean, state_std: (S,); one normaliser for policy, return model and critic. return_scale divides raw
    returns-to-go before a network sees them. reward_scale, reward_shift: the critic's reward is
    reward * reward_scale + reward_shift. shaped_returns: returns-to-go, target returns among them, are sums of the
    critic's rewards instead of raw ones. max_timestep: the last timestep index of a complete episode that the
    policy learns from.
    """

    info: DatasetInfo
    state_mean: tuple[float, ...]
    state_std: tuple[float, ...]
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    max_timestep: int
    return_scale: float
    reward_scale: float
    reward_shift: float
    shaped_returns: bool = False

    @property
    def state_dim(self) -> int:
        return len(self.state_mean)

    @property
    def action_dim(self) -> int:
        return len(self.action_low)

    def normalize(self, states: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """(states - mean) / std in float64, then cast: raw float32 would lose a dimension of tiny spread. (..., S)."""
        scaled: NDArray[Any] = (states - np.asarray(self.state_mean)) / np.asarray(self.state_std)
        return scaled.astype(np.float32)

    def counted(self, rewards: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Raw rewards as a return-to-go counts them; of the same shape."""
        return rewards * self.reward_scale + self.reward_shift if self.shaped_returns else rewards

    def scaled_returns_to_go(self, trajectories: Trajectories) -> NDArray[np.float32]:
        """(N,) the sum of counted rewards from each step to its episode's end, over return_scale: what a network sees."""
        raw = trajectories.returns_to_go()
        if not self.shaped_returns:
            return raw / np.float32(self.return_scale)
        n_left = np.repeat(trajectories.lengths, trajectories.lengths) - trajectories.timesteps()
        summed = raw.astype(np.float64) * self.reward_scale + self.reward_shift * n_left
        return (summed / self.return_scale).astype(np.float32)

    def raw_returns(
        self, scaled: NDArray[np.floating[Any]], lengths: NDArray[np.integer[Any]]
    ) -> NDArray[np.floating[Any]]:
        """The raw returns of episodes (M,) of these lengths whose scaled return-to-go at the first step is `scaled`."""
        summed = scaled * self.return_scale
        return (summed - self.reward_shift * lengths) / self.reward_scale if self.shaped_returns else summed

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "info": self.info.to_dict()}

    @staticmethod
    def from_dict(value: dict[str, Any]) -> DataSpec:
        rest: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list | tuple) else v for k, v in value.items() if k != "info"
        }
        return DataSpec(info=DatasetInfo.from_dict(value["info"]), **rest)


def make_spec(
    dataset: Dataset,
    *,
    return_scale: float,
    reward_rule: RewardRule,
    reward_divisor: float = 1.0,
    shaped_returns: bool = False,
) -> DataSpec:
    """Statistics over every step of the dataset.

    reward_rule: the critic's reward, as in IQL's official code: "locomotion" scales rewards by 1000 / (max return - min
    return) over complete episodes, "antmaze" subtracts 1, "raw" leaves them; "antmaze_cql" is CORL's for CQL there,
    10 r - 5. reward_divisor: divides the critic's reward, after the rule.
    """
    trajectories, info = dataset.trajectories, dataset.info
    mean, std = _mean_and_std(trajectories.states)
    low, high = _action_bounds(trajectories, info)
    scale, shift = 1.0, 0.0
    if reward_rule == "locomotion":
        returns = trajectories.returns[trajectories.complete]
        spread = float(np.ptp(returns)) if len(returns) else 0.0
        scale = 1000.0 / spread if spread > 0 else 1.0
    elif reward_rule == "antmaze":
        shift = -1.0
    elif reward_rule == "antmaze_cql":
        scale, shift = 10.0, -5.0
    return DataSpec(
        info=info,
        state_mean=tuple(mean.tolist()),
        state_std=tuple(np.maximum(std, MINIMUM_STD).tolist()),
        action_low=low,
        action_high=high,
        max_timestep=longest_episode(trajectories) - 1,
        return_scale=float(return_scale),
        reward_scale=scale / reward_divisor,
        reward_shift=shift / reward_divisor,
        shaped_returns=shaped_returns,
    )


def _action_bounds(trajectories: Trajectories, info: DatasetInfo) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The environment's bounds; without them [-1, 1], or what the data spans where that is more or a bound is infinite."""
    low, high = np.asarray(info.action_low or -np.inf), np.asarray(info.action_high or np.inf)
    spanned_low = np.minimum(trajectories.actions.min(0), -1.0)
    spanned_high = np.maximum(trajectories.actions.max(0), 1.0)
    low, high = np.where(np.isfinite(low), low, spanned_low), np.where(np.isfinite(high), high, spanned_high)
    return tuple(low.tolist()), tuple(high.tolist())


def longest_episode(trajectories: Trajectories) -> int:
    """Steps of the longest complete episode, from which alone policies learn; of any where none is complete."""
    complete: NDArray[np.bool_] = trajectories.complete
    trained = complete if complete.any() else np.ones_like(complete)
    return int(trajectories.lengths.max(where=trained, initial=1))


def _mean_and_std(states: NDArray[np.float32], chunk: int = 65_536) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Float64 moments in chunks, so that a memory-mapped array is never copied whole."""
    n = len(states)
    chunks = range(0, n, chunk)
    mean = sum(states[i : i + chunk].sum(0, dtype=np.float64) for i in chunks) / n
    square = sum(np.square(states[i : i + chunk] - mean).sum(0) for i in chunks) / n
    return np.asarray(mean), np.sqrt(square)

"""The one-state bandits of both papers and a short chain, whose optima are known in closed form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import gymnasium
import numpy as np
from numpy.typing import ArrayLike, NDArray

RewardName = Literal["parabola", "ramp"]
CHAIN_STRIDE = 0.25
CHAIN_LIMIT = 20
CHAIN_ACTIONS = 4  # the first moves, the others do nothing: whatever a critic thinks of those is its own error
CHAIN_NOISE = 0.25  # std of a reward: no value changes, but what the data say of an action becomes uncertain


def parabola(action: ArrayLike) -> NDArray[np.float64]:
    """1 - a^2, largest at a = 0 (Action Gradient paper, Figure 2). Any shape."""
    return 1.0 - np.square(np.asarray(action, np.float64))


def ramp(action: ArrayLike) -> NDArray[np.float64]:
    """(a + 1)^2 below 0 and 1 - 2 a from there, largest at a = 0 (TD3+ODT paper, Figure 1). Any shape.

    Its slope vanishes at a = -1: actions there promise nothing to a policy that asks for more return.
    """
    a = np.asarray(action, np.float64)
    return np.where(a < 0.0, np.square(a + 1.0), 1.0 - 2.0 * a)


REWARDS: Mapping[RewardName, Callable[[ArrayLike], NDArray[np.float64]]] = {"parabola": parabola, "ramp": ramp}


def chain_step(position: ArrayLike, action: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where an action leads, and what it pays on average: x' = clip(x + a / 4, -1, 1), r = 1 - x'^2. Any shape."""
    moved = np.asarray(position, np.float64) + CHAIN_STRIDE * np.clip(np.asarray(action, np.float64), -1.0, 1.0)
    following = np.clip(moved, -1.0, 1.0)
    return following, 1.0 - np.square(following)


def chain_optimal_value(position: ArrayLike, discount: float) -> NDArray[np.float64]:
    """The discounted return of the best policy, which heads for 0 as fast as it may, by simulation. Any shape."""
    place, total, weight = np.asarray(position, np.float64), np.zeros(np.shape(position)), 1.0
    while weight > 1e-9:
        place, reward = chain_step(place, np.clip(-place / CHAIN_STRIDE, -1.0, 1.0))
        total, weight = total + weight * reward, weight * discount
    return total


class OneState(gymnasium.Env[NDArray[np.float64], NDArray[np.float32]]):
    """One state, one step, then the episode terminates: pays `reward` (a name in REWARDS) of the action."""

    def __init__(self, reward: RewardName = "parabola") -> None:
        self.observation_space = gymnasium.spaces.Box(0.0, 0.0, (1,), np.float64)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.reward = REWARDS[reward]

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float64], dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(1), {}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        return np.zeros(1), float(self.reward(np.clip(action[0], -1.0, 1.0))), True, False, {}


class Chain(gymnasium.Env[NDArray[np.float64], NDArray[np.float32]]):
    """`chain_step` of the first of CHAIN_ACTIONS dims, with noisy rewards, from a uniform start.

    Truncated, never terminated, after CHAIN_LIMIT steps.
    """

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float64)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (CHAIN_ACTIONS,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float64], dict[str, Any]]:
        super().reset(seed=seed)
        self.position, self.elapsed = np.asarray(self.np_random.uniform(-1.0, 1.0)), 0
        return self.position.reshape(1), {}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        self.position, reward = chain_step(self.position, action[0])
        reward, self.elapsed = reward + CHAIN_NOISE * self.np_random.standard_normal(), self.elapsed + 1
        return self.position.reshape(1), float(reward), False, self.elapsed == CHAIN_LIMIT, {}

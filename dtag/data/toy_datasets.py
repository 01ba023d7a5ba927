"""Offline data of the toy environments, as the papers draw it, and the file that a config's data.id may name.

Letters: N steps, M episodes, T steps of an episode, A action dim.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dtag.data.toy_environments import CHAIN_ACTIONS, CHAIN_LIMIT, CHAIN_NOISE, REWARDS, RewardName, chain_step
from dtag.data.trajectories import Trajectories

Sides = Literal["one-sided", "two-sided"]


def parabola_actions(sides: Sides, seed: int, n: int = 1000) -> NDArray[np.float64]:
    """(n,) uniform where |a| > 0.5 (Action Gradient paper, Figure 2): all above 0.5, or half of them below -0.5.

    Two-sided data, the paper's words, make imitation look right for the wrong reason: for any return the mean of the
    data's actions is 0, which is the best action.
    """
    generator = np.random.default_rng(seed)
    actions = generator.uniform(0.5, 1.0, n)
    return actions * generator.choice([-1.0, 1.0], n) if sides == "two-sided" else actions


def ramp_actions(seed: int) -> NDArray[np.float64]:
    """(128,): 100 uniform in (-1, -0.95), 28 in (0.5, 1) (TD3+ODT paper, Figure 1, as its code has it)."""
    generator = np.random.default_rng(seed)
    return np.concatenate([generator.uniform(-1.0, -0.95, 100), generator.uniform(0.5, 1.0, 28)])


def one_state_episodes(reward: RewardName, actions: NDArray[np.floating]) -> Trajectories:
    """An episode of one terminated step for every action (N,)."""
    zeros, ends = np.zeros((len(actions), 1)), np.ones(len(actions), bool)
    return Trajectories.from_arrays(zeros, actions, REWARDS[reward](actions), ends, next_states=zeros)


def chain_episodes(seed: int, n_episodes: int = 100, width: float = 0.2) -> Trajectories:
    """Episodes of a narrow behaviour: whatever the state, actions uniform in (-width, width); the ends are time limits."""
    generator = np.random.default_rng(seed)
    positions = [generator.uniform(-1.0, 1.0, n_episodes)]
    actions = generator.uniform(-width, width, (CHAIN_LIMIT, n_episodes, CHAIN_ACTIONS))  # (T, M, A)
    rewards = []
    for action in actions:
        following, reward = chain_step(positions[-1], action[:, 0])
        positions.append(following)
        rewards.append(reward + CHAIN_NOISE * generator.standard_normal(n_episodes))
    path = np.stack(positions).T  # (M, T + 1)
    truncated = np.zeros((n_episodes, CHAIN_LIMIT), bool)
    truncated[:, -1] = True
    return Trajectories.from_arrays(
        path[:, :-1].ravel(),
        actions.swapaxes(0, 1).reshape(-1, CHAIN_ACTIONS),
        np.stack(rewards).T.ravel(),
        np.zeros(n_episodes * CHAIN_LIMIT, bool),
        truncated.ravel(),
        next_states=path[:, 1:].ravel(),
    )


def write_npz(trajectories: Trajectories, path: Path) -> Path:
    """The steps as a file that `load_dataset` reads; every episode's end must have a known next state."""
    following = np.roll(trajectories.states, -1, axis=0)
    following[trajectories.offsets[1:] - 1] = trajectories.final_states
    path.parent.mkdir(parents=True, exist_ok=True)
    names = ("states", "actions", "rewards", "terminated", "truncated")
    np.savez(path, next_states=following, **{name: getattr(trajectories, name) for name in names})
    return path

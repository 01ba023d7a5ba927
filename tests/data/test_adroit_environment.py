"""Adroit pays and ends as D4RL's, on Gymnasium-Robotics' hand."""

from __future__ import annotations

import importlib
from importlib.metadata import version

import numpy as np
import pytest

pytest.importorskip("gymnasium_robotics", reason="pip install -e '.[robotics]' to run the hand tests")

from dtag.data.adroit_environment import TASKS, make_adroit
from dtag.data.reference_scores import d4rl_reference
from dtag.errors import UsageError

# Where the observation holds the vector from the palm to what it is to grasp (of Gymnasium-Robotics' layouts).
PALM_TO = {"hammer": lambda o: o[33:36] - o[36:39], "door": lambda o: o[35:38], "relocate": lambda o: o[30:33]}

# Versions 1.2.1 to 1.4.2 have the sign wrong; a later one may have put it right.
TIMES_TURNED = (1,) if version("gymnasium-robotics") in ("1.4.1", "1.4.2") else (0, 1)


def theirs(task: str):
    module, _, name = TASKS[task].hand.partition(":")
    return getattr(importlib.import_module(f"gymnasium_robotics.envs.adroit_hand.{module}"), name)()


def episode(task: str, seed: int, n_steps: int | None = None):
    """(states, rewards, terminated, truncated) of seeded random actions until an end."""
    environment, generator = make_adroit(task, n_steps), np.random.default_rng(seed)
    states, rewards, ended, terminated, truncated = [environment.reset(seed=seed)[0]], [], False, False, False
    while not ended:
        state, reward, terminated, truncated, _ = environment.step(
            generator.uniform(-1, 1, environment.action_space.shape)
        )
        states.append(state)
        rewards.append(reward)
        ended = terminated or truncated
    environment.close()
    return np.array(states), np.array(rewards), terminated, truncated


@pytest.mark.parametrize("task", TASKS)
def test_the_reward_is_gymnasium_robotics_with_the_distance_to_the_object_as_a_cost(task: str) -> None:
    ours, other, generator = make_adroit(task, 60), theirs(task), np.random.default_rng(0)
    np.testing.assert_array_equal(ours.reset(seed=3)[0], other.reset(seed=3)[0])
    n_kinds = set()
    for _ in range(40):
        action = generator.uniform(-1, 1, ours.action_space.shape)
        state, reward, terminated, _, _ = ours.step(action)
        same, paid, *_ = other.step(action)
        np.testing.assert_array_equal(state, same)
        # they have +0.1 |palm - object| where D4RL has -0.1 |palm - object|
        turned = 0.2 * np.linalg.norm(PALM_TO[task](state)) if task in PALM_TO else 0.0
        assert any(reward == pytest.approx(paid - times * turned, rel=1e-10) for times in TIMES_TURNED)
        n_kinds.add(round(reward, 6))
        if terminated:
            break
    assert len(n_kinds) > 10


# 100 episodes: hammer -275.8 (standard error 0.6), door -56.7 (0.1), relocate -6.3 (0.4); D4RL says -274.9, -56.5, -6.4.
@pytest.mark.parametrize(
    ("task", "n_episodes", "tolerance"), [("hammer", 6, 0.03), ("door", 6, 0.02), ("relocate", 24, 0.3)]
)
def test_random_actions_earn_what_scores_0_in_d4rl(task: str, n_episodes: int, tolerance: float) -> None:
    returns = [episode(task, seed)[1].sum() for seed in range(n_episodes)]
    assert np.mean(returns) == pytest.approx(d4rl_reference(f"{task}-human-v1").minimum, rel=tolerance)


@pytest.mark.parametrize(("task", "limit"), [("pen", 100), ("hammer", 200), ("door", 200), ("relocate", 200)])
def test_an_episode_is_as_long_as_d4rls(task: str, limit: int) -> None:
    environment = make_adroit(task)
    assert environment._max_episode_steps == limit
    _, rewards, terminated, truncated = episode(task, 0)
    if task == "pen":
        assert terminated
        assert not truncated
        assert len(rewards) < limit
    else:
        assert (len(rewards), terminated, truncated) == (limit, False, True)


def test_pen_terminates_with_a_penalty_on_the_step_it_falls_and_not_before() -> None:
    states, rewards, terminated, truncated = episode("pen", 0)
    heights = states[1:, 26]  # of the pen
    assert terminated and not truncated  # noqa: PT018
    assert heights[-1] < 0.075
    assert (heights[:-1] >= 0.075).all()
    assert rewards[-1] < -4.0  # likeness - distance is at most 1


def test_a_time_limit_truncates_and_does_not_terminate() -> None:
    _, rewards, terminated, truncated = episode("pen", 0, 7)
    assert (len(rewards), terminated, truncated) == (7, False, True)


def test_an_unknown_task_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="pen, hammer, door, relocate"):
        make_adroit("cook")

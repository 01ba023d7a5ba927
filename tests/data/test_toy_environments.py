"""The toy environments pay what the papers' formulas say, and their data lie where the papers' do."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import numpy as np
import pytest

from dtag.data.load import load_dataset
from dtag.data.toy_datasets import chain_episodes, one_state_episodes, parabola_actions, ramp_actions, write_npz
from dtag.data.toy_environments import (
    CHAIN_LIMIT,
    CHAIN_NOISE,
    Chain,
    OneState,
    chain_optimal_value,
    chain_step,
    parabola,
    ramp,
)


@pytest.mark.parametrize(
    ("action", "expected"), [(-1.0, 0.0), (-0.5, 0.25), (0.0, 1.0), (0.25, 0.5), (0.5, 0.0), (1.0, -1.0)]
)
def test_the_ramp_pays_by_paper_2s_formula(action: float, expected: float) -> None:
    assert ramp(action) == pytest.approx(expected)


def test_the_parabola_pays_one_minus_the_square() -> None:
    np.testing.assert_allclose(parabola([-1.0, -0.5, 0.0, 0.8]), [0.0, 0.75, 1.0, 0.36])


@pytest.mark.parametrize(("reward", "formula"), [("parabola", parabola), ("ramp", ramp)])
def test_one_step_ends_the_one_state_episode_and_actions_are_clipped(reward: str, formula: object) -> None:
    environment = OneState(reward)  # type: ignore[arg-type]
    for action in (-0.7, 0.3, 2.0):
        environment.reset(seed=0)
        state, paid, terminated, truncated, _ = environment.step(np.array([action], np.float32))
        assert paid == pytest.approx(float(formula(np.clip(action, -1.0, 1.0))), abs=1e-6)  # type: ignore[operator]
        assert (state.tolist(), terminated, truncated) == ([0.0], True, False)


@pytest.mark.parametrize("environment", [OneState(), Chain()], ids=["one state", "chain"])
def test_observations_lie_in_their_space(environment: gymnasium.Env) -> None:
    state, _ = environment.reset(seed=1)
    assert environment.observation_space.contains(state)
    assert environment.observation_space.contains(
        environment.step(np.ones(environment.action_space.shape, np.float32))[0]
    )


def test_the_chain_is_truncated_and_its_rewards_vary_about_chain_steps() -> None:
    chain, rewards = Chain(), []
    for seed in range(100):
        state, _ = chain.reset(seed=seed)
        for step in range(CHAIN_LIMIT):
            expected, mean = chain_step(state, [0.5])
            action = np.array([0.5, *chain.action_space.sample()[1:]], np.float32)  # only the first counts
            state, reward, terminated, truncated, _ = chain.step(action)
            np.testing.assert_allclose(state, expected)
            rewards.append(reward - float(mean[0]))
            assert (terminated, truncated) == (False, step == CHAIN_LIMIT - 1)
    assert abs(np.mean(rewards)) < 0.05
    assert np.std(rewards) == pytest.approx(CHAIN_NOISE, rel=0.1)


def test_the_chains_best_value_is_the_closed_form_and_no_policy_beats_it() -> None:
    discount = 0.9
    best = chain_optimal_value([0.0, 0.25, 1.0], discount)
    first = 1.0 - 0.75**2 + discount * (1.0 - 0.5**2) + discount**2 * (1.0 - 0.25**2)  # from 1, towards 0
    np.testing.assert_allclose(best, [10.0, 10.0, first + 10.0 * discount**3], rtol=1e-6)
    positions = np.random.default_rng(0).uniform(-1.0, 1.0, 200)
    place, total = positions, np.zeros(200)
    for step in range(200):
        place, reward = chain_step(place, np.random.default_rng(step).uniform(-1.0, 1.0, 200))
        total += discount**step * reward
    assert (total <= chain_optimal_value(positions, discount) + 1e-6).all()


def test_parabola_actions_stay_outside_one_half_on_the_sides_they_name() -> None:
    one, two = parabola_actions("one-sided", 0), parabola_actions("two-sided", 0)
    assert one.shape == two.shape == (1000,)
    assert one.min() > 0.5
    assert np.abs(two).min() > 0.5
    assert 0.4 < (two < 0).mean() < 0.6
    assert max(np.abs(one).max(), np.abs(two).max()) <= 1.0


def test_ramp_actions_are_100_near_minus_one_and_28_above_one_half() -> None:
    actions = ramp_actions(3)
    low, high = actions[actions < 0], actions[actions > 0]
    assert (len(low), len(high)) == (100, 28)
    assert low.max() <= -0.95
    assert high.min() >= 0.5


def test_every_one_state_episode_is_one_terminated_step() -> None:
    episodes = one_state_episodes("ramp", ramp_actions(0))
    assert episodes.n_episodes == episodes.n_steps == 128
    assert episodes.terminated.all()
    assert not episodes.truncated.any()
    np.testing.assert_allclose(episodes.rewards, ramp(episodes.actions[:, 0]), atol=1e-6)


def test_chain_episodes_follow_the_chain_within_their_width_and_are_never_terminated() -> None:
    episodes = chain_episodes(0, n_episodes=7, width=0.2)
    assert episodes.lengths.tolist() == [CHAIN_LIMIT] * 7
    assert np.abs(episodes.actions).max() <= 0.2
    assert not episodes.terminated.any()
    assert np.flatnonzero(episodes.truncated).tolist() == (episodes.offsets[1:] - 1).tolist()
    following, _ = chain_step(episodes.states[:, 0], episodes.actions[:, 0])
    inner = ~episodes.truncated
    np.testing.assert_allclose(following[inner], np.roll(episodes.states[:, 0], -1)[inner], atol=1e-6)
    np.testing.assert_allclose(following[~inner], episodes.final_states[:, 0], atol=1e-6)


def test_a_written_file_is_read_back_with_its_final_states(tmp_path: Path) -> None:
    episodes = chain_episodes(1, n_episodes=3)
    read = load_dataset(str(write_npz(episodes, tmp_path / "chain.npz"))).trajectories
    for name in ("states", "actions", "rewards", "terminated", "truncated", "offsets", "final_states"):
        np.testing.assert_array_equal(getattr(read, name), getattr(episodes, name))
    assert read.has_final_state.all()

"""Maze datasets: what is recorded is what the environment does, cut and paid as said."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dtag.data.dataset import DatasetInfo
from dtag.data.pointmaze import REFERENCES, make_point_maze_dataset, measure_reference
from dtag.data.pointmaze_environment import MAZES, REWARDS, PointMaze
from dtag.errors import UsageError

pytest.importorskip("gymnasium_robotics", reason="pip install -e '.[robotics]' to run the maze tests")

N_STEPS = 6000


@pytest.fixture(scope="module")
def dataset():
    return make_point_maze_dataset("umaze", n_steps=N_STEPS, seed=3)


def test_replaying_the_actions_gives_the_states_and_the_rewards(dataset):
    for reward in REWARDS:
        data = make_point_maze_dataset("umaze", n_steps=N_STEPS, seed=3, reward=reward).trajectories
        environment = PointMaze("umaze", reward)
        state, _ = environment.reset(seed=3)
        for step in range(N_STEPS):
            np.testing.assert_array_equal(data.states[step], state.astype(np.float32))
            state, amount, *_ = environment.step(data.actions[step])
            assert data.rewards[step] == np.float32(amount)


def test_rewards_equal_the_naive_loop_over_the_states_reached(dataset):
    data = dataset.trajectories
    following = np.vstack([data.states[1:], data.final_states[-1:]]).astype(np.float64)
    for step in range(N_STEPS):
        distance = ((following[step, 0] - 1.0) ** 2 + (following[step, 1] - 1.0) ** 2) ** 0.5
        if abs(distance - 0.5) > 1e-6:  # the states were rounded to float32
            assert data.rewards[step] == (1.0 if distance <= 0.5 else 0.0)
    assert 0.01 < data.rewards.mean() < 0.5


def test_the_run_goes_on_where_an_episode_ends(dataset):
    data = dataset.trajectories
    assert data.has_final_state.all()
    assert data.n_episodes > 20
    np.testing.assert_array_equal(data.final_states[:-1], data.states[data.offsets[1:-1]])


def test_episodes_end_where_a_goal_is_reached_and_are_never_terminated(dataset):
    data = dataset.trajectories
    assert not data.terminated.any()
    last = data.offsets[1:] - 1
    np.testing.assert_array_equal(np.flatnonzero(data.truncated), last[data.complete])
    assert data.lengths.max() <= 300
    ended_early = data.complete & (data.lengths < 300)
    position = data.states[last[ended_early], :2]  # in the 0.1 of some cell's integer point
    assert (np.linalg.norm(position - np.round(position), axis=1) < 0.1 + 1e-6).all()


def test_a_goal_out_of_reach_is_given_up_at_the_limit(monkeypatch):
    monkeypatch.setattr("dtag.data.pointmaze.WaypointController.act", lambda *_: ((0.0, 0.0), False))
    data = make_point_maze_dataset("umaze", n_steps=700, seed=0).trajectories
    assert data.lengths.tolist() == [300, 300, 100]
    assert data.complete.tolist() == [True, True, False]


def test_limit_segmentation_recuts_the_same_steps(dataset):
    other = make_point_maze_dataset("umaze", n_steps=N_STEPS, seed=3, segmentation="limit")
    np.testing.assert_array_equal(other.trajectories.states, dataset.trajectories.states)
    np.testing.assert_array_equal(other.trajectories.rewards, dataset.trajectories.rewards)
    assert (other.trajectories.lengths == 300).all()
    assert other.trajectories.complete.all()
    assert other.info.id == "local/pointmaze/umaze-limit-v0"


def test_the_same_seed_gives_the_same_data_and_another_seed_other_data(dataset):
    again = make_point_maze_dataset("umaze", n_steps=N_STEPS, seed=3)
    for name in ("states", "actions", "rewards", "truncated", "offsets", "final_states"):
        np.testing.assert_array_equal(getattr(again.trajectories, name), getattr(dataset.trajectories, name))
    assert again.info == dataset.info
    other = make_point_maze_dataset("umaze", n_steps=100, seed=4).trajectories
    assert not np.array_equal(other.states, dataset.trajectories.states[:100])


def test_action_noise_is_added_before_clipping(dataset):
    quiet = make_point_maze_dataset("umaze", n_steps=2000, seed=3, noise=0.0).trajectories
    assert np.abs(dataset.trajectories.actions).max() == 1.0
    steps = np.abs(np.diff(quiet.actions, axis=0)).mean(), np.abs(np.diff(dataset.trajectories.actions, axis=0)).mean()
    assert steps[0] < 0.1 < 0.4 < steps[1]


@pytest.mark.parametrize("size", list(MAZES))
def test_the_description_makes_the_evaluation_and_survives_json(size):
    info = make_point_maze_dataset(size, n_steps=50, seed=0, reward="dense").info
    assert info.id == f"local/pointmaze/{size}-dense-v0"
    assert DatasetInfo.from_dict(json.loads(json.dumps(info.to_dict()))) == info
    assert info.reference == REFERENCES[size, "dense"]
    module, name = info.environment.split(":")
    environment = getattr(__import__(module, fromlist=[name]), name)(**info.environment_kwargs)
    state, _ = environment.reset(seed=0)
    assert state.shape == (4,)
    np.testing.assert_array_equal(environment.action_space.low, info.action_low)
    assert environment.unwrapped.maze.max_episode_steps == info.max_episode_steps


def test_progress_is_reported():
    seen = []
    make_point_maze_dataset("umaze", n_steps=20_000, seed=0, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(10_000, 20_000), (20_000, 20_000)]


def test_unknown_segmentation_is_refused():
    with pytest.raises(UsageError, match="goal, limit"):
        make_point_maze_dataset("umaze", n_steps=10, seed=0, segmentation="sliding")


def test_the_shipped_references_are_what_measuring_gives():
    measured = measure_reference("umaze", "dense", n_episodes=200, seed=11)
    shipped = REFERENCES["umaze", "dense"]
    # Standard deviations over episodes are 55 (random) and 47 (controller): four standard errors of 200 episodes.
    assert measured.minimum == pytest.approx(shipped.minimum, abs=4 * 55 / 200**0.5)
    assert measured.maximum == pytest.approx(shipped.maximum, abs=4 * 47 / 200**0.5)


def test_d4rls_own_protocol_gives_d4rls_constants():
    measured = measure_reference("umaze", "dense", n_episodes=100, seed=0, replan=False)
    # maze2d-umaze-dense-v1's constants, themselves means of 100 episodes; standard errors 5.5 and 9.7 each side.
    assert measured.minimum == pytest.approx(68.537689, abs=3 * 5.5 * 2**0.5)
    assert measured.maximum == pytest.approx(193.66285642381482, abs=2 * 9.7 * 2**0.5)
    assert measured.maximum < measure_reference("umaze", "dense", n_episodes=100, seed=0).maximum - 20

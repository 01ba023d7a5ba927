from __future__ import annotations

import numpy as np
import pytest

from dtag.data.environment_names import environment_names
from dtag.data.random_actions import make_random_dataset, random_id
from dtag.errors import UsageError
from dtag.rollout.environments import EnvironmentFactory
from tests.reference.toy_environment import LINE, Line


def test_episodes_are_whole_random_and_replayable():
    made = make_random_dataset(LINE, n_steps=100, seed=5)
    data = made.trajectories
    assert data.complete.all()
    assert 100 <= data.n_steps < 100 + data.lengths.max()
    assert abs(data.actions).max() <= 1.0
    assert abs(data.actions.mean()) < 0.2
    assert 0.25 < data.actions.var() < 0.42  # uniform on [-1, 1]: 1/3
    assert data.has_final_state.all()
    line = Line()
    for episode in range(data.n_episodes):
        state, _ = line.reset(seed=5 + episode)
        for row in range(data.offsets[episode], data.offsets[episode + 1]):
            np.testing.assert_allclose(data.states[row], state, rtol=1e-6)
            state, reward, terminated, truncated, _ = line.step(data.actions[row])
            assert (terminated, truncated) == (data.terminated[row], data.truncated[row])
            assert reward == pytest.approx(float(data.rewards[row]), rel=1e-5, abs=1e-6)
        np.testing.assert_allclose(data.final_states[episode], state, rtol=1e-6)
    again = make_random_dataset(LINE, n_steps=100, seed=5).trajectories
    assert np.array_equal(again.actions, data.actions)
    assert made.info.environment == LINE


def test_a_dict_observation_is_joined_as_asked_and_asks_when_it_is_not():
    parts = "tests.reference.toy_environment:line_of_parts"
    made = make_random_dataset(parts, n_steps=20, seed=0, observation_keys=("previous", "position"))
    flat = make_random_dataset(LINE, n_steps=20, seed=0)
    assert np.array_equal(made.trajectories.states, flat.trajectories.states[:, ::-1])
    assert made.info.observation_keys == ("previous", "position")
    with pytest.raises(UsageError, match="--observation-keys position,previous"):
        make_random_dataset(parts, n_steps=20, seed=0)
    with pytest.raises(UsageError, match="has no speed"):
        make_random_dataset(parts, n_steps=20, seed=0, observation_keys=("speed",))
    with pytest.raises(UsageError, match="no environment"):
        make_random_dataset("Nothing-v7", n_steps=20, seed=0)


@pytest.mark.parametrize(
    ("environment", "id"),
    [("Hopper-v5", "local/hopper/random-v0"), ("my.module:Lift", "local/lift/random-v0"),
     ("AdroitHandPen-v1", "local/adroithandpen/random-v0"), ("antmaze-umaze", "local/antmaze-umaze/random-v0")],
)  # fmt: skip
def test_the_id_is_made_of_the_environments_name(environment: str, id: str):
    assert random_id(environment) == id


@pytest.mark.parametrize("name", environment_names())
def test_a_d4rl_name_is_the_environment_it_names_and_its_episodes_end_in_their_own_states(name: str):
    pytest.importorskip("gymnasium_robotics", reason="pip install -e '.[robotics]' to run the families' tests")
    made = make_random_dataset(name, n_steps=20, seed=2, kwargs={"max_episode_steps": 12})
    data, info = made.trajectories, made.info
    assert info.environment == environment_names()[name].environment
    assert info.reference is not None
    again = EnvironmentFactory(info.environment, info.environment_kwargs)()
    for episode in range(data.n_episodes):
        rows = range(data.offsets[episode], data.offsets[episode + 1])
        state, _ = again.reset(seed=2 + episode)
        for row in rows:
            np.testing.assert_allclose(data.states[row], state, rtol=1e-5, atol=1e-6)
            state, reward, terminated, truncated, _ = again.step(data.actions[row])
            assert reward == pytest.approx(float(data.rewards[row]), rel=1e-5, abs=1e-6)
            assert (terminated, truncated and not terminated) == (data.terminated[row], data.truncated[row])
        np.testing.assert_allclose(data.final_states[episode], state, rtol=1e-5, atol=1e-6)
        assert data.truncated[rows[-1]] != data.terminated[rows[-1]]


def test_a_goal_conditioned_maze_of_gymnasium_robotics_is_joined_entry_by_entry():
    pytest.importorskip("gymnasium_robotics", reason="pip install -e '.[robotics]' to run the families' tests")
    keys = ("achieved_goal", "observation", "desired_goal")
    kwargs = {"continuing_task": False, "max_episode_steps": 6}
    made = make_random_dataset("AntMaze_Medium_Diverse_GR-v4", n_steps=6, seed=0, kwargs=kwargs, observation_keys=keys)
    data = made.trajectories
    assert data.state_dim == 2 + 27 + 2
    assert len({tuple(row) for row in data.states[:, 29:]}) == data.n_episodes  # one goal an episode
    assert made.info.environment_kwargs == kwargs

from __future__ import annotations

import numpy as np
import pytest

from dtag.data.trajectories import Trajectories
from dtag.errors import DataError
from tests.data.example_episodes import episodes
from tests.reference.naive_episodes import split

FLAGS = {  # (terminated, truncated) of seven steps
    "ends": ([0, 0, 1, 0, 0, 0, 1], [0, 0, 0, 0, 1, 0, 0]),
    "tail": ([0, 1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0, 0]),
    "both at once": ([1, 0, 0, 1, 0, 0, 0], [1, 0, 0, 1, 0, 0, 1]),
    "none": ([0] * 7, [0] * 7),
}


def build(terminated, truncated=None, n: int = 7, **options) -> Trajectories:
    states = np.arange(2 * n, dtype=float).reshape(n, 2)
    return Trajectories.from_arrays(states, np.ones(n), np.arange(n, dtype=float), terminated, truncated, **options)


@pytest.mark.parametrize("split_on", ["either", "truncated"])
@pytest.mark.parametrize("flags", FLAGS)
def test_episodes_end_where_a_flag_is_set(flags, split_on):
    terminated, truncated = FLAGS[flags]
    lengths, complete, count = [], [], 0
    for end, limit in zip(terminated, truncated, strict=True):
        count += 1
        if limit or (end and split_on == "either"):
            lengths.append(count)
            complete.append(True)
            count = 0
    if count:
        lengths.append(count)
        complete.append(bool(terminated[-1]))
    data = build(terminated, truncated, split_on=split_on)
    assert data.lengths.tolist() == lengths
    assert data.complete.tolist() == complete
    assert (data.n_steps, data.n_episodes, data.state_dim, data.action_dim) == (7, len(lengths), 2, 1)


def test_returns_returns_to_go_and_timesteps_equal_the_naive_loop():
    data = episodes([4, 1, 6, 2], "tlt-")
    to_go, timesteps = data.returns_to_go(), data.timesteps()
    for e, episode in enumerate(split(data)):
        rewards = [float(r) for r in episode["rewards"]]
        assert data.returns[e] == pytest.approx(sum(rewards), rel=1e-10)
        for t, row in enumerate(episode["rows"]):
            assert to_go[row] == pytest.approx(sum(rewards[t:]), rel=1e-5, abs=1e-6)
            assert timesteps[row] == t


def test_returns_to_go_behind_a_million_large_rewards_keep_their_digits():
    n = 200_000
    rewards = np.full(n, 1e4)
    rewards[-3:] = (0.1, 0.2, 0.4)
    ends = np.zeros(n, bool)
    ends[[-4, -1]] = True
    to_go = Trajectories.from_arrays(np.zeros((n, 1)), np.zeros(n), rewards, ends).returns_to_go()
    np.testing.assert_allclose(to_go[-3:], (0.7, 0.6, 0.4), rtol=1e-5)


def test_the_final_state_is_the_last_steps_next_state_or_unknown():
    following = np.arange(14, dtype=float).reshape(7, 2) + 100
    data = build(*FLAGS["ends"], next_states=following)
    np.testing.assert_array_equal(data.final_states, following[[2, 4, 6]])
    assert data.has_final_state.all()
    unknown = build(*FLAGS["ends"])
    assert not unknown.has_final_state.any()
    assert not unknown.final_states.any()


@pytest.mark.parametrize("chosen", [[2, 0], [1], [3, 3, 1], [False, True, False, True]])
def test_selected_episodes_are_the_same_episodes(chosen):
    data = episodes([4, 1, 6, 2], "tlt-")
    picked = np.flatnonzero(chosen) if isinstance(chosen[0], bool) else chosen
    ours, naive = split(data.select(chosen)), split(data)
    assert len(ours) == len(picked)
    for mine, e in zip(ours, picked, strict=True):
        for name in ("states", "actions", "rewards", "terminated", "truncated", "final_state"):
            np.testing.assert_array_equal(mine[name], naive[e][name])


def test_concatenating_gives_the_episodes_of_all_parts_in_order():
    parts = [episodes([4, 2], "tl"), episodes([1, 3], "t-", next_states=False, seed=1)]
    whole = split(Trajectories.concatenate(parts))
    for mine, theirs in zip(whole, split(parts[0]) + split(parts[1]), strict=True):
        for name in ("states", "actions", "rewards", "terminated", "truncated"):
            np.testing.assert_array_equal(mine[name], theirs[name])
        assert (mine["final_state"] is None) == (theirs["final_state"] is None)
    other = Trajectories.from_arrays(np.zeros((2, 5)), np.zeros(2), np.zeros(2), [0, 1])
    with pytest.raises(DataError, match="different"):
        Trajectories.concatenate([parts[0], other])


@pytest.mark.parametrize("shape", [(7,), (7, 1)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, bool])
def test_columns_and_float_flags_are_understood(shape, dtype):
    flags = np.array(FLAGS["ends"][0], dtype).reshape(shape)
    data = Trajectories.from_arrays(np.zeros((7, 1)), np.zeros(7), np.ones(shape), flags)
    assert data.terminated.dtype == bool
    assert data.rewards.shape == (7,)
    assert data.lengths.tolist() == [3, 4]
    assert all(getattr(data, name).dtype == np.float32 for name in ("states", "actions", "rewards"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"states": np.zeros((0, 1))}, r"file: 'states' is empty"),
        ({"rewards": np.zeros(2)}, r"file: 'rewards' has 2 rows, 'states' has 3"),
        (
            {"actions": np.array([[0.0], [np.nan], [0.0]])},
            r"file: 'actions' holds NaN or infinity, first at row 1, dim 0",
        ),
        ({"rewards": np.array([0.0, 0.0, np.inf])}, r"file: 'rewards' holds NaN or infinity, first at row 2"),
        ({"terminated": [0, 2, 1]}, r"file: 'terminated' must hold 0 or 1, row 1 holds 2"),
        ({"truncated": [0, 0.5, 1]}, r"file: 'truncated' must hold 0 or 1, row 1 holds 0\.5"),
        ({"states": np.zeros((3, 1, 1))}, r"file: 'states' has shape \(3, 1, 1\)"),
        ({"rewards": np.zeros((3, 2))}, r"file: 'rewards' has shape \(3, 2\)"),
        ({"actions": np.array(["a", "b", "c"])}, r"file: 'actions' is not numeric"),
        ({"next_states": np.zeros((3, 2))}, r"file: 'next_states' is \(3, 2\), 'states' is \(3, 1\)"),
    ],
)
def test_bad_arrays_are_refused_with_source_key_and_row(change, message):
    arrays = {"states": np.zeros((3, 1)), "actions": np.zeros(3), "rewards": np.zeros(3), "terminated": [0, 0, 1]}
    with pytest.raises(DataError, match=message):
        Trajectories.from_arrays(**{**arrays, **change}, source="file")


def test_messages_use_the_sources_own_names():
    with pytest.raises(DataError, match="'observations' has"):
        build([1] * 7, keys={"states": "observations"}, next_states=np.zeros((6, 2)))

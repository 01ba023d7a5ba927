from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from dtag.data.dataset import Dataset, DatasetInfo, Reference
from dtag.data.segments import SegmentSampler
from dtag.data.spec import MINIMUM_STD, DataSpec, make_spec
from dtag.data.trajectories import Trajectories
from tests.data.example_episodes import episodes, spec

LENGTHS, ENDINGS = [4, 2, 5, 30], "tlt-"


def made(data: Trajectories | None = None, info: DatasetInfo | None = None, rule="raw", scale=1.0) -> DataSpec:
    data = episodes(LENGTHS, ENDINGS) if data is None else data
    return make_spec(Dataset(data, info or DatasetInfo("toy", None)), return_scale=scale, reward_rule=rule)


def with_states(states: np.ndarray) -> Trajectories:
    n = len(states)
    ends = np.arange(n) == n - 1
    return Trajectories.from_arrays(states, np.zeros((n, 1)), np.zeros(n), ends)


def test_mean_and_std_are_those_of_every_step():
    data, ours = episodes(LENGTHS, ENDINGS), made()
    for dim in range(3):
        column = [float(x) for x in data.states[:, dim]]
        mean = sum(column) / len(column)
        assert ours.state_mean[dim] == pytest.approx(mean, rel=1e-10)
        std = (sum((x - mean) ** 2 for x in column) / len(column)) ** 0.5
        assert ours.state_std[dim] == pytest.approx(std, rel=1e-10)


def test_statistics_over_more_than_one_chunk_are_the_same():
    data = with_states(np.random.default_rng(0).normal(3, 2, (150_000, 2)))
    ours = made(data)
    np.testing.assert_allclose(ours.state_mean, data.states.mean(0, dtype=np.float64), rtol=1e-10)
    np.testing.assert_allclose(ours.state_std, data.states.std(0, dtype=np.float64), rtol=1e-10)


def test_normalised_data_has_mean_0_and_std_1():
    data, ours = episodes(LENGTHS, ENDINGS), made()
    normalized = ours.normalize(data.states)
    assert normalized.dtype == np.float32
    np.testing.assert_allclose(normalized.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(normalized.std(0), 1, rtol=1e-5)


def test_a_constant_dimension_gets_the_floor_as_its_std():
    ours = made(with_states(np.tile([1.0, 5.0], (10, 1))))
    assert ours.state_std == (MINIMUM_STD, MINIMUM_STD)
    assert ours.normalize(np.array([1.0, 5.0])).tolist() == [0.0, 0.0]
    assert np.abs(ours.normalize(np.array([1.0, 5.1]))).max() < 101


def test_a_dimension_of_tiny_spread_keeps_its_digits():
    # Around 1000 float32 steps by 6e-5: a float32 subtraction of the mean would lose up to 3 % of a std of 1e-3.
    spread = np.geomspace(1e-4, 4e-3, 101)
    data = with_states(1000 + spread[:, None])
    ours = made(data)
    raw = data.states[:, 0].astype(np.float64)
    expected = (raw - raw.mean()) / raw.std()
    np.testing.assert_allclose(ours.normalize(data.states)[:, 0], expected, rtol=1e-6, atol=1e-6)
    lossy = (data.states[:, 0] - np.float32(raw.mean())) / np.float32(raw.std())
    assert np.abs(lossy - expected).max() > 1e-3
    sampled = SegmentSampler(data, ours, context_length=1, weighting="uniform", start="anywhere").states[:, 0]
    np.testing.assert_allclose(sampled, expected, rtol=1e-6, atol=1e-6)


def test_raw_rewards_are_left_alone():
    assert (made().reward_scale, made().reward_shift) == (1.0, 0.0)


def test_locomotion_scales_by_the_spread_of_complete_episodes_only():
    data = episodes(LENGTHS, ENDINGS)
    data.rewards[-30:] = 100.0  # the unfinished tail's return is none
    returns = [float(data.rewards[a:b].sum(dtype=np.float64)) for a, b in ((0, 4), (4, 6), (6, 11))]
    ours = made(data, rule="locomotion")
    assert ours.reward_scale == pytest.approx(1000 / (max(returns) - min(returns)), rel=1e-6)
    assert ours.reward_shift == 0.0


@pytest.mark.parametrize(("lengths", "endings"), [([4], "t"), ([4], "-")])
def test_locomotion_without_a_spread_leaves_rewards_alone(lengths, endings):
    assert made(episodes(lengths, endings), rule="locomotion").reward_scale == 1.0


def test_antmaze_pays_minus_one_a_step():
    ours = made(rule="antmaze")
    assert (ours.reward_scale, ours.reward_shift) == (1.0, -1.0)


def test_cqls_antmaze_pays_five_at_the_goal_and_minus_five_elsewhere():
    ours = made(rule="antmaze_cql")  # CORL: reward_scale 10, reward_bias -5
    assert [ours.reward_scale * reward + ours.reward_shift for reward in (1.0, 0.0)] == [5.0, -5.0]


def test_a_divisor_scales_the_reward_and_its_shift():
    data = Dataset(episodes(LENGTHS, ENDINGS), DatasetInfo("toy", None))
    ours = make_spec(data, return_scale=1.0, reward_rule="antmaze", reward_divisor=100.0, shaped_returns=True)
    assert (ours.reward_scale, ours.reward_shift) == (0.01, -0.01)
    assert ours.counted(np.array([1.0, 0.0])).tolist() == [0.0, -0.01]
    assert made(rule="antmaze").counted(np.array([1.0, 0.0])).tolist() == [1.0, 0.0]
    older = {name: value for name, value in ours.to_dict().items() if name != "shaped_returns"}
    assert DataSpec.from_dict(older).shaped_returns is False


def test_shaped_returns_count_the_critics_reward_of_every_step_that_is_left():
    data = Dataset(episodes(LENGTHS, ENDINGS), DatasetInfo("toy", None))
    ours = make_spec(data, return_scale=4.0, reward_rule="antmaze", reward_divisor=10.0, shaped_returns=True)
    trajectories = data.trajectories
    found = ours.scaled_returns_to_go(trajectories)
    for start, end in itertools.pairwise(trajectories.offsets):
        for t in range(start, end):
            shaped = sum((float(reward) - 1.0) / 10.0 for reward in trajectories.rewards[t:end])
            assert found[t] == pytest.approx(shaped / 4.0, rel=1e-5)
    first = found[trajectories.offsets[:-1]]
    raw = [float(trajectories.rewards[a:b].sum()) for a, b in itertools.pairwise(trajectories.offsets)]
    assert ours.raw_returns(first, trajectories.lengths).tolist() == pytest.approx(raw, rel=1e-5, abs=1e-4)


@pytest.mark.parametrize(("lengths", "endings", "longest"), [(LENGTHS, ENDINGS, 5), ([7], "-", 7), ([1, 3], "tl", 3)])
def test_the_last_timestep_is_that_of_the_longest_complete_episode(lengths, endings, longest):
    assert made(episodes(lengths, endings)).max_timestep == longest - 1


def test_action_bounds_are_the_environments():
    info = DatasetInfo("toy", None, action_low=(-2.0, 0.0), action_high=(2.0, 0.5))
    ours = made(info=info)
    assert (ours.action_low, ours.action_high) == ((-2.0, 0.0), (2.0, 0.5))


def test_action_bounds_unknown_or_infinite_are_at_least_one_and_what_the_data_spans():
    data = episodes(LENGTHS, ENDINGS)
    data.actions[0] = (3.0, -0.5)
    assert (made(data).action_low, made(data).action_high) == ((-1.0, -1.0), (3.0, 1.0))
    info = DatasetInfo("toy", None, action_low=(-np.inf, -9.0), action_high=(np.inf, 9.0))
    assert (made(data, info).action_low, made(data, info).action_high) == ((-1.0, -9.0), (3.0, 9.0))


def test_it_survives_a_trip_through_json():
    info = DatasetInfo(
        "toy", "Hopper-v4", {"a": 1}, 99, (-1.0,), (1.0,), Reference(0.0, 5.0, "local"), ("x",), {"k": [1]}
    )
    ours = replace(spec(), info=info)
    assert DataSpec.from_dict(json.loads(json.dumps(ours.to_dict()))) == ours
    assert (ours.state_dim, ours.action_dim) == (3, 2)

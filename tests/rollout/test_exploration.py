from __future__ import annotations

import numpy as np
import pytest
import torch

from dtag.errors import UsageError
from dtag.policy.heads import DeterministicHead, GaussianHead, SquashedGaussianHead, newest_action
from dtag.rollout.environments import EnvironmentFactory, make_environments
from dtag.rollout.episodes import EpisodePlan, rollout
from dtag.rollout.exploration import EDGE, STREAM, Explorer
from dtag.rollout.recording import Recorder
from dtag.rollout.row_settings import RowSettings
from tests.reference.toy_environment import LIMIT, LINE, random_agent

NOISY = RowSettings(exploration="noise", noise=0.3)


def collected(plans: list[EpisodePlan], n_slots: int, **kind) -> tuple[Recorder, list]:
    agent, recorder = random_agent(**kind), Recorder()
    environments = make_environments(EnvironmentFactory(LINE), n_slots)
    rows = rollout(agent, environments, plans, recorder=recorder)
    return recorder, rows


def test_added_noise_is_the_generators_in_half_ranges_and_stays_inside_the_bounds():
    low, high = torch.tensor([-2.0, 0.0]), torch.tensor([2.0, 1.0])
    explorer = Explorer(3, low, high)
    explorer.restart([0, 2], [NOISY, RowSettings(exploration="noise", noise=50.0)], [7, 8])
    expected = np.random.default_rng((STREAM, 7))
    for _ in range(3):
        noise = explorer.draw([0, 1, 2])
        actions = torch.tensor([[0.5, 0.5]] * 3)
        found = noise.added_to(actions, torch.arange(3))
        by_hand = np.array([0.5, 0.5]) + 0.3 * np.array([2.0, 0.5]) * expected.standard_normal(2)
        by_hand = np.clip(
            by_hand, low.numpy() + EDGE * np.array([2.0, 0.5]), high.numpy() - EDGE * np.array([2.0, 0.5])
        )
        np.testing.assert_allclose(found[0].numpy(), by_hand, rtol=1e-6)
        assert torch.equal(found[1], actions[1])  # a row without exploration
        assert bool(((found[2] > low) & (found[2] < high)).all())
    assert noise.sampling is None


def test_rows_that_explore_in_different_ways_do_not_mix():
    """Of one that samples the noise goes to the head and is not added too; of one without, nothing is touched."""
    low, high = torch.tensor([-1.0, -1.0]), torch.tensor([1.0, 1.0])
    explorer = Explorer(3, low, high)
    explorer.restart([0, 1, 2], [NOISY, RowSettings(exploration="sample", noise=0.3), RowSettings()], [7, 8, 9])
    noise = explorer.draw([0, 1, 2])
    drawn = np.random.default_rng((STREAM, 8)).standard_normal(2)
    np.testing.assert_allclose(noise.sampling.numpy(), [[0.0, 0.0], drawn, [0.0, 0.0]], rtol=1e-6)
    actions = torch.tensor([[0.1, 0.1], [0.9, -1.0], [1.0, 0.5]])  # an action at the bound stays there
    found = noise.added_to(actions, torch.arange(3))
    assert torch.equal(found[1:], actions[1:])
    assert (found[0] != actions[0]).all()


def test_a_sample_is_mean_plus_std_times_noise_squashed_where_the_head_is():
    features, noise = torch.randn(5, 8), torch.randn(5, 2)
    bounds = ((-1.0, -2.0), (1.0, 2.0))
    gaussian = GaussianHead(8, *bounds, learn_std=True)
    with torch.no_grad():
        gaussian.log_std.copy_(torch.tensor([-1.0, 0.5]))
    mean, distribution = gaussian(features)
    assert torch.allclose(newest_action(gaussian, features, noise), mean + distribution.stddev * noise)
    squashed = SquashedGaussianHead(8, *bounds)
    _mode, distribution = squashed(features)
    by_hand = torch.tensor([1.0, 2.0]) * torch.tanh(distribution.normal.loc + distribution.normal.scale * noise)
    assert torch.allclose(newest_action(squashed, features, noise), by_hand)
    for head in (gaussian, squashed):
        assert torch.equal(newest_action(head, features, torch.zeros(5, 2)), newest_action(head, features, None))
    with pytest.raises(UsageError, match="distribution"):
        newest_action(DeterministicHead(8, *bounds), features, noise)


@pytest.mark.parametrize("kind", ["two networks", "one network", "dt"])
@pytest.mark.parametrize(
    "settings", [NOISY, RowSettings(exploration="sample"), RowSettings(2, 0.1, exploration="sample")]
)
def test_an_exploring_row_does_not_depend_on_its_neighbours_or_slot(settings, kind):
    plans = [EpisodePlan(100 + i, settings, "x") for i in range(5)] + [EpisodePlan(100, RowSettings(), "still")]
    together, _ = collected(plans, 4, kind=kind)
    alone, _ = collected([plans[3]], 1, kind=kind)
    assert np.array_equal(np.stack(together.episodes[3].actions), np.stack(alone.episodes[0].actions))
    assert not np.array_equal(together.episodes[0].actions[0], together.episodes[5].actions[0])  # the same start


def test_the_executed_action_is_what_the_history_and_the_record_hold():
    agent = random_agent()
    agent.reset(1)
    agent.restart([0], [NOISY], [3])
    decision = agent.act_rows([0], np.zeros((1, 2)))
    assert np.array_equal(agent.history.actions[0, 0].numpy(), decision.actions[0])
    agent.restart([0], [RowSettings()], [3])
    assert not np.array_equal(agent.act_rows([0], np.zeros((1, 2))).actions, decision.actions)


def test_a_record_is_whole_episodes_with_their_true_last_states():
    plans = [EpisodePlan(200 + i, NOISY, "x") for i in range(7)]
    recorder, rows = collected(plans, 3)
    found = recorder.trajectories()
    assert found.n_episodes == 7
    np.testing.assert_allclose(found.returns, [row.return_ for row in rows], rtol=1e-5)
    assert found.lengths.tolist() == [row.length for row in rows]
    last = found.offsets[1:] - 1
    assert found.terminated[last].tolist() == [row.terminated for row in rows]
    assert found.truncated[last].tolist() == [row.truncated for row in rows]
    assert not found.terminated[np.setdiff1d(np.arange(found.n_steps), last)].any()
    environment = EnvironmentFactory(LINE)()
    for episode, plan in enumerate(plans):  # replayed: the same states, and the last is the one reached
        state, _ = environment.reset(seed=plan.seed)
        for row in range(found.offsets[episode], found.offsets[episode + 1]):
            np.testing.assert_allclose(found.states[row], state, rtol=1e-6)
            state, *_ = environment.step(found.actions[row])
        np.testing.assert_allclose(found.final_states[episode], state, rtol=1e-6)
    assert found.has_final_state.all()
    assert found.lengths.max() <= LIMIT


def test_an_episode_that_was_not_finished_is_not_kept():
    with pytest.raises(ValueError, match="no episode"):
        Recorder().trajectories()

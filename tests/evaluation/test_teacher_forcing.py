"""Batched answers against the agent itself, fed the data's history a step at a time, and against single windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from dtag.data.segments import SegmentBatch, SegmentSampler
from dtag.evaluation.teacher_forcing import answer
from dtag.policy.decision_transformer import DecisionTransformer
from dtag.policy.mlp_policy import MLPPolicy
from dtag.rollout.agent import Agent, ContextSettings
from dtag.rollout.row_settings import RowSettings
from tests.data.example_episodes import A, S, episodes
from tests.reference.toy_environment import random_agent

K = 6
LENGTHS = [K, 3, 1, K]
KINDS = ("two networks", "one network", "dt")
RULES = ("chain", "anchor", "off")


def _agent(kind: str, rule: str = "chain", head: str = "gaussian", **options) -> Agent:
    agent = random_agent(S, A, kind=kind, context=ContextSettings(rule, K), **options)
    if head != "gaussian":
        bounds, one = ((-1.0,) * A, (1.0,) * A), {"predicts_return": True} if kind == "one network" else {}
        agent.policy = DecisionTransformer(S, *bounds, 30, hidden=16, n_layers=2, n_heads=2, head=head, **one).eval()
    return agent


def _segments(agent: Agent, lengths: list[int], starts: list[int] | None = None) -> SegmentBatch:
    trajectories = episodes(lengths, "t" * len(lengths))
    sampler = SegmentSampler(trajectories, agent.spec, context_length=K, weighting="length", start="anywhere")
    return sampler.gather(torch.arange(len(lengths)), torch.tensor(starts or [0] * len(lengths)))


@torch.no_grad()
def _fed(agent: Agent, batch: SegmentBatch, row: int, length: int) -> list[tuple[np.ndarray, int, float]]:
    """(action, context length, return-to-go) that the agent has at each step when the data acts in its place."""
    agent.reset(1)
    agent.restart([0], [RowSettings(context=agent.context.rule)])
    said, slot = [], torch.tensor([0])
    mean, std = np.asarray(agent.spec.state_mean), np.asarray(agent.spec.state_std)
    for step in range(length):
        agent.remaining[0] = batch.returns_to_go[row, step].double() * agent.spec.return_scale
        decision = agent.act_rows([0], batch.states[row, step : step + 1].double().numpy() * std + mean)
        agent.history.write_action(slot, batch.actions[row, step : step + 1])
        returns = float(agent.history.past_returns(slot)[0, -1])
        said.append((decision.actions[0], int(decision.context_length[0]), returns))
    return said


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_answers_are_those_of_the_agent_with_the_datas_history(kind: str, rule: str) -> None:
    agent = _agent(kind, rule)
    batch = _segments(agent, LENGTHS)
    said = answer(agent, batch)
    shortened = False
    for row, length in enumerate(LENGTHS):
        for step, (action, context_length, returns) in enumerate(_fed(agent, batch, row, length)):
            torch.testing.assert_close(said.actions[row, step], torch.tensor(action), atol=2e-5, rtol=0)
            assert said.context_length[row, step] == context_length
            shortened |= context_length < step + 1
            if kind != "dt":
                assert float(said.predicted_return[row, step]) == pytest.approx(returns, abs=2e-5)
    assert shortened == (rule != "off")
    assert (said.predicted_return is None) == (kind == "dt")


@pytest.mark.parametrize("head", ["gaussian", "squashed"])
@pytest.mark.parametrize("kind", ["two networks", "one network"])
def test_actions_and_log_likelihood_are_those_of_one_window_at_a_time_also_within_an_episode(
    kind: str, head: str
) -> None:
    agent = _agent(kind, "chain", head)
    batch = _segments(agent, [20, 9], [7, 5])
    said = answer(agent, batch)
    with torch.no_grad():
        for row, length in enumerate((K, 4)):
            returns = said.predicted_return[row : row + 1, :, None]
            for step in range(length):
                window = slice(step + 1 - int(said.context_length[row, step]), step + 1)
                assert window.start >= 0
                columns: list[Tensor] = [part[row : row + 1, window] for part in (batch.states, batch.actions)]
                times = batch.timesteps[row : row + 1, window]
                output = agent.policy(*columns, returns[:, window], times)
                expected = sum(output.distribution.log_prob(batch.actions[row : row + 1, window])[0, -1].tolist())
                assert float(said.log_probability[row, step]) == pytest.approx(expected, rel=1e-5, abs=5e-5)
                torch.testing.assert_close(said.actions[row, step], output.action[0, -1], atol=2e-5, rtol=0)


def test_returns_are_the_agents_own_so_the_datas_returns_change_nothing() -> None:
    agent = _agent("two networks")
    batch = _segments(agent, LENGTHS)
    other = batch._replace(returns_to_go=batch.returns_to_go + 3.0)
    for one, two in zip(answer(agent, batch), answer(agent, other), strict=True):
        torch.testing.assert_close(one[batch.mask], two[batch.mask])
    conditioned = _agent("dt", "off")
    assert not torch.allclose(answer(conditioned, batch).actions, answer(conditioned, other).actions)


def test_no_answer_sees_its_own_or_a_later_action() -> None:
    agent = _agent("one network", "off")
    batch = _segments(agent, [K])
    before = answer(agent, batch)
    later = batch.actions.clone()
    later[:, 3:] += 1.0
    after = answer(agent, batch._replace(actions=later))
    torch.testing.assert_close(after.actions[:, :4], before.actions[:, :4])
    torch.testing.assert_close(after.predicted_return[:, :4], before.predicted_return[:, :4])
    assert not torch.allclose(after.actions[:, 4], before.actions[:, 4])


def test_a_policy_without_distribution_or_memory_answers_too() -> None:
    agent = _agent("two networks")
    agent.policy = MLPPolicy(S, (-1.0,) * A, (1.0,) * A, hidden=8).eval()
    batch = _segments(agent, LENGTHS)
    said = answer(agent, batch)
    assert said.log_probability is None
    torch.testing.assert_close(said.actions, agent.policy(*batch[:4]).action.detach())

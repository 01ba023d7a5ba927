"""Every quantity against a loop over single steps, on a handful of episodes."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch

from dtag.critic.networks import QChoice
from dtag.data.segments import SegmentSampler
from dtag.data.trajectories import Trajectories
from dtag.errors import DataError
from dtag.evaluation.offline import OfflineReport, Positions, calibration, draw_segments, evaluate_offline, q_choice
from dtag.evaluation.settings import EvaluationSettings
from dtag.evaluation.teacher_forcing import answer
from dtag.policy.return_critic import ReturnCritic
from dtag.policy.value_return import ValueReturn
from dtag.refiners.action_gradient import ActionGradient
from dtag.rollout.agent import Agent, ContextSettings
from tests.data.example_episodes import A, S, episodes
from tests.reference.action_gradient import refine_row
from tests.reference.toy_environment import random_agent

K = 3
LENGTHS = [5, 3, 7, 1, 4]  # the last one is unfinished: never scored
MEAN_ACTION = [0.1, -0.2]
SETTINGS = EvaluationSettings(environment=None, seed=0)


def _data() -> Trajectories:
    return episodes(LENGTHS, "tltl-")


def _agent(kind: str = "two networks", **options: Any) -> Agent:
    agent = random_agent(S, A, kind=kind, context=ContextSettings("chain", K), **options)
    if agent.critic is not None:
        agent.refiner, agent.action_gradient_rms = ActionGradient(0.3, 3, eta_unit="rms"), 0.5
    return agent


def _report(agent: Agent, data: Trajectories | None = None, settings: EvaluationSettings = SETTINGS) -> OfflineReport:
    return evaluate_offline(agent, data or _data(), settings, mean_action=MEAN_ACTION)


def _q(agent: Agent, state: torch.Tensor, action: list[float]) -> tuple[float, list[float]]:
    """The smaller of two Qs and its gradient in the action, of one state."""
    assert agent.critic is not None
    variable = torch.tensor([action], requires_grad=True)
    q = agent.critic.q(state[None], variable).amin(0)
    (gradient,) = torch.autograd.grad(q.sum(), variable)
    return q.item(), gradient[0].tolist()


def _naive(agent: Agent) -> list[dict[str, float]]:
    """One dict a scored step, from the agent's answers to one segment at a time."""
    data, rows = _data(), []
    sampler = SegmentSampler(data, agent.spec, context_length=K, weighting="length", start="anywhere")
    for episode, length in enumerate(LENGTHS[:4]):
        rewards = data.rewards[data.offsets[episode] : data.offsets[episode + 1]]
        for start in range(0, length, K):
            batch = sampler.gather(torch.tensor([episode]), torch.tensor([start]))
            said = answer(agent, batch)
            for step in range(min(K, length - start)):
                own, policy = batch.actions[0, step].tolist(), said.actions[0, step].tolist()
                row = {"episode": episode, "full": step == K - 1, "context_length": said.context_length[0, step].item()}
                row["squared_error"] = sum((p - a) ** 2 for p, a in zip(policy, own, strict=True)) / A
                row["absolute_error"] = sum(abs(p - a) for p, a in zip(policy, own, strict=True)) / A
                row["squared_error_of_mean"] = sum((m - a) ** 2 for m, a in zip(MEAN_ACTION, own, strict=True)) / A
                row["absolute_error_of_mean"] = sum(abs(m - a) for m, a in zip(MEAN_ACTION, own, strict=True)) / A
                row["log_likelihood"] = said.log_probability[0, step].item()
                if said.predicted_return is not None:
                    bias = said.predicted_return[0, step].item() * 10.0 - float(rewards[start + step :].sum())
                    row |= {"return_bias": bias, "return_absolute_error": abs(bias), "return_covered": bias >= 0}
                rows.append(row | _naive_refinement(agent, batch.states[0, step], own, policy))
    return rows


def _naive_refinement(agent: Agent, state: torch.Tensor, own: list[float], policy: list[float]) -> dict[str, float]:
    refined, _ = refine_row(
        lambda a: _q(agent, state, a)[0], lambda a: _q(agent, state, a)[1], policy,
        eta=0.3 / 0.5, n_steps=3, rule="none", variant="paper", low=-1.0, high=1.0,
    )  # fmt: skip
    q_data, q_policy, q_refined = (_q(agent, state, a)[0] for a in (own, policy, refined))
    return {
        "q_data": q_data, "q_policy": q_policy, "q_refined": q_refined, "q_gain": q_refined - q_policy,
        "q_raised": q_refined > q_policy,
        "shift": max(abs(r - p) for r, p in zip(refined, policy, strict=True)),
        "distance_policy": max(abs(p - a) for p, a in zip(policy, own, strict=True)),
        "distance_refined": max(abs(r - a) for r, a in zip(refined, own, strict=True)),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["two networks", "one network", "dt"])
def test_every_quantity_is_that_of_a_loop_over_steps(kind: str) -> None:
    agent = _agent(kind)
    rows, report = _naive(agent), _report(agent)
    expected = {name: [row[name] for row in rows] for name in rows[0] if name not in ("episode", "full")}
    for name in [name for name in expected if "_error" in name and not name.startswith("return")]:
        expected[f"{name}_full_context"] = [row[name] for row in rows if row["full"]]
    assert set(report.estimates) == set(expected)
    for name, values in expected.items():
        assert report.estimates[name]["mean"] == pytest.approx(np.mean(values), rel=2e-5, abs=1e-6), name
        assert report.estimates[name]["n"] == len(values), name
    assert (report.n_episodes, report.n_positions, report.n_available) == (4, 16, 16)
    assert 0 < report.estimates["q_raised"]["mean"] <= 1
    for episode, row in enumerate(report.rows):
        own = [r for r in rows if r["episode"] == episode]
        assert row["n"] == len(own)
        assert row["squared_error"] == pytest.approx(np.mean([r["squared_error"] for r in own]), rel=2e-5)


@pytest.mark.parametrize("q", ["min", "q1"])
def test_refinement_is_what_the_agent_does_at_an_episodes_first_step(q: QChoice) -> None:
    agent, data = _agent("one network"), episodes([1] * 6, "t" * 6)
    agent.refiner = ActionGradient(0.5, 4, rule="fm_sm", q=q, eta_unit="rms", max_shift=0.3)
    agent.reset(6)
    decision = agent.act_rows(range(6), data.states)
    found = _report(agent, data).estimates
    assert found["shift"]["mean"] == pytest.approx(decision.shift.mean(), rel=1e-5)
    assert found["q_gain"]["mean"] == pytest.approx(decision.q_gain.mean(), rel=1e-4, abs=1e-6)
    distance = np.abs(decision.actions - data.actions).max(1).mean()
    assert found["distance_refined"]["mean"] == pytest.approx(distance, rel=1e-5)


def test_what_the_agent_does_not_have_is_not_reported() -> None:
    assert not any(name.startswith(("q_", "shift", "distance")) for name in _report(_agent(critic=False)).estimates)
    conditioned = _report(_agent("dt"))
    assert not any(name.startswith("return_") for name in conditioned.estimates)
    assert conditioned.deciles == []
    agent = _agent()
    agent.refiner = None
    q_of_plain_critic = _report(agent).estimates
    assert {name for name in q_of_plain_critic if name[:2] in ("q_", "di")} == {"q_data", "q_policy", "distance_policy"}
    agent.refiner = ActionGradient(n_steps=0)
    assert _report(agent).estimates == q_of_plain_critic


def test_a_value_token_is_no_return_and_a_critic_may_have_no_q() -> None:
    agent = _agent()
    token = ValueReturn(scale=5.0)
    token.attach(agent.critic)
    agent.return_model = token
    report = _report(agent)
    assert not any(name.startswith("return_") for name in report.estimates)
    assert report.deciles == []
    assert "q_refined" in report.estimates
    agent.return_model, agent.refiner, agent.critic = (
        None,
        None,
        ReturnCritic(S, A, 30, hidden=8, n_layers=1, n_heads=2),
    )
    assert q_choice(agent) is None
    assert "q_data" not in _report(agent).estimates


def test_the_deciles_are_those_of_the_realised_return() -> None:
    generator = np.random.default_rng(0)
    realised, predicted = generator.normal(size=200), generator.normal(size=200)
    clusters, empty = np.repeat(np.arange(20), 10), torch.zeros(200)
    columns = {"realised": torch.from_numpy(realised), "predicted": torch.from_numpy(predicted)}
    positions = Positions(**{**dict.fromkeys(Positions._fields, empty), **columns})
    found = calibration(positions, clusters, seed=0)
    order = np.argsort(realised)
    assert [decile["n"] for decile in found] == [20] * 10
    for i, decile in enumerate(found):
        own = order[20 * i : 20 * (i + 1)]
        assert (decile["low"], decile["high"]) == (realised[own[0]], realised[own[-1]])
        bias = predicted[own] - realised[own]
        assert decile["bias"]["mean"] == pytest.approx(bias.mean(), rel=1e-12)
        assert decile["absolute_error"]["mean"] == pytest.approx(np.abs(bias).mean(), rel=1e-12)
        assert decile["covered"]["mean"] == pytest.approx((bias >= 0).mean(), rel=1e-12)
        assert decile["covered"]["low"] <= decile["covered"]["mean"] <= decile["covered"]["high"]


def test_a_return_on_an_edge_is_of_the_upper_decile_and_an_exact_prediction_is_covered() -> None:
    realised, clusters, empty = np.arange(31.0), np.arange(31) // 5, torch.zeros(31)  # the edges are 3, 6, ..., 27
    columns = {"realised": torch.from_numpy(realised), "predicted": torch.from_numpy(realised)}
    positions = Positions(**{**dict.fromkeys(Positions._fields, empty), **columns})
    found = calibration(positions, clusters, seed=0)
    assert [decile["low"] for decile in found] == [0.0, 3.0, 6.0, 9.0, 12.0, 15.0, 18.0, 21.0, 24.0, 27.0]
    assert [decile["covered"]["mean"] for decile in found] == [1.0] * 10


def test_an_exact_prediction_counts_as_covered() -> None:
    class Exact:
        """Promises what the data's rewards, all 0, add up to."""

        def predict_return(self, window: Any) -> torch.Tensor:
            return torch.zeros(len(window.lengths), 1)

    agent, data = _agent(), _data()
    agent.return_model, data.rewards[:] = Exact(), 0.0  # type: ignore[assignment]
    estimates = _report(agent, data).estimates
    assert estimates["return_covered"]["mean"] == 1.0
    assert estimates["return_bias"]["mean"] == 0.0


def test_q_is_of_the_action_that_is_executed_and_as_ag_q_chooses_it() -> None:
    agent, data = _agent("one network"), episodes([K], "t")
    agent.refiner = ActionGradient(5.0, 3, q="q1", clip="final", eta_unit="raw")  # leaves the bounds on its way
    assert q_choice(agent) == "q1"
    sampler = SegmentSampler(data, agent.spec, context_length=K, weighting="length", start="anywhere")
    segment = sampler.gather(torch.tensor([0]), torch.tensor([0]))
    q, states, actions = agent.refiner.q_function(agent.critic), segment.states[0], answer(agent, segment).actions[0]  # type: ignore[arg-type]
    refined = agent.refiner.refine(q, states, actions, agent.low, agent.high)
    executed = q(states, refined.actions).detach()
    assert not torch.allclose(executed, refined.q_after)
    assert _report(agent, data).estimates["q_refined"]["mean"] == pytest.approx(executed.mean().item(), rel=1e-5)


def test_equal_returns_share_a_decile_and_the_report_is_plain_json() -> None:
    data = _data()
    data.rewards[:] = 0.0
    report = _report(_agent(), data)
    assert [(d["low"], d["high"], d["n"]) for d in report.deciles] == [(0.0, 0.0, 16)]
    assert "NaN" not in json.dumps(asdict(report), allow_nan=False)


@pytest.mark.parametrize("n_positions", [1, 4, 11, 20, 100])
def test_segments_tile_the_episodes_and_are_drawn_by_seed_where_they_are_too_many(n_positions: int) -> None:
    lengths = np.array([5, 3, 7, 1])
    steps = {
        seed: Counter(
            (int(e), s)
            for e, start in zip(*draw_segments(lengths, K, n_positions, seed), strict=True)
            for s in range(start, min(start + K, lengths[e]))
        )
        for seed in range(20)
    }
    everything = Counter((e, s) for e, length in enumerate(lengths) for s in range(length))
    for found in steps.values():
        assert found <= everything  # each at most once
        assert len(found) <= max(n_positions, K)
        assert len(found) > min(n_positions, 16) - K
    assert (
        draw_segments(lengths, K, n_positions, 5)[1].tolist() == draw_segments(lengths, K, n_positions, 5)[1].tolist()
    )
    seen = set().union(*steps.values())
    assert seen == set(everything)  # no step is left out by every seed
    assert (steps[0] == everything) == (n_positions >= 16)


def test_fewer_positions_are_scored_when_fewer_are_asked_for() -> None:
    report = _report(_agent(), settings=EvaluationSettings(environment=None, seed=1, offline_positions=7))
    assert report.n_positions <= 7
    assert report.n_available == 16
    assert sum(row["n"] for row in report.rows) == report.n_positions
    assert len(report.rows) == report.n_episodes


def test_one_episode_has_means_without_intervals() -> None:
    report = _report(_agent(), episodes([6], "t"))
    assert {(cell["low"], cell["high"]) for cell in report.estimates.values()} == {(None, None)}
    assert all(cell["mean"] is not None and math.isfinite(cell["mean"]) for cell in report.estimates.values())


def test_data_without_an_end_is_refused() -> None:
    with pytest.raises(DataError, match="no episode ends"):
        _report(_agent(), episodes([6], "-"))

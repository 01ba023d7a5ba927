from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from dtag.errors import DtagError, UsageError
from dtag.policy.mlp_policy import MLPPolicy
from dtag.policy.sequence_model import Window
from dtag.refiners.action_gradient import ActionGradient
from dtag.rollout.agent import Agent, ContextSettings
from dtag.rollout.context_rule import ContextRule
from dtag.rollout.environments import EnvironmentFactory, InProcess
from dtag.rollout.episodes import EpisodePlan, rollout
from dtag.rollout.row_settings import RowSettings
from tests.reference.context_rule import context_length_loop
from tests.reference.toy_environment import LINE, A, S, random_agent

KINDS = ("two networks", "one network", "dt")


def _states(n_steps: int, n_rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n_steps, n_rows, S))


@pytest.mark.parametrize("kind", KINDS)
def test_several_rows_in_a_users_loop_act_as_the_rollout_does(kind: str) -> None:
    agent, factory, seeds = random_agent(kind=kind), EnvironmentFactory(LINE, {"limit": 5}), (3, 4, 5)
    rows = rollout(agent, InProcess(factory, 3), [EpisodePlan(seed, agent.default_settings, "") for seed in seeds])
    environments = [factory() for _ in seeds]
    states = np.stack([e.reset(seed=seed)[0] for e, seed in zip(environments, seeds, strict=True)])
    rewards, totals = np.zeros(3), np.zeros(3)
    agent.reset(3)
    for _ in range(5):
        stepped = [e.step(action) for e, action in zip(environments, agent.act(states, rewards), strict=True)]
        states, rewards = np.stack([s[0] for s in stepped]), np.array([s[1] for s in stepped])
        totals += rewards
    assert [row.length for row in rows] == [5] * 3
    assert totals.tolist() == [row.return_ for row in rows]


def test_rewards_lower_the_target_return_of_their_row_alone() -> None:
    agent = random_agent(kind="dt")  # target 10, return scale 10
    agent.reset(2)
    agent.act(np.zeros((2, S)))
    agent.act(np.zeros((2, S)), [4.0, -1.0])
    assert agent.history.returns[:, :2, 0].tolist() == pytest.approx(np.array([[1.0, 0.6], [1.0, 1.1]]))
    agent.restart([1], [RowSettings(target_return=30.0)])
    agent.act(np.zeros((2, S)))
    assert agent.history.returns[1, 0, 0] == 3.0
    assert agent.history.returns[0, 2, 0] == pytest.approx(0.6)


def test_a_shaped_target_return_is_lowered_by_the_shaped_reward_and_not_before_the_first_step() -> None:
    agent = random_agent(kind="dt")  # target 10, return scale 10
    agent.spec = replace(agent.spec, reward_scale=0.5, reward_shift=-1.0, shaped_returns=True)
    agent.reset(2)
    agent.act(np.zeros((2, S)))
    agent.act(np.zeros((2, S)), [4.0, 0.0])  # 4 / 2 - 1 = 1 and 0 / 2 - 1 = -1
    assert agent.history.returns[:, :2, 0].tolist() == pytest.approx(np.array([[1.0, 0.9], [1.0, 1.1]]))


def test_the_target_return_changes_what_a_decision_transformer_does() -> None:
    agent, state = random_agent(kind="dt"), np.array([0.3, -0.2])
    actions = []
    for target in (0.0, 50.0):
        agent.reset()
        agent.restart([0], [RowSettings(target_return=target)])
        actions.append(agent.act(state).item())
    assert actions[0] != actions[1]


@pytest.mark.parametrize("kind", KINDS)
def test_the_refined_action_is_executed_and_enters_the_history(kind: str) -> None:
    context = ContextSettings("off", 6)
    agent, plain = (random_agent(kind=kind, critic=critic, context=context) for critic in (True, False))
    states = _states(5, 1)[:, 0]
    refined = [agent.act(state) for state in states]
    assert np.array_equal(agent.history.actions[0, :5].numpy(), np.stack(refined))
    assert not np.array_equal(refined[0], plain.act(states[0]))
    # Had the policy's own actions been kept, the policy would go on as without refinement.
    agent.restart([0], [agent.default_settings])
    plain.reset()
    agent.act(states[0])
    plain.act(states[0])
    agent.settings[0] = replace(agent.settings[0], n_steps=0)
    assert not np.array_equal(agent.act(states[1]), plain.act(states[1]))


def test_what_refinement_gained_is_told_of_every_row() -> None:
    agent, plain = random_agent(action_dim=2), random_agent(action_dim=2, n_steps=0)
    states = _states(1, 4)[0]
    agent.reset(4)
    plain.reset(4)
    refined, own = agent.act_rows(range(4), states), plain.act_rows(range(4), states)
    normalized = torch.from_numpy(agent.spec.normalize(states))
    assert agent.critic is not None
    after, before = (agent.critic.q(normalized, torch.from_numpy(d.actions)).amin(0) for d in (refined, own))
    assert refined.q_gain == pytest.approx((after - before).numpy(), abs=1e-6)
    assert (refined.q_gain > 0).all()
    assert refined.shift == pytest.approx(np.abs(refined.actions - own.actions).max(1), abs=1e-6)
    assert own.q_gain.tolist() == own.shift.tolist() == [0.0] * 4


def test_each_row_is_refined_by_its_own_settings() -> None:
    agent, states = random_agent(action_dim=2), _states(1, 5)[0]
    settings = [RowSettings(3, 0.1, "none"), RowSettings(1, 0.1, "none"), RowSettings(3, 0.02, "none"),
                RowSettings(3, 0.1, "fm"), RowSettings(0)]  # fmt: skip
    agent.reset(5)
    agent.restart(range(5), settings)
    together = agent.act_rows(range(5), np.tile(states[0], (5, 1)))
    assert len({tuple(row) for row in together.actions.tolist()}) == 5
    for row, own in enumerate(settings):
        alone = random_agent(action_dim=2)
        alone.refiner = ActionGradient(own.eta, own.n_steps, rule=own.rule, eta_unit="raw")
        alone.reset()
        assert together.actions[row] == pytest.approx(alone.act(states[0]), abs=1e-6)


def test_a_step_in_units_of_the_datas_gradient_is_divided_by_it() -> None:
    raw, in_units, states = random_agent(), random_agent(action_gradient_rms=0.25), _states(1, 1)[0, 0]
    in_units.refiner = ActionGradient(0.1 * 0.25, 3, eta_unit="rms")
    in_units.reset()
    assert in_units.act(states) == pytest.approx(raw.act(states), abs=1e-6)


def test_no_refinement_is_the_policys_own_action_bit_for_bit() -> None:
    agent, plain, states = random_agent(n_steps=0), random_agent(critic=False), _states(8, 2)
    agent.reset(2)
    plain.reset(2)
    for state in states:
        assert np.array_equal(agent.act(state), plain.act(state))


@pytest.mark.parametrize("kind", KINDS)
def test_an_action_is_what_the_policy_says_of_the_whole_window(kind: str) -> None:
    context = ContextSettings("off", 4)
    agent, states = random_agent(kind=kind, critic=False, context=context), _states(7, 1)[:, 0]
    past: list[tuple[np.ndarray, np.ndarray, float]] = []
    for t, state in enumerate(states):
        action = agent.act(state, 0.5 if t else 0.0)
        normalized = agent.spec.normalize(state)
        past.append((normalized, np.zeros(A, np.float32), 0.0))
        first = max(0, t - 3)
        shown, n = past[first:], t + 1 - first
        window = Window(
            torch.tensor(np.stack([p[0] for p in shown]))[None],
            torch.tensor(np.stack([p[1] for p in shown]))[None],
            torch.tensor([p[2] for p in shown])[None, :, None],
            torch.arange(first, t + 1)[None],
            torch.tensor([n]),
        )
        with torch.no_grad():
            if kind == "dt":
                value = torch.tensor([[(10.0 - 0.5 * t) / 10.0]])
            elif kind == "one network":
                value = agent.policy.predict_return_and_act(window)[0]
            else:
                assert agent.return_model is not None
                value = agent.return_model.predict_return(window)
            window.returns_to_go[:, -1] = value
            expected = agent.policy.act(window)[0].numpy()
        assert action == pytest.approx(expected, abs=2e-6)
        past[-1] = (normalized, action, value.item())


@pytest.mark.parametrize("kind", KINDS)
def test_an_action_is_of_the_window_that_the_context_rule_leaves(kind: str) -> None:
    agent = random_agent(kind=kind, critic=False, context=ContextSettings("anchor", 6))
    agent.reset(3)
    shortened = 0
    for t, states in enumerate(_states(8, 3)):
        if t:
            agent.observe(range(3), [-0.5, 1.0, 0.0])  # the promise rises, falls, stays
        before = agent.history.available(torch.arange(3))
        decision = agent.act_rows(range(3), states)
        for row in range(3):
            width = int(decision.context_length[row])
            window = agent.history.window(torch.tensor([row]), torch.tensor([width]), width)
            window.actions[0, -1] = 0.0  # what it is asked for
            assert decision.actions[row] == pytest.approx(agent.policy.act(window)[0].numpy(), abs=2e-6)
            shortened += width <= int(before[row])
    assert shortened > 5


@pytest.mark.parametrize("low", [-1.0, 0.25])
def test_a_policys_action_outside_the_bounds_is_brought_to_them(low: float) -> None:
    agent = random_agent(n_steps=0)
    agent.low = torch.full_like(agent.low, low)
    for action, executed in ((-5.0, low), (5.0, 1.0), (0.5, 0.5)):
        agent.policy.act = lambda window, action=action: torch.full((len(window.lengths), A), action)
        assert agent.act(np.zeros(S)).tolist() == [executed] * A


def test_each_row_follows_its_own_context_rule() -> None:
    agent = random_agent(context=ContextSettings("chain", 6))
    rules: tuple[ContextRule, ...] = ("chain", "anchor", "off", "anchor", "chain")
    agent.reset(5)
    agent.restart(range(5), [RowSettings(context=rule) for rule in rules])
    predicted: list[list[float]] = [[] for _ in rules]
    found = set()
    for states in _states(30, 5, seed=2):
        decision = agent.act_rows(range(5), states)
        for row, rule in enumerate(rules):
            predicted[row].append(agent.history.past_returns(torch.tensor([row]))[0, -1].item())
            assert decision.context_length[row] == context_length_loop(predicted[row][-6:], rule, 6)
            found.add((rule, int(decision.context_length[row])))
    assert len(found) > 8


@pytest.mark.parametrize("shape", [(S + 1,), (2, S), (), (1, 1, S)])
def test_a_state_of_another_shape_is_a_clear_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(DtagError, match=r"acts on 1 row\(s\) of 2 state dims.*reset\(n_rows\)"):
        random_agent().act(np.zeros(shape))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_state_that_is_not_finite_is_a_clear_error(bad: float) -> None:
    agent = random_agent()
    agent.reset(3)
    with pytest.raises(DtagError, match="the state of row 1 holds NaN or infinity"):
        agent.act(np.array([[0.0] * S, [0.0, bad], [bad] * S]))
    assert agent.history.n_steps.tolist() == [0, 0, 0]
    agent.act(np.zeros((3, S)))
    with pytest.raises(DtagError, match="the reward of row 2 holds NaN or infinity"):
        agent.act(np.zeros((3, S)), [0.0, 1.0, bad])
    assert agent.history.n_steps.tolist() == [1, 1, 1]


def test_refining_without_a_critic_is_a_clear_error() -> None:
    agent = random_agent(critic=False)
    with pytest.raises(DtagError, match=r"needs a critic.*ag\.n_steps=0"):
        agent.restart([0], [RowSettings(n_steps=1, eta=0.1)])


def test_acting_leaves_no_gradient_and_works_under_inference_mode() -> None:
    agent, states = random_agent(), _states(3, 1)[:, 0]
    expected = [agent.act(state) for state in states]
    agent.reset()
    with torch.inference_mode():
        assert [agent.act(state).item() for state in states] == [action.item() for action in expected]
    networks = (agent.policy, agent.return_model, agent.critic)
    assert all(
        p.grad is None for network in networks if isinstance(network, torch.nn.Module) for p in network.parameters()
    )


def _run_of(agent: Agent, groups: list[list[int]], settings: list[RowSettings], states: np.ndarray) -> np.ndarray:
    actions = np.zeros((*states.shape[:2], agent.spec.action_dim))
    for rows in groups:
        agent.reset(len(rows))
        agent.restart(range(len(rows)), [settings[row] for row in rows])
        for step, at_step in enumerate(states):
            actions[step, rows] = agent.act(at_step[rows], 0.5)
    return actions


@pytest.mark.parametrize(("state_dim", "action_dim"), [(17, 6), (S, A)])
@pytest.mark.parametrize("kind", KINDS)
def test_no_bit_of_an_action_depends_on_a_rows_place(kind: str, state_dim: int, action_dim: int) -> None:
    generator = np.random.default_rng(0)
    rules, contexts = ("none", "fm", "sm", "fm_sm"), ("chain", "anchor", "off")
    settings = [RowSettings(i % 4, 0.1 * i, rules[i % 4], contexts[i % 3]) for i in range(13)]  # type: ignore[arg-type]
    states = generator.normal(size=(8, 13, state_dim))
    for block_size in (4, 16):
        agent = random_agent(state_dim, action_dim, kind=kind, block_size=block_size)
        together = _run_of(agent, [list(range(13))], settings, states)
        for groups in ([list(range(6)), list(range(6, 13))], [generator.permutation(13).tolist()], [[7], [2, 7]]):
            apart = _run_of(agent, groups, settings, states)
            shown = sorted(set(sum(groups, [])))  # noqa: RUF017
            assert np.array_equal(apart[:, shown], together[:, shown])


def test_nor_does_it_with_several_threads() -> None:
    """torch's attention rounds by the place in the batch when more than one thread shares its rows."""
    policy, generator = random_agent(17, 6).policy, torch.Generator().manual_seed(0)
    sizes = ((4, 4, 17), (4, 4, 6), (4, 4, 1))
    tensors = [*(torch.randn(size, generator=generator) for size in sizes), torch.arange(4).expand(4, 4)]
    tensors.append(torch.tensor([3, 4, 4, 2]))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with torch.no_grad():
            actions = policy.act(Window(*tensors))
            for _ in range(8):
                order = torch.randperm(4, generator=generator)
                assert torch.equal(policy.act(Window(*(tensor[order] for tensor in tensors))), actions[order])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("policy", "given"), [("dt", None), ("return", "return"), ("state_return", "state_return")])
def test_a_policy_that_acts_by_a_return_nobody_names_is_refused(policy: str, given: Any) -> None:
    agent = random_agent(kind="dt")
    if given is not None:
        agent = Agent(MLPPolicy(S, [-1.0] * A, [1.0] * A, hidden=4, given=given), agent.spec)
    agent.target_return = None
    agent.reset()
    with pytest.raises(UsageError, match=r"eval\.target_return"):
        agent.act(np.zeros(S))
    agent.restart([0], [RowSettings(target_return=1.0)])
    assert np.isfinite(agent.act(np.zeros(S))).all()


@pytest.mark.parametrize("kind", ["two networks", "one network", "mlp"])
def test_a_policy_that_is_told_no_return_needs_none(kind: str) -> None:
    agent = random_agent(kind="dt" if kind == "mlp" else kind)
    if kind == "mlp":
        agent = Agent(MLPPolicy(S, [-1.0] * A, [1.0] * A, hidden=4), agent.spec)
    assert agent.target_return is None
    assert np.isfinite(agent.act(np.zeros(S))).all()

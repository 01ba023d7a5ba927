"""A row's result never depends on which other rows share its rollout: compared with ==, on a chaotic simulator."""

from __future__ import annotations

import numpy as np
import pytest

from dtag.rollout.environments import EnvironmentFactory, InProcess, OverWorkers
from dtag.rollout.episodes import EpisodePlan, Interrupted, rollout
from dtag.rollout.row_settings import RowSettings
from tests.reference.toy_environment import LINE, random_agent

STEPS = 80
SETTINGS = (
    RowSettings(0, 0.0, "none", "chain"),
    RowSettings(3, 0.2, "none", "anchor"),
    RowSettings(5, 0.1, "fm_sm", "off"),
    RowSettings(1, 0.5, "fm", "chain"),
    RowSettings(2, 0.1, "sm", "off"),
    RowSettings(4, 0.05, "none", "off"),
    RowSettings(5, 0.1, "none", "chain"),
)
PLANS = [EpisodePlan(100 + i, settings, str(i)) for i, settings in enumerate(SETTINGS)]


def _returns(plans: list[EpisodePlan], n_slots: int, kind: str = "two networks") -> dict[str, tuple[float, int]]:
    agent = random_agent(17, 6, kind=kind, block_size=4, environment=None)
    environments = InProcess(EnvironmentFactory("HalfCheetah-v5", max_episode_steps=STEPS), n_slots)
    rows = rollout(agent, environments, plans)
    environments.close()
    return {row.label: (row.return_, row.length) for row in rows}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["two networks", "one network", "dt"])
def test_seven_rows_give_what_three_and_four_do(kind: str) -> None:
    together = _returns(PLANS, 7, kind)
    apart = {**_returns(PLANS[:3], 3, kind), **_returns(PLANS[3:], 4, kind)}
    assert together == apart
    assert len({value for value, _ in together.values()}) == 7


@pytest.mark.slow
def test_neither_order_nor_slots_that_are_taken_again_change_a_row() -> None:
    together = _returns(PLANS, 7)
    assert _returns(PLANS[::-1], 7) == together
    assert _returns(PLANS, 2) == together
    assert _returns([PLANS[4]], 1) == {"4": together["4"]}


def test_workers_step_the_same_environments_as_this_process() -> None:
    agent, factory = random_agent(block_size=4), EnvironmentFactory(LINE)
    plans = [EpisodePlan(i, RowSettings(2, 0.1), "") for i in range(5)]
    here, there = InProcess(factory, 3), OverWorkers(factory, 3, 2)
    try:
        assert rollout(agent, here, plans) == rollout(agent, there, plans)
    finally:
        there.close()


def test_every_plan_runs_once_with_its_own_seed_and_ends_apart() -> None:
    agent, environments = random_agent(), InProcess(EnvironmentFactory(LINE, {"noise": 0.6}), 3)
    plans = [EpisodePlan(seed, RowSettings(), f"{seed}") for seed in (5, 3, 5, 8, 9, 10, 11)]
    rows = rollout(agent, environments, plans)
    assert [row.seed for row in rows] == [5, 3, 5, 8, 9, 10, 11]
    assert rows[0].return_ == rows[2].return_ != rows[1].return_
    assert all(row.terminated != row.truncated for row in rows)
    assert {row.length for row in rows if row.truncated} == {12}
    assert any(row.terminated for row in rows)


def test_a_stop_request_ends_the_rollout_between_steps() -> None:
    asked = []
    environments = InProcess(EnvironmentFactory(LINE), 2)

    def stop() -> bool:
        asked.append(None)
        return len(asked) > 4

    with pytest.raises(Interrupted):
        rollout(random_agent(), environments, [EpisodePlan(0, RowSettings(), "")] * 4, stop=stop)
    assert len(asked) == 5


def test_a_users_own_loop_gets_the_rollouts_actions() -> None:
    for kind in ("two networks", "one network", "dt"):
        agent, factory = random_agent(kind=kind), EnvironmentFactory(LINE)
        (row,) = rollout(agent, InProcess(factory, 1), [EpisodePlan(7, agent.default_settings, "")])
        environment, total, reward, ended = factory(), 0.0, 0.0, False
        state, _ = environment.reset(seed=7)
        agent.reset()
        while not ended:
            state, reward, terminated, truncated, _ = environment.step(agent.act(state, reward))
            total, ended = total + float(reward), terminated or truncated
        assert total == row.return_


def test_the_executed_action_enters_the_history() -> None:
    agent = random_agent()
    action = agent.act(np.zeros(2))
    assert np.array_equal(agent.history.actions[0, 0].numpy(), action)
    assert not np.array_equal(action, random_agent(critic=False).act(np.zeros(2)))

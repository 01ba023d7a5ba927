from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dtag.rollout.environments import EnvironmentFactory, InProcess, Stepped
from dtag.rollout.episodes import EpisodePlan, Interrupted, rollout
from dtag.rollout.row_settings import RowSettings
from tests.reference.toy_environment import LIMIT, LINE, random_agent

FACTORY = EnvironmentFactory(LINE, {"noise": 0.6})
PLANS = [
    EpisodePlan(seed, RowSettings(n_steps, 0.1), f"{seed} {n_steps}")
    for seed in (5, 3, 8, 9, 11, 4)
    for n_steps in (0, 2)
]


class Noted(InProcess):
    """Keeps what it was asked to do."""

    def __init__(self, n_slots: int) -> None:
        super().__init__(FACTORY, n_slots)
        self.seeds: list[int] = []
        self.in_episode: set[int] = set()

    def reset(self, slots: Sequence[int], seeds: Sequence[int]) -> NDArray[Any]:
        assert not self.in_episode & set(slots)
        self.seeds.extend(seeds)
        self.in_episode |= set(slots)
        return super().reset(slots, seeds)

    def step(self, slots: Sequence[int], actions: NDArray[np.float32]) -> Stepped:
        assert self.in_episode == set(slots)  # no finished environment is stepped
        stepped = super().step(slots, actions)
        self.in_episode -= {s for s, t, u in zip(slots, stepped.terminated, stepped.truncated, strict=True) if t or u}
        return stepped


@pytest.mark.parametrize("n_slots", [1, 2, 5, 12, 20])
def test_each_plan_is_run_once_and_gives_the_same_row_however_many_slots_there_are(n_slots: int) -> None:
    environments = Noted(n_slots)
    rows = rollout(random_agent(), environments, PLANS)
    assert environments.seeds == [plan.seed for plan in PLANS]
    assert [(row.seed, row.label) for row in rows] == [(plan.seed, plan.label) for plan in PLANS]
    assert rows == rollout(random_agent(), InProcess(FACTORY, 3), PLANS)


def test_terminated_and_truncated_are_kept_apart() -> None:
    rows = rollout(random_agent(), InProcess(FACTORY, 4), PLANS)
    assert all(row.terminated != row.truncated for row in rows)
    assert all(row.truncated == (row.length == LIMIT) for row in rows if not row.terminated)
    assert {row.terminated for row in rows} == {True, False}


def test_a_row_sums_its_rewards_and_averages_what_the_agent_did() -> None:
    agent, environments = random_agent(), InProcess(FACTORY, 1)
    (row,) = rollout(agent, environments, PLANS[1:2], keep_states=True)
    agent.reset()
    agent.restart([0], [PLANS[1].settings])
    states, rewards = environments.reset([0], [PLANS[1].seed]), []
    seen, decisions = [], []
    for _ in range(row.length):
        seen.append(states)
        decisions.append(agent.act_rows([0], states))
        stepped = environments.step([0], decisions[-1].actions)
        rewards.append(float(stepped.rewards[0]))
        states = stepped.states
    assert stepped.terminated[0] or stepped.truncated[0]
    assert row.return_ == sum(rewards)
    assert np.array_equal(np.stack(row.states), np.concatenate(seen))
    for name in ("context_length", "q_gain", "shift"):
        assert getattr(row, name) == pytest.approx(np.mean([getattr(d, name)[0] for d in decisions]))
    assert row.q_gain > 0
    assert row.shift > 0


def test_progress_counts_steps_and_finished_episodes() -> None:
    told: list[tuple[int, int]] = []
    rows = rollout(random_agent(), InProcess(FACTORY, 5), PLANS, on_step=lambda *counts: told.append(counts))
    assert told[-1] == (sum(row.length for row in rows), len(PLANS))
    assert told == sorted(told)
    assert told[0][0] == 5


def test_a_request_to_stop_interrupts_before_the_next_step() -> None:
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) == 4

    steps: list[int] = []
    with pytest.raises(Interrupted):
        rollout(random_agent(), InProcess(FACTORY, 2), PLANS, stop=stop, on_step=lambda n, _: steps.append(n))
    assert len(steps) == 3

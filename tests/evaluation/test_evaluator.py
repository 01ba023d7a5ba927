from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import LightningModule, Trainer

from dtag.data.dataset import Reference
from dtag.evaluation.evaluate import evaluate, plans_off_and_on, row_to_dict
from dtag.evaluation.evaluator import Evaluator, plans_of_rank
from dtag.evaluation.scores import summary
from dtag.evaluation.settings import EvaluationSettings
from dtag.rollout.agent import Agent
from dtag.rollout.environments import EnvironmentFactory
from dtag.rollout.episodes import Interrupted
from tests.reference.toy_environment import LINE, random_agent

SETTINGS = EvaluationSettings(episodes=4, seed=50, rows=3, block_size=4)
KEYS = ("return", "length", "context_length", "q_gain", "shift")


class Nothing(LightningModule):
    """A module whose validation does nothing by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.n_updates = torch.nn.Linear(1, 1), 7
        self.seen_inference_mode = False

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.seen_inference_mode = torch.is_inference_mode_enabled()

    def val_dataloader(self) -> range:
        return range(1)


def _scored() -> Agent:
    agent = random_agent()
    agent.spec = replace(agent.spec, info=replace(agent.spec.info, reference=Reference(0.0, 20.0, "local")))
    return agent


def _validate(evaluator: Evaluator) -> dict[str, float]:
    """The metrics that a Trainer holds after validating with the evaluator."""
    module = Nothing()
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[evaluator],
    )  # fmt: skip
    trainer.validate(module, verbose=False)
    assert module.seen_inference_mode  # where a gradient is not to be had without care
    return {key: float(value) for key, value in trainer.callback_metrics.items()}


def test_action_gradient_works_within_lightnings_validation_and_rows_are_those_of_a_plain_rollout(
    tmp_path: Path,
) -> None:
    evaluator = Evaluator(lambda _: _scored(), SETTINGS, rows_file=tmp_path / "rows.jsonl")
    logged = _validate(evaluator)
    agent = _scored()
    plain = evaluate(agent, EnvironmentFactory(LINE), plans_off_and_on(agent, SETTINGS), SETTINGS)
    assert evaluator.rows == [row_to_dict(row, agent.spec) for row in plain]
    assert all((row["q_gain"] > 0) == (row["label"] == "AG on") for row in evaluator.rows)
    expected = {}
    for label, key in (("AG off", "ag_off"), ("AG on", "ag_on")):
        own = [row for row in evaluator.rows if row["label"] == label]
        for quantity in ("score", *KEYS):
            summed = summary(torch.tensor([row[quantity] for row in own], dtype=torch.float64).numpy())
            assert evaluator.summary[label][quantity] == summed
            expected[f"eval/{key}/{quantity}"] = summed["mean"]
            if quantity == "score":
                expected |= {f"eval/{key}/score_std": summed["std"], f"eval/{key}/score_iqm": summed["iqm"]}
    expected |= dict.fromkeys(("eval/score", "score"), expected["eval/ag_on/score"])
    assert logged == pytest.approx(expected, rel=1e-6)


def test_the_rows_file_gets_a_line_an_episode_at_every_validation(tmp_path: Path) -> None:
    evaluator = Evaluator(lambda _: _scored(), SETTINGS, rows_file=tmp_path / "rows.jsonl")
    _validate(evaluator)
    _validate(evaluator)
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert rows == [{"step": 7, **row} for row in evaluator.rows] * 2


def test_without_a_reference_the_return_stands_in_for_the_score() -> None:
    evaluator = Evaluator(lambda _: random_agent(), SETTINGS)
    logged = _validate(evaluator)
    assert {row["score"] for row in evaluator.rows} == {None}
    assert "score" not in evaluator.summary["AG on"]
    assert logged["eval/score"] == pytest.approx(evaluator.summary["AG on"]["return"]["mean"])
    assert {"eval/ag_off/return_iqm", "eval/ag_on/return_std"} <= set(logged)
    assert "eval/ag_on/score" not in logged


def test_without_an_environment_nothing_is_logged() -> None:
    evaluator = Evaluator(lambda _: random_agent(environment=None), SETTINGS)
    assert _validate(evaluator) == {}
    assert evaluator.rows == []


def test_a_request_to_stop_interrupts_before_the_start_too() -> None:
    asked: list[int] = []

    def stop_later() -> bool:
        asked.append(1)
        return len(asked) > 3

    with pytest.raises(Interrupted):
        _validate(Evaluator(lambda _: random_agent(), SETTINGS, stop=stop_later))
    with pytest.raises(Interrupted):
        _validate(Evaluator(lambda _: random_agent(), SETTINGS, stop=lambda: True))


@pytest.mark.parametrize("world_size", [1, 2, 3, 5, 9])
def test_each_plan_falls_to_one_rank_and_a_seed_to_the_same_for_all_settings(world_size: int) -> None:
    plans = plans_off_and_on(random_agent(), SETTINGS)
    parts = [plans_of_rank(plans, rank, world_size) for rank in range(world_size)]
    assert sorted(index for part in parts for index, _ in part) == list(range(len(plans)))
    assert all(plans[index] is plan for part in parts for index, plan in part)
    for rank, part in enumerate(parts):
        assert {(plan.seed - 50) % world_size for _, plan in part} <= {rank}


def test_a_line_that_a_kill_cut_costs_no_other(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"step": 7, "label": "AG o')
    evaluator = Evaluator(lambda _: _scored(), SETTINGS, rows_file=file)
    _validate(evaluator)
    cut, *lines = file.read_text().splitlines()
    assert cut == '{"step": 7, "label": "AG o'
    assert [json.loads(line) for line in lines] == [{"step": 7, **row} for row in evaluator.rows]

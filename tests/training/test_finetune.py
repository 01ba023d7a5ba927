"""Online fine-tuning on a toy: what a run leaves, who learns from what, and that a stopped one resumes."""

from __future__ import annotations

import json
import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback

from dtag.config.load import to_yaml
from dtag.errors import UsageError
from dtag.rollout.agent import Agent
from dtag.training.action_gradient_scale import rms_over_data
from dtag.training.checkpoint import read_checkpoint
from dtag.training.collector import Collector
from dtag.training.finetune import finetune
from dtag.training.fit import fit
from dtag.training.policy_module import PolicyModule
from dtag.training.resolve_online import resolve_online
from dtag.training.signals import Stopped
from dtag.training.validate import validate
from tests.training.test_live_critic import LOSSES, config, live

ONLINE = {
    "n_environment_steps": 60,
    "replay_trajectories": 10,
    "updates_per_round": 6,
    "minimum_steps": 13,
    "target_return": 20.0,
    "evaluate_every": 2,
    "checkpoint_every": 1,
}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(config(tmp_path_factory.mktemp("offline"))).agent


def online_config(
    start: Path, folder: Path, name: str = "run", overrides: list[str] | None = None, **sections: Any
) -> Any:
    made = {
        "experiment": "online",
        "output": str(folder),
        "losses": LOSSES,
        "critic": live(),
        "online": ONLINE,
        **sections,
    }
    path = folder / f"{name}.yaml"
    path.write_text(to_yaml(made))
    return resolve_online(read_checkpoint(start, trust=True), [str(path)], [f"name={name}", *(overrides or [])])


class Interrupt(Callback):
    """Ctrl-C at one moment: before a round's collection (batch -1) or after one of its batches."""

    def __init__(self, round_: int, batch: int) -> None:
        self.moment = (round_, batch)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._strike(trainer.current_epoch, -1)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._strike(trainer.current_epoch, batch_idx)

    def _strike(self, *moment: int) -> None:
        if self.moment == moment:
            os.kill(os.getpid(), signal.SIGINT)


def weights(path: Path) -> dict[str, torch.Tensor]:
    contents = torch.load(path, weights_only=True)
    return {f"{part}.{key}": v for part in ("policy", "critic") for key, v in (contents[part] or {}).items()}


def test_a_run_leaves_an_agent_rows_over_environment_steps_and_both_evaluations(start: Path, tmp_path: Path) -> None:
    result = finetune(start, online_config(start, tmp_path), trust=True)
    rows = [json.loads(line) for line in (result.folder / "episodes.jsonl").read_text().splitlines()]
    steps = sorted({row["environment_steps"] for row in rows})
    assert steps[0] == 0
    assert steps[-1] == result.n_environment_steps >= 60
    assert set(result.before) == set(result.after) == {"AG off", "AG on"}
    assert json.loads((result.folder / "results.json").read_text())["before"] == result.before
    again = validate(result.agent, trust=True)
    assert again.summary == result.after
    metrics = (result.folder / "logs/csv/online/metrics.csv").read_text().splitlines()[0]
    for name in ("online/environment_steps", "online/replay_return", "online/steps_per_second", "train/td3/q",
                 "train/critic/loss_q", "train/td3/gradient_norm", "train/action/gradient_norm"):  # fmt: skip
        assert name in metrics, name
    moved = [k for k, v in weights(result.agent).items() if not torch.equal(v, weights(start)[k])]
    assert any(k.startswith("policy") for k in moved)
    assert any(k.startswith("critic") for k in moved)
    assert torch.load(result.agent, weights_only=True)["step"] > torch.load(start, weights_only=True)["step"]


@pytest.mark.parametrize("moment", [(0, 0), (1, -1), (1, 2), (1, 4), (1, 5), (2, 3)])
def test_a_run_stopped_at_any_moment_resumes_to_the_same_weights(start: Path, tmp_path: Path, moment: Any) -> None:
    whole = finetune(start, online_config(start, tmp_path, "whole"), trust=True)
    with pytest.raises(Stopped, match="dtag finetune --resume"):
        finetune(start, online_config(start, tmp_path, "cut"), trust=True, callbacks=[Interrupt(*moment)])
    resumed = finetune(None, resume=tmp_path / "online" / "cut")
    expected, found = weights(whole.agent), weights(resumed.agent)
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    assert resumed.n_environment_steps == whole.n_environment_steps
    assert resumed.after == whole.after


class InterruptEvaluation(Callback):
    """Ctrl-C between an evaluation's begin and its first episode: the first, or the last."""

    def __init__(self, at_batch: int) -> None:
        self.at_batch = at_batch

    def on_validation_start(self, trainer: Any, pl_module: PolicyModule) -> None:
        if pl_module.n_updates == self.at_batch:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("which", ["first", "last"])
def test_a_run_stopped_as_an_evaluation_begins_does_it_again(start: Path, tmp_path: Path, which: str) -> None:
    whole = finetune(start, online_config(start, tmp_path, "whole"), trust=True)
    n_updates = torch.load(whole.agent, weights_only=True)["step"] - torch.load(start, weights_only=True)["step"]
    cut = InterruptEvaluation(0 if which == "first" else n_updates)
    with pytest.raises(Stopped, match="dtag finetune --resume"):
        finetune(start, online_config(start, tmp_path, "cut"), trust=True, callbacks=[cut])
    resumed = finetune(None, resume=tmp_path / "online" / "cut")
    assert resumed.before == whole.before
    assert resumed.after == whole.after
    rows = [(run.folder / "episodes.jsonl").read_text() for run in (whole, resumed)]
    assert rows[0] == rows[1]
    assert finetune(None, resume=resumed.folder) == resumed
    assert (resumed.folder / "episodes.jsonl").read_text() == rows[1]


class Watch(Callback):
    """Notes the buffer and the counts of optimiser steps after every round."""

    def __init__(self) -> None:
        self.added: list[int] = []
        self.critic_steps = self.policy_steps = 0

    def on_train_start(self, trainer: Any, pl_module: PolicyModule) -> None:
        critic_step, policy_step = pl_module._critic_step, pl_module._policy_step

        def count_critic(*args: Any) -> Any:
            self.critic_steps += 1
            return critic_step(*args)

        def count_policy(*args: Any) -> Any:
            self.policy_steps += 1
            return policy_step(*args)

        pl_module._critic_step, pl_module._policy_step = count_critic, count_policy  # type: ignore[method-assign]

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        collector = next(callback for callback in trainer.callbacks if isinstance(callback, Collector))
        self.added.append(collector.buffer.n_added)
        self.collector = collector


def test_a_round_collects_whole_episodes_and_counts_policy_steps(start: Path, tmp_path: Path) -> None:
    watch = Watch()
    result = finetune(start, online_config(start, tmp_path), trust=True, callbacks=[watch])
    rounds, collector = len(watch.added), watch.collector
    assert watch.policy_steps == 6 * rounds
    assert watch.critic_steps == 2 * watch.policy_steps
    newest = [(collector.buffer.n_added - 1 - i) % 10 for i in range(collector.n_episodes)]
    if collector.n_episodes <= 10:
        assert int(collector.buffer.lengths[newest].sum()) == result.n_environment_steps
    assert result.n_environment_steps >= 13 * rounds
    assert collector.buffer.n_added - collector.n_offline == collector.n_episodes


def test_several_environments_at_once_collect_the_same_first_episodes(start: Path, tmp_path: Path) -> None:
    found = []
    for n in (1, 2, 3):
        watch = Watch()
        online = {**ONLINE, "environments": n, "minimum_steps": 0, "episodes_per_round": 3, "n_environment_steps": 1}
        finetune(start, online_config(start, tmp_path, f"run{n}", online=online), trust=True, callbacks=[watch])
        rows = watch.collector.buffer.rows_of(torch.tensor([(watch.collector.n_offline + i) % 10 for i in range(3)]))
        found.append((watch.collector.buffer.states[rows], watch.collector.buffer.actions[rows]))
    for one, two, three in zip(*found, strict=True):
        assert torch.equal(two, three)  # in blocks of four rows both
        torch.testing.assert_close(one, two)  # in a block of its own


@pytest.mark.parametrize(("refine", "measured"), [(False, []), (True, [["min"]])])
def test_collection_is_at_full_precision_and_measures_the_gradients_unit_only_to_refine(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refine: bool, measured: list[list[str]]
) -> None:
    precisions: set[str] = set()
    passes: list[list[str]] = []
    act_rows = Agent.act_rows

    def act(*arguments: Any) -> Any:
        precisions.add(torch.get_float32_matmul_precision())
        return act_rows(*arguments)

    def rms(*arguments: Any, **options: Any) -> dict[str, float]:
        found = rms_over_data(*arguments, **options)
        passes.append(list(found))
        return found

    class Count(Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            passes.clear()  # those of the evaluation before

        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if trainer.current_epoch == batch_idx == 0:
                counted.append(list(passes))

    counted: list[list[list[str]]] = []
    monkeypatch.setattr(Agent, "act_rows", act)
    monkeypatch.setattr("dtag.training.finetune.rms_over_data", rms)
    online = {**ONLINE, "refine": refine, "n_environment_steps": 1}
    own = online_config(start, tmp_path, overrides=["train.matmul_precision=medium"], online=online)
    try:
        finetune(start, own, trust=True, callbacks=[Count()])
    finally:
        torch.set_float32_matmul_precision("highest")
    assert precisions == {"highest"}
    assert counted == [measured]  # once a round, of the Q that is climbed


def test_odt_samples_and_needs_no_critic(tmp_path: Path) -> None:
    odt = {
        **config(tmp_path, "odt"),
        "losses": {"action": {"target": "dtag.losses.action_nll.ActionNLL"}},
        "critic": None,
        "ag": None,
    }
    odt["policy"] = {**odt["policy"], "head": "squashed"}
    start = fit(odt).agent
    online = {**ONLINE, "exploration": "sample", "n_environment_steps": 20}
    own = online_config(start, tmp_path, online=online, critic=None, losses=odt["losses"])
    result = finetune(start, own, trust=True)
    assert set(result.after) == {"AG off"}


def test_an_entropy_temperature_goes_on_where_it_was(tmp_path: Path) -> None:
    term = {"target": "dtag.losses.action_nll.ActionNLL", "learning_rate": 0.01}
    odt = {**config(tmp_path, "odt"), "losses": {"action": term}, "critic": None, "ag": None}
    odt["policy"] = {**odt["policy"], "head": "squashed"}
    start = fit(odt).agent
    learned = read_checkpoint(start, trust=True)["terms"]["action.bonus.log_temperature"]
    assert learned.item() != pytest.approx(math.log(0.1), abs=1e-3)
    online = {**ONLINE, "exploration": "sample", "n_environment_steps": 20}
    still = {"action": {**term, "learning_rate": 0.0}}
    result = finetune(start, online_config(start, tmp_path, online=online, critic=None, losses=still), trust=True)
    assert torch.equal(read_checkpoint(result.agent, trust=True)["terms"]["action.bonus.log_temperature"], learned)


def test_runs_of_different_seeds_collect_from_different_starts(start: Path, tmp_path: Path) -> None:
    firsts = []
    for seed in (0, 1):
        watch = Watch()
        own = online_config(start, tmp_path, f"s{seed}", online={**ONLINE, "n_environment_steps": 1}, seed=seed)
        finetune(start, own, trust=True, callbacks=[watch])
        buffer, slot = watch.collector.buffer, watch.collector.n_offline % watch.collector.buffer.capacity
        firsts.append(buffer.states[buffer.begins[slot]].clone())
    assert not torch.equal(*firsts)


def test_refinement_while_collecting_changes_what_is_collected(start: Path, tmp_path: Path) -> None:
    found = []
    for refine in (False, True):
        watch = Watch()
        online = {**ONLINE, "refine": refine, "n_environment_steps": 1, "noise": 0.0}
        finetune(start, online_config(start, tmp_path, f"r{refine}", online=online), trust=True, callbacks=[watch])
        buffer = watch.collector.buffer
        found.append(buffer.actions[buffer.rows_of(torch.tensor([watch.collector.n_offline % buffer.capacity]))])
    assert not torch.equal(*found)


@pytest.mark.parametrize("terminal", [False, True])
def test_a_time_limit_bootstraps_online_unless_told_to_end_like_paper_2s_code(
    start: Path, tmp_path: Path, terminal: bool
) -> None:
    watch = Watch()
    online = {**ONLINE, "n_environment_steps": 1, "truncation_is_terminal": terminal}
    finetune(start, online_config(start, tmp_path, online=online), trust=True, callbacks=[watch])
    buffer, n = watch.collector.buffer, watch.collector.n_episodes
    slots = torch.tensor([(watch.collector.n_offline + i) % buffer.capacity for i in range(n)])
    cut = slots[buffer.lengths[slots] == 12]  # Line's limit; it pays less than 1 - 1.5^2 where it terminates
    assert len(cut)
    assert buffer.terminated[buffer.begins[cut] + 11].tolist() == [terminal] * len(cut)
    following = buffer.gather(cut, torch.full_like(cut, 11)).following
    assert following is not None
    assert following.known[:, 0].all()  # the state it was cut off in is the episode's own


@pytest.mark.parametrize(
    ("sections", "words", "told"),
    [({"online": {**ONLINE, "exploration": "sample"}}, [], "online.exploration=sample needs a policy with a distribution"),
     ({}, ["optimizer.schedule=cosine"], "optimizer.schedule=cosine needs a number of training steps")],
)  # fmt: skip
def test_what_it_cannot_follow_is_refused_before_there_is_a_run(
    start: Path, tmp_path: Path, sections: dict[str, Any], words: list[str], told: str
) -> None:
    made = online_config(start, tmp_path, overrides=words, **sections)
    with pytest.raises(UsageError, match=told):
        finetune(start, made, trust=True)
    assert not (tmp_path / "online").exists()


def test_sections_of_the_checkpoint_are_replaced_kept_or_refused(start: Path, tmp_path: Path) -> None:
    own = online_config(start, tmp_path, "a", losses={"action": LOSSES["action"]}, critic=None)
    assert set(own["losses"]) == {"action"}  # td3 does not linger
    assert own["critic"] is None
    assert online_config(start, tmp_path, "b", ["data.batch_size=3"])["data"]["batch_size"] == 3
    with pytest.raises(UsageError, match="policy cannot be changed"):
        online_config(start, tmp_path, "c", ["policy.hidden=16"])
    with pytest.raises(UsageError, match="one process"):
        online_config(start, tmp_path, "d", ["train.devices=2"])
    with pytest.raises(UsageError, match="online"):
        resolve_online(read_checkpoint(start, trust=True), [], [])
    with pytest.raises(UsageError, match="dtag finetune"):
        fit(own)


def test_a_recurrent_critic_fine_tunes_but_cannot_be_climbed(start: Path, tmp_path: Path) -> None:
    recurrent = live()
    recurrent["model"] = {**recurrent["model"], "target": "dtag.critic.recurrent.RecurrentCritic"}
    with pytest.raises(UsageError, match="ag=null"):
        finetune(start, online_config(start, tmp_path, "a", critic=recurrent), trust=True)
    online = {**ONLINE, "n_environment_steps": 20}
    own = online_config(start, tmp_path, "b", critic=recurrent, ag=None, online=online)
    logged: set[str] = set()

    class Logged(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            logged.update(trainer.logged_metrics)

    result = finetune(start, own, trust=True, callbacks=[Logged()])
    assert "train/policy_q" in logged
    assert set(result.after) == {"AG off"}
    assert any(name.startswith("critic.q_network.cells.1") for name in weights(result.agent))

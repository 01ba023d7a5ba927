"""What test_journey.py leaves: divergence, stages, the best checkpoint, whom a checkpoint may call."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Callback, LightningModule, Trainer

import dtag
from dtag.config.schema import check
from dtag.critic.iql import IQL
from dtag.errors import CheckpointError, DtagError, UsageError
from dtag.training.checkpoint import critic_of, load_agent, read_checkpoint
from dtag.training.experiment import SCHEMA, build_data
from dtag.training.finetune import finetune
from dtag.training.fit import FitResult, fit
from dtag.training.run_folder import create_run_folder, new_name
from dtag.training.signals import StopFlag, Stopped
from dtag.training.validate import validate
from tests.reference.toy_environment import line_config, store_line


class Poison(Callback):
    """Writes a NaN into a weight of the network of that name after so many batches."""

    def __init__(self, network: str, after: int) -> None:
        self.network, self.after = network, after

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        if index + 1 == self.after and hasattr(module, self.network):
            with torch.no_grad():
                next(iter(getattr(module, self.network).parameters())).view(-1)[0] = torch.nan


class MyCritic(IQL):
    """A critic of the user's own."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    return fit(line_config(store_line(), tmp_path_factory.mktemp("runs")))


def _plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _plain(entry) for key, entry in value.items())
    if isinstance(value, list):
        return all(map(_plain, value))
    return value is None or type(value) in (bool, int, float, str, torch.Tensor)


@pytest.mark.parametrize("name", ["agent", "critic"])
def test_a_checkpoint_is_plain_containers_all_the_way_down(run: FitResult, name: str) -> None:
    assert _plain(torch.load(run.folder / f"{name}.ckpt", weights_only=True))


def test_the_loaded_agent_acts_as_the_one_that_was_trained(run: FitResult) -> None:
    loaded, contents = dtag.load(run.agent, trust=True), torch.load(run.folder / "agent.ckpt")
    assert all(torch.equal(v, contents["policy"][k]) for k, v in loaded.policy.state_dict().items())  # type: ignore[attr-defined]
    assert not any(p.requires_grad for p in loaded.policy.parameters())
    assert not loaded.policy.training  # type: ignore[attr-defined]
    assert loaded.action_gradient_rms == contents["action_gradient_rms"]["min"]
    plain = load_agent(run.folder / "agent.ckpt", overrides=["ag.n_steps=0"], trust=True)
    state = np.array([0.4, 0.1])
    assert loaded.act(state) != plain.act(state)


def test_best_is_the_evaluation_with_the_highest_score(run: FitResult) -> None:
    rows = [json.loads(line) for line in (run.folder / "episodes.jsonl").read_text().splitlines()]
    scores = {
        step: np.mean([row["score"] for row in rows if row["step"] == step and row["label"] == "AG on"])
        for step in (10, 20)
    }
    best = torch.load(run.folder / "policy" / "best.ckpt", weights_only=True)
    assert best["n_updates"] == max(scores, key=lambda step: scores[step])
    assert torch.load(run.folder / "policy" / "last.ckpt", weights_only=True)["n_updates"] == 20


def test_a_critic_made_by_its_own_stage_serves_a_policys(run: FitResult, tmp_path: Path) -> None:
    alone = fit(line_config(store_line(), tmp_path, name="critic"), stage="critic")
    assert alone.agent is None
    assert alone.critic is not None
    config = line_config(store_line(), tmp_path, name="policy", critic={"ckpt": str(alone.critic)})
    both = fit(config, stage="policy")
    assert both.critic == alone.critic
    assert both.rows == run.rows  # the same seed and data: the same run as with both stages in one


@pytest.mark.parametrize(
    ("stage", "critic", "message"),
    [("critic", None, "stage=critic needs a critic"), ("policy", {}, r"give critic\.ckpt=PATH of one, or critic=null")],
)
def test_a_stage_without_its_critic_is_a_usage_error(tmp_path: Path, stage: Any, critic: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fit(line_config(store_line(), tmp_path, critic=critic), stage=stage)


def test_refinement_can_be_left_out_alone(run: FitResult, tmp_path: Path) -> None:
    plain = fit(line_config(store_line(), tmp_path, ag=None))
    assert set(plain.summary) == {"AG off"}
    assert plain.rows == [row for row in run.rows if row["label"] == "AG off"]


@pytest.mark.parametrize(("network", "stage"), [("critic", "critic"), ("policy", "policy"), ("return_model", "policy")])
@pytest.mark.parametrize("after", [5, 7, 22])
def test_a_nan_never_reaches_a_file(tmp_path: Path, network: str, stage: str, after: int) -> None:
    """It is found by the next write or evaluation, or after the last step, 23."""
    train = {"n_steps": 23, "log_every": 20, "evaluate_every": 10, "checkpoint_every": 5}
    config = line_config(store_line(), tmp_path, train=train)
    config["critic"] |= {"n_steps": 23, "updates_per_step": 1}
    if stage == "policy":
        config["critic"] = None
    with pytest.raises(DtagError, match=f"the {stage}'s (loss|weights.*) became .*Start again with a lower"):
        fit(config, callbacks=[Poison(network, after)])
    folder = tmp_path / "line" / "run"
    assert not (folder / "agent.ckpt").exists()
    assert not (folder / "critic.ckpt").exists()
    last = folder / stage / "last.ckpt"
    assert last.is_file()
    contents = torch.load(last, weights_only=True)
    assert contents["n_updates"] <= after
    assert all(value.isfinite().all() for value in contents["state_dict"].values())


class Terminate(Callback):
    """Sends this process one SIGTERM at a place where Lightning would look for it next, from that update on."""

    def __init__(self, hook: str, n_updates: int = 0) -> None:
        self.sent, self.n_updates = False, n_updates
        setattr(self, hook, self.send)

    def send(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        if not self.sent and module.n_updates >= self.n_updates:
            self.sent = True
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("n_updates", [0, 20], ids=["early", "last"])
@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_validation_batch_start", "on_validation_batch_end"])
def test_a_terminated_run_says_how_to_go_on_and_is_not_started_twice(
    run: FitResult, tmp_path: Path, hook: str, n_updates: int
) -> None:
    config = line_config(store_line(), tmp_path)
    assert config["train"]["n_steps"] == 20
    config["critic"]["ckpt"] = str(run.critic)
    with pytest.raises(Stopped, match=r"continue with: dtag fit --resume .*line/run") as stopped:
        fit(config, callbacks=[Terminate(hook, n_updates)])
    assert stopped.value.exit_status == 143
    with pytest.raises(UsageError, match="already holds a run"):
        fit(config)
    resumed = fit(config, resume=tmp_path / "line" / "run")
    assert (resumed.folder / "episodes.jsonl").read_text() == (run.folder / "episodes.jsonl").read_text()
    assert (resumed.folder / "results.json").read_text() == (run.folder / "results.json").read_text()


def test_a_finished_run_that_is_resumed_keeps_its_results(run: FitResult) -> None:
    before = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
    said: list[str] = []
    again = fit({}, resume=run.folder, report=said.append)
    assert again == run
    assert said == [f"{run.folder} is finished: these are its results"]
    assert {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(("n_steps", "every", "steps"), [(25, 10, [10, 20, 25]), (3, 1, [1, 2, 3]), (6, 0, [6])])
def test_the_last_step_is_evaluated_whatever_evaluate_every_is(
    tmp_path: Path, n_steps: int, every: int, steps: list[int]
) -> None:
    train = {"n_steps": n_steps, "evaluate_every": every}
    result = fit(line_config(store_line(), tmp_path, critic=None, train=train))
    rows = [json.loads(line) for line in (result.folder / "episodes.jsonl").read_text().splitlines()]
    assert list(dict.fromkeys(row["step"] for row in rows)) == steps
    assert [{"step": n_steps, **row} for row in result.rows] == [row for row in rows if row["step"] == n_steps]
    scores = {step: np.mean([row["score"] for row in rows if row["step"] == step]) for step in steps}
    best = torch.load(result.folder / "policy" / "best.ckpt", weights_only=True)
    assert best["n_updates"] == max(scores, key=lambda step: scores[step])


def test_a_run_that_does_not_exist_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no run at .*nowhere"):
        fit({}, resume=tmp_path / "nowhere")


def test_an_environment_that_does_not_fit_is_refused_before_any_training(tmp_path: Path) -> None:
    for environment, message in (("Pendulum-v1", "3 state and 1 action dims"), ("NoSuch-v0", "NoSuch-v0")):
        with pytest.raises(DtagError, match=message):
            fit(line_config(store_line(), tmp_path, eval={"environment": environment}))
    assert list(tmp_path.iterdir()) == []


def test_a_critic_of_ones_own_is_shared_without_more_ado(tmp_path: Path) -> None:
    own = {"model": {"target": "tests.training.test_fit.MyCritic", "hidden": [8, 8]}}
    alone = fit(line_config(store_line(), tmp_path, name="critic", critic=own), stage="critic")
    shared = line_config(store_line(), tmp_path, name="policy", critic={**own, "ckpt": str(alone.critic)})
    assert fit(shared, stage="policy").agent is not None
    stranger = line_config(store_line(), tmp_path, name="stranger", critic={"ckpt": str(alone.critic)})
    with pytest.raises(CheckpointError, match=r"would run code outside dtag: tests\.training\.test_fit\.MyCritic"):
        fit(stranger, stage="policy")


@pytest.mark.parametrize(
    "policy",
    [
        {"target": "os.system", "command": "touch {file}"},
        {"target": "dtag.training.atomic_file.write_text_atomically", "text": "x", "path": "{file}"},
        {"target": "torch.save", "obj": 1, "f": "{file}"},
        {"target": "dtag.training.loggers.Path.touch", "self": "{file}"},  # imported by a trusted module
        {"target": "torch.nn.Module.compile", "self": "{file}"},
    ],
)
def test_a_checkpoint_cannot_make_dtag_write_files(run: FitResult, tmp_path: Path, policy: dict[str, Any]) -> None:
    file, path = tmp_path / "planted", tmp_path / "agent.ckpt"
    contents = torch.load(run.folder / "agent.ckpt")
    contents["config"]["policy"] = {k: v.format(file=file) if isinstance(v, str) else v for k, v in policy.items()}
    torch.save(contents, path)
    with pytest.raises(CheckpointError, match="--trust"):
        dtag.load(path)
    contents = torch.load(run.folder / "agent.ckpt")
    contents["spec"]["info"]["environment"] = str(policy["target"])[::-1].replace(".", ":", 1)[::-1]
    torch.save(contents, path)
    with pytest.raises(CheckpointError, match="--trust"):
        validate(path)
    assert not file.exists()


def test_validate_refuses_a_foreign_environment_unless_it_is_trusted(run: FitResult, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"toy_environment:Line.*--trust"):
        validate(run.folder)
    assert validate(run.folder, trust=True).rows == run.rows


def test_a_critics_checkpoint_is_no_agent(run: FitResult) -> None:
    with pytest.raises(CheckpointError, match=r"this is a critic's checkpoint; an agent\.ckpt is needed"):
        load_agent(run.folder / "critic.ckpt", trust=True)


def test_weights_that_do_not_fit_are_refused(run: FitResult, tmp_path: Path) -> None:
    contents = torch.load(run.folder / "agent.ckpt")
    del contents["policy"]["head.mean.linear.bias"]
    torch.save(contents, tmp_path / "agent.ckpt")
    with pytest.raises(CheckpointError, match=r"(?s)weights do not fit its config.*head\.mean\.linear\.bias"):
        load_agent(tmp_path / "agent.ckpt", trust=True)


@pytest.mark.parametrize("missing", ["config", "spec", "policy", "kind"])
def test_a_checkpoint_with_a_part_missing_is_refused(run: FitResult, tmp_path: Path, missing: str) -> None:
    contents = torch.load(run.folder / "agent.ckpt")
    del contents[missing]
    torch.save(contents, tmp_path / "agent.ckpt")
    with pytest.raises(CheckpointError, match=f"not a whole checkpoint: {missing} is missing"):
        load_agent(tmp_path / "agent.ckpt", trust=True)


def test_a_checkpoint_older_than_an_option_loads_with_its_default(run: FitResult, tmp_path: Path) -> None:
    contents = torch.load(run.agent, weights_only=True)
    del contents["config"]["data"]["top_fraction"], contents["config"]["train"]["matmul_precision"]
    torch.save(contents, tmp_path / "agent.ckpt")
    older = load_agent(tmp_path / "agent.ckpt", overrides=["ag.n_steps=1"], trust=True)
    assert older.default_settings.n_steps == 1
    with pytest.raises(CheckpointError, match="data cannot be changed"):
        load_agent(tmp_path / "agent.ckpt", overrides=["data.top_fraction=0.5"], trust=True)


def test_decision_transformers_and_single_networks_train_too(tmp_path: Path) -> None:
    action = {"action": {"target": "dtag.losses.action_mse.ActionMSE"}, "return": None}
    dt = {"token_order": "rsa", "norm": "pre", "head": "deterministic"}
    config = line_config(
        store_line(), tmp_path, name="dt", policy=dt, return_model=None, losses=action, eval={"target_return": 12.0}
    )
    assert set(fit(config).summary) == {"AG off", "AG on"}
    single = line_config(store_line(), tmp_path, name="single", policy={"predicts_return": True}, return_model=None)
    result = fit(single)
    assert load_agent(result.folder, trust=True).policy.predicts_return


def test_a_target_return_that_is_missing_is_named_before_any_training(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"eval\.target_return"):
        fit(line_config(store_line(), tmp_path, return_model=None, policy={"token_order": "rsa"}))
    assert list(tmp_path.iterdir()) == []


def test_a_critic_of_returns_serves_only_those_of_its_scale(tmp_path: Path) -> None:
    model = {"target": "dtag.policy.return_critic.ReturnCritic", "hidden": 8, "n_layers": 1, "n_heads": 2}
    own = {"ag": None, "critic": {"model": model, "n_steps": 2}}
    critic = fit(line_config(store_line(), tmp_path, name="critic", **own), stage="critic").critic
    own["critic"] = {"model": model, "ckpt": str(critic)}
    with pytest.raises(CheckpointError, match="another return_scale"):
        fit(line_config(store_line(), tmp_path, name="other", data={"return_scale": 5.0}, **own))
    assert fit(line_config(store_line(), tmp_path, name="same", train={"n_steps": 2}, **own)).agent is not None


def test_the_unit_of_eta_is_of_the_bound_that_is_climbed(run: FitResult, tmp_path: Path) -> None:
    ag = {"q": "lower_bound", "kappa": 5.0}
    shared = {"critic": {"ckpt": str(run.critic)}, "ag": ag, "train": {"n_steps": 2}}
    climbed = fit(line_config(store_line(), tmp_path, **shared))
    agent, rms = dtag.load(climbed.agent, trust=True), torch.load(climbed.agent)["action_gradient_rms"]
    assert agent.action_gradient_rms == rms["lower_bound, kappa=5"] > rms["lower_bound"]
    data = build_data(check(line_config(store_line(), tmp_path), SCHEMA))
    sampler = data.transition_sampler()
    batch = sampler.gather(sampler.usable)  # fewer than the 20,000 that are taken
    actions = batch.actions.requires_grad_()
    q = agent.critic.q(batch.states, actions)
    bound = q.mean(0) - 5.0 * (q - q.mean(0)).square().mean(0).sqrt()
    (slope,) = torch.autograd.grad(bound.sum(), actions)
    assert rms["lower_bound, kappa=5"] == pytest.approx(slope.square().sum(1).mean().sqrt().item(), rel=1e-4)
    with pytest.raises(UsageError, match=r"ag\.kappa=3: fit with that kappa, or set ag\.eta_unit=raw"):
        load_agent(climbed.agent, overrides=["ag.kappa=3"], trust=True)
    assert load_agent(climbed.agent, overrides=["ag.kappa=3", "ag.eta_unit=raw"], trust=True) is not None


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"accelerator": "gpu"}, "train.accelerator=gpu"),
        ({"accelerator": "mps"}, "float64"),
        ({"strategy": "no_such_strategy"}, "train.strategy=no_such_strategy"),
    ],
)
def test_a_machine_that_is_not_there_is_named_before_any_training(
    tmp_path: Path, train: dict[str, Any], message: str
) -> None:
    if train["accelerator" if "accelerator" in train else "strategy"] == "gpu" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UsageError, match=message):
        fit(line_config(store_line(), tmp_path, train=train))
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_runs_no_episodes_says_so_before_it_trains(tmp_path: Path) -> None:
    lines: list[str] = []
    config = line_config(store_line(), tmp_path, train={"n_steps": 2}, eval={"environment": None})
    assert fit(config, report=lines.append).summary == {}
    assert "eval.environment=null): no episodes are run; dtag validate compares with held-out" in lines[0]


def test_signals_are_ours_from_the_first_step_on(tmp_path: Path) -> None:
    class Look(Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            handlers.append(
                {type(getattr(signal.getsignal(n), "__self__", None)) for n in (signal.SIGINT, signal.SIGTERM)}
            )

    handlers: list[set[type]] = []
    fit(line_config(store_line(), tmp_path, train={"n_steps": 2}, eval={"environment": None}), callbacks=[Look()])
    assert len(handlers) > 2  # both stages
    assert all(found == {StopFlag} for found in handlers)


def test_unnamed_runs_have_names_of_their_own_that_all_ranks_agree_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOCAL_RANK", "TORCHELASTIC_RUN_ID", "SLURM_JOB_ID", "DTAG_BEGAN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("dtag.training.run_folder._n_runs", Counter())
    first = new_name()  # then Lightning launches the other ranks
    monkeypatch.setenv("LOCAL_RANK", "0")
    ours = [first, new_name(), new_name()]
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr("dtag.training.run_folder._n_runs", Counter())
    assert [new_name(), new_name(), new_name()] == ours
    assert len(set(ours)) == 3
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert [new_name(), new_name()] == ["job-7", "job-7-2"]


def test_unnamed_runs_begun_in_the_same_second_have_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOCAL_RANK", "TORCHELASTIC_RUN_ID", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DTAG_BEGAN", "")
    config = {**line_config(store_line(), tmp_path), "name": None}
    monkeypatch.setattr("dtag.training.run_folder.new_name", lambda: "now")  # of three processes
    (tmp_path / config["experiment"] / "now").mkdir(parents=True)  # of a fourth, which has written nothing yet
    folders = [create_run_folder({**config, "seed": seed}) for seed in range(3)]
    assert [folder.path.name for folder in folders] == ["now-2", "now-3", "now-4"]
    assert [f"seed: {seed}" in folder.config.read_text() for seed, folder in enumerate(folders)] == [True] * 3
    assert os.environ["DTAG_BEGAN"] == "now-4"  # where ranks that this process launches find the last


@pytest.mark.parametrize(("file", "message"), [("critic", r"last\.ckpt is damaged .*remove it"), ("results", None)])
def test_a_damaged_file_in_a_runs_folder_is_named_or_made_again(tmp_path: Path, file: str, message: str | None) -> None:
    run = fit(line_config(store_line(), tmp_path, name="run"))
    if message is None:
        results = (run.folder / "results.json").read_text()
        (run.folder / "results.json").write_text(results[: len(results) // 2])
        fit({}, resume=run.folder)
        assert json.loads((run.folder / "results.json").read_text())["rows"] == json.loads(results)["rows"]
        return
    last = run.folder / "policy" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:2000])
    (run.folder / "results.json").unlink()
    with pytest.raises(CheckpointError, match=message):
        fit({}, resume=run.folder)


def test_a_fit_run_is_not_continued_by_finetune_nor_refined_without_a_critic(tmp_path: Path) -> None:
    lines: list[str] = []
    run = fit(line_config(store_line(), tmp_path, name="run", critic=None), report=lines.append)
    assert any("no critic, so Action Gradient does nothing here" in line for line in lines)
    with pytest.raises(UsageError, match="is a run of dtag fit"):
        finetune(None, resume=run.folder)
    with pytest.raises(UsageError, match="has no critic, so Action Gradient would do nothing"):
        validate(run.folder, ["ag.n_steps=3"], trust=True)


class NoWeight:
    def __call__(self, *_: Any) -> Any:
        return torch.zeros(()), {}


class LossAlone:
    weight = 1.0

    def __call__(self, *_: Any) -> Any:
        return torch.zeros(())


class NotANumber:
    weight = 1.0

    def __call__(self, batch: Any, output: Any, critic: Any) -> Any:
        return output.action.sum() * torch.nan, {}


def _mine(name: str) -> dict[str, Any]:
    return {"mine": {"target": f"tests.training.test_fit.{name}"}}


PG = {"pg": {"target": "dtag.losses.policy_gradient.PolicyGradient"}}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"ag": {"n_steps": -2, "eta": float("nan")}}, r"ag\.eta=nan must be at least 0.*; ag\.n_steps=-2 must be"),
        ({"ag": {"zeta": 2.0}}, r"ag\.zeta=2\.0 must be in \[0, 1\)"),
        ({"ag": {"q": "advantage"}}, "n_advantage"),
        ({"context": {"maximum": 0}}, r"context\.maximum=0"),
        ({"critic": {"ckpt": "/nope.ckpt"}}, r"no checkpoint at /nope\.ckpt"),
        ({"critic": {"n_steps": 0, "batch_size": -1}}, r"critic\.n_steps=0 .*critic\.batch_size=-1"),
        ({"train": {"n_steps": 0, "evaluate_every": -5}}, r"train\.n_steps=0 .*train\.evaluate_every=-5"),
        ({"data": {"context_length": 0, "return_scale": 0.0}}, r"data\.return_scale=0\.0 .*data\.context_length=0"),
        ({"policy": {"learn_std": True}}, r"learn_std=True needs optimizer\.name='adamw'"),
        ({"optimizer": {"learning_rate": -1.0}}, r"optimizer\.learning_rate=-1"),
        (
            {"return_model": None, "eval": {"target_return": 1.0}},
            r"losses\.return: ReturnExpectile needs a return model",
        ),
        ({"policy": {"head": "deterministic"}}, r"losses\.action: ActionNLL needs a policy with a distribution"),
        ({"critic": None, "losses": PG}, r"losses\.pg: PolicyGradient needs a critic"),
        ({"losses": _mine("NoWeight")}, r"losses\.mine: a loss term needs a `weight`"),
        ({"losses": _mine("LossAlone")}, r"losses\.mine must return \(loss, info\)"),
    ],
)
def test_a_mistake_is_named_before_there_is_a_folder(tmp_path: Path, sections: dict[str, Any], message: str) -> None:
    with pytest.raises(DtagError, match=message):
        fit(line_config(store_line(), tmp_path, **sections))
    assert list(tmp_path.iterdir()) == []


def test_the_term_that_is_not_a_number_is_named(tmp_path: Path) -> None:
    with pytest.raises(DtagError, match=r"became nan by step 1 in losses\.mine; .*look at the term and the data"):
        fit(line_config(store_line(), tmp_path, critic=None, losses=_mine("NotANumber"), train={"log_every": 1}))


def test_a_critic_learns_the_same_in_mixed_precision(tmp_path: Path) -> None:
    """All of it is float32: Q near 100 has steps of 0.5 in bfloat16."""
    found = []
    for precision in ("32-true", "bf16-mixed"):
        own = line_config(store_line(), tmp_path, name=precision, train={"precision": precision})
        run = fit(own, stage="critic")
        assert run.critic is not None
        critic: Any = critic_of(read_checkpoint(run.critic, trust=True))
        found.append(critic.state_dict())
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())

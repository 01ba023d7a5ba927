"""Whole runs on a toy: fit, share, validate, load, refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dtag
from dtag.errors import CheckpointError, DtagError, UsageError
from dtag.training.checkpoint import load_agent
from dtag.training.fit import fit
from dtag.training.validate import validate
from tests.reference.toy_environment import line_config, store_line


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return fit(line_config(store_line(), tmp_path_factory.mktemp("runs")))


def test_a_run_leaves_what_it_promises(run: Any) -> None:
    names = {path.relative_to(run.folder).as_posix() for path in run.folder.rglob("*") if path.is_file()}
    assert {"config.yaml", "provenance.json", "episodes.jsonl", "critic.ckpt", "agent.ckpt", "results.json"} <= names
    assert {"policy/last.ckpt", "policy/best.ckpt", "critic/last.ckpt", "logs/csv/policy/metrics.csv"} <= names
    rows = [json.loads(line) for line in (run.folder / "episodes.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [10] * 6 + [20] * 6
    assert set(run.summary) == {"AG off", "AG on"}
    assert json.loads((run.folder / "provenance.json").read_text())["torch"] == torch.__version__


def test_the_checkpoint_holds_plain_containers_only(run: Any) -> None:
    contents = torch.load(run.agent, weights_only=True)
    assert contents["config"]["train"]["n_steps"] == 20
    loaded = dtag.load(run.agent, trust=True)
    loaded.reset(2)
    assert loaded.act(np.zeros((2, 2))).shape == (2, 1)
    with pytest.raises(DtagError, match=r"reset\(n_rows\)"):
        loaded.act(np.zeros((2, 3)))


def test_validate_gives_the_rows_of_the_last_evaluation(run: Any) -> None:
    again = validate(run.agent, trust=True)
    assert again.rows == run.rows
    assert validate(run.folder, ["eval.rows=1"], trust=True).rows == run.rows
    longer = validate(run.agent, ["ag.n_steps=4", "eval.episodes=2"], trust=True)
    assert [row["label"] for row in longer.rows] == ["AG off", "AG on"] * 2
    assert [row["return"] for row in longer.rows][::2] == [row["return"] for row in run.rows][:4:2]
    with pytest.raises(CheckpointError, match="policy cannot be changed"):
        validate(run.agent, ["policy.hidden=16"], trust=True)


@pytest.mark.parametrize("word", ["seed=5", "losses.action=null", "optimizer.learning_rate=1", "train.n_steps=3",
                                  "critic.n_steps=3", "output=elsewhere", "train.threads=3"])  # fmt: skip
def test_an_override_that_a_trained_agent_cannot_follow_is_refused(run: Any, word: str) -> None:
    """Not taken without a word: another seed would also score it on what it was trained on."""
    key = word.partition("=")[0]
    with pytest.raises(CheckpointError, match=f"^{key if 'train' in key else key.partition('.')[0]} cannot be changed"):
        load_agent(run.agent, overrides=[word], trust=True)
    assert load_agent(run.agent, overrides=["train.accelerator=cpu", "eval.episodes=3"], trust=True)


def test_a_critic_is_shared_between_runs_and_refused_for_other_data(run: Any, tmp_path: Path) -> None:
    shared = fit(line_config(store_line(), tmp_path, critic={"ckpt": str(run.critic)}), stage="policy")
    assert torch.equal(*(torch.load(r.agent)["critic"]["value_network.output.bias"] for r in (run, shared)))
    other = line_config(
        store_line("local/line/other-v0", seed=3), tmp_path, critic={"ckpt": str(run.critic)}, name="other"
    )
    with pytest.raises(CheckpointError, match="state_mean"):
        fit(other, stage="policy")
    with pytest.raises(UsageError, match="already holds a run"):
        fit(line_config(store_line(), tmp_path))


def test_a_policy_alone_takes_critics_when_it_is_validated(run: Any, tmp_path: Path) -> None:
    alone = fit(line_config(store_line(), tmp_path, critic=None))
    assert set(alone.summary) == {"AG off"}
    one = validate(alone.agent, [f"critic.ckpt={run.critic}"], trust=True)
    twice = validate(alone.agent, [f"critic.ckpt={run.critic}+{run.critic}"], trust=True)
    assert one.rows[0]["return"] == alone.rows[0]["return"]
    assert one.rows[1]["q_gain"] > 0
    off = fit(line_config(store_line(), tmp_path, critic=None, ag=None, name="off"))
    lent = validate(off.agent, [f"critic.ckpt={run.critic}"], trust=True)
    assert set(lent.summary) == {"AG off", "AG on"}  # it is attached to be climbed
    assert set(validate(off.agent, [f"critic.ckpt={run.critic}", "ag=null"], trust=True).summary) == {"AG off"}
    assert [row["return"] for row in twice.rows] == pytest.approx([row["return"] for row in one.rows], rel=1e-3)


def test_without_an_environment_or_refinement_it_still_trains(tmp_path: Path) -> None:
    config = line_config(store_line(), tmp_path, eval={"environment": None}, ag=None)
    assert fit(config).summary == {}


def test_a_nan_loss_is_one_clear_error_and_no_checkpoint_holds_it(tmp_path: Path) -> None:
    config = line_config(
        store_line(), tmp_path, critic=None, optimizer={"learning_rate": float("inf"), "name": "adamw"}
    )
    with pytest.raises(DtagError, match="the policy's loss became nan"):
        fit(config)
    last = tmp_path / "line" / "run" / "policy" / "last.ckpt"
    states = torch.load(last, weights_only=True)["state_dict"].values() if last.is_file() else []
    assert all(torch.isfinite(value).all() for value in states)


def test_bad_checkpoints_are_one_clear_error(run: Any, tmp_path: Path) -> None:
    whole = run.agent.read_bytes()
    bad = tmp_path / "bad.ckpt"
    for contents, message in ((whole[: len(whole) // 2], "not a readable checkpoint"), (b"text", "not a readable")):
        bad.write_bytes(contents)
        with pytest.raises(CheckpointError, match=message):
            dtag.load(bad)
    with pytest.raises(CheckpointError, match="Lightning's own"):
        dtag.load(run.folder / "policy" / "last.ckpt")
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        dtag.load(tmp_path / "none.ckpt")


def test_a_checkpoint_that_names_foreign_code_needs_trust(run: Any, tmp_path: Path) -> None:
    contents = torch.load(run.agent)
    contents["config"]["losses"]["mine"] = {"target": "os.system", "command": "echo no"}
    torch.save(contents, tmp_path / "foreign.ckpt")
    with pytest.raises(CheckpointError, match=r"os\.system.*--trust"):
        dtag.load(tmp_path / "foreign.ckpt")


def test_a_full_disk_leaves_the_checkpoint_that_was_there(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dtag.training import atomic_file

    path = tmp_path / "a.ckpt"
    atomic_file.save_atomically({"a": 1}, path)

    def full(value: object, file: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic_file.torch, "save", full)
    with pytest.raises(DtagError, match="No space left on device"):
        atomic_file.save_atomically({"a": 2}, path)
    assert torch.load(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.ckpt"]

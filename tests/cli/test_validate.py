"""dtag validate without an environment: the checkpoint against the trajectories its own run held out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dtag.cli.main import main
from dtag.errors import UsageError
from dtag.report.run_records import find_runs
from dtag.training.fit import fit
from dtag.training.validate import validate
from tests.reference.toy_environment import line_config, line_dataset, store_line

WITHOUT = "local/line/no-environment-v0"


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run on data that names no environment."""
    return fit(line_config(store_line(WITHOUT, environment=None), tmp_path_factory.mktemp("runs")))


def _changed(run: Any, folder: Path, **sections: Any) -> Path:
    """The run's checkpoint with other values in its config."""
    contents = torch.load(run.agent)
    for name, changes in sections.items():
        contents["config"][name] |= changes
    torch.save(contents, folder / "agent.ckpt")
    return folder / "agent.ckpt"


def test_the_table_fits_eighty_columns_and_the_json_lies_beside_the_checkpoint(
    run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", "--ckpt", str(run.folder), "--trust"]) == 0
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if not line.startswith("rows:")]
    assert max(map(len, lines)) <= 80
    assert "compared with 96 of 96 steps from 8 held-out episodes" in out
    for line in ("squared", "log-likelihood", "bias, predicted", "Q of the refined", "95 % interval", "share ≥"):
        assert line in out, line
    contents = json.loads((run.folder / "offline.json").read_text())
    assert {"provenance", "config", "data", "held_out", "estimates", "deciles", "rows"} <= set(contents)
    assert contents["held_out"] is True
    mean = contents["estimates"]["squared_error"]["mean"]
    assert f"{mean:.4g}" in out
    assert len(contents["rows"]) == contents["n_episodes"] == 8
    assert mean == pytest.approx(np.mean([row["squared_error"] for row in contents["rows"]]))  # all of one length


def test_the_held_out_trajectories_are_those_of_the_runs_own_split(run: Any) -> None:
    report = validate(run.agent, trust=True).offline.report
    trajectories = line_dataset(WITHOUT, environment=None).trajectories
    held_out = np.sort(np.random.default_rng(0).permutation(40)[:8])
    train = np.setdiff1d(np.arange(40), held_out)
    mean_action = trajectories.select(train).actions.mean(0)
    error = np.square(trajectories.select(held_out).actions - mean_action).mean()
    assert report.estimates["squared_error_of_mean"]["mean"] == pytest.approx(error, rel=1e-4)


def test_eval_environment_null_skips_an_environment_there_is(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    online = fit(line_config(store_line(), tmp_path, critic=None, train={"n_steps": 2, "evaluate_every": 0}))
    arguments = ["validate", "--ckpt", str(online.agent), "--trust", "eval.environment=null"]
    assert main([*arguments, "eval.offline_positions=20", "--json", str(tmp_path / "mine.json")]) == 0
    out = capsys.readouterr().out
    assert "compared with 20 of 96 steps" in out
    assert "critic" not in out
    assert json.loads((tmp_path / "mine.json").read_text())["n_positions"] == 20
    assert main(arguments) == 0
    assert online.agent.with_name("agent.offline.json").is_file()
    assert validate(online.agent, ["eval.episodes=1"], trust=True).offline is None


@pytest.mark.parametrize(("held_out", "why"), [(0.0, "none were held out"), (0.001, "none were held out")])
def test_without_held_out_trajectories_all_are_used_and_it_says_so(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], held_out: float, why: str
) -> None:
    path = _changed(run, tmp_path, data={"held_out": held_out})
    assert main(["validate", "--ckpt", str(path), "--trust"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"40 TRAINING episodes: data.held_out={held_out:g} and {why}" in out
    assert json.loads(path.with_name("agent.offline.json").read_text())["held_out"] is False


def test_held_out_trajectories_that_never_end_are_not_used(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = line_dataset(WITHOUT, environment=None)
    held_out = np.random.default_rng(0).permutation(40)[:8]
    last = dataset.trajectories.offsets[1:][held_out] - 1
    dataset.trajectories.terminated[last] = dataset.trajectories.truncated[last] = False
    monkeypatch.setattr("dtag.data.datamodule.load_dataset", lambda _: dataset)
    offline = validate(run.agent, trust=True).offline
    assert not offline.held_out
    assert "none of the 8 held-out ones is complete" in offline.data
    assert offline.report.n_episodes == 32


def test_data_that_is_not_on_this_machine_is_one_clear_error(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _changed(run, tmp_path, data={"id": "local/line/elsewhere-v0"})
    assert main(["validate", "--ckpt", str(path), "--trust"]) == 1
    error = capsys.readouterr().err
    assert "'local/line/elsewhere-v0' cannot be loaded on this machine" in error
    assert "dtag data get" in error
    assert "eval.environment=ID" in error


def test_other_data_under_the_same_name_is_refused(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _changed(run, tmp_path, data={"id": store_line("local/line/other-v0", seed=3)})
    assert main(["validate", "--ckpt", str(path), "--trust"]) == 1
    assert "is not the data this checkpoint was trained on (another state_mean)" in capsys.readouterr().err


def test_a_grid_still_needs_an_environment(run: Any) -> None:
    with pytest.raises(UsageError, match="names no environment to roll out in"):
        validate(run.agent, trust=True, plans=lambda *_: [])


def test_an_overridden_refinement_changes_only_what_it_may(run: Any, tmp_path: Path) -> None:
    copy = shutil.copy(run.agent, tmp_path / "agent.ckpt")
    one, more = (validate(copy, [f"ag.n_steps={n}", "ag.eta=0.1"], trust=True).offline.report.estimates for n in (1, 5))
    assert more["q_gain"]["mean"] > one["q_gain"]["mean"] > 0
    assert more["squared_error"] == one["squared_error"]
    assert more["q_policy"] == one["q_policy"]


def test_an_earlier_evaluation_with_other_settings_is_kept_and_the_same_one_replaced(tmp_path: Path) -> None:
    folder = fit(line_config(store_line(), tmp_path, train={"n_steps": 2})).folder
    for episodes in (3, 1, 1, 2):
        assert main(["validate", "--ckpt", str(folder), "--trust", f"eval.episodes={episodes}"]) == 0
    found = {
        path.name: json.loads(path.read_text())["config"]["eval"]["episodes"] for path in folder.glob("*validate.json")
    }
    assert found == {"1.validate.json": 3, "2.validate.json": 1, "validate.json": 2}
    assert {len(record.rows) for record in find_runs([folder]) if record.kind == "validate"} == {6, 2, 4}


def test_more_context_than_was_trained_is_refused(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "--ckpt", str(run.folder), "--trust", "context.maximum=5"]) == 1
    assert "context.maximum=5 is more than the 4 steps" in " ".join(capsys.readouterr().err.split())

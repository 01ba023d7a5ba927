"""A whole sweep of real runs on the line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from rich.console import Console

from dtag.cli.main import main
from dtag.cli.sweep_of_runs import sweep_runs
from dtag.errors import DtagError, UsageError
from tests.reference.toy_environment import store_line
from tests.sweep.example_sweeps import METHODS, write_sweep


@pytest.mark.slow
def test_a_sweep_makes_its_runs_then_skips_them_and_refuses_other_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])  # where the runs find the line's environment
    methods = {name: METHODS[name] for name in ("rf", "dt", "dt_ag")}
    datasets = {"line": {}, "lost": {"overrides": ["data.id=local/line/no-such-v0"]}}
    methods["rf"] = {**methods["rf"], "datasets": ["line"]}
    path = write_sweep(tmp_path, store_line(), methods=methods, datasets=datasets)
    folder = tmp_path / "runs" / "trial"
    with (tmp_path / "out").open("w") as file:
        console = Console(file=file, width=120)
        with pytest.raises(DtagError, match="1 of 5 runs failed"):
            sweep_runs(path, [], console)
        rows = {
            (row["method"], row["setting"]): row for row in json.loads((folder / "results.json").read_text())["rows"]
        }
        assert set(rows) == {
            ("rf", "AG off"),
            ("rf", "AG on"),
            ("dt", "AG off"),
            ("dt_ag", "AG off"),
            ("dt_ag", "AG on"),
        }
        assert rows["dt", "AG off"]["return"] == rows["dt_ag", "AG off"]["return"]
        assert rows["rf", "AG on"]["episodes"] == 3
        agent = torch.load(folder / "line" / "rf" / "seed-0" / "agent.ckpt", weights_only=True)
        (critic,) = folder.glob("line/critics/*/seed-0/critic.ckpt")
        assert agent["config"]["critic"]["ckpt"] == str(critic)
        before = {file: file.stat().st_mtime_ns for file in folder.rglob("*.ckpt")}
        assert sweep_runs(path, ["datasets.lost=null"], console) == 0
        assert before == {file: file.stat().st_mtime_ns for file in folder.rglob("*.ckpt")}
        with pytest.raises(UsageError, match=r"train\.n_steps is 20 there and 30 in the sweep"):
            sweep_runs(path, ["train.n_steps=30"], console)
    text = (tmp_path / "out").read_text()
    assert "5 runs (1 critic, 3 policy, 1 validate)" in text
    assert "4 finished earlier" in text
    assert "± is the std over seeds" in text


def test_a_sweep_of_runs_takes_no_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "--config", write_sweep(tmp_path), "--ckpt", "x"]) == 2
    assert "go with a grid" in capsys.readouterr().err

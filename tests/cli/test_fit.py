"""dtag fit --seeds: one folder for all of them, and a way to go on after a stop."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from dtag.cli.main import main
from dtag.config.load import to_yaml
from dtag.evaluation.evaluator import Evaluator
from tests.reference.toy_environment import line_config, store_line


@pytest.fixture
def config(tmp_path: Path) -> str:
    own = line_config(store_line(), tmp_path, critic=None, train={"n_steps": 4, "evaluate_every": 0})
    del own["name"]
    (tmp_path / "line.yaml").write_text(to_yaml(own))
    return str(tmp_path / "line.yaml")


def test_the_seeds_of_a_command_without_a_name_share_a_folder(config: str, tmp_path: Path) -> None:
    assert main(["fit", "--config", config, "--seeds", "0,2"]) == 0
    (folder,) = (tmp_path / "line").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["seed-0", "seed-2"]
    before = (folder / "seed-0" / "results.json").read_text()
    assert main(["fit", "--resume", str(folder)]) == 0
    assert (folder / "seed-0" / "results.json").read_text() == before


def test_a_stop_names_the_seeds_that_are_left(
    config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate = Evaluator.on_validation_epoch_end

    def stop_first(self: Evaluator, *arguments: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        evaluate(self, *arguments)

    monkeypatch.setattr(Evaluator, "on_validation_epoch_end", stop_first)
    assert main(["fit", "--config", config, "--seeds", "0..2", "name=ours"]) == 130
    told = " ".join(capsys.readouterr().err.split())
    assert "seed-0" in told
    assert "--seeds 1,2" in told
    assert "name=ours" in told


@pytest.mark.parametrize("seeds", ["3..1", "one", "0,0", ""])
def test_seeds_that_are_none_are_refused(config: str, seeds: str) -> None:
    assert main(["fit", "--config", config, "--seeds", seeds]) == 2


def test_a_seed_that_is_there_already_is_refused_before_any_is_trained(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "line" / "s" / "seed-1"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("")
    assert main(["fit", "--config", config, "name=s", "--seeds", "0..1"]) == 2
    assert "already holds a run" in " ".join(capsys.readouterr().err.split())
    assert not folder.with_name("seed-0").exists()

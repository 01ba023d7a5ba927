"""Runs stopped at random moments end, when resumed, in the weights of one that was not."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from dtag.config.load import to_yaml
from tests.reference.toy_environment import line_config, store_line

ROOT = str(Path(__file__).parents[2])
LARGER = {"train": {"n_steps": 240, "evaluate_every": 80, "checkpoint_every": 20}, "critic": {"n_steps": 400}}


def _start(*words: str, cwd: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": ROOT}
    command = [sys.executable, "-m", "dtag", "fit", *words]
    return subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _config(folder: Path, name: str) -> str:
    path = folder / f"{name}.yaml"
    path.write_text(to_yaml({**line_config(store_line(), folder, **LARGER), "name": name}))
    return str(path)


def _weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    contents = torch.load(folder / "line" / name / "agent.ckpt", weights_only=True)
    return {f"{part}.{key}": v for part in ("policy", "return_model", "critic") for key, v in contents[part].items()}


def _wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    while not path.exists() and process.poll() is None:
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_stopped_run_resumes_to_the_same_weights(tmp_path: Path, number: signal.Signals, status: int) -> None:
    whole = _start("--config", _config(tmp_path, "whole"), cwd=tmp_path)
    assert whole.wait(timeout=240) == 0, whole.stdout.read() if whole.stdout else ""
    moments, draw = 0, random.Random(int(number))
    run = tmp_path / "line" / "stopped"
    process = _start("--config", _config(tmp_path, "stopped"), cwd=tmp_path)
    for stage in ("critic", "policy"):
        _wait_for(run / stage / "last.ckpt", process)
        time.sleep(draw.uniform(0.0, 0.5))
        if process.poll() is None:
            process.send_signal(number)
            assert process.wait(timeout=60) in (status, 0, -number)  # the last: still starting, nothing of ours ran yet
            moments += process.returncode == status
        output = process.stdout.read() if process.stdout else ""
        assert "Traceback" not in output, output
        process = _start("--resume", str(run), cwd=tmp_path)
    assert process.wait(timeout=240) == 0, process.stdout.read() if process.stdout else ""
    assert moments > 0
    expected, found = _weights(tmp_path, "whole"), _weights(tmp_path, "stopped")
    assert expected.keys() == found.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


@pytest.mark.slow
def test_a_second_ctrl_c_aborts_at_once_and_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    config = line_config(store_line(), tmp_path, train={"n_steps": 100_000, "checkpoint_every": 10}, critic=None)
    (tmp_path / "long.yaml").write_text(to_yaml(config))
    process = _start("--config", str(tmp_path / "long.yaml"), cwd=tmp_path)
    last = tmp_path / "line" / "run" / "policy" / "last.ckpt"
    _wait_for(last, process)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    assert torch.load(last, weights_only=True)["n_updates"] >= 9  # of the step before the first evaluation


@pytest.mark.slow
def test_two_processes_validate_as_one_does(tmp_path: Path) -> None:
    config = _config(tmp_path, "pair")
    first = _start("--config", config, "train.n_steps=20", "critic.n_steps=40", "eval.episodes=5", cwd=tmp_path)
    assert first.wait(timeout=120) == 0, first.stdout.read() if first.stdout else ""
    rows = []
    for extra in ([], ["train.devices=2", "train.strategy=ddp"]):
        out = tmp_path / f"rows{len(extra)}.json"
        command = [
            sys.executable,
            "-m",
            "dtag",
            "validate",
            "--trust",
            "--ckpt",
            "line/pair",
            "--json",
            str(out),
            *extra,
        ]
        done = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": ROOT}, capture_output=True, text=True, timeout=180
        )
        assert done.returncode == 0, done.stderr
        rows.append(json.loads(out.read_text()))
    assert rows[0]["rows"] == rows[1]["rows"]
    assert len(rows[0]["rows"]) == 10
    for label, quantities in rows[0]["summary"].items():
        assert rows[1]["summary"][label]["score"] == pytest.approx(
            quantities["score"], rel=1e-12
        )  # another order of sums


@pytest.mark.slow
def test_two_processes_fit_together_in_one_folder(tmp_path: Path) -> None:
    words = [
        "--config",
        _config(tmp_path, "pair"),
        "train.devices=2",
        "train.strategy=ddp",
        "train.n_steps=20",
        "critic.n_steps=40",
    ]
    process = _start(*words, cwd=tmp_path)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert [path.name for path in (tmp_path / "line").iterdir()] == ["pair"]
    assert (tmp_path / "line" / "pair" / "agent.ckpt").is_file()

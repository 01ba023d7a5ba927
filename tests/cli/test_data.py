from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dtag.cli.data import add_arguments, run
from dtag.data.dataset import Dataset
from dtag.data.load import load_dataset
from dtag.data.minari_store import save
from dtag.errors import DataError, UsageError
from tests.data.example_files import example_dataset, flat_arrays, write_hdf5


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Minari's folder and the cache, this test's own; no server is ever asked."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.setenv("DTAG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("dtag.data.d4rl_download.is_reachable", lambda _: False)
    monkeypatch.setattr("dtag.data.minari_download.is_reachable", lambda _: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


def data(*arguments: str) -> int:
    """`dtag data` with these arguments."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args(arguments))


def test_a_file_is_imported_listed_and_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_hdf5(tmp_path / "hopper_tiny.hdf5", flat_arrays())
    assert data("import", str(path), "--reference", "hopper-medium-v2") == 0
    assert "local/hopper/tiny-v0 imported: 3 episodes, 9 steps" in capsys.readouterr().out
    assert data("list") == 0
    listed = capsys.readouterr().out
    assert "local/hopper/tiny-v0 │        3 │     9" in listed
    assert "hopper-medium-v2" in listed
    assert "mujoco/hopper/medium-v0" in listed
    assert "pointmaze-umaze-dense" in listed
    assert data("info", "local/hopper/tiny-v0") == 0
    described = capsys.readouterr().out
    assert "2 complete, 1 unfinished (4 steps)" in described
    assert "0 = -20.2723, 100 = 3,234.3 (d4rl)" in described
    assert "0.9 (d4rl)" in described  # 100 * (7.5 + 20.27) / 3254.57
    assert (tmp_path / "cache" / "figures" / "local-hopper-tiny-v0.png").exists()


def test_info_reads_files_and_draws_where_it_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_hdf5(tmp_path / "a.hdf5", flat_arrays())
    data("info", str(path), "--figure", str(tmp_path / "a.png"))
    assert f"returns drawn in {tmp_path / 'a.png'}" in capsys.readouterr().out
    assert (tmp_path / "a.png").exists()


def test_info_without_a_complete_episode_draws_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    save(example_dataset(ends="uuu"))
    data("info", "local/example/tiny-v0")
    printed = capsys.readouterr().out
    assert "no episode ends" in printed
    assert "drawn" not in printed


def test_import_takes_its_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = flat_arrays()
    arrays["actions"] = arrays["actions"][:, :1]
    np.savez(tmp_path / "a.npz", **arrays)
    options = ["--id", "local/mine-v3", "--env", "Pendulum-v1", "--split-on", "truncated"]
    data("import", str(tmp_path / "a.npz"), *options)
    loaded = load_dataset("local/mine-v3")
    assert loaded.info.environment == "Pendulum-v1"
    assert loaded.trajectories.lengths.tolist() == [5, 4]
    with pytest.raises(DataError, match="already"):
        data("import", str(tmp_path / "a.npz"), *options)
    assert data("import", str(tmp_path / "a.npz"), *options, "--overwrite") == 0


def test_import_says_when_the_environment_could_not_be_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data("import", str(write_hdf5(tmp_path / "a.hdf5", flat_arrays(), env_id="Theirs-v3")))
    assert "were not checked against the environment: there is no environment 'Theirs-v3'" in capsys.readouterr().out


def test_get_says_what_is_here_and_what_cannot_be_reached(capsys: pytest.CaptureFixture[str]) -> None:
    save(example_dataset("other/example/tiny-v0"))
    data("get", "other/example/tiny-v0")
    assert "other/example/tiny-v0 is here already: 3 episodes, 9 steps" in capsys.readouterr().out
    with pytest.raises(DataError, match="cannot be reached from here"):
        data("get", "hopper-medium-v2")
    with pytest.raises(DataError, match="Minari's server cannot be reached"):
        data("get", "mujoco/hopper/medium-v0")
    with pytest.raises(DataError, match="did you mean 'hopper-medium-v2'"):
        data("get", "hoper-medium-v2")
    with pytest.raises(UsageError, match="is made, not fetched: run `dtag data make pointmaze-umaze`"):
        data("get", "pointmaze-umaze")


def fake_generator(calls: list[dict[str, object]]) -> Callable[..., Dataset]:
    """Stands in for make_point_maze_dataset and notes its arguments."""

    def make(size: str, **arguments: object) -> Dataset:
        calls.append({"size": size, **arguments})
        return example_dataset("local/pointmaze/other-v0")

    return make


def test_make_calls_the_generator_and_stores_what_it_returns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[dict[str, object]] = []
    monkeypatch.setattr("dtag.data.pointmaze.make_point_maze_dataset", fake_generator(calls))
    data("make", "pointmaze-large-dense-limit", "--steps", "50", "--seed", "3")
    assert calls[0].pop("progress")
    assert calls == [{"size": "large", "reward": "dense", "segmentation": "limit", "n_steps": 50, "seed": 3}]
    assert "local/pointmaze/large-dense-limit-v0 made: 3 episodes" in capsys.readouterr().out
    data("make", "pointmaze-umaze", "--id", "local/mine-v0")
    assert load_dataset("local/mine-v0").info.id == "local/mine-v0"


def test_make_refuses_before_it_simulates(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, object]] = []
    monkeypatch.setattr("dtag.data.pointmaze.make_point_maze_dataset", fake_generator(calls))
    save(example_dataset("local/pointmaze/umaze-v0"))
    with pytest.raises(DataError, match="already"):
        data("make", "pointmaze-umaze")
    with pytest.raises(UsageError, match="is not a dataset id"):
        data("make", "pointmaze-umaze", "--id", "mine")
    with pytest.raises(UsageError, match="--steps must be at least 1, not 0"):
        data("make", "pointmaze-umaze", "--steps", "0")
    with pytest.raises(UsageError, match="no generator is named 'pointmaze-umze'; did you mean 'pointmaze-umaze'"):
        data("make", "pointmaze-umze")
    assert calls == []


def test_the_parser_needs_no_heavy_library() -> None:
    code = "import sys, dtag.cli.data; print([m for m in ('numpy', 'torch', 'minari', 'rich') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_random_actions_are_made_in_an_environment_of_d4rls_name_with_arguments_of_ones_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("gymnasium_robotics", reason="pip install -e '.[robotics]' to make maze data")
    words = ["make", "random", "--env", "antmaze-umaze", "--steps", "8", "--overwrite"]
    assert data(*words, "--env-kwargs", "max_episode_steps=5") == 0
    assert "local/antmaze-umaze/random-v0 made: 2 episodes, 10 steps" in capsys.readouterr().out
    with pytest.raises(UsageError, match="--env-kwargs takes KEY=VALUE"):
        data(*words, "--env-kwargs", "five")

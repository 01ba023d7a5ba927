"""What a sweep's YAML may say, and how its mistakes are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from dtag.errors import UsageError
from dtag.sweep.machine import n_cores
from dtag.sweep.sweep_file import is_sweep, read_sweep
from tests.sweep.example_sweeps import METHODS, write_sweep


def test_a_sweep_is_told_from_a_grid_by_its_methods_or_datasets(tmp_path: Path) -> None:
    assert is_sweep(write_sweep(tmp_path))
    assert is_sweep(write_sweep(tmp_path, methods=None))
    assert not is_sweep("conf/sweep/ag.yaml")


def test_no_jobs_means_a_job_a_core(tmp_path: Path) -> None:
    assert read_sweep(write_sweep(tmp_path)).n_workers == n_cores() >= 1
    assert read_sweep(write_sweep(tmp_path, jobs=3)).n_workers == 3


def test_overrides_of_an_experiments_sections_are_for_all_runs_and_others_for_the_sweep(tmp_path: Path) -> None:
    sweep = read_sweep(write_sweep(tmp_path, methods=METHODS), ["seeds=[4,5]", "methods.dt_ag=null", "train.n_steps=7"])
    assert sweep.seeds == [4, 5]
    assert list(sweep.methods) == ["rf", "rf_again", "rf_other_critic", "dt"]
    assert sweep.command_line == ("train.n_steps=7",)
    with pytest.raises(UsageError, match="did you mean 'seeds'"):
        read_sweep(write_sweep(tmp_path), ["sedes=[1]"])


def test_every_mistyped_key_is_told_at_once_with_the_nearest(tmp_path: Path) -> None:
    methods = {"rf": {"config": "{line}", "overides": []}, "dt": {"config": 3}}
    with pytest.raises(UsageError) as error:
        read_sweep(write_sweep(tmp_path, methods=methods, seeds="all", presett="small"))
    for part in (
        "4 mistakes",
        "did you mean 'methods.rf.overrides'",
        "methods.dt.config",
        "seeds",
        "did you mean 'preset'",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"methods": {}}, "methods: at least one"),
        ({"datasets": {}}, "datasets: at least one"),
        ({"seeds": []}, "seeds: at least one"),
        ({"seeds": [1, 1]}, "seeds: 1 is there twice"),
        ({"jobs": -1}, "jobs: found -1"),
        ({"datasets": {"a/b": {}}}, "datasets.a/b: a name becomes a folder"),
        ({"datasets": {"v1.5": {}}}, "datasets.v1.5: a name becomes a folder's, and a key on the command line"),
        ({"methods": {"critics": {"config": "{line}"}}}, "methods.critics: a name becomes a folder"),
        ({"overrides": ["seed=3"]}, "overrides: seed=3 is set by the sweep"),
        ({"datasets": {"line": {"overrides": ["name=x"]}}}, "datasets.line.overrides: name=x is set by the sweep"),
        ({"methods": {"rf": {}}}, "methods.rf: give either config"),
        ({"methods": {"rf": {"config": "{line}", "of": "rf"}}}, "methods.rf: give either config"),
        ({"methods": {"rf": {"config": "{line}", "critic_of": "rf"}}}, "goes with `of`"),
        ({"methods": {"rf": {"config": "{line}"}, "on": {"of": "rff"}}}, "methods.on.of: .*did you mean 'rf'"),
        ({"methods": {"rf": {"config": "{line}", "datasets": ["lin"]}}}, "no dataset 'lin'; did you mean 'line'"),
        ({"methods": {"rf": {"config": "{line}", "seeds": [7]}}}, "methods.rf.seeds: 7 is not one"),
    ],
)
def test_what_the_types_do_not_tell_is_told(sections: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        read_sweep(write_sweep(tmp_path, **sections))


def test_files_beside_the_sweep_are_found_from_anywhere_and_those_here_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (there := tmp_path / "there").mkdir()
    sections = {
        "methods": {"rf": {"config": ["line.yaml", "methods/rf.yaml"], "finetune": "line.yaml"}},
        "datasets": {"line": {"config": "line.yaml"}},
    }
    path = write_sweep(there, **sections)
    monkeypatch.chdir(tmp_path)
    (there / "own.yaml").write_text("")
    sweep = read_sweep(path, ["preset=own.yaml"])
    assert sweep.settings["preset"] == str(there / "own.yaml")
    assert read_sweep(path, ["preset=small"]).settings["preset"] == "small"
    assert sweep.methods["rf"].config == (str(there / "line.yaml"), "methods/rf.yaml")  # the second is shipped
    assert sweep.methods["rf"].finetune == sweep.datasets["line"].config == str(there / "line.yaml")
    (tmp_path / "line.yaml").write_text("")
    assert read_sweep(path).methods["rf"].config == ("line.yaml", "methods/rf.yaml")

"""What a sweep will cost: from finished runs, from first seconds, and how long all of it takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from dtag.cli.plan_of_runs import show_plan
from dtag.config.load import to_yaml
from dtag.errors import DtagError
from dtag.report.plan_console import ranges
from dtag.sweep.cost import Cost, add_cost, known_costs, likeness, read_cost
from dtag.sweep.data_at_hand import bytes_on_disk, missing_data
from dtag.sweep.forecast import Estimate, forecast, makespan
from dtag.sweep.job import Cell, Job
from tests.reference.toy_environment import store_line
from tests.sweep.example_sweeps import METHODS, jobs_of, write_sweep


def _finish(job: Job, seconds: float, peak_memory: int = 0) -> None:
    job.folder.mkdir(parents=True)
    job.product.write_text('{"summary": {}}')
    add_cost(job, seconds, peak_memory)


def test_the_cost_of_a_run_is_that_of_all_its_starts(tmp_path: Path) -> None:
    job = jobs_of(tmp_path)["line/rf/seed-0"]
    assert read_cost(job) is None
    add_cost(job, 2.0, 70)
    add_cost(job, 3.0, 50)
    assert read_cost(job) == Cost(5.0, 70)
    (job.folder / "cost.json").write_text("{")
    assert read_cost(job) is None


def test_runs_are_alike_whatever_their_seed_name_and_critics_file(tmp_path: Path) -> None:
    datasets = {"a": {"overrides": ["data.id=a"]}, "b": {"overrides": ["data.id=b"]}}
    jobs = jobs_of(tmp_path, methods=METHODS, datasets=datasets, seeds=[0, 1])
    rf, again, dt = ([jobs[f"a/{name}/seed-{seed}"] for seed in (0, 1)] for name in ("rf", "rf_again", "dt"))
    assert likeness(rf[0]) == likeness(rf[1])
    assert len({likeness(job) for job in (rf[0], again[0], dt[0], jobs["b/rf/seed-0"])}) == 4
    assert likeness(rf[0], of_any_data=True) == likeness(jobs["b/rf/seed-1"], of_any_data=True)
    assert len({likeness(job, of_any_data=True) for job in (rf[0], again[0], dt[0], jobs["a/dt_ag/seed-0"])}) == 4
    critics = [job for job in jobs.values() if job.kind == "critic" and job.cell.seed == 0]
    assert len({likeness(job) for job in critics}) == 4
    assert len({likeness(job, of_any_data=True) for job in critics}) == 2


def test_known_costs_are_the_mean_seconds_and_the_highest_memory_of_finished_runs(tmp_path: Path) -> None:
    jobs = list(jobs_of(tmp_path, methods={"dt": METHODS["dt"]}, seeds=[0, 1, 2]).values())
    _finish(jobs[0], 10.0, 500)
    _finish(jobs[1], 20.0, 400)
    add_cost(jobs[2], 900.0, 900)  # not finished
    assert known_costs(jobs)[likeness(jobs[2])] == Cost(15.0, 500)
    estimates = forecast(jobs, 1, measured=lambda *n: n == (0, 0) or pytest.fail("measured"))
    assert {estimate.source for estimate in estimates.values()} == {"finished runs"}


def test_all_is_over_when_the_last_run_is_that_waits_for_workers_and_for_what_it_needs(tmp_path: Path) -> None:
    def job(name: str, *needs: str) -> Job:
        cell = Cell("d", name, 0)
        return Job("policy", cell, tmp_path, (), {}, tuple(str(Cell("d", need, 0)) for need in needs))

    jobs = [job("critic"), job("one", "critic"), job("two", "critic"), job("apart")]
    seconds = {str(each.cell): s for each, s in zip(jobs, (10.0, 5.0, 7.0, 4.0), strict=True)}
    assert makespan(jobs, seconds, 1) == 26.0
    assert makespan(jobs, seconds, 4) == 17.0
    assert makespan(jobs, {**seconds, "d/critic/seed-0": 0.0}, 4) == 7.0  # finished
    assert makespan([], {}, 2) == 0.0


def test_what_is_not_on_this_machine_is_told_with_what_brings_it() -> None:
    line = store_line()
    assert missing_data(line) == {}
    assert bytes_on_disk(line) > 1000
    found = missing_data(f"{line}+local/none/at-all-v0+hopper-medium-v2+pointmaze-umaze+no/such/file.npz")
    assert list(found) == ["local/none/at-all-v0", "hopper-medium-v2", "pointmaze-umaze", "no/such/file.npz"]
    for part, words in zip(found, ("dtag data import", "dtag data get", "dtag data make", "no such file"), strict=True):
        assert words in found[part]


def test_seeds_are_told_as_ranges() -> None:
    assert ranges([4, 0, 1, 2, 6]) == "0-2,4,6"


def _shown(path: str, folder: Path) -> str:
    with (folder / "out").open("w") as file:
        assert show_plan(path, [], Console(file=file, width=110)) == 0
    return (folder / "out").read_text()


def test_the_plan_says_what_stands_where_and_from_finished_runs_what_is_left_costs(tmp_path: Path) -> None:
    methods = {"dt": METHODS["dt"]}
    path = write_sweep(tmp_path, methods=methods, seeds=[0, 1, 2], jobs=2)
    jobs = list(jobs_of(tmp_path, methods=methods, seeds=[0, 1, 2], jobs=2).values())
    _finish(jobs[0], 3600.0, 2**30)
    (jobs[0].folder / "config.yaml").write_text(to_yaml(jobs[0].config))
    unfinished = [{"run": job.name, "status": "failed", "error": "nan"} for job in jobs[:2]]
    (tmp_path / "runs" / "trial" / "results.json").write_text(json.dumps({"unfinished": unfinished}))
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    text = _shown(path, tmp_path)
    for part in ("3 runs (3 policy)", "0 finished, 1 failed, 2 new", "1.0 h", "2.0 h", "1.0 GiB", "to do: 2 runs, 2.0 h",
                 "about 1.0 h with 2 at once", "line/dt/seed-1 failed last time: nan", "finished: theirs"):  # fmt: skip
        assert part in text
    assert "seed-0 failed" not in text
    assert before == {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.name != "out"}


def test_a_cost_that_cannot_be_measured_is_told_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dtag.sweep.forecast._measure", lambda *_: Estimate(None, "unknown", problem="dtag: no memory"))
    text = _shown(write_sweep(tmp_path, methods={"dt": METHODS["dt"]}), tmp_path)
    assert "dt: its cost is not known: dtag: no memory" in text
    assert "how long they take is not known" in text
    assert "0 s" not in text


@pytest.mark.slow
def test_a_kind_of_run_is_timed_by_its_first_steps_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dtag.training.probe import probe

    monkeypatch.chdir(Path(__file__).parents[2])
    jobs = jobs_of(tmp_path, id=store_line(), methods={name: METHODS[name] for name in ("rf", "dt", "dt_ag")})
    before = sorted(tmp_path.rglob("*"))
    found = {job.cell.method: probe(job.kind, job.config) for job in jobs.values()}
    assert sorted(tmp_path.rglob("*")) == before
    critic = next(found[name] for name in found if name.startswith("critics/"))
    assert set(critic) == {"critic", "peak_memory"}
    assert set(found["rf"]) == {"policy", "evaluation", "peak_memory"}
    assert set(found["dt_ag"]) == {"evaluation", "peak_memory"}
    for each in found.values():
        assert all(value > 0 for value in each.values())
    longer = {**jobs["line/dt/seed-0"].config}
    longer["train"] = {**longer["train"], "n_steps": 20_000, "evaluate_every": 10_000}
    assert probe("policy", longer)["policy"] > 50 * found["dt"]["policy"]
    with pytest.raises(DtagError):
        probe("policy", {**longer, "data": {**longer["data"], "id": "local/line/none-v0"}})

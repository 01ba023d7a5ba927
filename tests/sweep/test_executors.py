"""What every executor must do, on a stand-in for the dtag command; and what each does of its own."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dtag.errors import UsageError
from dtag.sweep.executor import GIB, Executor, Needs, Outcome, RaySettings
from dtag.sweep.job import Cell, Job
from dtag.sweep.local_executor import LocalExecutor
from dtag.sweep.runner import Run, Runner

FILE = Path(__file__).with_name("fake_dtag.py")
NEEDS_RAY = pytest.param("ray", marks=pytest.mark.slow)  # skipped unless `pip install -e '.[ray]'` was run


class Silent:
    """An observer that does not listen."""

    def changed(self, run: Run) -> None: ...

    def stopping(self) -> None: ...


def _job(folder: Path, name: str, behaviour: str = "ok", accelerator: str = "auto") -> Job:
    config: dict[str, Any] = {"data": {"id": name}, "critic": None, "train": {"accelerator": accelerator}}
    return Job("policy", Cell("data", name, 0), folder / name, (behaviour, str(folder / name)), config)


def _start(executor: Executor, job: Job) -> Any:
    words = job.prepare()
    job.log.touch()
    return executor.start(job, words)


def _outcome(attempt: Any, seconds: float = 60) -> Outcome:
    limit = time.monotonic() + seconds
    while attempt.outcome() is None and time.monotonic() < limit:
        time.sleep(0.02)
    ended = attempt.outcome()
    assert ended is not None
    return ended


@pytest.fixture(params=["local", NEEDS_RAY])
def executor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Executor]:
    """Each kind, with room for two."""
    made: Executor
    if request.param == "local":
        made = LocalExecutor(2, program=(sys.executable, "-S", str(FILE)))
    else:
        pytest.importorskip("ray", reason="pip install -e '.[ray]'")
        from dtag.sweep.ray_executor import RayExecutor

        made = RayExecutor(tmp_path, RaySettings(), at_most=2, program=("-S", str(FILE)))
    yield made
    made.close()


def test_an_executor_runs_reports_passes_signals_on_and_keeps_to_its_places(executor: Executor, tmp_path: Path) -> None:
    """One test, since a cluster takes seconds to start."""
    assert executor.n_workers == 2
    ok, bad, killed = (_job(tmp_path, name, name) for name in ("ok", "fail", "killed"))
    outcomes = [_outcome(_start(executor, job)) for job in (ok, bad, killed)]
    assert [each.exit_status for each in outcomes] == [0, 1, -signal.SIGKILL]
    assert not any(each.is_lost for each in outcomes)
    assert outcomes[0].peak_memory > 2**20
    assert ok.is_finished
    assert ok.log.read_text() == "threads 1\n"
    assert "loss became nan" in bad.log.read_text()
    jobs = [_job(tmp_path, f"long{i}", "long") for i in range(2)]
    attempts = []
    for job in jobs:
        assert executor.has_room(job)
        attempts.append(_start(executor, job))
    assert not executor.has_room(ok)
    limit = time.monotonic() + 60
    while time.monotonic() < limit and not all((job.folder / "config.yaml").is_file() for job in jobs):
        time.sleep(0.02)
    assert [attempt.outcome() for attempt in attempts] == [None, None]
    for attempt in attempts:
        attempt.send_signal(signal.SIGTERM)
    assert [_outcome(attempt).exit_status for attempt in attempts] == [143, 143]
    assert executor.has_room(ok)


def test_a_sweep_on_an_executor_stops_resumable_and_goes_on(executor: Executor, tmp_path: Path) -> None:
    job = _job(tmp_path, "long", "long")
    runner = Runner([job], executor, Silent())
    runner._start_ready()
    limit = time.monotonic() + 60
    while time.monotonic() < limit and not (job.folder / "config.yaml").is_file():
        time.sleep(0.02)
    runner._received(signal.SIGINT, None)
    assert runner.run() == 130
    assert runner.runs[job.name].status == "stopped"
    again = Runner([job], executor, Silent())
    assert again.run() == 0
    assert again.runs[job.name].status == "done"
    assert json.loads((job.folder / "cost.json").read_text())["seconds"] > 0.05


class Loses:
    """An executor whose machine goes away under a run's first so many starts."""

    n_workers = 1

    def __init__(self, n_losses: int, *, after_the_end: bool = False) -> None:
        self.n_losses, self.after_the_end, self.words = n_losses, after_the_end, []

    def has_room(self, job: Job) -> bool:
        return True

    def start(self, job: Job, words: tuple[str, ...]) -> Loses:
        self.words.append(words)
        (job.folder / "config.yaml").write_text("")
        self.is_lost = len(self.words) <= self.n_losses
        if not self.is_lost or self.after_the_end:
            job.product.write_text("{}")
        return self

    def outcome(self) -> Outcome:
        return Outcome(is_lost=True, error="its node was lost") if self.is_lost else Outcome(0)

    def send_signal(self, number: int) -> None: ...

    def close(self) -> None: ...


@pytest.mark.parametrize(("retries", "status"), [(2, "done"), (1, "failed"), (0, "failed")])
def test_a_run_whose_machine_is_lost_is_resumed_elsewhere_so_often_and_then_failed(
    retries: int, status: str, tmp_path: Path
) -> None:
    place, job = Loses(2), _job(tmp_path, "run")
    runner = Runner([job], place, Silent(), retries=retries)
    assert runner.run() == 0
    run = runner.runs[job.name]
    assert run.status == status
    assert run.error == ("" if status == "done" else "its node was lost")
    assert place.words == [job.words, *[("fit", "--resume", str(job.folder))] * retries][: len(place.words)]
    assert len(place.words) == retries + 1


def test_a_run_that_was_over_when_its_machine_was_lost_is_done(tmp_path: Path) -> None:
    job = _job(tmp_path, "run")
    runner = Runner([job], Loses(9, after_the_end=True), Silent())
    runner.run()
    assert runner.runs[job.name].status == "done"


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Callable[..., LocalExecutor]]:
    """Makes executors of processes that end on a signal, and ends them."""
    made: list[LocalExecutor] = []

    def make(**options: Any) -> LocalExecutor:
        made.append(LocalExecutor(8, program=(sys.executable, "-S", str(FILE)), **options))
        return made[-1]

    yield make
    for each in made:
        for attempt in each.running:
            attempt.process.kill()
            attempt.process.wait()


def test_a_run_that_ended_keeps_its_place_until_its_end_was_noticed(tmp_path: Path) -> None:
    local = LocalExecutor(1, program=(sys.executable, "-S", str(FILE)))
    attempt = _start(local, _job(tmp_path, "one"))
    os.waitid(os.P_PID, attempt.process.pid, os.WEXITED | os.WNOWAIT)
    assert not local.has_room(_job(tmp_path, "two"))
    _outcome(attempt)
    assert local.has_room(_job(tmp_path, "two"))


def test_no_run_starts_that_does_not_fit_into_memory_but_one_always_does(
    local: Callable[..., LocalExecutor], tmp_path: Path
) -> None:
    executor = local(needs=Needs(memory=3 * GIB), free_memory=lambda: 5 * GIB)
    jobs = [_job(tmp_path, f"run{i}", "long") for i in range(2)]
    _start(executor, jobs[0])
    assert not executor.has_room(jobs[1])  # the first has yet to take most of its 3 GiB
    executor.free_memory = lambda: 7 * GIB
    assert executor.has_room(jobs[1])
    assert local(needs=Needs(memory=9 * GIB), free_memory=lambda: GIB).has_room(jobs[1])


def test_memory_is_that_of_runs_alike_and_before_the_first_a_guess(
    local: Callable[..., LocalExecutor], tmp_path: Path
) -> None:
    executor = local(free_memory=lambda: None)
    done = _job(tmp_path, "done")
    assert executor.expected_memory(done) == GIB
    seen = _outcome(_start(executor, done)).peak_memory
    assert seen not in (0, GIB)
    assert executor.has_room(done)
    assert executor.expected_memory(done) == seen
    assert executor.expected_memory(_job(tmp_path, "other data")) == seen
    assert executor.expected_memory(_job(tmp_path, "done", accelerator="cpu")) == GIB  # another config
    (done.folder / "cost.json").write_text('{"seconds": 9, "peak_memory": 5000000}')
    later = local()
    later.learn([done])
    assert later.expected_memory(done) == 5_000_000


@pytest.mark.parametrize(
    ("share", "expected"),
    [(None, [["a"], ["b"], ["a"], ["b"]]), (0.5, [["a"], ["b"], ["a"], ["b"]]), (1, [["a"], ["b"]]),
     (2, [["a", "b"]]), (0, [[], [], [], []])],
)  # fmt: skip
def test_runs_are_spread_over_the_gpus_and_share_them_as_asked(
    share: float | None, expected: list[list[str]], local: Callable[..., LocalExecutor], tmp_path: Path
) -> None:
    executor = local(needs=Needs(gpus=share), gpus=("a", "b"), free_memory=lambda: None)
    given = []
    for i in range(4):
        job = _job(tmp_path, f"run{i}", "gpus")
        if executor.has_room(job):
            attempt = _start(executor, job)
            given.append(list(attempt.gpus))
            file = job.folder / "gpus"
            limit = time.monotonic() + 20
            while not file.is_file() and time.monotonic() < limit:
                time.sleep(0.01)
            assert file.read_text() == ",".join(given[-1])
    assert given == expected
    if share == 0.5:
        assert not executor.has_room(_job(tmp_path, "fifth"))
        assert executor.has_room(_job(tmp_path, "on the CPU", accelerator="cpu"))


def test_more_gpus_than_there_are_is_one_clear_error() -> None:
    with pytest.raises(UsageError, match="this machine has 0 GPUs"):
        LocalExecutor(1, needs=Needs(gpus=0.5))


def test_without_ray_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dtag.sweep.ray_executor import RayExecutor

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install -e '\.\[ray\]'"):
        RayExecutor(tmp_path, RaySettings())

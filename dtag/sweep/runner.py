"""Runs jobs as processes of the dtag command, one thread each, as many at once as asked."""

from __future__ import annotations

import math
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Literal, Protocol

from dtag.errors import DtagError
from dtag.sweep.job import Job

Status = Literal["waiting", "running", "done", "failed", "skipped", "stopped"]
DTAG = (sys.executable, "-m", "dtag")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
EXIT_STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}
POLL_SECONDS = 0.05
ECHO_SECONDS = 0.5  # `timeout` and cluster managers signal a process and its group: the same signal, twice at once


@dataclass
class Run:
    """A job in this sweep. is_earlier: an earlier call finished it. started: time.monotonic of its start. error: why it
    failed or was skipped, in a line. log_start: bytes of the log that earlier starts wrote.
    """

    job: Job
    status: Status = "waiting"
    is_earlier: bool = False
    started: float = 0.0
    seconds: float = 0.0
    exit_status: int | None = None
    error: str = ""
    log_start: int = 0
    process: subprocess.Popen[bytes] | None = None


class Observer(Protocol):
    """Who is told what goes on."""

    def changed(self, run: Run) -> None:
        """A run has a new status."""

    def stopping(self) -> None:
        """A signal came and was passed on to the runs."""


class Runner:
    """Starts each job once those it needs are done. A failed one leaves the others running, those that need it apart.

    A signal is passed on to the running processes, nothing more is started, and `run` returns when they have ended, the
    second signal making them abort. program: what a job's words are appended to. inherited: descriptors that the
    processes hold while they live.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        n_workers: int,
        observer: Observer,
        *,
        program: Sequence[str] = DTAG,
        inherited: Sequence[int] = (),
    ) -> None:
        self.runs = {job.name: Run(job, "done", is_earlier=True) if job.is_finished else Run(job) for job in jobs}
        self.n_workers, self.observer, self.program, self.inherited = n_workers, observer, program, inherited
        self.signals: list[int] = []  # received
        self.last_signal = -math.inf
        self.n_passed_on = 0

    def run(self) -> int:
        """Work until nothing can be started any more; 0, or 130 or 143 after a signal."""
        with self._own_signals():
            while True:
                self._pass_on_signals()
                for run in self._with_status("running"):
                    self._reap(run)
                if not self.signals:
                    self._skip_unreachable()
                    self._start_ready()
                if not self._with_status("running"):
                    break
                time.sleep(POLL_SECONDS)
        return EXIT_STATUS[signal.Signals(self.signals[0])] if self.signals else 0

    def _start_ready(self) -> None:
        for run in self._with_status("waiting"):
            if len(self._with_status("running")) >= self.n_workers:
                return
            if all(self.runs[name].status == "done" for name in run.job.needs):
                self._start(run)

    def _start(self, run: Run) -> None:
        run.status, run.started = "running", time.monotonic()
        try:
            words = run.job.prepare()
            with run.job.log.open("ab") as log:
                log.write(f"$ dtag {shlex.join(words)}\n".encode())
                log.flush()
                run.log_start = log.tell()
                run.process = subprocess.Popen(
                    [*self.program, *words],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **ONE_THREAD},
                    process_group=0,  # a terminal's Ctrl-C reaches us alone, and each run once, from us
                    pass_fds=self.inherited,
                )
        except (OSError, DtagError) as error:
            run.status, run.error = "failed", str(error)
        self.observer.changed(run)

    def _reap(self, run: Run) -> None:
        """Notes how a run ended, if it has."""
        if run.process is None or run.process.poll() is None:
            return
        run.exit_status, run.seconds = run.process.returncode, time.monotonic() - run.started
        if run.exit_status == 0 and run.job.is_finished:
            run.status = "done"
        elif self.signals:
            run.status = "stopped"
        else:
            run.status = "failed"
            run.error = _how_it_failed(run)
        self.observer.changed(run)

    def _skip_unreachable(self) -> None:
        for run in self._with_status("waiting"):  # in the plan's order, so one pass reaches their dependants too
            lost = [name for name in run.job.needs if self.runs[name].status in ("failed", "skipped")]
            if lost:
                run.status, run.error = "skipped", f"needs {', '.join(lost)}"
                self.observer.changed(run)

    def _pass_on_signals(self) -> None:
        for number in self.signals[self.n_passed_on :]:
            self.n_passed_on += 1
            for run in self._with_status("running"):
                if run.process is not None:
                    run.process.send_signal(number)
            self.observer.stopping()

    @contextmanager
    def _own_signals(self) -> Iterator[None]:
        """Outside the main thread, where Python allows no handlers, signals stay as they were."""
        numbers = EXIT_STATUS if threading.current_thread() is threading.main_thread() else ()
        previous = {number: signal.signal(number, self._received) for number in numbers}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _received(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if now - self.last_signal > ECHO_SECONDS:
            self.signals.append(number)
        self.last_signal = now

    def _with_status(self, status: Status) -> list[Run]:
        return [run for run in self.runs.values() if run.status == status]


def seconds_left(runs: Sequence[Run], n_workers: int, now: float) -> float | None:
    """What the remaining runs will take if each takes the mean of its kind's finished ones; None before the first.

    A kind of which none is finished counts as the mean of all. now: time.monotonic().
    """
    finished = [run for run in runs if run.status == "done" and not run.is_earlier]
    if not finished:
        return None

    def expected(run: Run) -> float:
        alike = [other.seconds for other in finished if other.job.kind == run.job.kind]
        seconds = alike or [other.seconds for other in finished]
        return sum(seconds) / len(seconds)

    running = [max(expected(run) - (now - run.started), 0.0) for run in runs if run.status == "running"]
    waiting = [expected(run) for run in runs if run.status == "waiting"]
    return max(sum(running + waiting) / n_workers, max(running + waiting, default=0.0))


def _how_it_failed(run: Run) -> str:
    if run.exit_status == 0:
        return f"ended without writing {run.job.product}"
    status = run.exit_status or 0
    if status < 0:
        name = signal.Signals(-status).name
        return f"ended by {name}" + (": out of memory?" if name == "SIGKILL" else "")
    return _last_error(run.job.log, run.log_start) or f"exit status {status}"


def _last_error(log: Path, start: int) -> str:
    """The last line of dtag's own complaint, else of whatever was printed."""
    lines = [line.strip() for line in log.read_bytes()[start:].decode(errors="replace").splitlines() if line.strip()]
    complaints = [line.removeprefix("dtag: ") for line in lines if line.startswith("dtag: ")]
    return next(reversed(complaints or lines), "")

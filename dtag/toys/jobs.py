"""The experiments as independent jobs, spread over processes of one thread each."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """One cell of an experiment: `dtag.toys.<experiment>.run_<experiment>(folder, kind, seed)`."""

    experiment: str
    kind: str
    seed: int


# The longest first, so that no process is left to work alone at the end.
KINDS = {
    "chain": ("Bellman + AG", "Bellman", "IQL"),
    "parabola": ("one-sided", "two-sided"),
    "ramp": ("ODT+DDPG", "DDPG", "ODT"),
}


def jobs(n_seeds: int) -> list[Job]:
    """Every experiment and kind for seeds 0, 1, ..."""
    return [
        Job(experiment, kind, seed) for experiment, kinds in KINDS.items() for kind in kinds for seed in range(n_seeds)
    ]


def run_jobs(
    planned: Sequence[Job], folder: Path, n_workers: int, on_done: Callable[[Job], None]
) -> dict[str, list[Any]]:
    """Each experiment's results in the jobs' order; what the jobs print goes to folder/log.txt.

    The first job that fails, or Ctrl-C, drops the jobs not yet begun and waits for those that are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pool = ProcessPoolExecutor(n_workers, get_context("spawn"), initializer=_begin, initargs=(folder / "log.txt",))
    try:
        futures = {pool.submit(run_job, job, folder): job for job in planned}
        done: dict[Job, Any] = {}
        for future in as_completed(futures):
            done[futures[future]] = future.result()
            on_done(futures[future])
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    results: dict[str, list[Any]] = {}
    for job in planned:
        results.setdefault(job.experiment, []).append(done[job])
    return results


def run_job(job: Job, folder: Path) -> Any:
    """One cell, in this process."""
    module = importlib.import_module(f"dtag.toys.{job.experiment}")
    return getattr(module, f"run_{job.experiment}")(folder, job.kind, job.seed)


def _begin(log: Path) -> None:
    """A worker's start, before torch is imported."""
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    with log.open("a") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())

"""A million Hopper-like steps: import, start of a run, memory, and the gather of a batch.

    python tests/bench/bench_data.py [--n-steps 1000000] [--repeats 3]

The data is written to a temporary folder in D4RL's HDF5 layout. Every figure but the gather's comes from fresh
processes: the file, once read, is in the page cache, as it is when a run follows an import.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import psutil
import torch
from rich.console import Console
from rich.table import Table
from workloads import hopper_like

ID, BATCH, K = "local/bench/hopper-v0", 128, 20
EPISODE = 457  # hopper-medium-v2's mean length; Minari's file has a group of five arrays for each
AIMS = {"import s": 40.0, "first batch s": 5.0, "memory x": 3.0, "gather ms": 2.0}


def write_d4rl(path: Path, n_steps: int) -> None:
    trajectories = hopper_like(n_steps, EPISODE).trajectories
    with h5py.File(path, "w") as file:
        for key, array in (
            ("observations", trajectories.states),
            ("actions", trajectories.actions),
            ("rewards", trajectories.rewards),
            ("terminals", trajectories.terminated),
            ("timeouts", trajectories.truncated),
            ("next_observations", trajectories.states),
        ):
            file.create_dataset(key, data=array, compression="gzip")  # as D4RL's are


def import_once(path: str) -> dict[str, float]:
    """`dtag data import` without the printing."""
    start = time.perf_counter()
    from dtag.data.import_file import import_file
    from dtag.data.minari_store import save

    save(import_file(path, id=ID, environment="Hopper-v5"), overwrite=True)
    return {"import s": time.perf_counter() - start}


def first_batch() -> dict[str, float]:
    """From `import dtag` to a batch, as `dtag fit` gets there, and the resident memory added after the imports."""
    start = time.perf_counter()
    from dtag.data.datamodule import TrajectoryDataModule

    torch.set_num_threads(1)
    imported = time.perf_counter() - start
    before = psutil.Process().memory_info().rss
    data = TrajectoryDataModule(ID, batch_size=BATCH, context_length=K).serve("segments", 1_000)
    batches = iter(data.train_dataloader())
    next(batches)
    seconds = time.perf_counter() - start
    added = psutil.Process().memory_info().rss - before
    trajectories = data.dataset.trajectories
    plain = 4 * trajectories.n_steps * (trajectories.state_dim + trajectories.action_dim + 1)
    gathers = []
    for _ in range(500):
        start = time.thread_time()
        next(batches)
        gathers.append(time.thread_time() - start)
    return {
        "first batch s": seconds,
        "of it importing dtag s": imported,
        "memory x": added / plain,
        "memory MB": added / 1e6,
        "gather ms": 1e3 * statistics.median(gathers),
    }


def fresh(*arguments: str) -> dict[str, Any]:
    """What this file prints in a process of its own."""
    done = subprocess.run([sys.executable, __file__, *arguments], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-steps", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(first_batch() if options.part == ["first"] else import_once(options.part[1])))
        return
    measured: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "MINARI_DATASETS_PATH": f"{folder}/minari",
            "DTAG_CACHE": f"{folder}/cache",
            "OMP_NUM_THREADS": "1",
        }
        path = Path(folder) / "hopper_like.hdf5"
        write_d4rl(path, options.n_steps)
        for _ in range(options.repeats):
            for part in (("import", str(path)), ("first",)):
                for name, value in fresh("--part", *part).items():
                    measured.setdefault(name, []).append(value)
    table = Table("figure", title=f"{options.n_steps:,} Hopper-like steps, batches of {BATCH} x {K}")
    for column in ("median", "least", "aim"):
        table.add_column(column, justify="right")
    for name, values in measured.items():
        aim = f"< {AIMS[name]:g}" if name in AIMS else ""
        table.add_row(name, f"{statistics.median(values):.2f}", f"{min(values):.2f}", aim)
    table.caption = "memory x: resident memory added from there to the first batch, over the float32 arrays themselves"
    Console().print(table)


if __name__ == "__main__":
    main()

"""A sweep over two nodes of a local Ray cluster, one of which dies half-way: python tests/sweep/ray_two_nodes.py [FOLDER].

Not part of the test suite: it needs `pip install -e '.[ray]'`, about a gigabyte of memory a node and two minutes. Both
nodes are raylets of their own on this machine, so the output folder is shared storage. Says what happened and exits with 1
unless every run ended well.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from rich.console import Console

ROOT = Path(__file__).parents[2]


def kill_when_busy(cluster: Any, node: object, folder: Path) -> None:
    """Kill the node's processes once three of the four runs have a checkpoint: one of them at least is on that node."""
    limit = time.monotonic() + 240
    begun: list[str] = []
    while time.monotonic() < limit and len(begun) < 3:
        time.sleep(0.2)
        runs = [path.parents[1] for path in folder.rglob("last.ckpt")]
        begun = [str(run.relative_to(folder)) for run in runs if not any(run.glob("results.json"))]
        begun = [name for name in begun if not (folder / name / "critic.ckpt").is_file()]
    print(f"--- killing the second node; half-way, with a checkpoint: {', '.join(begun)}", flush=True)
    cluster.remove_node(node, allow_graceful=False)


def main() -> int:
    sys.path.insert(0, str(ROOT))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    os.environ.setdefault("MINARI_DATASETS_PATH", tempfile.mkdtemp())
    os.chdir(ROOT)

    import ray
    from ray.cluster_utils import Cluster

    from dtag.cli.sweep_of_runs import sweep_runs
    from tests.reference.toy_environment import store_line
    from tests.sweep.example_sweeps import METHODS, write_sweep

    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    second = cluster.add_node(num_cpus=2)
    overrides = ["critic.n_steps=2000", "train.n_steps=800", "train.checkpoint_every=20", "train.evaluate_every=0"]
    path = write_sweep(
        folder, store_line(), methods=METHODS, seeds=[0, 1], overrides=overrides, executor="ray", cpus_per_run=1,
        ray={"address": cluster.address},
    )  # fmt: skip
    thread = threading.Thread(target=kill_when_busy, args=(cluster, second, folder / "runs"), daemon=True)
    thread.start()
    try:
        status = sweep_runs(path, [], Console(width=120))
    finally:
        thread.join(timeout=1)
        ray.shutdown()
        cluster.shutdown()
    results = json.loads((folder / "runs" / "trial" / "results.json").read_text())
    resumed = [log.parent.name for log in (folder / "runs").rglob("output.log") if "--resume" in log.read_text()]
    print(f"--- exit status {status}, {len(results['rows'])} rows, {len(resumed)} runs went on from a checkpoint")
    return 0 if status == 0 and not results["unfinished"] and resumed else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())

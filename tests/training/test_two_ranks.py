"""Two processes on one machine: they learn one policy and one critic, and end together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dtag.config.load import to_yaml
from tests.training.test_live_critic import config

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_two_ranks_learn_the_same_networks_and_stop_together(tmp_path: Path) -> None:
    file = tmp_path / "live.yaml"
    own = config(tmp_path, train={"devices": 2})
    own["policy"]["head"] = "squashed"  # whose std no term here uses
    file.write_text(to_yaml(own))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
               str(Path(__file__).with_name("two_ranks.py")), str(file)]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert found[0] == found[1]
    assert found[0]["policy"] == found[0]["critic"] == 0.0  # from batches of their own
    assert found[0]["mean"] == [1.5, 1.5]
    assert found[0]["evaluation"] == "interrupted"

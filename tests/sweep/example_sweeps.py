"""Sweeps of whole runs on the line, as YAML files in a test's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dtag.config.load import to_yaml
from dtag.sweep.job import Job
from dtag.sweep.plan import plan
from dtag.sweep.sweep_file import read_sweep
from tests.reference.toy_environment import line_config


def write_sweep(folder: Path, id: str = "local/line/test-v0", **sections: Any) -> str:
    """The path of a sweep of one method, dataset and seed; each of `sections` replaces its own, {line} in it is a path
    to the line's config.
    """
    line = folder / "line.yaml"
    line.write_text(to_yaml(line_config(id, "unused")))
    sweep: dict[str, Any] = {"experiment": "trial", "output": str(folder / "runs"), "methods": {"rf": {"config": str(line)}},
                             "datasets": {"line": {}}, "seeds": [0], **sections}  # fmt: skip
    path = folder / "sweep.yaml"
    path.write_text(to_yaml(sweep).replace("{line}", str(line)))
    return str(path)


def jobs_of(folder: Path, *overrides: str, **sections: Any) -> dict[str, Job]:
    """The plan of such a sweep, by name."""
    return {job.name: job for job in plan(read_sweep(write_sweep(folder, **sections), overrides))}


METHODS: dict[str, Any] = {
    "rf": {"config": "{line}"},
    "rf_again": {"config": "{line}", "overrides": ["data.weighting=length", "ag.eta=0.2"]},
    "rf_other_critic": {"config": "{line}", "overrides": ["critic.n_steps=60"]},
    "dt": {"config": "{line}", "overrides": ["critic=null"]},
    "dt_ag": {"of": "dt", "critic_of": "rf", "overrides": ["ag.eta=0.1"]},
}

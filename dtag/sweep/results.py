"""The scores of a sweep's finished runs in one table, as JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from dtag.data.dataset import DatasetInfo
from dtag.data.reference_scores import reference_as_evaluated
from dtag.errors import CheckpointError
from dtag.evaluation.scores import summary
from dtag.sweep.job import Job
from dtag.sweep.runner import Run
from dtag.training.atomic_file import write_text_atomically
from dtag.training.checkpoint import read_checkpoint
from dtag.training.run_folder import RunFolder, provenance

Row = dict[str, Any]
COLUMNS = ("dataset", "method", "seed", "setting", "score", "return", "score_iqm", "episodes", "commit", "file",
           "score_before", "return_before")  # fmt: skip


def collect(jobs: Sequence[Job]) -> list[Row]:
    """One row for each finished run and setting ("AG off", "AG on"), of the keys in COLUMNS.

    A run without an environment has none, nor has a training that only fine-tunings start from. score, score_iqm: mean
    and interquartile mean over the run's episodes, None where the data has no reference returns. file: where its
    episodes are, one by one. score_before, return_before: of a fine-tuning's agent at its start, else None.
    """
    rows = []
    for job in jobs:
        cell = job.cell
        if job.kind == "critic" or cell.method.startswith("pretrained/") or not job.is_finished:
            continue
        contents = json.loads(job.product.read_text())
        own = contents["provenance"] if job.kind == "validate" else _provenance_of(job)
        for setting, quantities in contents.get("summary", {}).items():
            score = quantities.get("score", {})
            before = contents.get("before", {}).get(setting, {}) if job.kind == "finetune" else {}
            values = (cell.dataset, cell.method, cell.seed, setting, score.get("mean"), quantities["return"]["mean"],
                      score.get("iqm"), int(quantities["return"]["n"]), own.get("commit"), str(job.product),
                      before.get("score", {}).get("mean"), before.get("return", {}).get("mean"))  # fmt: skip
            rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def across_seeds(rows: Sequence[Row]) -> list[Row]:
    """For each dataset, method and setting {"mean", "std", "iqm", "n"} over seeds of the runs' mean scores and returns.

    std has ddof 0. episodes: of each run, the fewest where they differ.
    """
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["dataset"], row["method"], row["setting"]), []).append(row)
    result = []
    for (dataset, method, setting), group in groups.items():
        cell: Row = {"dataset": dataset, "method": method, "setting": setting}
        cell["episodes"] = min(row["episodes"] for row in group)
        for name in ("score", "return", "score_before", "return_before"):
            values = [row[name] for row in group if row[name] is not None]
            cell[name] = summary(np.asarray(values)) if values else None
        result.append(cell)
    return result


def references(jobs: Sequence[Job]) -> dict[str, dict[str, Any] | None]:
    """By dataset, the returns that its scores count from and to, as its agents remember them."""
    found: dict[str, dict[str, Any] | None] = {}
    for job in jobs:
        if job.kind in ("policy", "finetune") and job.is_finished and job.cell.dataset not in found:
            try:
                contents = read_checkpoint(RunFolder(job.folder).agent, trust=True)
            except CheckpointError:
                continue  # a run's rows outlive its weights
            info = DatasetInfo.from_dict(contents["spec"]["info"])
            reference = reference_as_evaluated(info, job.config["eval"])
            found[job.cell.dataset] = None if reference is None else asdict(reference)
    return found


def write_results(folder: Path, settings: dict[str, Any], runs: Sequence[Run]) -> tuple[Path, Path]:
    """results.json and results.csv of all that is finished; the JSON also says what failed and why."""
    jobs = [run.job for run in runs]
    rows = collect(jobs)
    contents = {
        "provenance": provenance(),
        "sweep": settings,
        "references": references(jobs),
        "across_seeds": across_seeds(rows),
        "rows": rows,
        "unfinished": [_unfinished(run) for run in runs if run.status != "done"],
    }
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    json_file, csv_file = folder / "results.json", folder / "results.csv"
    write_text_atomically(json.dumps(contents, indent=1) + "\n", json_file)
    write_text_atomically(table.getvalue(), csv_file)
    return json_file, csv_file


def _unfinished(run: Run) -> dict[str, Any]:
    log = str(run.job.log) if run.job.log.is_file() else None
    fields = {"run": run.job.name, "status": run.status, "exit_status": run.exit_status, "error": run.error, "log": log}
    return {name: value for name, value in fields.items() if value not in ("", None)}


def _provenance_of(job: Job) -> dict[str, Any]:
    file = RunFolder(job.folder).provenance
    return dict(json.loads(file.read_text())) if file.is_file() else {}

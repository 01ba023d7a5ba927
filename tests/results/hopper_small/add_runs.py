"""Adds the finished runs below the given folders to runs.csv and episodes.csv, draws scores.png and prints the table.

    python tests/results/hopper_small/add_runs.py [FOLDER ...]

A run's rows replace those of the same dataset, method, seed and setting. Without folders the figure and the table are
made again from the rows that are here.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dtag.data.reference_scores import d4rl_reference
from dtag.report.collect_runs import Evaluation
from dtag.report.method_names import NAMES
from dtag.report.plain_tables import traced
from dtag.report.report_contents import make_report
from dtag.report.report_figures import draw_scores
from dtag.report.run_records import RunRecord
from dtag.report.score_table import score_table

HERE = Path(__file__).parent
RUNS, EPISODES = HERE / "runs.csv", HERE / "episodes.csv"
COLUMNS = ["dataset", "method", "run_seed", "label", "seed", "return", "length"]  # of an episode
REFERENCE = d4rl_reference("hopper-medium-v2")
SHIPPED = {name: stem for stem, name in NAMES.items()}


def main(folders: list[str]) -> None:
    runs, episodes = _read(RUNS), _read(EPISODES)
    if folders:
        report = make_report(folders)
        new_runs = [{key: "" if value is None else value for key, value in row.items()} for row in traced(report)]
        new_episodes = [
            {**dict(zip(COLUMNS, (one.dataset, one.method, one.seed, one.setting), strict=False)), **_episode(row)}
            for one in report.evaluations
            for row in one.rows
        ]
        runs = _merged(runs, new_runs, ("dataset", "method", "seed", "setting"))
        episodes = _merged(episodes, new_episodes, ("dataset", "method", "run_seed", "label"))
        _write(RUNS, runs)
        _write(EPISODES, episodes)
    table = score_table(_evaluations(episodes))
    draw_scores(table).savefig(HERE / "scores.png", dpi=200, facecolor="white")
    shown = scores_of(table)
    print("\n".join(" | ".join(row) for row in shown))


def scores_of(table: Any) -> list[list[str]]:
    """Method, then mean ± std over seeds and the number of seeds, a column a dataset."""
    rows = [["method", *table.datasets]]
    for method in table.methods:
        cells = [table.cells.get((dataset, method)) for dataset in table.datasets]
        rows.append([method, *("" if c is None else f"{c.shown()} ({len(c.values)})" for c in cells)])
    return rows


def _evaluations(episodes: list[dict[str, Any]]) -> Iterable[Evaluation]:
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in episodes:
        groups.setdefault(tuple(str(row[key]) for key in COLUMNS[:4]), []).append(row)
    found = []
    for (dataset, method, seed, setting), own in groups.items():
        base = method.removesuffix("+AG") if setting != "AG off" else method
        rows = tuple({"return": float(r["return"]), "score": REFERENCE.score(float(r["return"]))} for r in own)
        record = RunRecord(HERE, "fit", "done", config={"seed": int(seed)})
        found.append(Evaluation(dataset, method, base, setting, record, rows, SHIPPED.get(base), REFERENCE))
    return found


def _episode(row: dict[str, Any]) -> dict[str, Any]:
    return {"seed": row["seed"], "return": round(float(row["return"]), 3), "length": row["length"]}


def _merged(old: list[dict[str, Any]], new: list[dict[str, Any]], key: tuple[str, ...]) -> list[dict[str, Any]]:
    """The old rows that no new one replaces, and the new ones; grouped by method, in the order methods first came."""
    replaced = {tuple(str(row[part]) for part in key) for row in new}
    kept = [row for row in old if tuple(str(row[part]) for part in key) not in replaced]
    order = {method: place for place, method in enumerate(dict.fromkeys(row["method"] for row in [*old, *new]))}
    return sorted([*kept, *new], key=lambda row: (order[row["method"]], row["dataset"], int(row[key[2]])))


def _read(path: Path) -> list[dict[str, Any]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main(sys.argv[1:])

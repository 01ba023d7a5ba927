"""Adds the finished runs below the given folders to the CSV files here; draws scores.png, writes the tables.

    python tests/results/hopper_small/add_runs.py [FOLDER ...]

A run's rows replace those of the same dataset, method, seed and setting. held_out.csv has, of runs whose critic learned along
with a policy, what the last step logged on held-out data: the policy's squared error, and Q of its action. Without folders the
figure, and the tables of the README a folder up, are made again from the rows that are here.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np

from dtag.data.reference_scores import d4rl_reference
from dtag.report.collect_runs import Evaluation
from dtag.report.method_names import NAMES
from dtag.report.plain_tables import traced
from dtag.report.report_contents import make_report
from dtag.report.report_figures import draw_scores
from dtag.report.run_records import RunRecord
from dtag.report.score_table import score_table

HERE = Path(__file__).parent
RUNS, EPISODES, HELD_OUT = HERE / "runs.csv", HERE / "episodes.csv", HERE / "held_out.csv"
COLUMNS = ["dataset", "method", "run_seed", "label", "seed", "return", "length"]  # of an episode
REFERENCE = d4rl_reference("hopper-medium-v2")
SHIPPED = {name: stem for stem, name in NAMES.items()}
README = HERE.parent / "README.md"
TITLES = {"medium": "medium", "mixed": "medium and expert"}  # of the datasets, in the tables
OWN_CRITIC = ("TD3+BC", "DT+TD3", "DT+DDPG", "AWAC", "CQL")
ROWS = {name: f"{name}, its own critic" if name in OWN_CRITIC else name for name in (
    "BC", "10% BC", "TD3+BC", "IQL", "RF", "RF+PG", "RF+AWAC", "DT", "ADT", "ODT", "CGDT", "DT+TD3", "DT+DDPG",
    "DT+naive Bellman", "AWAC", "CQL",
)}  # fmt: skip
ROWS |= {"DT+naive Bellman": "DT, naive Bellman critic", "CQL": "CQL (10,000 steps), its own critic"}


def main(folders: list[str]) -> None:
    if folders:
        runs, episodes = read_rows(RUNS), read_rows(EPISODES)
        report = make_report(folders)
        new_runs = [{key: "" if value is None else value for key, value in row.items()} for row in traced(report)]
        new_episodes = [
            {**dict(zip(COLUMNS, (one.dataset, one.method, one.seed, one.setting), strict=False)), **_episode(row)}
            for one in report.evaluations
            for row in one.rows
        ]
        runs = _merged(runs, new_runs, ("dataset", "method", "seed", "setting"))
        episodes = _merged(episodes, new_episodes, ("dataset", "method", "run_seed", "label"))
        held_out = [row for one in report.evaluations if one.setting == "AG off" for row in held_out_rows(one)]
        write_rows(RUNS, runs)
        write_rows(EPISODES, episodes)
        write_rows(HELD_OUT, _merged(read_rows(HELD_OUT), held_out, ("dataset", "method", "seed")))
    episodes = read_rows(EPISODES)  # as text, the new ones too
    draw_scores(score_table(_evaluations(episodes))).savefig(HERE / "scores.png", dpi=200, facecolor="white")
    text = with_tables(README.read_text(), episodes)
    README.write_text(text)
    print(text)


def held_out_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Its run's last line about held-out data, where that has a Q; else nothing."""
    log = evaluation.record.folder / "logs" / "csv" / "policy" / "metrics.csv"
    lines = [row for row in read_rows(log) if row.get("held_out/action/mse")] if log.is_file() else []
    named = {"dataset": evaluation.dataset, "method": evaluation.method, "seed": evaluation.seed}
    return [
        {**named, "step": row["step"], "held_out/action/mse": f"{float(row['held_out/action/mse']):.4g}",
         "held_out/q": f"{float(row[key]):.4g}"}
        for row in lines[-1:] for key in ("held_out/td3/q", "held_out/ddpg/q") if row.get(key)
    ]  # fmt: skip


def with_tables(text: str, episodes: list[dict[str, Any]]) -> str:
    """The README's text, each dataset's table anew: scores over seeds, and what refinement adds on each seed."""
    for dataset, title in TITLES.items():
        before, head, rest = text.partition(f"| {title} | AG off |")
        columns, rule, rest = rest.split("\n", 2)
        after = rest[rest.index("\n\n") :]
        text = "".join((before, head, columns, "\n", rule, "\n", "\n".join(rows_of(dataset, episodes)), after))
    return text


def rows_of(dataset: str, episodes: list[dict[str, Any]]) -> list[str]:
    """Markdown: AG off and on as mean ± std (ddof 0) over seeds, then each seed's paired difference, ± 1.96 errors."""
    scores: dict[str, dict[tuple[str, str], float]] = {}
    for row in episodes:
        if row["dataset"] == dataset:
            own = scores.setdefault(row["method"], {})
            own[row["run_seed"], row["seed"]] = float(REFERENCE.score(float(row["return"])))
    lines = []
    for method, name in ROWS.items():
        off, on = scores.get(method), scores.get(f"{method}+AG")
        if off is not None:
            cells = [name, f"{_over_seeds(off)} ({len({seed for seed, _ in off})})", on and _over_seeds(on)]
            lines.append(" ".join(f"| {cell or ''}".strip() for cell in [*cells, on and _differences(off, on)]) + " |")
    return lines


def _over_seeds(scores: dict[tuple[str, str], float]) -> str:
    means = [float(np.mean(own)) for own in _by_seed(scores).values()]
    return f"{np.mean(means):.1f}" + (f" ± {np.std(means):.1f}" if len(means) > 1 else "")


def _differences(off: dict[tuple[str, str], float], on: dict[tuple[str, str], float]) -> str:
    gains = [np.array(own) for own in _by_seed({key: on[key] - score for key, score in off.items()}).values()]
    return ", ".join(f"{own.mean():+.1f} ± {1.96 * own.std(ddof=1) / len(own) ** 0.5:.1f}" for own in gains)


def _by_seed(values: dict[tuple[str, str], float]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for (seed, _), value in sorted(values.items()):
        found.setdefault(seed, []).append(value)
    return found


def _evaluations(episodes: list[dict[str, Any]]) -> list[Evaluation]:
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


def read_rows(path: Path) -> list[dict[str, Any]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main(sys.argv[1:])

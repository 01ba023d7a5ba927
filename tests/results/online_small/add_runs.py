"""Adds the finished fine-tunings below the given folders to the CSV files here; draws curves.png, writes the table.

    dtag validate --ckpt FOLDER/hopper-random/odt/seed-0 eval.episodes=100    # of every run: its rows in end.csv
    python -m tests.results.online_small.add_runs [FOLDER ...]

A run's rows replace those of the same method, seed, alpha and learning rate. Without folders the figure, and the table of the
README a folder up, are made again from the rows that are here.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np

from dtag.data.reference_scores import d4rl_reference
from dtag.evaluation.evaluate import AG_OFF
from dtag.report.collect_runs import Evaluation, collect
from dtag.report.evaluation_means import evaluation_means
from dtag.report.online_curves import SCORE, OnlineCurve, Points, in_common
from dtag.report.online_figures import draw_online_curves
from dtag.report.run_records import RunRecord, find_runs
from dtag.report.score_table import score_table
from tests.results.hopper_small.add_runs import README, read_rows, write_rows

HERE = Path(__file__).parent
RUNS, EVALUATIONS, END = HERE / "runs.csv", HERE / "evaluations.csv", HERE / "end.csv"
REFERENCE = d4rl_reference("hopper-random-v2")
SHOWN = {"ODT": "", "TD3+ODT": "1.0"}  # the sweep's methods, and their alpha; at its learning rate
LEARNING_RATE = "0.001"
LAST = 100_000  # environment steps: evaluations from here on are of the last 50,000
KEY = ("method", "seed", "alpha", "learning_rate")  # of a run


def main(folders: list[str]) -> None:
    if folders:
        runs, evaluations, end = read_rows(RUNS), read_rows(EVALUATIONS), read_rows(END)
        ones = [one for one in collect(find_runs(folders)).evaluations if one.record.kind == "finetune"]
        write_rows(RUNS, _merged(runs, [_run(one) for one in ones], KEY))
        write_rows(EVALUATIONS, _merged(evaluations, [row for one in ones for row in _evaluations(one)], KEY))
        write_rows(END, _merged(end, [row for one in ones for row in _end(one)], KEY[:2]))
    evaluations = read_rows(EVALUATIONS)
    _draw(evaluations)
    text = with_table(README.read_text(), evaluations, read_rows(END))
    README.write_text(text)
    print(text)


def with_table(text: str, evaluations: list[dict[str, Any]], end: list[dict[str, Any]]) -> str:
    """The README's text, its table anew: a score for each seed."""
    before, head, rest = text.partition("| | last 50,000 steps | at the end | best evaluation |\n|---|---|---|---|\n")
    after = rest[rest.index("\n\n") :]
    return "".join((before, head, "\n".join(rows_of(evaluations, end)), after))


def rows_of(evaluations: list[dict[str, Any]], end: list[dict[str, Any]]) -> list[str]:
    """Markdown: of each seed the mean of the last evaluations, of the last weights' episodes, and the best evaluation."""
    lines = []
    for method in SHOWN:
        scores = {seed: _course(evaluations, method, seed) for seed in _seeds(evaluations, method)}
        last = [np.mean([score for steps, score in own if steps >= LAST]) for own in scores.values()]
        ends = [np.mean([float(row["score"]) for row in end if (row["method"], row["seed"]) == (method, seed)
                         and row["label"] == AG_OFF]) for seed in scores]  # fmt: skip
        best = [max(score for _, score in own) for own in scores.values()]
        lines.append(
            f"| {method} | " + " | ".join(", ".join(f"{x:.1f}" for x in xs) for xs in (last, ends, best)) + " |"
        )
    return lines


def _course(evaluations: list[dict[str, Any]], method: str, seed: str) -> list[tuple[int, float]]:
    """(environment steps, score) of every evaluation of a run of the sweep."""
    wanted = (method, seed, SHOWN[method], LEARNING_RATE)
    own = [row for row in evaluations if tuple(row[part] for part in KEY) == wanted]
    return [(int(row["environment_steps"]), float(row["score"])) for row in own]


def _seeds(evaluations: list[dict[str, Any]], method: str) -> list[str]:
    return sorted(
        {row["seed"] for row in evaluations if row["method"] == method and _course(evaluations, method, row["seed"])}
    )


def _draw(evaluations: list[dict[str, Any]]) -> None:
    curves, ones = [], []
    for method in SHOWN:
        seeds = _seeds(evaluations, method)
        points = [Points(*np.array(_course(evaluations, method, seed), np.float64).T) for seed in seeds]
        names = ("hopper-random", method, method)
        curves.append(OnlineCurve(*names, False, SCORE, tuple(map(int, seeds)), tuple(points), *in_common(points)))
        for seed, own in zip(seeds, points, strict=True):
            rows = tuple({"return": 0.0, "score": float(score)} for score in own.values)
            record = RunRecord(HERE, "finetune", "done", config={"seed": int(seed)})
            ones.append(Evaluation(*names, AG_OFF, record, rows, None, REFERENCE))
    draw_online_curves(curves, score_table(ones)).savefig(HERE / "curves.png", dpi=200, facecolor="white")


def _key(one: Evaluation) -> dict[str, Any]:
    config = one.record.config
    alpha = ((config.get("losses") or {}).get("td3") or {}).get("weight")
    return {
        "method": one.method,
        "seed": one.seed,
        "alpha": "" if alpha is None else float(alpha),
        "learning_rate": float(config["optimizer"]["learning_rate"]),
    }


def _run(one: Evaluation) -> dict[str, Any]:
    origin = one.record.provenance
    words = shlex.split(origin["command"])
    pretrained = Path(words[words.index("--ckpt") + 1]).parent / "provenance.json"
    return {
        **_key(one),
        "finished": True,
        **{key: origin[key] for key in ("commit", "torch", "mujoco", "command")},
        "pretrained": json.loads(pretrained.read_text())["command"],
    }


def _evaluations(one: Evaluation) -> list[dict[str, Any]]:
    """A row for each evaluation during training."""
    return [
        {**_key(one), "environment_steps": steps, "return": round(mean, 1), "score": round(float(REFERENCE.score(mean)), 2),
         "episodes": one.record.config["eval"]["episodes"], "commit": one.record.provenance["commit"]}
        for steps, mean in evaluation_means(one, "return", "environment_steps").items()
    ]  # fmt: skip


def _end(one: Evaluation) -> list[dict[str, Any]]:
    """A row for each episode of `dtag validate` in the run's folder."""
    file = one.record.folder / "validate.json"
    contents = json.loads(file.read_text()) if file.is_file() else {"rows": []}
    return [
        {"method": one.method, "seed": one.seed, "label": row["label"], "episode_seed": row["seed"],
         "return": round(float(row["return"]), 3), "score": round(float(row["score"]), 3), "length": row["length"],
         "commit": contents["provenance"]["commit"], "command": "" if place else contents["provenance"]["command"]}
        for place, row in enumerate(contents["rows"])
    ]  # fmt: skip


def _merged(old: list[dict[str, Any]], new: list[dict[str, Any]], key: tuple[str, ...]) -> list[dict[str, Any]]:
    """The new rows in the places of those they replace, else behind the old."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in old:
        groups.setdefault(tuple(str(row[part]) for part in key), []).append(row)
    replaced: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in new:
        replaced.setdefault(tuple(str(row[part]) for part in key), []).append(row)
    return [row for rows in (groups | replaced).values() for row in rows]


if __name__ == "__main__":
    main(sys.argv[1:])

"""What fine-tuning runs did over environment steps: scores from their episodes, everything else from their logs.

Letters: N seeds of a method, P common points over environment steps.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dtag.report.collect_runs import Evaluation
from dtag.report.evaluation_means import evaluation_means
from dtag.report.score_table import ScoreTable

Floats = NDArray[np.float64]
MOST_POINTS = 200  # of a metric over a run; more are averaged
SCORE = "evaluation"
ONLINE_RETURN, CRITIC_LOSS, POLICY_Q = "return while collecting", "critic loss", "Q at the policy's action"
SUPERVISED_NORM, RL_NORM = "gradient norm, supervised", "gradient norm, other terms"
SPEED, BUFFER_RETURN, BUFFER_SHARE = "steps per second", "mean return in the buffer", "online share of the buffer"
COLUMNS = {
    ONLINE_RETURN: "online/return", CRITIC_LOSS: "train/critic/loss", POLICY_Q: "train/policy_q",
    SUPERVISED_NORM: "train/action/gradient_norm", RL_NORM: None, SPEED: "online/steps_per_second",
    BUFFER_RETURN: "online/replay_return", BUFFER_SHARE: "online/replay_share_online",
}  # fmt: skip
METRICS = tuple(COLUMNS)


class Points(NamedTuple):
    """A run's measurements: environment steps, rising, and values; (P,) each."""

    steps: Floats
    values: Floats


@dataclass(frozen=True)
class OnlineCurve:
    """A method's quantity on a dataset. seeds, points: of its runs. steps: (P,); values: (N, P), read off between points."""

    dataset: str
    method: str
    base: str
    is_refined: bool
    quantity: str
    seeds: tuple[int, ...]
    points: tuple[Points, ...]
    steps: Floats
    values: Floats

    @property
    def mean(self) -> Floats:
        return np.asarray(self.values.mean(0), np.float64)


def online_curves(table: ScoreTable) -> list[OnlineCurve]:
    """Of every fine-tuned cell its scores at every evaluation, and of its runs without Action Gradient every metric.

    A curve reaches as far as all its seeds do.
    """
    curves: list[OnlineCurve] = []
    for cell in (cell for method in table.methods for cell in table.of_method(method)):
        ones = [one for one in cell.evaluations if one.record.kind == "finetune"]
        if not ones:
            continue
        quantities = {SCORE: [_scores(one, "score" if cell.is_score else "return") for one in ones]}
        if not ones[0].is_refined:
            logs = [_metrics(one.record.folder) for one in ones]
            quantities |= {name: [log[name] for log in logs] for name in METRICS if all(name in log for log in logs)}
        for quantity, points in quantities.items():
            if all(len(own.steps) > 1 for own in points):
                names = (cell.dataset, cell.method, ones[0].base, ones[0].is_refined, quantity)
                curves.append(OnlineCurve(*names, tuple(one.seed for one in ones), tuple(points), *in_common(points)))
    return curves


def in_common(points: Sequence[Points]) -> tuple[Floats, Floats]:
    """(steps (P,), values (N, P)) between the last of the runs' first points and the first of their last."""
    first, last = max(own.steps[0] for own in points), min(own.steps[-1] for own in points)
    n = min(max(len(own.steps) for own in points), MOST_POINTS)
    steps = np.linspace(first, max(first, last), n)
    return steps, np.array([np.interp(steps, *own) for own in points])


def _scores(one: Evaluation, quantity: str) -> Points:
    """At every evaluation."""
    return _points({steps: [mean] for steps, mean in evaluation_means(one, quantity, "environment_steps").items()})


def _metrics(folder: Path) -> dict[str, Points]:
    """By name in METRICS, over all parts of a resumed run, thinned to MOST_POINTS by averaging."""
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for file in sorted((folder / "logs" / "csv").glob("online*/metrics.csv")):
        with file.open(newline="") as lines:
            for row in csv.DictReader(lines):
                if (row.get("step") or "").isdigit():
                    for name, value in _of_row(row):
                        found[name][int(row["step"])].append(value)
    points = {name: _points(own) for name, own in found.items()}
    return {name: _thinned(own) for name, own in points.items() if len(own.steps) > 1}


def _of_row(row: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    """(name, value) of every metric in a row of the log; of the terms beside the supervised one their norms' norm."""
    for name, column in COLUMNS.items():
        if column is not None and row.get(column):
            yield name, float(row[column])
    others = [float(value) for key, value in row.items()
              if key.endswith("/gradient_norm") and key != COLUMNS[SUPERVISED_NORM] and value]  # fmt: skip
    if others:
        yield RL_NORM, float(np.linalg.norm(others))


def _points(values: Mapping[int, Sequence[float]]) -> Points:
    steps = sorted(values)
    return Points(np.array(steps, np.float64), np.array([np.mean(values[step]) for step in steps], np.float64))


def _thinned(points: Points) -> Points:
    parts = np.array_split(np.stack(points), min(len(points.steps), MOST_POINTS), axis=1)
    return Points(*np.array([part.mean(1) for part in parts]).T)

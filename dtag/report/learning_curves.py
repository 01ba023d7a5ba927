"""Scores and losses over training, read from the runs' own logs."""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dtag.report.evaluation_means import evaluation_means
from dtag.report.figure_style import COLOURS, FAINT, colours_of, house_style, line_style
from dtag.report.report_figures import MOST_TOGETHER, finish_panel, many_panels, outer_labels
from dtag.report.score_table import ScoreTable
from dtag.report.statistics import curve_interval

Floats = NDArray[np.float64]
MOST_POINTS = 400  # of a loss curve; more are averaged


@dataclass(frozen=True)
class Curve:
    """A method on a dataset. steps: (P,); values: (N, P), a row a seed."""

    dataset: str
    method: str
    base: str
    is_refined: bool
    steps: NDArray[np.int64]
    values: Floats


def learning_curves(table: ScoreTable) -> list[Curve]:
    """Mean score over episodes at every evaluation while training; only steps that all seeds of a cell have, two at least."""
    curves = []
    for cell in (cell for method in table.methods for cell in table.of_method(method)):
        own = [one for one in cell.evaluations if one.record.kind == "fit"]
        by_seed = [evaluation_means(one, "score" if cell.is_score else "return", "step") for one in own]
        steps = sorted(set.intersection(*map(set, by_seed))) if by_seed else []
        if len(steps) > 1:
            values = np.array([[scores[step] for step in steps] for scores in by_seed])
            one = own[0]
            curves.append(Curve(cell.dataset, cell.method, one.base, one.is_refined, np.array(steps), values))
    return curves


def draw_learning_curves(curves: list[Curve], table: ScoreTable, dataset: str) -> Figure:
    """One dataset's curves: mean over seeds with its interval, AG off dashed; many methods get a panel each."""
    colours = colours_of([table.base_of(method) for method in table.methods])
    own = [curve for curve in curves if curve.dataset == dataset]
    bases = list(dict.fromkeys(curve.base for curve in own))
    groups = [bases] if len(bases) <= MOST_TOGETHER else [[base] for base in bases]
    with house_style():
        figure, grid, used = many_panels(len(groups))
        for axes, group in zip(used, groups, strict=True):
            for curve in own:
                mean = curve.values.mean(0)
                if curve.base not in group:
                    axes.plot(curve.steps, mean, color=FAINT, linewidth=0.6, alpha=0.35, zorder=1)
                    continue
                colour, style = colours[curve.base], line_style(is_refined=curve.is_refined)
                axes.plot(curve.steps, mean, color=colour, linestyle=style, label=curve.method, zorder=3)
                band = curve_interval(lambda values: values.mean(-2), curve.values)
                if band is not None:
                    axes.fill_between(curve.steps, *band, color=colour, alpha=0.13, linewidth=0, zorder=2)
            axes.grid(axis="y")
            axes.xaxis.set_major_formatter(thousands)
            axes.locator_params(axis="x", nbins=5)
            finish_panel(axes, group)
        is_score = all(cell.is_score for cell in table.cells.values() if cell.dataset == dataset)
        outer_labels(grid, "training step", "normalised score" if is_score else "return")
        figure.suptitle(dataset, x=0.01, ha="left", fontsize=9, fontweight="bold")
    return figure


def draw_losses(table: ScoreTable) -> Figure | None:
    """The policy's loss over training, a panel a method, a line a run, a colour a dataset; None without logs."""
    losses: dict[str, list[tuple[str, Floats, Floats]]] = defaultdict(list)
    for cell in table.cells.values():
        for one in cell.evaluations:
            if one.record.kind == "fit" and not one.is_refined and (curve := _loss(one.record.folder)) is not None:
                losses[one.base].append((one.dataset, *curve))
    if not losses:
        return None
    colours = {dataset: COLOURS[place % len(COLOURS)] for place, dataset in enumerate(table.datasets)}
    with house_style():
        figure, grid, used = many_panels(len(losses), shared=False)
        for axes, (base, curves) in zip(used, losses.items(), strict=True):
            for dataset, steps, values in curves:
                axes.plot(steps, values, color=colours[dataset], linewidth=0.9, alpha=0.8, label=dataset)
            axes.set_title(base)
            axes.xaxis.set_major_formatter(thousands)
            axes.locator_params(nbins=4)
            axes.grid(axis="y")
        outer_labels(grid, "training step", "training loss")
        by_name = {label: line for axes in used for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        figure.legend(by_name.values(), by_name.keys(), loc="outside lower right", ncols=min(len(by_name), 6))
    return figure


def _loss(folder: Path) -> tuple[Floats, Floats] | None:
    """Steps and losses of the policy's stage over all parts of a resumed run, thinned to MOST_POINTS by averaging."""
    found: dict[int, float] = {}
    for file in sorted((folder / "logs" / "csv").glob("policy*/metrics.csv"), key=lambda path: path.stat().st_mtime):
        with file.open(newline="") as lines:
            for row in csv.DictReader(lines):
                if row.get("train/loss") and row.get("step"):
                    found[int(row["step"]) + 1] = float(row["train/loss"])
    if len(found) < 2:
        return None
    points = np.array(sorted(found.items()), np.float64)
    parts = np.array_split(points, min(len(points), MOST_POINTS))
    means = np.array([part.mean(0) for part in parts])
    return means[:, 0], means[:, 1]


def thousands(step: float, _: float) -> str:
    """20000 -> 20k."""
    return f"{step / 1e6:g}M" if abs(step) >= 1e6 else f"{step / 1e3:g}k" if abs(step) >= 1e3 else f"{step:g}"

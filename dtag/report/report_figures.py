"""A report's figures of final scores: by dataset, in aggregate, against each other, as profiles."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dtag.report.figure_style import FAINT, INK, PAPER, colours_of, house_style, line_style, panels, rows_of_names
from dtag.report.score_table import Aggregates, ScoreCell, ScoreTable
from dtag.report.statistics import AGGREGATES, Aggregate, curve_interval, interval, mean, performance_profile

MOST_TOGETHER = 6  # methods whose lines one panel can hold and a reader tell apart


def draw_scores(table: ScoreTable) -> Figure:
    """A panel a dataset: every method's mean with its interval over seeds, AG off hollow and on filled, seeds as dots."""
    pairs = _pairs(table)
    colours = colours_of([table.base_of(method) for method in table.methods])
    width = 1.2 + 2.7 * len(table.datasets)
    with house_style():
        figure, grid = panels(1, len(table.datasets), (min(width, 10.5), 0.75 + 0.3 * len(pairs)), sharey=True)
        for place, (axes, dataset) in enumerate(zip(grid[0], table.datasets, strict=True)):
            for row, methods in enumerate(pairs):
                cells = [table.cells[dataset, method] for method in methods if (dataset, method) in table.cells]
                if len(cells) == 2:
                    axes.plot([cell.mean for cell in cells], [row, row], color=FAINT, linewidth=0.8, zorder=1)
                for cell in cells:
                    _dot(axes, cell, row, colours[cell.evaluations[0].base])
            rows_of_names(axes, [_short(methods[0]) for methods in pairs], named=place == 0)
            own = [cell for (its, _), cell in table.cells.items() if its == dataset]
            axes.set_title(dataset)
            axes.set_xlabel("normalised score" if all(cell.is_score for cell in own) else "return")
        _legend_of_marks(figure, any(table.is_refined(method) for method in table.methods))
    return figure


def draw_aggregates(found: Aggregates, table: ScoreTable) -> Figure:
    """IQM, mean, median and optimality gap of every method with their intervals."""
    methods = list(found.estimates)
    colours = colours_of([table.base_of(method) for method in table.methods])
    with house_style():
        figure, grid = panels(1, len(AGGREGATES), (9.6, 0.75 + 0.27 * len(methods)), sharey=True)
        for place, (axes, name) in enumerate(zip(grid[0], AGGREGATES, strict=True)):
            for row, method in enumerate(methods):
                value, low, high = found.estimates[method][name]
                colour = colours[table.base_of(method)]
                if not math.isnan(low):
                    axes.plot([low, high], [row, row], color=colour, linewidth=6, alpha=0.28, solid_capstyle="butt")
                _mark(axes, value, row, colour, filled=table.is_refined(method))
            rows_of_names(axes, [_short(method) for method in methods], named=place == 0)
            axes.set_title(name)
            axes.set_xlabel("lower is better" if name == "optimality gap" else "normalised score")
        _legend_of_marks(figure, any(table.is_refined(method) for method in methods), seeds=False)
    return figure


def draw_comparisons(found: Aggregates, table: ScoreTable) -> Figure:
    """Probability that a run of X beats one of Y, with its interval; a half is no difference."""
    colours = colours_of([table.base_of(method) for method in table.methods])
    names = [f"{_short(one.method)}  over  {_short(one.other)}" for one in found.comparisons]
    with house_style():
        figure, ((axes,),) = panels(1, 1, (5.6, 0.65 + 0.27 * len(names)))
        axes.axvline(0.5, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        for row, one in enumerate(found.comparisons):
            colour, (value, low, high) = colours[table.base_of(one.method)], one.probability
            if not math.isnan(low):
                axes.plot([low, high], [row, row], color=colour, linewidth=6, alpha=0.28, solid_capstyle="butt")
            _mark(axes, value, row, colour, filled=True)
        rows_of_names(axes, names, named=True)
        axes.set_xlim(-0.06, 1.06)  # a mark at either end is whole
        axes.set_xlabel("P(X > Y), mean over datasets")
    return figure


def draw_profiles(found: Aggregates, table: ScoreTable) -> Figure:
    """Share of runs above every score, with its band; many methods get a panel each, the others grey behind."""
    colours = colours_of([table.base_of(method) for method in table.methods])
    everything = np.concatenate([scores.ravel() for scores in found.scores.values()])
    low, high = everything.min(), everything.max()
    margin = 0.06 * (high - low) or 1.0
    thresholds = np.linspace(low - margin, high + margin, 201)
    curves = {
        method: (performance_profile(scores, thresholds), curve_interval(_profile_at(thresholds), scores))
        for method, scores in found.scores.items()
    }
    bases = list(dict.fromkeys(table.base_of(method) for method in curves))
    groups = [bases] if len(bases) <= MOST_TOGETHER else [[base] for base in bases]
    with house_style():
        figure, grid, used = many_panels(len(groups))
        for axes, group in zip(used, groups, strict=True):
            for method, (shares, band) in curves.items():
                if table.base_of(method) not in group:
                    axes.plot(thresholds, shares, color=FAINT, linewidth=0.6, alpha=0.35, zorder=1)
                    continue
                own = table.is_refined_base(method)
                style = line_style(is_refined=table.is_refined(method), is_own=own)
                colour = colours[table.base_of(method)]
                axes.plot(thresholds, shares, color=colour, linestyle=style, label=_short(method), zorder=3)
                if band is not None:
                    axes.fill_between(thresholds, *band, color=colour, alpha=0.13, linewidth=0, zorder=2)
            axes.set_ylim(-0.02, 1.02)
            axes.grid(axis="y")
            finish_panel(axes, group)
        outer_labels(grid, "normalised score τ", "share of runs > τ")
    return figure


def finish_panel(axes: Axes, group: list[str]) -> None:
    """A legend where methods share a panel, a title where one has it to itself."""
    if len(group) == 1:
        axes.set_title(_short(group[0]))
        if len(axes.get_legend_handles_labels()[0]) > 1:
            axes.legend(loc="best", handlelength=1.8)
    else:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=2.2)


def many_panels(n: int, *, shared: bool = True) -> tuple[Figure, np.ndarray, list[Axes]]:
    """One wide panel, or up to four in a row; the unused ones hidden."""
    if n == 1:
        figure, grid = panels(1, 1, (6.4, 3.0))
        return figure, grid, [grid[0][0]]
    n_columns = min(4, n)
    n_rows = math.ceil(n / n_columns)
    figure, grid = panels(n_rows, n_columns, (2.45 * n_columns, 1.75 * n_rows + 0.3), sharex=shared, sharey=shared)
    for axes in grid.ravel()[n:]:
        axes.set_visible(False)
    return figure, grid, list(grid.ravel()[:n])


def outer_labels(grid: np.ndarray, x: str, y: str) -> None:
    """Labels on the outer panels alone; a panel above a hidden one is outer too."""
    for row, line in enumerate(grid):
        line[0].set_ylabel(y)
        for column, axes in enumerate(line):
            if row + 1 == len(grid) or not grid[row + 1][column].get_visible():
                axes.set_xlabel(x)
                axes.tick_params(labelbottom=True)


def _profile_at(thresholds: np.ndarray) -> Aggregate:
    return lambda scores: performance_profile(scores, thresholds)


def _pairs(table: ScoreTable) -> list[list[str]]:
    """Methods that share a row of a figure: a method and itself with Action Gradient."""
    rows: list[list[str]] = []
    for method in table.methods:
        base = table.base_of(method)
        own = next((row for row in rows if row[0] == base and table.is_refined_base(method)), None)
        if own is None:
            rows.append([method])
        else:
            own.append(method)
    return rows


def _dot(axes: Axes, cell: ScoreCell, row: int, colour: str) -> None:
    if len(cell.values) > 1:
        _, low, high = interval(mean, cell.values[:, None])
        axes.plot([low, high], [row, row], color=colour, linewidth=2.0, zorder=2, solid_capstyle="butt")
        axes.plot(cell.values, np.full(len(cell.values), row + 0.26), ".", color=colour, markersize=2.6, alpha=0.75)
    _mark(axes, cell.mean, row, colour, filled=cell.evaluations[0].is_refined)


def _mark(axes: Axes, value: float, row: float, colour: str, *, filled: bool) -> None:
    axes.plot(value, row, "o", markersize=5.4, markerfacecolor=colour if filled else PAPER, markeredgecolor=colour,
              markeredgewidth=1.3, zorder=4)  # fmt: skip


def _legend_of_marks(figure: Figure, has_refined: bool, *, seeds: bool = True) -> None:
    def mark(face: str, label: str) -> Line2D:
        options: dict[str, Any] = {"markersize": 5, "markeredgecolor": FAINT, "markerfacecolor": face}
        return Line2D([], [], marker="o", linestyle="", label=label, **options)

    handles = [mark(PAPER, "AG off"), mark(FAINT, "AG on")] if has_refined else []
    bar: dict[str, Any] = {"linewidth": 2.0 if seeds else 6, "alpha": 1.0 if seeds else 0.35}
    handles.append(Line2D([], [], color=FAINT, label="95 % interval over seeds", **bar))
    if seeds:
        handles.append(Line2D([], [], marker=".", linestyle="", color=FAINT, markersize=4, label="a seed"))
    figure.legend(handles=handles, loc="outside lower right", ncols=len(handles), handlelength=1.4, columnspacing=1.4)


def _short(name: str) -> str:
    return name if len(name) <= 34 else f"{name[:18]}…{name[-15:]}"  # what differs may stand at either end

"""A picture of the returns in a dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dtag.data.dataset import Dataset, Reference
from dtag.data.source_file import first_line
from dtag.errors import DataError

INK, FAINT, BARS, MEDIAN, MEAN = "#22262e", "#7c8390", "#7aa6d6", "#c8327d", "#2f5d8c"


def draw_returns(dataset: Dataset, png: str | Path) -> Path:
    """Write a histogram of the complete episodes' returns, with median and mean, and the normalised score above it.

    Raises DataError when no episode is complete, or the picture cannot be written.
    """
    returns = dataset.trajectories.returns[dataset.trajectories.complete]
    if not len(returns):
        raise DataError(f"{dataset.info.id}: no episode is complete, so there is no return to draw")
    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _draw_bars(axes, returns)
    _label(axes, dataset.info.id, returns)
    if dataset.info.reference:
        _add_score_axis(axes, dataset.info.reference)
    path = Path(png)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=160, facecolor="white")
    except (OSError, ValueError) as error:  # matplotlib raises ValueError for a suffix it does not know
        raise DataError(f"the picture cannot be written to {path}: {first_line(error)}") from error
    return path


def _draw_bars(axes: Axes, returns: NDArray[np.float64]) -> None:
    bins = int(np.clip(np.sqrt(len(returns)) * 2, 10, 60))
    axes.hist(returns, bins=bins, color=BARS, edgecolor="white", linewidth=0.5)
    for value, name, colour, style in (
        (float(np.median(returns)), "median", MEDIAN, "-"),
        (float(returns.mean()), "mean", MEAN, "--"),
    ):
        axes.axvline(value, color=colour, linewidth=1.6, linestyle=style, label=f"{name} {value:,.4g}")
    axes.legend(frameon=False, labelcolor=INK, fontsize=9)


def _label(axes: Axes, id: str, returns: NDArray[np.float64]) -> None:
    axes.set_title(id, loc="left", color=INK, fontsize=11, fontweight="bold")
    axes.set_title(f"{len(returns):,} complete episodes", loc="right", color=FAINT, fontsize=9)
    axes.set_xlabel("return", color=INK)
    axes.set_ylabel("episodes", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=FAINT, labelsize=9)
    axes.yaxis.grid(True, color="#e6e8ec", linewidth=0.8)
    axes.set_axisbelow(True)


def _add_score_axis(axes: Axes, reference: Reference) -> None:
    spread = reference.maximum - reference.minimum
    scores = axes.secondary_xaxis(
        "top", functions=(reference.score, lambda score: np.asarray(score) / 100 * spread + reference.minimum)
    )
    scores.set_xlabel(f"normalised score ({reference.label})", color=FAINT, fontsize=9)
    scores.tick_params(colors=FAINT, labelsize=8)
    scores.spines["top"].set_color(FAINT)

"""Pictures of a grid: paper 1's Figure 3, score over n_steps with a line per eta, and a heat map of eta × n_steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from dtag.refiners.action_gradient import RuleName
from dtag.report.grid_tables import RULE_NAMES
from dtag.rollout.context_rule import ContextRule
from dtag.rollout.row_settings import RowSettings
from dtag.sweep.grid_results import GridResult

INK, FAINT, OWN = "#22262e", "#7c8390", "#d55e00"
TEXT: dict[Any, Any] = {"font.size": 9, "axes.edgecolor": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
        "text.color": INK, "svg.fonttype": "none", "axes.titlesize": 10, "axes.linewidth": 0.8}  # fmt: skip
HEAT_NOTE = "solid frame: best, picked on these episodes; dashed: own setting, unpicked; bold: 95 % interval excludes 0"
Panel = tuple[str, GridResult, RuleName, ContextRule]


def draw_grid(results: dict[str, GridResult], folder: Path) -> list[Path]:
    """figure3 and heatmap, as PNG and SVG. results: by title, of a checkpoint or of several pooled."""
    panels: list[Panel] = [
        (title, result, rule, context)
        for title, result in results.items()
        for context, rule in product(result.grid.contexts(result.default.context), dict.fromkeys(result.grid.rule))
    ]
    n_rules = max(len(set(result.grid.rule)) for result in results.values())
    with mpl.rc_context(TEXT):
        drawn = {"figure3": _figure_3(panels, n_rules), "heatmap": _heat_maps(panels, n_rules)}
        return [path for name, figure in drawn.items() for path in _save(figure, folder / name)]


def _figure_3(panels: Sequence[Panel], n_rules: int) -> Figure:
    figure, axes = _figure(len(panels), n_rules, (3.4, 2.9), share_rows=True)
    for index, (panel, (_, result, rule, context)) in enumerate(zip(axes.flat, panels, strict=False)):
        _draw_lines(panel, result, rule, context)
        panel.set_title(_title(panels, index), loc="left", fontweight="bold")
        panel.set_xlabel("gradient steps n")
        if index % axes.shape[1] == 0:
            panel.set_ylabel(f"{result.quantity}, 95 % interval")
    handles: dict[str, Any] = {}
    for panel in axes.flat:
        drawn, labels = panel.get_legend_handles_labels()
        handles |= dict(zip(labels, drawn, strict=True))
    figure.legend(list(handles.values()), list(handles), frameon=False, loc="outside right center")
    return figure


def _draw_lines(panel: Axes, result: GridResult, rule: RuleName, context: ContextRule) -> None:
    off, own = result[RowSettings(context=context)].value, result[result.default]
    panel.axhspan(off.mean - off.half_width, off.mean + off.half_width, color=FAINT, alpha=0.18, linewidth=0)
    panel.axhline(off.mean, color=FAINT, linewidth=1.3, label="AG off")
    if result.default.context == context and result.default.rule == rule and result.default.n_steps:
        panel.axhline(own.value.mean, color=OWN, linestyle=(0, (4, 2)), linewidth=1.2, label="own setting, unpicked")
    steps = sorted(set(result.grid.n_steps))
    etas = sorted(result.grid.etas(rule))
    colours = mpl.colormaps["viridis"](np.linspace(0.05, 0.88, len(etas)))
    for place, (eta, colour) in enumerate(zip(etas, colours, strict=True)):
        values = [result[RowSettings(n, eta, rule, context)].value for n in steps]
        aside = 0.1 * (place / max(len(etas) - 1, 1) - 0.5)  # so that the bars of one n stand beside each other
        panel.errorbar(
            [_at(n) + aside for n in steps],
            [value.mean for value in values],
            [value.half_width for value in values],
            color=colour, marker="o", markersize=3.5, linewidth=1.4, elinewidth=0.9, capsize=2, label=f"η = {eta:g}",
        )  # fmt: skip
    best = result.best
    if best.n_steps and (best.rule, best.context) == (rule, context) and best.eta in etas and best.n_steps in steps:
        aside = 0.1 * (etas.index(best.eta) / max(len(etas) - 1, 1) - 0.5)
        panel.plot(_at(best.n_steps) + aside, result[best].value.mean, marker="*", markersize=12, color="none",
                   markeredgecolor=INK, linestyle="none", label="best, picked", zorder=5)  # fmt: skip
    panel.set_xticks([_at(n) for n in steps], [str(n) for n in steps])
    panel.spines[["top", "right"]].set_visible(False)


def _at(n: int) -> float:
    """Where n stands on the axis: log(1 + n) gives 0, 1, 5 and 20 room."""
    return math.log1p(n)


def _heat_maps(panels: Sequence[Panel], n_rules: int) -> Figure:
    """Colour: the paired difference to Action Gradient off, one scale for all panels; bold where its interval excludes 0."""
    n_steps = max(len(set(result.grid.n_steps)) for _, result, _, _ in panels)
    n_etas = max(len(result.grid.etas(rule)) for _, result, rule, _ in panels)
    figure, axes = _figure(len(panels), n_rules, (0.72 * n_steps + 1.0, 0.52 * n_etas + 0.9))
    differences = [
        own.difference.mean for _, result, _, _ in panels for own in result.results.values() if own.difference
    ]
    reach = max(map(abs, differences), default=1.0) or 1.0
    for index, (panel, (_, result, rule, context)) in enumerate(zip(axes.flat, panels, strict=False)):
        image = _draw_heat(panel, result, rule, context, reach)
        panel.set_title(_title(panels, index), loc="left", fontweight="bold")
        panel.set_xlabel("gradient steps n")
        if index % axes.shape[1] == 0:
            panel.set_ylabel("η")
    quantity = panels[0][1].quantity
    bar = figure.colorbar(image, ax=axes.ravel().tolist(), aspect=30, pad=0.02)
    bar.set_label(f"{quantity} − {quantity} with AG off, same context")
    bar.outline.set_visible(False)
    figure.supxlabel(HEAT_NOTE, fontsize=8, color=FAINT, x=0.01, ha="left")
    return figure


def _draw_heat(panel: Axes, result: GridResult, rule: RuleName, context: ContextRule, reach: float) -> AxesImage:
    steps, etas = sorted(set(result.grid.n_steps)), sorted(result.grid.etas(rule))
    cells = [[result[RowSettings(n, eta, rule, context)] for n in steps] for eta in etas]
    shade = np.array([[own.difference.mean if own.difference else 0.0 for own in row] for row in cells])
    image = panel.imshow(shade, cmap="RdBu", norm=TwoSlopeNorm(0.0, -reach, reach), origin="lower", aspect="auto")
    for (i, row), j in product(enumerate(cells), range(len(steps))):
        own = row[j]
        ink = "white" if abs(shade[i, j]) > 0.62 * reach else INK
        clear = own.difference is not None and abs(own.difference.mean) > own.difference.half_width
        panel.text(j, i, f"{own.value.mean:.1f}".replace("-", "−"), ha="center", va="center", color=ink, fontsize=8.5,
                   fontweight="bold" if clear else "normal")  # fmt: skip
        for cell, style in ((result.best, "-"), (result.default, (0, (2, 1.5)))):
            if own.cell == cell and cell.n_steps:
                panel.add_patch(Rectangle((j - 0.46, i - 0.46), 0.92, 0.92, fill=False, edgecolor=ink, linewidth=1.6,
                                          linestyle=style))  # fmt: skip
    panel.set_xticks(range(len(steps)), [str(n) for n in steps])
    panel.set_yticks(range(len(etas)), [f"{eta:g}" for eta in etas])
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    return image


def _title(panels: Sequence[Panel], index: int) -> str:
    """What tells this panel from the others."""
    title, _, rule, context = panels[index]
    parts = [
        title if len({panel[0] for panel in panels}) > 1 else "",
        f"rule {RULE_NAMES.get(rule, rule)}" if len({panel[2] for panel in panels}) > 1 else "",
        f"context {context}" if len({panel[3] for panel in panels}) > 1 else "",
    ]
    return ", ".join(part for part in parts if part) or f"rule {RULE_NAMES.get(rule, rule)}, context {context}"


def _figure(
    n_panels: int, n_rules: int, size: tuple[float, float], *, share_rows: bool = False
) -> tuple[Figure, NDArray[Any]]:
    """A figure with at least n_panels panels, the rules side by side; those left over are blank. No pyplot."""
    n_columns = n_rules if n_rules > 1 else min(3, n_panels)
    n_rows = -(-n_panels // n_columns)
    figure = Figure(figsize=(size[0] * n_columns + 1.4, size[1] * n_rows), layout="constrained")
    FigureCanvasAgg(figure)
    share: Literal["row"] | bool = (
        "row" if n_rules > 1 and share_rows else False
    )  # a row is one checkpoint's, whose scores have one scale
    axes = figure.subplots(n_rows, n_columns, squeeze=False, sharey=share)
    for panel in axes.flat[n_panels:]:
        panel.set_axis_off()
    return figure, axes


def _save(figure: Figure, stem: Path) -> list[Path]:
    stem.parent.mkdir(parents=True, exist_ok=True)
    files = [stem.with_suffix(".png"), stem.with_suffix(".svg")]
    for file in files:
        figure.savefig(file, dpi=200, facecolor="white")
    return files

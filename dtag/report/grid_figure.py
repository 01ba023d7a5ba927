"""Pictures of a grid: score over n_steps, a line per eta (paper 1, Figure 3)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from dtag.evaluation.evaluate import AG_OFF
from dtag.sweep.grid import UNPICKED, Grid


def draw_grid(grid: Grid, summary: dict[str, dict[str, dict[str, float]]], path: Path) -> None:
    """One panel per update rule; bars are 95 % intervals of the mean over episodes, the band is Action Gradient off."""
    kind = "score" if "score" in summary[AG_OFF] else "return"
    figure, panels = plt.subplots(1, len(grid.rule), figsize=(5.2 * len(grid.rule), 3.8), sharey=True, squeeze=False)
    colors = plt.get_cmap("viridis")(np.linspace(0.1, 0.85, len(grid.eta)))
    base = summary[AG_OFF][kind]
    for panel, rule in zip(panels[0], grid.rule, strict=True):
        panel.axhline(base["mean"], color="0.35", linewidth=1.2, label="AG off")
        panel.axhspan(
            base["mean"] - _interval(base), base["mean"] + _interval(base), color="0.35", alpha=0.12, linewidth=0
        )
        for color, eta in zip(colors, grid.eta, strict=True):
            cells = [(n, summary[f"{rule} eta={eta:g} n={n}"][kind]) for n in grid.n_steps if n > 0]
            means, errors = [cell["mean"] for _, cell in cells], [_interval(cell) for _, cell in cells]
            panel.errorbar(
                [n for n, _ in cells],
                means,
                errors,
                color=color,
                marker="o",
                markersize=4,
                capsize=3,
                label=f"η = {eta:g}",
            )
        panel.axhline(
            summary[UNPICKED][kind]["mean"], color="C3", linestyle="--", linewidth=1.2, label="default, unpicked"
        )
        panel.set_xscale("symlog", linthresh=1)
        panel.set_xticks([n for n in grid.n_steps if n > 0], [str(n) for n in grid.n_steps if n > 0])
        panel.set_xlabel("gradient steps n")
        panel.set_title(f"rule: {rule}")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_ylabel(f"{kind} (mean, 95 % interval)")
    panels[0][-1].legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, bbox_inches="tight")
    plt.close(figure)


def _interval(cell: dict[str, Any]) -> float:
    """Half-width of the normal 95 % interval of a mean over episodes."""
    return float(1.96 * cell["std"] / max(cell["n"], 1) ** 0.5)

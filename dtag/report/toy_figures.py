"""Figures of `dtag toys`: what the papers' one-state experiments and the chain of eq. 3 come to here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dtag.data.toy_environments import parabola, ramp
from dtag.toys.chain import DISCOUNT, ChainResult
from dtag.toys.parabola import GRID, ParabolaResult
from dtag.toys.ramp import N_PRETRAINING, PAPER_FINE_TUNING, RampResult

INK, FAINT, BARS = "#22262e", "#7c8390", "#cfd6df"
# Okabe and Ito's, which colour-blind readers tell apart.
BLUE, ORANGE, GREEN, VERMILION, PURPLE = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7"
METHOD_COLOURS = (FAINT, BLUE, PURPLE, ORANGE, VERMILION)
LINE_COLOURS = {
    "ODT": BLUE, "DDPG": ORANGE, "ODT+DDPG": VERMILION, "IQL": BLUE, "Bellman": GREEN, "Bellman + AG": VERMILION,
}  # fmt: skip


def draw_parabola(results: Sequence[ParabolaResult], png: Path) -> Path:
    """A row for each kind of data: left what critic and data look like, right what every method earns."""
    kinds = list(dict.fromkeys(result.sides for result in results))
    figure, panels = _figure(len(kinds), 2, (10.0, 3.6 * len(kinds)))
    titles = {
        "one-sided": "one-sided data, a ~ U(0.5, 1): the mean action is no answer",
        "two-sided": "two-sided data, |a| > 0.5, as the paper says: the mean action is the best",
    }
    for (left, right), kind in zip(panels, kinds, strict=True):
        own = [result for result in results if result.sides == kind]
        _draw_critic(left, own)
        _draw_rewards(right, own)
        left.set_title(titles[kind], loc="left", color=INK, fontsize=10, fontweight="bold")
    panels[0][0].legend(frameon=False, fontsize=8, loc="upper right", labelcolor=INK)
    return _save(figure, png)


def draw_ramp(results: Sequence[RampResult], png: Path) -> Path:
    """The reward and the offline actions, then each method's action and reward over the epochs."""
    figure, ((reward, actions, rewards),) = _figure(1, 3, (13.0, 3.7))
    grid = np.linspace(-1.0, 1.0, 401)
    _draw_data(reward, results[0].data, 1.0, -1.0)
    reward.plot(grid, ramp(grid), color=INK, linewidth=1.6, label="reward r(a)")
    reward.legend(frameon=False, fontsize=8, loc="center", bbox_to_anchor=(0.4, 0.25), labelcolor=INK)
    _label(reward, "the problem", "action a", "reward")
    for panel, values, best in ((actions, "actions", 0.0), (rewards, "rewards", 1.0)):
        panel.axhline(best, color=INK, linewidth=1.0, linestyle="--", label="best")
        for method in dict.fromkeys(result.method for result in results):
            own = [getattr(result, values) for result in results if result.method == method]
            _draw_curves(panel, np.arange(1, len(own[0]) + 1), own, method)
        for epoch in (N_PRETRAINING, N_PRETRAINING + PAPER_FINE_TUNING):
            panel.axvline(epoch + 0.5, color=FAINT, linewidth=0.9, linestyle=":")
    for epoch, text in (
        (N_PRETRAINING, " fine-tuning →"),
        (N_PRETRAINING + PAPER_FINE_TUNING, " where the paper stops"),
    ):
        actions.text(epoch + 0.5, 0.4, text, color=FAINT, fontsize=8)
    actions.set_ylim(-1.08, 0.5)
    _label(actions, "the policy's action", "epoch", "action a")
    _label(rewards, "what it earns", "epoch", "reward")
    rewards.legend(frameon=False, fontsize=8, loc="center right", labelcolor=INK)
    return _save(figure, png)


def draw_chain(results: Sequence[ChainResult], png: Path) -> Path:
    """Estimates of the refined actions over updates, the best policy's value and the bound no value exceeds."""
    figure, ((panel,),) = _figure(1, 1, (7.2, 4.2))
    bound, optimum = 1.0 / (1.0 - DISCOUNT), results[0].optimum
    panel.axhspan(bound, 1e6, color=BARS, alpha=0.45, linewidth=0, label=f"impossible: above 1/(1 − γ) = {bound:g}")
    panel.axhline(optimum, color=INK, linewidth=1.2, linestyle="--", label=f"the best policy's value, {optimum:.2f}")
    for critic in dict.fromkeys(result.critic for result in results):
        own = [result for result in results if result.critic == critic]
        _draw_curves(panel, own[0].updates, [result.estimates for result in own], critic)
    panel.set_yscale("log")
    panel.set_ylim(1.0, 1.3 * max(bound, *(float(result.estimates.max()) for result in results)))
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if tick < panel.get_ylim()[1]]
    panel.set_yticks(ticks, [str(tick) for tick in ticks])
    panel.minorticks_off()
    _label(
        panel, "what a critic expects of refined actions", "critic updates", "Q(s, refined a), mean over states (log)"
    )
    panel.legend(frameon=False, fontsize=8, loc="lower right", labelcolor=INK)
    return _save(figure, png)


def _draw_critic(axes: Axes, results: Sequence[ParabolaResult]) -> None:
    highest = max(1.0, *(float(result.critic.max()) for result in results))
    _draw_data(axes, results[0].actions, 0.3 * highest, 0.0)
    axes.plot(GRID, parabola(GRID), color=INK, linewidth=1.6, label="true reward 1 − a²")
    for index, result in enumerate(results):
        axes.plot(GRID, result.critic, color=GREEN, linewidth=1.1, label=None if index else "critic, one per seed")
    axes.set_ylim(-0.05 * highest, 1.08 * highest)
    axes.set_xticks([-1.0, -0.5, 0.0, 0.5, 1.0])
    _label(axes, "", "action a", "reward, and Q of it")


def _draw_rewards(axes: Axes, results: Sequence[ParabolaResult]) -> None:
    """Every seed as a dot, the mean as a bar through them."""
    methods, lowest = list(results[0].chosen), 0.6
    for place, (method, colour) in enumerate(zip(methods, METHOD_COLOURS, strict=True)):
        rewards = parabola([result.chosen[method] for result in results])
        spread = np.linspace(-0.12, 0.12, len(rewards)) if len(rewards) > 1 else np.zeros(1)
        axes.plot([place - 0.28, place + 0.28], [rewards.mean()] * 2, color=colour, linewidth=3.0, zorder=2)
        axes.scatter(place + spread, rewards, color=colour, edgecolors="white", s=34, linewidths=0.7, zorder=3)
        axes.text(place, rewards.min() - 0.03, f"{rewards.mean():.2f}", color=INK, fontsize=9, va="top", ha="center")
        lowest = min(lowest, float(rewards.min()))
    best = float(np.mean([result.best for result in results]))
    axes.axhline(1.0, color=INK, linewidth=1.0, linestyle="--")
    axes.axhline(best, color=FAINT, linewidth=1.0, linestyle="--")
    for height, text in ((1.0, "optimum"), (best, "the data's best")):
        axes.text(len(methods) - 0.55, height, text, color=INK, fontsize=8, va="bottom")
    axes.set_xlim(-0.5, len(methods) + 0.25)
    axes.set_ylim(lowest - 0.12, 1.07)
    axes.set_xticks(range(len(methods)), [method.replace(", ", "\n") for method in methods])
    _label(axes, "", "", "reward of the agent's action")


def _draw_data(axes: Axes, actions: NDArray[np.floating], height: float, floor: float) -> None:
    """The data's actions as bars from `floor`, the tallest of them `height` tall."""
    counts, edges = np.histogram(actions, bins=40, range=(-1.0, 1.0))
    axes.bar(
        edges[:-1],
        height * counts / counts.max(),
        np.diff(edges),
        floor,
        align="edge",
        color=BARS,
        label="data's actions (counts, scaled)",
    )


def _draw_curves(axes: Axes, x: NDArray[np.integer], curves: Sequence[NDArray[np.float64]], name: str) -> None:
    """The mean over seeds, and every seed faintly."""
    for curve in curves:
        axes.plot(x, curve, color=LINE_COLOURS[name], linewidth=0.8, alpha=0.4)
    style = (0, (3, 1.5)) if name == "IQL" else "-"  # it runs over the plain Bellman target's line
    axes.plot(x, np.mean(curves, axis=0), color=LINE_COLOURS[name], linewidth=2.2, linestyle=style, label=name)


def _label(axes: Axes, title: str, x: str, y: str) -> None:
    if title:
        axes.set_title(title, loc="left", color=INK, fontsize=10, fontweight="bold")
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.spines[["top", "right"]].set_visible(False)


def _figure(n_rows: int, n_columns: int, size: tuple[float, float]) -> tuple[Figure, NDArray[np.object_]]:
    """A figure with its panels, (rows, columns). No pyplot: nothing global, no display."""
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(n_rows, n_columns, squeeze=False)


def _save(figure: Figure, png: Path) -> Path:
    png.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(png, dpi=160, facecolor="white")
    return png

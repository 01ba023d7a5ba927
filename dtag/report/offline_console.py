"""An evaluation without an environment, on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from dtag.evaluation.cluster_bootstrap import Estimate

# Section, then quantity and its line; {q} is the critic's value that Action Gradient climbs, {K} its context.maximum.
SECTIONS: Mapping[str, Mapping[str, str]] = {
    "action error (mean over dims)": {
        "squared_error": "squared",
        "squared_error_of_mean": "  of the data's mean action",
        "absolute_error": "absolute",
        "absolute_error_of_mean": "  of the data's mean action",
        "squared_error_full_context": "squared, after {K} steps",
        "squared_error_of_mean_full_context": "  of the data's mean action",
        "absolute_error_full_context": "absolute, after {K} steps",
        "absolute_error_of_mean_full_context": "  of the data's mean action",
    },
    "policy": {
        "log_likelihood": "log-likelihood (sum over dims)",
        "context_length": "steps of context used",
    },
    "predicted return-to-go (raw)": {
        "return_bias": "bias, predicted − realised",
        "return_absolute_error": "absolute error",
        "return_covered": "share predicted ≥ realised",
    },
    "critic (Q = {q}, its own units)": {
        "q_data": "Q of the data's actions",
        "q_policy": "Q of the policy's",
        "q_refined": "Q of the refined",
        "q_gain": "Q gained by refinement",
        "q_raised": "share of steps where Q rose",
        "shift": "|Δa|, refined to policy's",
        "distance_policy": "|Δa|, policy's to data's",
        "distance_refined": "|Δa|, refined to data's",
    },
}


def offline_tables(
    estimates: Mapping[str, Estimate], deciles: list[dict[str, Any]], title: str, *, q: str | None, maximum: int
) -> Group:
    """Every quantity with its interval and, where returns are predicted, their calibration by decile; 80 columns."""
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("on the data's own history")
    table.add_column("mean", justify="right")
    table.add_column("95 % interval", justify="right")
    for section, lines in SECTIONS.items():
        shown = {name: line for name, line in lines.items() if name in estimates}
        if shown:
            table.add_section()
            table.add_row(section.format(q=q), style="bold")
        for name, line in shown.items():
            cell = estimates[name]
            table.add_row("  " + line.format(K=maximum), _number(cell["mean"], 4), _interval(cell, 4))
    notes = ["intervals: episodes resampled whole; |Δa|: the largest over action dims"]
    if q is not None:
        notes.append("only the policy is kept from held-out steps: a critic trained by itself learned from all")
    return Group(table, *([_decile_table(deciles)] if deciles else []), Text("\n".join(notes), style="italic"))


def _decile_table(deciles: list[dict[str, Any]]) -> Table:
    table = Table(title="\nreturn-to-go by decile of the realised one", title_justify="left", header_style="bold")
    table.add_column("realised", no_wrap=True)
    for name in ("steps", "predicted", "bias", "|error|", "share ≥", "95 %"):
        table.add_column(name, justify="right", no_wrap=True)
    for decile in deciles:
        table.add_row(
            f"{_number(decile['low'], 3)} to {_number(decile['high'], 3)}",
            f"{decile['n']:,}",
            *(_number(decile[name]["mean"], 3) for name in ("predicted", "bias", "absolute_error", "covered")),
            _interval(decile["covered"], 2),
        )
    return table


def _number(value: float | None, digits: int) -> str:
    """So many significant digits; whole numbers from 1,000 on."""
    if value is None:
        return "–"
    return f"{value:.0f}" if 1e3 <= abs(value) < 1e7 else f"{value:.{digits}g}"


def _interval(cell: Estimate, digits: int) -> str:
    if cell["low"] is None:
        return "–"
    return f"{_number(cell['low'], digits)} to {_number(cell['high'], digits)}"

"""A grid's tables: eta × n_steps for each update rule, what was picked beside what was not, and paper 1's Table 4."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from dtag.data.dataset import Reference
from dtag.refiners.action_gradient import RuleName
from dtag.report.text_table import TextTable
from dtag.rollout.context_rule import ContextRule
from dtag.rollout.row_settings import RowSettings
from dtag.sweep.grid import computation, in_words
from dtag.sweep.grid_results import CellResult, Estimate, GridResult, pool

RULE_NAMES: dict[RuleName, str] = {"none": "None", "fm": "FM", "sm": "SM", "fm_sm": "FM+SM"}  # as paper 1 has them
BEST, OWN = "★", "◆"
HALVES = f"{BEST} on the unseen half"
MARKS = (f"{BEST} best, picked by its score on these very episodes", f"{OWN} the checkpoint's own setting, unpicked")


def spread(value: Estimate | None, *, signed: bool = False) -> str:
    """ "61.2 ± 3.0"; a lone episode has no interval."""
    if value is None:
        return "–"
    text = f"{value.mean:{'+' if signed else ''}.1f}"
    return text + (f" ± {value.half_width:.1f}" if np.isfinite(value.half_width) else "")


def matrix(result: GridResult, rule: RuleName, context: ContextRule) -> TextTable:
    """Rows eta, columns n_steps: the mean over episodes, below it the paired difference to Action Gradient off."""
    etas, steps = result.grid.etas(rule), tuple(dict.fromkeys(result.grid.n_steps))
    rows, styles = [], {}
    for i, eta in enumerate(etas):
        row = [f"{eta:g}"]
        for j, n in enumerate(steps, 1):
            own = result[RowSettings(n, eta, rule, context)]
            row.append(f"{own.value.mean:.1f}{marks(result, own)}\n{spread(own.difference, signed=True)}")
            styles[i, j] = style_of(own)
        rows.append(row)
    off = result[RowSettings(context=context)]
    caption = [f"below each {result.quantity}: paired difference to AG off, {spread(off.value)}; 95 % over episodes"]
    title = f"rule {RULE_NAMES.get(rule, rule)}, context {context}"
    return TextTable(title, ["eta", *(f"n = {n}" for n in steps)], rows, caption, styles)


def marks(result: GridResult, own: CellResult) -> str:
    """What is special about a cell."""
    found = (BEST if own.cell == result.best else "") + (OWN if own.cell == result.default else "")
    return f" {found}" if found else ""


def style_of(own: CellResult) -> str:
    """Green and red where the interval of the difference leaves 0 out."""
    if own.difference is None or not abs(own.difference.mean) > own.difference.half_width:
        return ""
    return "green" if own.difference.mean > 0 else "red"


def choice(result: GridResult, reference: Reference | None, title: str) -> TextTable:
    """Action Gradient off, the unpicked default, the picked best, and what picking is worth."""
    shown = [("AG off", result.off.cell), (f"{OWN} own setting, unpicked", result.default),
             (f"{BEST} best, picked on these episodes", result.best)]  # fmt: skip
    rows = [
        [name, in_words(cell, with_context=len(result.grid.context) > 1), spread(result[cell].value),
         spread(result[cell].difference, signed=True)]
        for name, cell in shown
    ]  # fmt: skip
    if result.honest is not None:
        rows.append([HALVES, "", spread(result.honest), ""])
    caption = [f"{result.grid.episodes} episodes a cell, the same seeds in all; ± is the 95 % interval over episodes"]
    if result.honest is not None:
        caption.append(f"{HALVES}: each half of the episodes scored with the cell that the other half picks")
    if reference is not None and result.quantity == "score":
        caption.append(f"score: 0 = {reference.minimum:g}, 100 = {reference.maximum:g} ({reference.label})")
    return TextTable(title, ["setting", "", result.quantity, "to AG off"], rows, caption)


def tables(result: GridResult, reference: Reference | None, title: str) -> list[TextTable]:
    """All tables of one checkpoint, or of several pooled."""
    rules, contexts = dict.fromkeys(result.grid.rule), result.grid.contexts(result.default.context)
    matrices = [matrix(result, rule, context) for context, rule in product(contexts, rules)]
    last = matrices[-1]
    matrices[-1] = TextTable(last.title, last.header, last.rows, [*last.caption, *MARKS], last.styles)
    return [*matrices, choice(result, reference, title)]


def table_4(groups: dict[str, Sequence[GridResult]]) -> TextTable:
    """Paper 1's Table 4: datasets × update rules; of each rule the best cell, and below it what picking it is worth.

    groups: {dataset: its checkpoints' results}. ±: the std over checkpoints where there are several, as in the paper,
    else the 95 % interval over episodes. The cell is the one of the highest mean over the checkpoints.
    """
    rules = list(dict.fromkeys(rule for own in groups.values() for rule in own[0].grid.rule))
    rows = []
    for name, own in groups.items():
        pooled = pool(own)
        picked = [f"{name} {BEST}", spread_over(own, pooled.off.cell)]
        honest = [HALVES, ""]
        for rule in rules:
            cells = [cell for cell in pooled.cells if cell.rule == rule]
            best = pooled.best_of(cells).cell if cells else None
            picked.append(f"{spread_over(own, best)}\n{_short(best)}" if best is not None else "–")
            honest.append(spread(pooled.honest_of(cells)) if cells else "–")
        rows += [picked, honest]
    over = (
        "the std over checkpoints (ddof 0)" if any(len(own) > 1 for own in groups.values()) else "their 95 % interval"
    )
    caption = [
        f"{BEST} each rule's best eta × n_steps, picked on these very episodes, as paper 1's seem to be; ± {over}",
        f"{HALVES}: each half of the episodes scored with the cell that the other half picks; ± 95 % interval",
    ]
    return TextTable(
        "update rules (paper 1, Table 4)", ["data", "AG off", *(RULE_NAMES.get(r, r) for r in rules)], rows, caption
    )


def spread_over(results: Sequence[GridResult], cell: RowSettings) -> str:
    """Mean ± std over checkpoints of a cell; of one checkpoint, with the interval over episodes."""
    if len(results) == 1:
        return spread(results[0][cell].value)
    means = [result[cell].value.mean for result in results]
    return f"{np.mean(means):.1f} ± {np.std(means):.1f}"


def _short(cell: RowSettings) -> str:
    own = computation(cell)
    return f"{own.eta:g} × {own.n_steps}" if own.n_steps else "n = 0"

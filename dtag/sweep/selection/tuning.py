"""Which cells `dtag tune` ranks, on how much data, and which criterion's best cell it names."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from dtag.errors import UsageError
from dtag.refiners.action_gradient import RULES, RuleName
from dtag.rollout.row_settings import RowSettings
from dtag.sweep.grid import computation

# What is asked of the data, by name; `criteria.NAME=null` leaves one out, `criteria.NAME.target=...` adds one.
CRITERIA = {
    "fitted_q": {"target": "dtag.sweep.selection.fitted_q.FittedQ"},
    "linear_q": {"target": "dtag.sweep.selection.linear_fitted_q.LinearFittedQ"},
    "independent": {"target": "dtag.sweep.selection.independent_value.IndependentValue"},
    "pessimistic": {"target": "dtag.sweep.selection.pessimistic_value.PessimisticValue"},
    "support": {"target": "dtag.sweep.selection.data_support.DataSupport"},
}
MEAN_RANK = "mean_rank"


@dataclass(frozen=True)
class Tuning:
    """eta, n_steps, rule: every combination is a cell, beside Action Gradient off and the checkpoint's own setting.

    choose: the criterion whose best cell is named; mean_rank is the average of all ranks. The default ranked the four
    checkpoints it was measured on rightly, with regrets up to 12 points, see README: little evidence. train_steps,
    held_out_steps: whole episodes of each part of the data, at most so many steps in all; more take longer and narrow the
    intervals. seed: of which episodes are drawn, of fits and of intervals.
    """

    eta: tuple[float, ...] = (0.01, 0.03, 0.1)
    n_steps: tuple[int, ...] = (1, 5, 20)
    rule: tuple[RuleName, ...] = ("none",)
    choose: str = "linear_q"
    train_steps: int = 20_000
    held_out_steps: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = [f"{name}: at least one is needed" for name in ("eta", "n_steps", "rule") if not getattr(self, name)]
        wrong += [f"rule: {rule} is not one of {', '.join(RULES)}" for rule in self.rule if rule not in RULES]
        wrong += [f"n_steps: {n} is negative" for n in self.n_steps if n < 0]
        for name, least in (("train_steps", 1), ("held_out_steps", 1), ("seed", 0)):
            if getattr(self, name) < least:
                wrong.append(f"{name}: found {getattr(self, name)}, expected {least} or more")
        if wrong:
            raise UsageError("\n  ".join(["mistakes in what to tune:", *wrong]))

    def cells(self, own: RowSettings) -> tuple[RowSettings, ...]:
        """Action Gradient off, then the others, each once, by rule and by how far they may go. own: the checkpoint's."""
        combinations = product(self.rule, self.eta, self.n_steps)
        found = {RowSettings(n, eta, rule, own.context) for rule, eta, n in combinations}
        moving = {cell for cell in (*found, computation(own)) if cell.n_steps and cell.eta}
        by_reach = sorted(moving, key=lambda cell: (RULES.index(cell.rule), cell.eta, cell.n_steps))
        return (RowSettings(context=own.context), *by_reach)

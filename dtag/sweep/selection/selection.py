"""From every criterion's scores to ranks and one chosen cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from dtag.errors import UsageError
from dtag.evaluation.cluster_bootstrap import finite
from dtag.sweep.selection.criterion import Criterion, Scores
from dtag.sweep.selection.evidence import Evidence
from dtag.sweep.selection.tuning import MEAN_RANK


@dataclass(frozen=True)
class Ranking:
    """What one criterion says: its unit, scores, and each cell's rank (C,), 1 = best; equal scores share a rank."""

    unit: str
    scores: Scores
    ranks: NDArray[np.float64]

    @property
    def best(self) -> int:
        """The cell of the highest score, never NaN's; of equal ones the first, which moves actions least."""
        return int(np.argmax(_ordered(self.scores.value)))

    def rows(self) -> list[dict[str, Any]]:
        """A cell each: its score, its gain over Action Gradient off with a 95 % interval, its rank."""
        gains = self.scores.draws - self.scores.draws[:, :1]
        low, high = np.quantile(gains, [0.025, 0.975], axis=0)
        return [
            {
                "value": finite(value),
                "gain": finite(value - self.scores.value[0]),
                "low": finite(low[i]),
                "high": finite(high[i]),
                "rank": float(self.ranks[i]),
            }
            for i, value in enumerate(self.scores.value)
        ]


def rank(
    evidence: Evidence, criteria: Mapping[str, Criterion], on_criterion: Callable[[str], None]
) -> dict[str, Ranking]:
    """Every criterion's ranking and, of two or more, the mean of their ranks."""
    found = {}
    for name, criterion in criteria.items():
        on_criterion(name)
        scores = criterion.score(evidence)
        found[name] = Ranking(criterion.unit, scores, rankdata(-_ordered(scores.value)))
    if len(found) > 1:
        found[MEAN_RANK] = mean_rank(found)
    return found


def mean_rank(rankings: Mapping[str, Ranking]) -> Ranking:
    """Minus the mean of a cell's ranks over criteria, in every draw too."""
    value = -np.mean([own.ranks for own in rankings.values()], axis=0)
    draws = -np.mean([rankdata(-_ordered(own.scores.draws), axis=1) for own in rankings.values()], axis=0)
    return Ranking("minus the mean rank", Scores(value, draws), rankdata(-value))


def refuse_unknown(choice: str, names: list[str]) -> None:
    """UsageError when none of the criteria that will be asked is called `choice`."""
    known = [*names, *([MEAN_RANK] if len(names) > 1 else [])]
    if choice not in known:
        needs = ": it needs an independent critic, give --critic" if choice == "independent" else ""
        raise UsageError(
            f"choose={choice}: no such criterion is asked here{needs}; there are {', '.join(known) or 'none'}"
        )


def _ordered(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """A score that is no number ranks last."""
    return np.where(np.isfinite(values), values, -np.inf)

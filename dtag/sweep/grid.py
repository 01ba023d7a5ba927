"""A grid of Action Gradient settings as rows of one rollout: no retraining, common random numbers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from dtag.errors import UsageError
from dtag.evaluation.evaluate import AG_OFF
from dtag.evaluation.settings import EvaluationSettings
from dtag.refiners.action_gradient import RULES, RuleName
from dtag.rollout.agent import Agent
from dtag.rollout.episodes import EpisodePlan
from dtag.rollout.row_settings import RowSettings

UNPICKED = "AG on (default, unpicked)"


@dataclass(frozen=True)
class Grid:
    """eta, n_steps, rule: every combination is a cell, scored on `episodes` episodes with seeds from `seed` on.

    experiment: the name of the output's folder. Action Gradient off and the checkpoint's own setting are always scored
    beside the grid: a cell picked from it by its score is picked on the test, the checkpoint's own is not.
    """

    experiment: str = "ag"
    eta: tuple[float, ...] = (0.01, 0.03, 0.1)
    n_steps: tuple[int, ...] = (1, 5, 20)
    rule: tuple[RuleName, ...] = ("none",)
    episodes: int = 20
    seed: int = 10_000

    def __post_init__(self) -> None:
        unknown = sorted(set(self.rule) - set(RULES))
        if unknown:
            raise UsageError(f"grid.rule: {', '.join(unknown)} is not one of {', '.join(RULES)}")

    def cells(self) -> list[tuple[str, RowSettings]]:
        """(label, settings) of every cell of the grid."""
        combinations = product(self.rule, self.eta, self.n_steps)
        return [(f"{rule} eta={eta:g} n={n}", RowSettings(n, eta, rule)) for rule, eta, n in combinations if n > 0]

    def plans(self, agent: Agent, settings: EvaluationSettings) -> list[EpisodePlan]:
        """Every episode seed in every cell, with the agent's context rule."""
        context = agent.context.rule
        unpicked = agent.default_settings
        cells = [(AG_OFF, RowSettings()), (UNPICKED, unpicked), *self.cells()]
        own = [(label, RowSettings(s.n_steps, s.eta, s.rule, context)) for label, s in cells]
        return [EpisodePlan(self.seed + i, row, label) for i in range(self.episodes) for label, row in own]

    @property
    def n_episodes(self) -> int:
        """Rows in all."""
        return (len(self.cells()) + 2) * self.episodes

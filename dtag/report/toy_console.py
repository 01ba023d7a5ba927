"""The table at the end of `dtag toys`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from rich.table import Table

from dtag.data.toy_environments import chain_optimal_value, parabola
from dtag.toys.chain import DISCOUNT, PROBES, ChainResult
from dtag.toys.parabola import ParabolaResult
from dtag.toys.ramp import N_FINE_TUNING, N_PRETRAINING, PAPER_FINE_TUNING, RampResult

Row = tuple[str, str, str, list[float]]  # experiment, who, quantity, a value per seed
CAPTION = """\
reward: 1 is the best there is, 0.75 the best in paper 1's data
estimate: Q of refined actions at the end; the best policy's value is {optimum:.2f},
and none exceeds {bound:g}
± is the std over {n_seeds} seeds (ddof 0)"""


def toy_rows(results: dict[str, list[Any]]) -> list[Row]:
    """Every number that the table shows, seed by seed; results as `run_jobs` returns them."""
    return [
        *_parabola_rows(results.get("parabola", [])),
        *_ramp_rows(results.get("ramp", [])),
        *_chain_rows(results.get("chain", [])),
    ]


def toy_table(rows: Sequence[Row], n_seeds: int) -> Table:
    """Mean ± std over seeds, the experiments apart; 80 columns."""
    table = Table(title="toys", title_justify="left", header_style="bold", caption_justify="left")
    for name in ("experiment", "who", "quantity"):
        table.add_column(name, no_wrap=True)
    table.add_column("mean ± std", justify="right", no_wrap=True)
    previous = None
    for experiment, who, quantity, values in rows:
        if previous not in (None, experiment):
            table.add_section()
        spread = f"{np.mean(values):.2f} ± {np.std(values):.2f}"
        table.add_row("" if experiment == previous else experiment, who, quantity, spread)
        previous = experiment
    optimum = float(chain_optimal_value(PROBES, DISCOUNT).mean())
    table.caption = CAPTION.format(optimum=optimum, bound=1.0 / (1.0 - DISCOUNT), n_seeds=n_seeds)
    return table


def _parabola_rows(results: Sequence[ParabolaResult]) -> Iterator[Row]:
    for sides in dict.fromkeys(result.sides for result in results):
        own = [result for result in results if result.sides == sides]
        for method in own[0].chosen:
            yield (
                f"paper 1, Fig. 2: {sides}",
                method,
                "reward",
                _floats(parabola([result.chosen[method] for result in own])),
            )


def _ramp_rows(results: Sequence[RampResult]) -> Iterator[Row]:
    for method in dict.fromkeys(result.method for result in results):
        own = [result for result in results if result.method == method]
        for epoch in (PAPER_FINE_TUNING, N_FINE_TUNING):
            rewards = _floats([result.rewards[N_PRETRAINING + epoch - 1] for result in own])
            yield "paper 2, Fig. 1-2", method, f"reward, epoch {epoch}", rewards


def _chain_rows(results: Sequence[ChainResult]) -> Iterator[Row]:
    for critic in dict.fromkeys(result.critic for result in results):
        ends = [result.estimates[-1] for result in results if result.critic == critic]
        yield "paper 1, eq. 3", critic, "estimate", _floats(ends)


def _floats(values: ArrayLike) -> list[float]:
    return [float(value) for value in np.asarray(values)]

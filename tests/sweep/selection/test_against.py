"""Rank correlation and regret against grids whose order is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from dtag.errors import DataError, UsageError
from dtag.rollout.row_settings import RowSettings
from dtag.sweep.selection.against import Online, compare, read_online
from dtag.sweep.selection.criterion import Scores
from dtag.sweep.selection.selection import Ranking, mean_rank
from tests.sweep.selection.example_evidence import CELLS


def _ranking(*values: float) -> Ranking:
    value = np.array(values, float)
    draws = value + np.random.default_rng(0).standard_normal((1000, len(value))) * 1e-6
    return Ranking("", Scores(value, draws), np.argsort(np.argsort(-value)) + 1.0)


ONLINE = Online((0, 1, 2, 3), np.array([[0.0, 10.0, 20.0, 5.0], [2.0, 10.0, 22.0, 7.0]]), "score")


def test_correlation_is_spearmans_and_regret_what_the_best_cell_had_more() -> None:
    for values in ((1, 2, 3, 4), (4, 3, 2, 1), (1, 1, 2, 0), (0, 5, 9, 1)):
        own = compare({"it": _ranking(*values)}, ONLINE, own=1, seed=0)[0]["it"]
        assert own["rank_correlation"] == pytest.approx(spearmanr(values, ONLINE.means).statistic)
        assert own["regret"] == pytest.approx(21.0 - ONLINE.means[int(np.argmax(values))])
        assert own["regret_low"] <= own["regret"] <= own["regret_high"]


def test_a_perfect_criterion_has_no_regret_and_references_have_theirs() -> None:
    criteria, references = compare({"it": _ranking(1, 3, 4, 2)}, ONLINE, own=1, seed=0)
    assert criteria["it"]["rank_correlation"] == pytest.approx(1.0)
    assert criteria["it"]["regret"] == 0.0
    assert references["the checkpoint's own"]["regret"] == pytest.approx(11.0)
    assert references["always off"]["regret"] == pytest.approx(20.0)
    assert references["a cell at random"]["regret"] == pytest.approx(21.0 - ONLINE.means.mean())


def test_a_criterion_that_cannot_tell_has_no_correlation() -> None:
    assert compare({"it": _ranking(1, 1, 1, 1)}, ONLINE, own=9, seed=0)[0]["it"]["rank_correlation"] is None


def test_a_score_that_is_no_number_is_never_chosen() -> None:
    own = compare({"it": _ranking(1, float("nan"), 2, 0)}, ONLINE, own=9, seed=0)[0]["it"]
    assert own["chosen"] == 2


def test_the_mean_of_ranks_is_what_it_says_and_ties_go_to_the_smallest_step() -> None:
    found = mean_rank({"one": _ranking(1, 2, 3), "other": _ranking(3, 2, 1)})
    assert found.scores.value.tolist() == [-2.0, -2.0, -2.0]
    assert found.best == 0
    mixed = mean_rank({"one": _ranking(1, 2, 3), "other": _ranking(1, 3, 2)})
    assert mixed.scores.draws.mean(0) == pytest.approx(mixed.scores.value, abs=0.01)
    assert mean_rank({"one": _ranking(1, 2, 3), "other": _ranking(1, 3, 2)}).scores.value.tolist() == [-3, -1.5, -1.5]


def test_only_seeds_and_cells_that_both_have_count_and_no_steps_are_off(tmp_path: Path) -> None:
    path = tmp_path / "grid.json"
    rows = [
        {"rule": rule, "eta": eta, "n_steps": n, "context": "chain", "seed": seed, "score": None,
         "return": 10.0 * n * (eta > 0) + seed}
        for rule, eta, n, seeds in (
            ("sm", 0.4, 0, (1,)), ("none", 0.1, 1, (1, 2, 3)), ("none", 0.1, 5, (0, 1, 2)), ("none", 9.0, 5, (1,)),
            ("fm", 0.0, 7, (2,)),
        )
        for seed in seeds
    ]  # fmt: skip
    path.write_text(json.dumps({"rows": rows}))
    online = read_online(path, CELLS)
    assert online.cells == (0, 1, 2)
    assert online.scores.tolist() == [[1.0, 11.0, 51.0], [2.0, 12.0, 52.0]]
    assert online.kind == "return"
    with pytest.raises(DataError, match="2 of the 3 ranked cells"):
        read_online(path, (*CELLS[:2], RowSettings(7, 0.7)))


@pytest.mark.parametrize("text", ["{}", "no json", '{"rows": [{"score": 1}]}'])
def test_a_file_that_is_no_grid_is_one_clear_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "grid.json").write_text(text)
    with pytest.raises(UsageError, match=r"is not the grid\.json"):
        read_online(tmp_path / "grid.json", CELLS)


def test_a_ranking_never_names_a_cell_whose_score_is_no_number() -> None:
    assert _ranking(1, 2, float("nan"), 0).best == 1
    assert _ranking(float("inf"), 2, 3, float("nan")).best == 2

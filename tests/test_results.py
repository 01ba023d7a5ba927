"""The results that the project shows are those of the rows beside them."""

from __future__ import annotations

from tests.results.hopper_small.add_runs import EPISODES, README, read_rows, rows_of, with_tables
from tests.results.online_small.add_runs import END, EVALUATIONS, with_table


def test_the_tables_of_every_offline_method_are_what_their_episodes_say() -> None:
    text, episodes = README.read_text(), read_rows(EPISODES)
    assert with_tables(text, episodes) == text
    better = [{**row, "return": float(row["return"]) + 100 * (row["label"] == "AG on")} for row in episodes]
    assert with_tables(text, better) != text


def test_a_row_is_the_spread_over_seeds_and_each_seeds_paired_difference() -> None:
    """Worked by hand: two seeds of two episodes, whose score is 100 (return + 20.272305) / 3254.572305."""
    unit = 32.54572305  # of a score
    returns = {
        ("0", "AG off"): (0.0, 4.0),
        ("0", "AG on"): (3.0, 5.0),
        ("1", "AG off"): (4.0, 4.0),
        ("1", "AG on"): (4.0, 4.0),
    }
    episodes = [
        {"dataset": "medium", "method": "RF+AG" if label == "AG on" else "RF", "run_seed": seed, "label": label,
         "seed": str(10000 + i), "return": score * unit - 20.272305}
        for (seed, label), both in returns.items() for i, score in enumerate(both)
    ]  # fmt: skip
    # off: means 2 and 4; on: 4 and 4; differences 3 and 1 (std 2 ** 0.5, so 1.96 * 2 ** 0.5 / 2 ** 0.5), 0 and 0
    assert rows_of("medium", episodes) == ["| RF | 3.0 ± 1.0 (2) | 4.0 ± 0.0 | +2.0 ± 2.0, +0.0 ± 0.0 |"]


def test_the_table_of_fine_tuning_is_what_its_evaluations_and_last_episodes_say() -> None:
    text, evaluations, end = README.read_text(), read_rows(EVALUATIONS), read_rows(END)
    assert with_table(text, evaluations, end) == text
    for changed in (
        (
            [{**row, "score": float(row["score"]) + (int(row["environment_steps"]) > 120_000)} for row in evaluations],
            end,
        ),
        (evaluations, [{**row, "score": float(row["score"]) + (row["label"] == "AG off")} for row in end]),
    ):
        assert with_table(text, *changed) != text

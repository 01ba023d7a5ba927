from __future__ import annotations

import numpy as np
import pytest
import torch

from dtag.data.dataset import Reference
from dtag.evaluation.scores import EpisodeScores, normalized_score, summary


def _naive(values: list[float]) -> dict[str, float]:
    """Mean, std and interquartile mean as loops: a quarter of the episodes, rounded down, is cut from each end."""
    n, mean = len(values), sum(values) / len(values)
    cut = sorted(values)[n // 4 : n - n // 4]
    variance = sum((value - mean) ** 2 for value in values) / n
    return {"mean": mean, "std": variance**0.5, "iqm": sum(cut) / len(cut), "n": n}


def test_the_references_score_0_and_100() -> None:
    reference = Reference(-20.0, 30.0, "d4rl")
    assert normalized_score([-20.0, 30.0, 5.0, 80.0], reference).tolist() == [0.0, 100.0, 50.0, 200.0]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 10, 100])
def test_a_summary_equals_the_loops(n: int) -> None:
    values = np.random.default_rng(n).normal(50.0, 20.0, n)
    assert summary(values) == pytest.approx(_naive(values.tolist()), rel=1e-10)


def test_no_bit_of_a_summary_depends_on_the_order() -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(50.0, 20.0, 37)
    assert all(summary(generator.permutation(values)) == summary(values) for _ in range(20))


def test_the_interquartile_mean_ignores_outliers() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 1e9])
    assert summary(values)["iqm"] == 4.5
    assert summary(values)["mean"] > 1e8


def test_scores_over_two_updates_are_those_of_all_episodes() -> None:
    values = np.random.default_rng(0).normal(size=12)
    labels = np.array([0, 1, 0, 1, 1, 0, 0, 0, 1, 1, 1, 1])
    metric = EpisodeScores(["off", "on", "never run"])
    for part in (slice(0, 5), slice(5, 12)):
        metric.update(torch.from_numpy(labels[part]), torch.from_numpy(values[part]))
    found = metric.compute()
    assert list(found) == ["off", "on"]
    for index, name in enumerate(found):
        assert found[name] == pytest.approx(_naive(values[labels == index].tolist()), rel=1e-10)


def test_scores_are_forgotten_when_reset() -> None:
    metric = EpisodeScores(["off"])
    metric.update(torch.tensor([0]), torch.tensor([5.0]))
    metric.reset()
    metric.update(torch.tensor([0, 0]), torch.tensor([1.0, 3.0]))
    assert metric.compute()["off"] == {"mean": 2.0, "std": 1.0, "iqm": 2.0, "n": 2.0}

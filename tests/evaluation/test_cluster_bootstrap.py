from __future__ import annotations

import numpy as np
import pytest

from dtag.evaluation.cluster_bootstrap import Quantity, cluster_estimates, cluster_means


def _clustered(n_clusters: int, size: int, within: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Values of clusters that differ by 1 between and by `within` inside, and their cluster."""
    generator = np.random.default_rng(seed)
    middle = generator.standard_normal(n_clusters)
    values = middle[:, None] + within * generator.standard_normal((n_clusters, size))
    return values.flatten(), np.repeat(np.arange(n_clusters), size)


def _all(values: np.ndarray) -> Quantity:
    return Quantity(values, np.ones(len(values), bool))


def test_the_interval_is_that_of_a_naive_loop_over_resampled_episodes() -> None:
    generator = np.random.default_rng(1)
    clusters = np.repeat(np.arange(9), generator.integers(1, 12, 9))
    values, where = generator.normal(size=len(clusters)), generator.random(len(clusters)) < 0.7
    found = cluster_estimates({"a": Quantity(values, where)}, clusters, seed=0, n_resamples=4000)["a"]
    means = []
    for _ in range(4000):
        rows = np.concatenate([np.flatnonzero((clusters == e) & where) for e in generator.integers(0, 9, 9)])
        means.append(values[rows].mean())
    assert found["mean"] == pytest.approx(values[where].mean(), rel=1e-12)
    assert found["n"] == where.sum()
    assert (found["low"], found["high"]) == pytest.approx(tuple(np.quantile(means, (0.025, 0.975))), abs=0.03)


def test_steps_that_are_alike_within_an_episode_widen_the_interval() -> None:
    values, clusters = _clustered(30, 50, within=0.01)
    own = cluster_estimates({"a": _all(values)}, clusters, seed=0)["a"]
    as_if_independent = cluster_estimates({"a": _all(values)}, np.arange(len(values)), seed=0)["a"]
    assert own["high"] - own["low"] > 5 * (as_if_independent["high"] - as_if_independent["low"])


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(200):
        values, clusters = _clustered(40, 5, within=0.5, seed=seed)
        found = cluster_estimates({"a": _all(values)}, clusters, seed=seed, n_resamples=400)["a"]
        covered += found["low"] <= 0.0 <= found["high"]
    assert 0.89 <= covered / 200 <= 0.99


def test_quantities_share_their_resamples_and_the_seed_fixes_them() -> None:
    values, clusters = _clustered(8, 4, within=1.0)
    both = cluster_estimates({"a": _all(values), "b": _all(values + 1)}, clusters, seed=3)
    assert both["b"]["low"] == pytest.approx(both["a"]["low"] + 1, rel=1e-12)
    assert cluster_estimates({"a": _all(values)}, clusters, seed=3)["a"] == both["a"]
    assert cluster_estimates({"a": _all(values)}, clusters, seed=4)["a"] != both["a"]


def test_one_episode_has_no_interval_and_no_position_no_mean() -> None:
    values, nowhere = np.arange(4.0), np.zeros(4, bool)
    clusters = np.array([0, 0, 1, 1])
    quantities = {"one": Quantity(values, np.array([1, 1, 0, 0], bool)), "none": Quantity(values, nowhere)}
    found = cluster_estimates(quantities, clusters, seed=0)
    assert found["one"] == {"mean": 0.5, "low": None, "high": None, "n": 2}
    assert found["none"] == {"mean": None, "low": None, "high": None, "n": 0}
    assert cluster_means(quantities, clusters) == [
        {"n": 2, "one": 0.5, "none": None}, {"n": 2, "one": None, "none": None}
    ]  # fmt: skip

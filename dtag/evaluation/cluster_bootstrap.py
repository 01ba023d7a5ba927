"""Means of steps with intervals over episodes: steps of one episode are alike, so episodes are what is resampled.

Letters: P positions, M episodes, Q quantities, R resamples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

CHUNK = 100  # resamples at once: a matter of memory only


class Quantity(NamedTuple):
    """values (P,), and where (P,) bool they count."""

    values: NDArray[np.floating[Any]]
    where: NDArray[np.bool_]


class Estimate(TypedDict):
    """mean over the n positions that count; low, high: its 95 % interval, None where it has none (one episode)."""

    mean: float | None
    low: float | None
    high: float | None
    n: int


def cluster_estimates(
    quantities: Mapping[str, Quantity], clusters: NDArray[np.integer[Any]], *, seed: int, n_resamples: int = 2000
) -> dict[str, Estimate]:
    """Mean of every quantity with its 95 % percentile interval from a cluster bootstrap (Field & Welsh 2007).

    mean = sum_e s_e / sum_e c_e,  s_e and c_e an episode's sum and count;  each resample draws M episodes with
    replacement, the same ones for all quantities, and takes them whole.

    clusters: (P,), the episode of each position, 0 to M - 1.
    """
    sums, counts = _per_cluster(quantities, clusters)  # (M, Q)
    n_clusters = len(sums)
    generator, chances = np.random.default_rng(seed), np.full(n_clusters, 1.0 / n_clusters)
    means = []
    for start in range(0, n_resamples, CHUNK):
        times_drawn = generator.multinomial(n_clusters, chances, size=min(CHUNK, n_resamples - start)).astype(float)
        means.append(_ratio(times_drawn @ sums, times_drawn @ counts))
    low, high = (_quantile(np.concatenate(means), share) for share in (0.025, 0.975))  # (Q,)
    total, n_positions, n_episodes = _ratio(sums.sum(0), counts.sum(0)), counts.sum(0), (counts > 0).sum(0)
    return {
        name: Estimate(
            mean=finite(total[i]),
            low=finite(low[i]) if n_episodes[i] > 1 else None,
            high=finite(high[i]) if n_episodes[i] > 1 else None,
            n=int(n_positions[i]),
        )
        for i, name in enumerate(quantities)
    }


def cluster_means(
    quantities: Mapping[str, Quantity], clusters: NDArray[np.integer[Any]]
) -> list[dict[str, float | None]]:
    """Each episode's own mean of every quantity, with "n" its positions; None where no position of it counts."""
    means, sizes = _ratio(*_per_cluster(quantities, clusters)), np.bincount(clusters)
    return [
        {"n": int(size), **{name: finite(value) for name, value in zip(quantities, row, strict=True)}}
        for size, row in zip(sizes, means, strict=True)
    ]


def finite(value: float) -> float | None:
    """The number, None for NaN and infinity, which JSON does not know."""
    return float(value) if np.isfinite(value) else None


def _per_cluster(
    quantities: Mapping[str, Quantity], clusters: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums and counts over each episode's positions that count, (M, Q) each."""
    n_clusters = int(clusters.max()) + 1
    sums = [
        np.bincount(clusters[q.where], q.values[q.where].astype(float), minlength=n_clusters)
        for q in quantities.values()
    ]
    counts = [np.bincount(clusters[q.where], minlength=n_clusters).astype(float) for q in quantities.values()]
    return np.stack(sums, axis=1), np.stack(counts, axis=1)


def _ratio(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """sums / counts, NaN where nothing counts."""
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def _quantile(means: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """The quantile of (R, Q) over the resamples, NaN in every one that drew nothing left out; (Q,)."""
    drawn = ~np.isnan(means)
    filled = np.where(drawn.any(0), means, 0.0)  # a quantity that no resample drew has NaN alone: no warning for it
    return np.where(drawn.any(0), np.nanquantile(filled, share, axis=0), np.nan)

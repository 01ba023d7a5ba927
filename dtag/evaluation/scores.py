"""Normalised scores and how they are summed up."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.stats import trim_mean
from torch import Tensor
from torchmetrics import Metric

from dtag.data.dataset import Reference


def normalized_score(returns: ArrayLike, reference: Reference) -> np.ndarray:
    """100 * (return - minimum) / (maximum - minimum)  (Fu et al. 2020): 0 = the reference's random, 100 = its expert."""
    return 100.0 * (np.asarray(returns, np.float64) - reference.minimum) / (reference.maximum - reference.minimum)


class EpisodeScores(Metric):
    """Mean, standard deviation and interquartile mean over episodes, of every label, over all ranks.

    update(label_index, value): both (n,). compute: {label: {"mean", "std", "iqm", "n"}}. IQM is the mean of the middle
    half (Agarwal et al. 2021); std is over episodes (ddof 0).
    """

    full_state_update = False
    values: list[Tensor]
    labels: list[Tensor]

    def __init__(self, names: list[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.names = names
        self.add_state("values", default=[], dist_reduce_fx="cat")
        self.add_state("labels", default=[], dist_reduce_fx="cat")

    def update(self, labels: Tensor, values: Tensor) -> None:
        self.labels.append(labels)
        self.values.append(values)

    def compute(self) -> dict[str, dict[str, float]]:
        values, labels = (_cat(part).cpu().numpy() for part in (self.values, self.labels))
        return {name: summary(values[labels == i]) for i, name in enumerate(self.names) if (labels == i).any()}


def summary(values: np.ndarray) -> dict[str, float]:
    """{"mean", "std", "iqm", "n"} of values (n,), to the last bit the same in any order: ranks gather in their own."""
    values = np.sort(values)
    return {
        "mean": float(np.mean(values)),
        "std": float(np.std(values)),
        "iqm": float(trim_mean(values, 0.25)),
        "n": float(len(values)),
    }


def _cat(parts: list[Tensor] | Tensor) -> Tensor:
    return torch.cat(parts) if isinstance(parts, list) else parts

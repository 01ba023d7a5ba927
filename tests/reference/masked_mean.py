"""The masked mean, one number at a time."""

from __future__ import annotations

from torch import Tensor


def masked_mean_loop(x: Tensor, mask: Tensor) -> float:
    total, count = 0.0, 0
    for b in range(mask.shape[0]):
        for k in range(mask.shape[1]):
            if mask[b, k]:
                for value in x[b, k].flatten().tolist():
                    total, count = total + value, count + 1
    return total / count if count else 0.0

"""The mean over a padded batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of x over the valid positions and over every trailing dim.

    mean_m[x] = sum(m * x) / sum(m)

    x: (B, K, ...). mask: (B, K) bool, True = valid. Padding may hold anything, NaN included: it changes neither the
    value nor x's gradient, which is exactly 0 there (though upstream 0 * NaN is NaN again: pad with finite inputs).
    Without a single valid position the mean is 0 and sends no gradient, so an empty micro-batch does no harm.
    """
    trailing = x.shape[mask.ndim :]
    valid = mask.reshape(mask.shape + (1,) * len(trailing))
    total = torch.where(valid, x, torch.zeros_like(x)).sum()  # not x * mask: NaN * 0 is NaN
    return total / (mask.sum() * math.prod(trailing)).clamp(min=1)

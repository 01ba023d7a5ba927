"""A run that diverged stops with one clear message, before it can replace what it had."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dtag.errors import DtagError


def refuse_divergence(whose: str, loss: Tensor | None, weights: nn.Module | None, advice: str) -> None:
    """Raises DtagError when the loss, or a weight, is infinite or NaN.

    A loss can be finite and the weights after the step it led to are not, so what is to be written is checked itself.
    whose: "the policy's"; advice: what to do.
    """
    if loss is not None and not torch.isfinite(loss):
        raise DtagError(f"{whose} loss became {loss.item()} {advice}")
    for name, value in weights.state_dict().items() if weights is not None else ():
        if not torch.isfinite(value).all():
            raise DtagError(f"{whose} weights ({name}) became infinite or NaN {advice}")

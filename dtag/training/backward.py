"""The backward pass of a module that takes its optimisers' steps itself."""

from __future__ import annotations

import torch
from lightning import LightningModule
from torch import Tensor


def backward(module: LightningModule, loss: Tensor) -> None:
    """Lightning's manual_backward, outside the autocast that it runs a training step in.

    There a backward pass would round what the forward pass computed in float32 on purpose, as critics do; what autocast
    ran in bfloat16 has its gradient in bfloat16 all the same.
    """
    with torch.autocast(module.device.type, enabled=False):
        module.manual_backward(loss)

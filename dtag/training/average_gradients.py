"""Gradients of a network that DDP does not look after."""

from __future__ import annotations

import torch
from torch import distributed, nn


def average_gradients(network: nn.Module) -> None:
    """Replace every gradient by its mean over ranks, in one message; nothing to do in a single process."""
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))

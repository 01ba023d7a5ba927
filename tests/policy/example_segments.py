"""Random segments and windows for the policy's tests, in float64."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dtag.policy.sequence_model import Window

S, A, TABLE = 3, 2, 12  # state and action dims; timesteps 0..TABLE have an embedding
SMALL = {"hidden": 8, "n_layers": 2, "n_heads": 2}
QUIET = {"attention_dropout": 0.0, "residual_dropout": 0.0}


def segments(n_rows: int, n_steps: int, seed: int = 0) -> list[Tensor]:
    """states, actions, returns_to_go, timesteps."""
    generator = torch.Generator().manual_seed(seed)
    sizes = ((n_rows, n_steps, S), (n_rows, n_steps, A), (n_rows, n_steps, 1))
    numbers = [torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes]
    first = torch.randint(0, TABLE - n_steps + 2, (n_rows, 1), generator=generator)
    return [*numbers, first + torch.arange(n_steps)]


def window(inputs: list[Tensor], lengths: Tensor) -> Window:
    return Window(*inputs, lengths)


def with_garbage(inputs: list[Tensor], lengths: Tensor, seed: int = 9) -> list[Tensor]:
    """The same inputs with other, also huge, numbers in every step from `lengths` on."""
    other = segments(*inputs[0].shape[:2], seed=seed)
    padding = torch.arange(inputs[0].shape[1]) >= lengths[:, None]
    dirty = [torch.where(padding[..., None], 1e6 * b, a) for a, b in zip(inputs[:3], other[:3], strict=True)]
    return [*dirty, torch.where(padding, 10**6, inputs[3])]


def randomized(module: nn.Module, seed: int = 1) -> nn.Module:
    """The module in float64 and eval mode with every parameter away from its initial value (LayerNorms, biases)."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return module

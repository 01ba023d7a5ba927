"""Linear layers whose products go to oneDNN while training, on CPUs where the library that torch asks first is slow.

torch computes float32 linear layers on x86 with MKL, which runs at about half of an AMD core's rate, and convolutions
with oneDNN, which does not. A linear layer is a convolution of width 1, so that is how oneDNN is asked. Elsewhere (other
CPUs, GPUs, compiled networks, other precisions, small products) a layer is torch's own. Rollouts never come here: MKL's
rounding of a row is what their independence of each other was tested with.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

Library = Literal["auto", "torch", "onednn"]

IMAGES = 16  # with fewer, torch does not give a convolution of width 1 to oneDNN; with more there is less in each
SMALLEST = 2**22  # multiplications; below, the convolution's set-up costs more than it saves
NARROWEST = 32  # inputs and outputs, likewise

_chosen: Library = "torch"
_inside = False


def choose_library(library: Library) -> None:
    """Which library computes the products of training in this process: "auto" is oneDNN on an AMD CPU, else torch's."""
    global _chosen
    _chosen = ("onednn" if mkl_is_slow() else "torch") if library == "auto" else library


@contextmanager
def training_products() -> Iterator[None]:
    """What is computed within goes to the chosen library, its gradients too, whenever those are asked for."""
    global _inside
    before, _inside = _inside, _chosen == "onednn" and torch.backends.mkldnn.is_available()
    try:
        yield
    finally:
        _inside = before


@functools.cache
def mkl_is_slow() -> bool:
    """Whether this is an AMD CPU under Linux."""
    cpus = Path("/proc/cpuinfo")
    return torch.backends.mkl.is_available() and cpus.is_file() and "AuthenticAMD" in cpus.read_text(errors="replace")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x W^T + b. x: (..., in), weight: (out, in), bias: (out,) -> (..., out)."""
    if not _inside:  # before sizes are asked for: in an export they are symbols
        return functional.linear(x, weight, bias)
    n_out, n_in = weight.shape
    if not by_onednn(x.numel() // n_in, weight) or x.dtype != weight.dtype:
        return functional.linear(x, weight, bias)
    return _of_images(functional.conv2d(_images(x), weight[:, :, None, None], bias)).view(*x.shape[:-1], n_out)


def affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x W + b. x: (rows, in), weight: (in, out), the other way round than `linear`'s, bias: (out,) -> (rows, out)."""
    if not by_onednn(x.shape[0], weight) or x.dtype != weight.dtype:
        return torch.addmm(bias, x, weight)
    found: Tensor = _Affine.apply(x, weight, bias)
    return found


def by_onednn(n_rows: int, weight: Tensor) -> bool:
    """Whether `linear` gives oneDNN the product of that many rows and a weight (..., out, in) or (..., in, out)."""
    if not _inside:
        return False
    narrow, wide = sorted(weight.shape[-2:])
    return (
        n_rows * narrow * wide >= SMALLEST
        and n_rows % IMAGES == 0
        and narrow >= NARROWEST
        and weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
        and torch.get_float32_matmul_precision() == "highest"
    )


class Linear(nn.Linear):
    """torch's, through `linear`."""

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)


class _Affine(torch.autograd.Function):
    """x W + b as a transposed convolution, whose weights lie the way W does; torch's own gradient would copy them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _of_images(functional.conv_transpose2d(_images(x), weight[:, :, None, None], bias))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        kernel, g = weight[:, :, None, None], _images(gradient)
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        of_x = _of_images(functional.conv2d(g, kernel)) if wants_x else None
        of_weight = None
        if wants_weight:
            only_weight = (False, True, False)
            _, found, _ = torch.ops.aten.convolution_backward(
                g, _images(x), kernel, [gradient.shape[-1]], [1, 1], [0, 0], [1, 1], True, [0, 0], 1, only_weight
            )
            of_weight = found.view(weight.shape)
        return of_x, of_weight, gradient.sum(0) if wants_bias else None


def _images(x: Tensor) -> Tensor:
    """(..., features) as (16, features, rows / 16, 1), with the features last in memory."""
    return x.reshape(IMAGES, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)


def _of_images(images: Tensor) -> Tensor:
    """(16, features, rows / 16, 1) -> (rows, features)"""
    return images.permute(0, 2, 3, 1).reshape(-1, images.shape[1])

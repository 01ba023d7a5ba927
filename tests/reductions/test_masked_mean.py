from __future__ import annotations

import pytest
import torch

from dtag.reductions.masked_mean import masked_mean
from tests.reference.masked_mean import masked_mean_loop


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (4, 7, 2), (2, 3, 4, 5)])
def test_it_equals_the_loop(shape):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    mask = torch.rand(shape[:2], generator=generator) < 0.6
    mask[0, 0] = True
    assert masked_mean(x, mask).item() == pytest.approx(masked_mean_loop(x, mask), rel=1e-10)


@pytest.mark.parametrize("garbage", [1e30, float("inf"), float("nan")])
def test_padding_changes_neither_value_nor_gradient(garbage):
    mask = torch.tensor([[True, True, False], [True, False, False]])
    clean = torch.arange(6.0).reshape(2, 3).requires_grad_()
    dirty = torch.where(mask, clean.detach(), torch.full((), garbage)).requires_grad_()
    means = [masked_mean(x, mask) for x in (clean, dirty)]
    for mean in means:
        mean.backward()
    assert means[0].item() == means[1].item() == pytest.approx((0 + 1 + 3) / 3)
    assert torch.equal(clean.grad, dirty.grad)
    assert torch.equal(dirty.grad, mask / 3)


def test_nothing_valid_gives_zero_and_no_gradient():
    x = torch.full((2, 3), float("nan"), requires_grad=True)
    mean = masked_mean(x, torch.zeros(2, 3, dtype=torch.bool))
    mean.backward()
    assert mean.item() == 0
    assert torch.equal(x.grad, torch.zeros(2, 3))

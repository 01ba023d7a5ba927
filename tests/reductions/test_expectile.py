from __future__ import annotations

import pytest
import torch

from dtag.reductions.expectile import asymmetric_square
from tests.reference.iql import expectile_term


@pytest.mark.parametrize("expectile", [0.1, 0.5, 0.7, 0.99])
@pytest.mark.parametrize("shape", [(7,), (3, 4), (2, 3, 5)])
def test_it_equals_the_equation(expectile, shape):
    u = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = torch.tensor([expectile_term(x, expectile) for x in u.flatten().tolist()], dtype=torch.float64)
    torch.testing.assert_close(asymmetric_square(u, expectile), expected.reshape(shape), rtol=1e-10, atol=0)


def _minimiser(sample: torch.Tensor, expectile: float) -> float:
    low, high = sample.min(), sample.max()
    for _ in range(100):  # bisection on the derivative, which grows with the prediction
        prediction = ((low + high) / 2).requires_grad_()
        asymmetric_square(sample - prediction, expectile).mean().backward()
        low, high = (prediction.detach(), high) if prediction.grad < 0 else (low, prediction.detach())
    return low.item()


def test_its_minimiser_goes_from_the_mean_to_the_maximum():
    sample = torch.tensor([0.0, 1.0, 2.0, 9.0], dtype=torch.float64)
    assert _minimiser(sample, 0.5) == pytest.approx(3.0)
    assert 3.0 < _minimiser(sample, 0.9) < _minimiser(sample, 0.99) < 9.0
    assert _minimiser(sample, 0.9999) == pytest.approx(9.0, abs=0.01)
    assert _minimiser(10 * sample, 0.9) == pytest.approx(10 * _minimiser(sample, 0.9))

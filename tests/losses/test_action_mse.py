from __future__ import annotations

import pytest
import torch

from dtag.losses.action_mse import ActionMSE
from tests.losses.example_batches import SHAPES, example, with_padding
from tests.reference.policy_losses import action_mse


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("denominator", ["valid", "all"])
def test_it_equals_the_naive_loop(shape, denominator):
    batch, output = example(shape)
    arrays = (batch.actions.tolist(), output.action.tolist(), batch.mask.tolist())
    loss, info = ActionMSE(denominator=denominator)(batch, output)
    # The share of valid steps is a float32 mean: exact to 1e-7, which no training notices.
    tolerance = 1e-10 if denominator == "valid" else 1e-7
    assert loss.item() == pytest.approx(action_mse(*arrays, denominator), rel=tolerance)
    assert info["mse"].item() == pytest.approx(action_mse(*arrays, "valid"), rel=1e-10)


@pytest.mark.parametrize("denominator", ["valid", "all"])
@pytest.mark.parametrize("garbage", [1e6, float("nan")])
def test_padding_changes_neither_loss_nor_gradient(denominator, garbage):
    batch, output = example((4, 5, 2))
    assert not batch.mask.all()
    term = ActionMSE(denominator=denominator)
    clean = term(batch, output)[0]
    assert term(with_padding(batch, garbage), output)[0].item() == clean.item()
    (expected,) = torch.autograd.grad(clean, output.action)
    (gradient,) = torch.autograd.grad(term(with_padding(batch, 1e6), output)[0], output.action)
    assert torch.equal(gradient, expected)
    assert not gradient[~batch.mask].any()
    assert gradient[batch.mask].all()


def test_it_reads_the_action_only():
    batch, output = example((2, 3, 2))
    ActionMSE()(batch, output._replace(distribution=None))[0].backward()
    assert output.predicted_return.grad is None

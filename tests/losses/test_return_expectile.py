from __future__ import annotations

import pytest
import torch

from dtag.losses.return_expectile import ReturnExpectile
from tests.losses.example_batches import SHAPES, example, with_padding
from tests.reference.policy_losses import return_expectile


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("expectile", [0.1, 0.5, 0.99])
def test_it_equals_the_naive_loop(shape, expectile):
    batch, output = example(shape)
    arrays = (batch.returns_to_go.tolist(), output.predicted_return.tolist(), batch.mask.tolist())
    loss, info = ReturnExpectile(expectile=expectile)(batch, output)
    assert loss.item() == pytest.approx(return_expectile(*arrays, expectile), rel=1e-10)
    assert info["predicted"].item() == pytest.approx(output.predicted_return[batch.mask].mean().item(), rel=1e-10)


def _minimiser(returns: list[float], expectile: float) -> float:
    """The one number that, predicted everywhere, makes the loss least; bisection on the gradient."""
    batch, output = example((1, len(returns), 1))
    target = torch.tensor(returns, dtype=torch.float64)[None, :, None]
    batch = batch._replace(returns_to_go=target, mask=torch.ones(1, len(returns), dtype=torch.bool))
    low, high = min(returns) - 1, max(returns) + 1
    for _ in range(80):
        guess = torch.tensor((low + high) / 2, dtype=torch.float64, requires_grad=True)
        loss, _ = ReturnExpectile(expectile=expectile)(batch, output._replace(predicted_return=guess.expand_as(target)))
        loss.backward()
        low, high = (guess.item(), high) if guess.grad < 0 else (low, guess.item())
    return low


def test_what_it_learns_rises_from_the_mean_to_the_largest_return():
    returns = [-1.0, 0.0, 2.0, 7.0]
    assert _minimiser(returns, 0.5) == pytest.approx(2.0)
    assert 2.0 < _minimiser(returns, 0.9) < _minimiser(returns, 0.99) < 7.0
    # With the sign of u swapped these would be the smallest return and the largest.
    assert _minimiser(returns, 0.9999) == pytest.approx(7.0, abs=0.01)
    assert _minimiser(returns, 0.0001) == pytest.approx(-1.0, abs=0.01)


def test_predicting_too_little_costs_more_than_too_much():
    batch, output = example((2, 3, 1))
    costs = [
        ReturnExpectile(expectile=0.99)(batch, output._replace(predicted_return=batch.returns_to_go + error))[0].item()
        for error in (-1.0, 1.0)
    ]
    assert costs[0] == pytest.approx(99 * costs[1])


@pytest.mark.parametrize("scale", [1e-3, 7.0, 1e4])
def test_the_returns_scale_does_not_matter(scale):
    batch, output = example((3, 4, 1))
    term = ReturnExpectile()
    scaled = batch._replace(returns_to_go=scale * batch.returns_to_go)
    prediction = output._replace(predicted_return=scale * output.predicted_return)
    assert term(scaled, prediction)[0].item() == pytest.approx(term(batch, output)[0].item(), rel=1e-10)


@pytest.mark.parametrize("prediction", [0.0, 0.3])
def test_returns_that_are_all_zero_give_no_nan(prediction):
    batch, output = example((3, 4, 1))
    zeros = batch._replace(returns_to_go=torch.zeros(3, 4, 1))
    predicted = torch.full((3, 4, 1), prediction, requires_grad=True)
    loss, _ = ReturnExpectile()(zeros, output._replace(predicted_return=predicted))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(predicted.grad).all()
    assert (loss.item() == 0) == (prediction == 0)


@pytest.mark.parametrize("garbage", [1e6, float("inf"), float("nan")])
def test_padding_changes_neither_loss_nor_gradient(garbage):
    batch, output = example((4, 5, 2))
    assert not batch.mask.all()
    clean = ReturnExpectile()(batch, output)[0]
    assert ReturnExpectile()(with_padding(batch, garbage), output)[0].item() == clean.item()
    (expected,) = torch.autograd.grad(clean, output.predicted_return)
    dirty = ReturnExpectile()(with_padding(batch, 1e6), output)[0]
    (gradient,) = torch.autograd.grad(dirty, output.predicted_return)
    assert torch.equal(gradient, expected)
    assert not gradient[~batch.mask].any()


def test_only_the_prediction_gets_a_gradient_and_the_normaliser_is_constant_in_it():
    batch, output = example((3, 4, 2))
    loss, info = ReturnExpectile(expectile=0.5)(batch, output)
    loss.backward()
    target, predicted = batch.returns_to_go[batch.mask], output.predicted_return[batch.mask]
    norm, n = target.abs().mean(), batch.mask.sum()
    expected = -(target - predicted) / norm**2 / n
    torch.testing.assert_close(output.predicted_return.grad[batch.mask], expected, rtol=1e-10, atol=0)
    assert output.action.grad is None
    assert not any(value.requires_grad for value in info.values())


def test_a_policy_that_predicts_no_return_is_refused():
    batch, output = example((1, 2, 2))
    with pytest.raises(ValueError, match="predicts_return=True"):
        ReturnExpectile()(batch, output._replace(predicted_return=None))

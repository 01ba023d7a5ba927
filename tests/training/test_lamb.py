from __future__ import annotations

import math

import pytest
import torch

from dtag.training.lamb import Lamb
from tests.reference.naive_lamb import lamb

SHAPES = [(3,), (4, 2), (1,), (2, 3, 2), (5,), (3,)]


def _problem(n_steps: int) -> tuple[list[torch.Tensor], list[list[torch.Tensor]]]:
    """Weights and gradients: the fifth tensor starts at zero, the sixth is zero and gets zero gradients."""
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES]
    gradients = [
        [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES] for _ in range(n_steps)
    ]
    weights[4].zero_()
    weights[5].zero_()
    for step in gradients:
        step[5].zero_()
    return weights, gradients


@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
@pytest.mark.parametrize("n_steps", [1, 2, 7])
def test_it_equals_the_naive_loop(weight_decay, n_steps):
    weights, gradients = _problem(n_steps)
    rates = [0.1 * (step + 1) for step in range(n_steps)]
    params = [torch.nn.Parameter(w.clone()) for w in weights]
    optimizer = Lamb(params, weight_decay=weight_decay)
    for gradient, rate in zip(gradients, rates, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        for p, g in zip(params, gradient, strict=True):
            p.grad = g.clone()
        optimizer.step()

    def flat(tensors: list[torch.Tensor]) -> list[list[float]]:
        return [tensor.flatten().tolist() for tensor in tensors]

    expected = lamb(flat(weights), [flat(step) for step in gradients], rates, weight_decay=weight_decay)
    for p, values in zip(params, expected, strict=True):
        assert p.flatten().tolist() == pytest.approx(values, rel=1e-10, abs=1e-14)
    assert not params[5].any()


def test_every_tensor_moves_by_the_rate_times_its_own_norm():
    weights, gradients = _problem(1)
    params = [torch.nn.Parameter(w.clone()) for w in weights]
    for p, g in zip(params, gradients[0], strict=True):
        p.grad = g.clone() * 100  # the gradient's size does not matter
    Lamb(params, lr=0.01, weight_decay=0.1).step()
    for p, w in zip(params[:4], weights[:4], strict=True):
        assert (p - w).norm().item() == pytest.approx(0.01 * w.norm().item(), rel=1e-10)
    assert (params[4] - weights[4]).norm().item() == pytest.approx(0.01 * math.sqrt(5), rel=1e-6)  # ratio 1


def test_weight_decay_acts_on_every_parameter_biases_too():
    layer = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.LayerNorm(3))
    with torch.no_grad():
        for p in layer.parameters():
            p.fill_(2.0)
            p.grad = torch.zeros_like(p)
    Lamb(layer.parameters(), lr=0.01, weight_decay=0.3).step()
    for p in layer.parameters():  # u = wd * w, trust ratio 1 / wd: w (1 - lr)
        torch.testing.assert_close(p.detach(), torch.full_like(p, 2 * 0.99))


def test_parameters_without_a_gradient_are_left_alone():
    used, unused = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    used.grad = torch.ones(2)
    Lamb([unused, used], weight_decay=0.1).step()
    assert unused.tolist() == [1, 1]
    assert used.tolist() != [1, 1]


def test_a_tensor_whose_gradient_comes_later_begins_its_own_correction_then():
    early, late = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    alone = torch.nn.Parameter(torch.ones(2))
    optimizer, other = Lamb([early, late], lr=0.1), Lamb([alone], lr=0.1)
    for step in range(5):
        early.grad = torch.tensor([1.0, -1.0])
        if step >= 3:
            late.grad, alone.grad = torch.tensor([0.5, 2.0]), torch.tensor([0.5, 2.0])
            other.step()
        optimizer.step()
    torch.testing.assert_close(late, alone)


def test_a_tensor_that_starts_at_zero_stays_frozen_however_steady_its_gradient():
    # The first step has size lr_0, after it the norm grows by at most (1 + lr) a step.
    rate, warmup, n_steps, size = 1e-4, 50, 500, 3
    zero, other = torch.nn.Parameter(torch.zeros(size)), torch.nn.Parameter(torch.ones(size))
    optimizer = Lamb([zero, other], lr=rate, weight_decay=1e-4)
    bound = 0.0
    for step in range(n_steps):
        current = optimizer.param_groups[0]["lr"] = rate * min((step + 1) / warmup, 1)
        for p in (zero, other):
            p.grad = torch.tensor([1.0, -2.0, 3.0])
        optimizer.step()
        bound = current * math.sqrt(size) if step == 0 else bound * (1 + current)
        assert 0 < zero.norm().item() <= bound * (1 + 1e-5)
    assert (other - 1).norm().item() > 1e3 * zero.norm().item()
    # The published recipe: 5,000 warm-up and 45,000 full steps of at most 1e-4.
    published = sum(math.log1p(1e-4 * min((step + 1) / 5000, 1)) for step in range(1, 50_000))
    assert published == pytest.approx(4.75, abs=1e-3)
    assert 2e-8 * math.exp(published) < 3e-6  # times sqrt(A): the std stays 1


def test_a_resumed_run_ends_where_an_uninterrupted_one_does():
    weights, gradients = _problem(4)
    results = []
    for resume in (False, True):
        params = [torch.nn.Parameter(w.clone()) for w in weights]
        optimizer = Lamb(params, lr=0.1, weight_decay=0.05)
        for step, gradient in enumerate(gradients):
            if resume and step == 2:
                state = optimizer.state_dict()
                optimizer = Lamb(params, lr=0.5)
                optimizer.load_state_dict(state)
            for p, g in zip(params, gradient, strict=True):
                p.grad = g.clone()
            optimizer.step()
        results.append(params)
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


def test_a_closure_is_evaluated_with_gradients():
    w = torch.nn.Parameter(torch.ones(2))
    optimizer = Lamb([w], lr=0.1)

    def closure() -> torch.Tensor:
        loss = w.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 2
    assert (w < 1).all()

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from dtag.critic.networks import EnsembleMLP, QEnsemble, parameters_to_buffers, reduce_q
from dtag.errors import UsageError


def _member(network: EnsembleMLP, member: int, x: torch.Tensor) -> torch.Tensor:
    for layer in network.hidden:
        x = functional.linear(x, layer.weight[member].T, layer.bias[member, 0])
        if network.layer_norm:
            x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()
        x = x.clamp(min=0)
    return functional.linear(x, network.output.weight[member].T, network.output.bias[member, 0])[:, 0]


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize(("n", "hidden"), [(1, (8,)), (2, (16, 16)), (5, (4, 8, 4)), (3, ())])
def test_the_batched_pass_equals_one_member_at_a_time(n, hidden, layer_norm):
    network = EnsembleMLP(n, 6, hidden, layer_norm).double()
    x = torch.randn(7, 6, dtype=torch.float64, requires_grad=True)
    expected = torch.stack([_member(network, member, x) for member in range(n)])
    (expected_gradient,) = torch.autograd.grad(expected.sum(), x)
    (gradient,) = torch.autograd.grad(network(x).sum(), x)
    torch.testing.assert_close(network(x), expected, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-10, atol=1e-14)


def test_each_member_starts_as_linear_layers_do():
    torch.manual_seed(0)
    network = EnsembleMLP(2, 5, (8,))
    torch.manual_seed(0)
    first, second = nn.Linear(5, 8), nn.Linear(5, 8)
    assert torch.equal(network.hidden[0].weight, torch.stack([first.weight.T, second.weight.T]))
    assert torch.equal(network.hidden[0].bias[:, 0], torch.stack([first.bias, second.bias]))


def test_q_reads_state_then_action():
    network = QEnsemble(2, 3, 2, (4,))
    states, actions = torch.randn(5, 3), torch.randn(5, 2)
    assert torch.equal(network.q(states, actions), network(torch.cat([states, actions], 1)))
    assert network.q(states, actions).shape == (2, 5)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_reductions(n):
    q = torch.randn(n, 6, dtype=torch.float64)
    members = q.T.tolist()
    means = [sum(row) / n for row in members]
    stds = [(sum((x - mean) ** 2 for x in row) / n) ** 0.5 for row, mean in zip(members, means, strict=True)]
    bounds = [mean - 0.5 * std for mean, std in zip(means, stds, strict=True)]
    assert reduce_q(q, "min").tolist() == [min(row) for row in members]
    assert reduce_q(q, "target_min").tolist() == [min(row) for row in members]
    assert reduce_q(q, "q1").tolist() == [row[0] for row in members]
    assert reduce_q(q, "mean").tolist() == pytest.approx(means, rel=1e-10)
    assert reduce_q(q, "lower_bound", 0.5).tolist() == pytest.approx(bounds, rel=1e-10, abs=1e-6)


@pytest.mark.parametrize("choice", ["advantage", "advantage_bound"])
def test_values_are_never_passed_off_as_advantages(choice):
    with pytest.raises(UsageError, match=f"ag.q={choice} needs advantage networks"):
        reduce_q(torch.zeros(2, 3), choice)


def test_the_lower_bound_has_a_gradient_where_members_agree():
    q = torch.ones(2, 3, requires_grad=True)
    reduce_q(q, "lower_bound").sum().backward()
    assert torch.equal(q.grad, torch.full((2, 3), 0.5))


def test_buffers_hold_what_the_parameters_held():
    network = QEnsemble(2, 3, 1, (4,))
    x = torch.randn(5, 4)
    before, names = network(x), list(network.state_dict())
    parameters_to_buffers(network)
    assert list(network.parameters()) == []
    assert list(network.state_dict()) == names
    assert torch.equal(network(x), before)
    assert not network(x).requires_grad


@pytest.mark.parametrize("layer_norm", [False, True])
def test_values_and_their_gradients_are_not_rounded_under_autocast(layer_norm):
    torch.manual_seed(0)
    network = QEnsemble(2, 4, 2, (16, 16), layer_norm)
    states, actions = torch.randn(7, 4), torch.randn(7, 2, requires_grad=True)
    expected = network.q(states, actions)
    (slope,) = torch.autograd.grad(expected.sum(), actions)
    with torch.autocast("cpu", torch.bfloat16):
        found = network.q(states, actions)
        half = network.q(states.bfloat16(), actions.bfloat16())
    assert torch.equal(found, expected)
    (own_slope,) = torch.autograd.grad(found.sum(), actions)
    assert torch.equal(own_slope, slope)
    assert half.dtype == torch.float32

from __future__ import annotations

import math

import pytest
import torch

from dtag.policy.heads import DeterministicHead, GaussianHead, make_head

LOW, HIGH = (-2.0, 0.0, -1.0), (1.0, 3.0, 1.0)


@pytest.mark.parametrize("kind", [DeterministicHead, GaussianHead])
def test_actions_stay_within_bounds_and_reach_them(kind):
    head = kind(8, LOW, HIGH)
    features = 1e3 * torch.randn(500, 8, generator=torch.Generator().manual_seed(0))
    action = head(features)[0]
    low, high = torch.tensor(LOW), torch.tensor(HIGH)
    assert ((action >= low) & (action <= high)).all()
    torch.testing.assert_close(action.amin(0), low)
    torch.testing.assert_close(action.amax(0), high)


@pytest.mark.parametrize("kind", [DeterministicHead, GaussianHead])
def test_the_mean_is_a_tanh_stretched_to_the_bounds(kind):
    head = kind(2, LOW, HIGH).double()
    features = torch.randn(4, 5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    action, distribution = head(features)
    inner = (features @ head.mean.linear.weight.T + head.mean.linear.bias).tolist()
    for b in range(4):
        for k in range(5):
            for a, (low, high) in enumerate(zip(LOW, HIGH, strict=True)):
                expected = low + (high - low) * (1 + math.tanh(inner[b][k][a])) / 2
                assert action[b, k, a].item() == pytest.approx(expected, rel=1e-10, abs=1e-12)
    assert (distribution is None) == (kind is DeterministicHead)
    if distribution is not None:
        assert torch.equal(distribution.mean, action)


def test_a_fixed_std_is_one_and_no_parameter():
    head = GaussianHead(4, (-1.0,), (1.0,), learn_std=False)
    assert not any("log_std" in name for name, _ in head.named_parameters())
    assert "log_std" in head.state_dict()
    assert head(torch.randn(3, 4))[1].stddev.tolist() == [[1.0]] * 3


def test_a_learned_std_gets_a_gradient_and_is_clamped():
    head = GaussianHead(4, (-1.0, -1.0), (1.0, 1.0), learn_std=True)
    head(torch.zeros(3, 4))[1].log_prob(torch.zeros(3, 2)).sum().backward()
    assert (head.log_std.grad != 0).all()
    with torch.no_grad():
        head.log_std.copy_(torch.tensor([9.0, -99.0]))
    std = head(torch.zeros(1, 4))[1].stddev[0]
    torch.testing.assert_close(std, torch.tensor([2.0, -20.0]).exp())


def test_a_head_by_name_learns_its_std_where_it_is_to():
    for learns in (True, False):
        head = make_head("gaussian", 4, (-1.0,), (1.0,), learns)
        assert any(name == "log_std" for name, _ in head.named_parameters()) == learns
    assert isinstance(make_head("deterministic", 4, (-1.0,), (1.0,), True), DeterministicHead)


def test_a_squashed_std_is_computed_in_full_precision_from_bfloat16():
    head = make_head("squashed", 8, (-1.0,), (1.0,), False).bfloat16()
    features = torch.randn(200, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    raw = head.log_std(features).float()
    expected = (-5.0 + 3.5 * (torch.tanh(raw) + 1.0)).exp()
    found = head(features)[1].normal.scale
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("block_size", [4, 8, 12, 16])
@pytest.mark.parametrize("hidden", [64, 128, 256])
@pytest.mark.parametrize("action_dim", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("kind", ["deterministic", "gaussian", "squashed"])
@torch.no_grad()
def test_a_rows_action_is_the_same_to_the_last_bit_wherever_it_lies_in_its_block(kind, action_dim, hidden, block_size):
    torch.manual_seed(action_dim)
    head = make_head(kind, hidden, (-1.0,) * action_dim, (1.0,) * action_dim, False).eval()
    features = torch.randn(block_size, hidden)
    order = torch.randperm(block_size)
    assert torch.equal(head(features[order])[0], head(features)[0][order])

"""The squashed normal against the change of variables written out, and at the edges where it used to break codes."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal, TransformedDistribution
from torch.distributions.transforms import AffineTransform, TanhTransform

from dtag.policy.heads import SquashedGaussianHead
from dtag.policy.squashed_normal import EDGE, SquashedNormal, sample_with_log_prob

MIDDLE, HALF = torch.tensor([0.0, 1.0], dtype=torch.float64), torch.tensor([1.0, 2.0], dtype=torch.float64)


def made(mean: float = 0.3, std: float = 0.7) -> SquashedNormal:
    ones = torch.ones(4, 2, dtype=torch.float64)
    return SquashedNormal(mean * ones, std * ones, MIDDLE, HALF)


def test_log_prob_equals_the_change_of_variables_one_number_at_a_time() -> None:
    actions = torch.tensor([[0.5, 2.0], [-0.9, -0.8], [0.0, 1.0], [0.99, 2.9]], dtype=torch.float64)
    ours = made().log_prob(actions)
    for i, row in enumerate(actions.tolist()):
        for j, a in enumerate(row):
            unit = (a - MIDDLE[j].item()) / HALF[j].item()
            z = math.atanh(unit)
            normal = -0.5 * ((z - 0.3) / 0.7) ** 2 - math.log(0.7) - 0.5 * math.log(2 * math.pi)
            assert ours[i, j].item() == pytest.approx(
                normal - math.log(1 - unit**2) - math.log(HALF[j].item()), rel=1e-9
            )


def test_log_prob_agrees_with_torchs_own_transforms() -> None:
    base = Normal(torch.full((2,), 0.3, dtype=torch.float64), torch.full((2,), 0.7, dtype=torch.float64))
    theirs = TransformedDistribution(base, [TanhTransform(), AffineTransform(MIDDLE, HALF)])
    actions = theirs.sample((50,))
    ours = SquashedNormal(base.loc.expand(50, 2), base.scale.expand(50, 2), MIDDLE, HALF)
    torch.testing.assert_close(ours.log_prob(actions), theirs.log_prob(actions), rtol=1e-8, atol=1e-8)


def test_the_density_integrates_to_one() -> None:
    grid = torch.linspace(-1 + 1e-5, 1 - 1e-5, 200_001, dtype=torch.float64)
    one = torch.ones(len(grid), 1, dtype=torch.float64)
    density = SquashedNormal(0.2 * one, 0.8 * one, one[0] * 0, one[0]).log_prob(grid.unsqueeze(1)).exp()
    assert torch.trapezoid(density[:, 0], grid).item() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_actions_at_and_beyond_the_bounds_have_finite_value_and_gradient(dtype: torch.dtype) -> None:
    mean = torch.zeros(2, 1, dtype=dtype, requires_grad=True)
    std = torch.full((2, 1), 0.01, dtype=dtype)
    distribution = SquashedNormal(mean, std, torch.zeros(1), torch.ones(1))
    value = distribution.log_prob(torch.tensor([[1.0], [-1.0]], dtype=dtype))
    value.sum().backward()
    assert value.isfinite().all()
    assert mean.grad is not None
    assert mean.grad.isfinite().all()
    assert value.dtype == torch.float32


def test_a_sample_far_out_keeps_a_finite_log_prob_where_atanh_would_not() -> None:
    far = SquashedNormal(torch.full((1, 1), 30.0), torch.ones(1, 1), torch.zeros(1), torch.ones(1))
    action, log_prob = far.sample_with_log_prob((100,))
    assert action.max().item() == 1.0
    assert log_prob.isfinite().all()


def test_a_samples_log_prob_is_that_of_its_action() -> None:
    torch.manual_seed(0)
    actions, log_prob = sample_with_log_prob(made(), (7,))
    assert actions.shape == (7, 4, 2)
    torch.testing.assert_close(log_prob, made().log_prob(actions).sum(-1), rtol=1e-6, atol=1e-6)
    normal = Normal(torch.zeros(4, 2), torch.ones(4, 2))
    actions, log_prob = sample_with_log_prob(normal)
    torch.testing.assert_close(log_prob, normal.log_prob(actions).sum(-1))


def test_the_entropy_estimate_is_right_on_average() -> None:
    torch.manual_seed(0)
    one = torch.ones(200_000, 1, dtype=torch.float64)
    narrow = SquashedNormal(0 * one, 0.05 * one, one[0] * 0, one[0])  # tanh is nearly the identity there
    exact = 0.5 + 0.5 * math.log(2 * math.pi) + math.log(0.05)
    assert narrow.entropy().mean().item() == pytest.approx(exact, abs=0.01)


def test_the_entropy_estimate_has_the_gradient_of_its_samples_surprise() -> None:
    mean = torch.full((3, 2), 0.3, dtype=torch.float64, requires_grad=True)
    std = torch.full((3, 2), 0.7, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(0)
    found = torch.autograd.grad(SquashedNormal(mean, std, MIDDLE, HALF).entropy().sum(), (mean, std))
    torch.manual_seed(0)
    z = mean + std * torch.randn(3, 2, dtype=torch.float64)
    normal = -0.5 * ((z - mean) / std) ** 2 - std.log() - 0.5 * math.log(2 * math.pi)
    surprise = -(normal - torch.log(1 - torch.tanh(z) ** 2) - HALF.log())
    expected = torch.autograd.grad(surprise.sum(), (mean, std))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.abs().min() > 0
        torch.testing.assert_close(ours, theirs)


def test_the_head_starts_orthogonal_and_keeps_log_std_within_its_bounds() -> None:
    head = SquashedGaussianHead(8, (-1.0, -1.0), (1.0, 3.0))
    torch.testing.assert_close(head.mean.weight @ head.mean.weight.T, torch.eye(2))
    assert not head.log_std.bias.any()
    action, distribution = head(1e4 * torch.randn(100, 8))
    std = distribution.normal.scale
    assert std.min().item() == pytest.approx(math.exp(-5), rel=1e-4)
    assert std.max().item() == pytest.approx(math.exp(2), rel=1e-4)
    assert (action <= torch.tensor([1.0, 3.0])).all()
    assert EDGE > 0

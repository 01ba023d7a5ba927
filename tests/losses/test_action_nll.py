from __future__ import annotations

import math

import pytest
import torch

from dtag.losses.action_nll import ActionNLL
from dtag.losses.entropy_bonus import EntropyBonus
from dtag.policy.output import PolicyOutput
from dtag.policy.squashed_normal import SquashedNormal
from tests.losses.example_batches import SHAPES, example, with_padding
from tests.reference.policy_losses import normal_entropy, normal_nll


def _naive(batch, output) -> tuple[float, float]:
    mask, means, stds = (x.tolist() for x in (batch.mask, output.distribution.mean, output.distribution.stddev))
    return normal_nll(batch.actions.tolist(), means, stds, mask), normal_entropy(stds, mask)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("target", [None, 1.5])
def test_it_equals_the_naive_loop(shape, target):
    batch, output = example(shape)
    term = ActionNLL(shape[2], temperature=0.3, target_entropy=target).double()
    nll, entropy = _naive(batch, output)
    loss, info = term(batch, output)
    temperature = math.exp(term.bonus.log_temperature.item())
    goal = -shape[2] if target is None else target
    expected = nll - temperature * entropy + temperature * (entropy - goal)
    assert loss.item() == pytest.approx(expected, rel=1e-10)
    assert info["nll"].item() == pytest.approx(nll, rel=1e-10)
    assert info["entropy"].item() == pytest.approx(entropy, rel=1e-10)
    assert info["temperature"].item() == pytest.approx(temperature, rel=1e-10)
    assert temperature == pytest.approx(0.3, rel=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_without_entropy_it_is_the_negative_log_likelihood(shape):
    batch, output = example(shape)
    term = ActionNLL(shape[2], entropy=False)
    assert not list(term.parameters())
    assert term(batch, output)[0].item() == pytest.approx(_naive(batch, output)[0], rel=1e-10)


def test_with_a_std_of_one_it_is_half_the_squared_error_and_a_constant():
    batch, output = example((3, 4, 2))
    output = output._replace(distribution=torch.distributions.Normal(output.action, torch.ones(())))
    half = 0.5 * (output.action - batch.actions).square().sum(-1)[batch.mask].mean()
    nll = ActionNLL(2, entropy=False)(batch, output)[0]
    assert nll.item() == pytest.approx(half.item() + math.log(2 * math.pi), rel=1e-10)


@pytest.mark.parametrize(("target", "falls"), [(-100.0, True), (100.0, False)])
def test_the_temperature_falls_when_the_entropy_is_above_its_target(target, falls):
    batch, output = example((3, 4, 2))
    term = ActionNLL(2, target_entropy=target).double()
    before, entropy = term.bonus.log_temperature.exp().item(), _naive(batch, output)[1]
    term(batch, output)[0].backward()
    assert term.bonus.log_temperature.grad.item() == pytest.approx(before * (entropy - target), rel=1e-10)
    torch.optim.Adam(term.parameters(), lr=term.learning_rate).step()
    assert (term.bonus.log_temperature.exp().item() < before) == falls


def test_the_policy_gets_the_gradient_of_nll_minus_lambda_entropy_and_none_of_the_temperature_loss():
    batch, output = example((3, 4, 2))
    leaves = [output.distribution.mean, output.distribution.stddev]
    term = ActionNLL(2, temperature=0.7, target_entropy=-50.0).double()
    gradients = torch.autograd.grad(term(batch, output)[0], [*leaves, term.bonus.log_temperature])
    log_prob = output.distribution.log_prob(batch.actions).sum(-1)[batch.mask].mean()
    entropy = output.distribution.entropy().sum(-1)[batch.mask].mean()
    plain = -(log_prob + term.bonus.log_temperature.exp().item() * entropy)
    for gradient, expected in zip(gradients, torch.autograd.grad(plain, leaves), strict=False):
        torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("garbage", [1e6, float("inf"), float("nan")])
def test_padding_never_changes_the_loss(garbage):
    batch, output = example((4, 5, 2))
    assert not batch.mask.all()
    term = ActionNLL(2).double()
    clean = term(batch, output)[0]
    std = torch.where(batch.mask[..., None], output.distribution.stddev, 1e9)
    dirty = output._replace(distribution=torch.distributions.Normal(output.action, std, validate_args=False))
    assert term(with_padding(batch, garbage), dirty)[0].item() == clean.item()


def test_padding_gets_no_gradient():
    batch, output = example((4, 5, 2))
    ActionNLL(2).double()(with_padding(batch, 1e6), output)[0].backward()
    for leaf in (output.distribution.mean, output.distribution.stddev):
        assert not leaf.grad[~batch.mask].any()
        assert leaf.grad[batch.mask].all()
    assert output.predicted_return.grad is None


def test_a_deterministic_policy_is_refused():
    batch, output = example((1, 2, 2))
    with pytest.raises(ValueError, match="head='gaussian'"):
        ActionNLL(2)(batch, PolicyOutput(output.action, None, None))


def test_the_temperature_is_saved_with_the_term():
    term, other = ActionNLL(2, temperature=0.4), ActionNLL(2)
    other.load_state_dict(term.state_dict())
    batch, output = example((2, 3, 2))
    assert torch.equal(other(batch, output)[0], term(batch, output)[0])


def test_the_entropy_target_follows_the_action_bounds():
    """The same network in actions a tenth as wide is as far from its target; explicit targets stand."""
    half, mean, std = torch.tensor([0.1, 3.0]), torch.zeros(1, 1, 2), torch.ones(1, 1, 2)
    batch, output = example((1, 1, 2))
    gaps = []
    for width in (torch.ones(2), half):
        distribution = SquashedNormal(mean, std, torch.zeros(2), width)
        bonus = EntropyBonus(2, (-width).tolist(), width.tolist())
        torch.manual_seed(0)
        _, info = bonus(batch, output._replace(distribution=distribution))
        gaps.append(info["entropy"].item() - bonus.target_entropy)
    assert gaps[1] == pytest.approx(gaps[0], abs=1e-5)
    assert EntropyBonus(3).target_entropy == EntropyBonus(3, [-1.0] * 3, [1.0] * 3).target_entropy == -3.0
    assert ActionNLL(2, [-0.1] * 2, [0.1] * 2).bonus.target_entropy == pytest.approx(-2 + 2 * math.log(0.1))
    assert EntropyBonus(2, [-0.1] * 2, [0.1] * 2, target_entropy=-7.0).target_entropy == -7.0

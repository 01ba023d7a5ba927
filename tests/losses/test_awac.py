from __future__ import annotations

import pytest
import torch

from dtag.losses.awac import AWAC
from tests.losses.example_batches import SHAPES, ExampleCritic, example, with_padding
from tests.losses.test_policy_gradient import naive_q
from tests.reference.policy_losses import weighted_regression


def naive(batch, output, critic, own, temperature, maximum):
    theirs, q = naive_q(critic, batch, own, "min"), naive_q(critic, batch, batch.actions, "min")
    advantages = [[a - b for a, b in zip(*rows, strict=True)] for rows in zip(q, theirs, strict=True)]
    distances = (-output.distribution.log_prob(batch.actions).sum(-1)).tolist()
    return weighted_regression(distances, advantages, batch.mask.tolist(), temperature, maximum)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("temperature", "maximum"), [(1 / 3, 100.0), (0.05, 20.0), (1.0, 1.01)])
def test_it_equals_the_naive_loop(shape, temperature, maximum):
    (batch, output), critic = example(shape), ExampleCritic(shape[2])
    loss, _ = AWAC(temperature=temperature, max_weight=maximum)(batch, output, critic)
    assert loss.item() == pytest.approx(naive(batch, output, critic, output.action, temperature, maximum), rel=1e-9)


def test_a_sample_may_stand_for_the_policy():
    (batch, output), critic = example((3, 4, 2)), ExampleCritic(2)
    torch.manual_seed(0)
    loss, _ = AWAC(action="sample")(batch, output, critic)
    torch.manual_seed(0)
    own = output.distribution.sample()
    assert loss.item() == pytest.approx(naive(batch, output, critic, own, 1 / 3, 100.0), rel=1e-9)


def test_a_sample_beyond_the_bounds_is_judged_at_the_bounds():
    """Trap 19: Q was never trained where no action can be."""
    (batch, output), critic = example((3, 4, 2)), ExampleCritic(2)
    torch.manual_seed(0)
    loss, _ = AWAC([-0.3, -0.2], [0.1, 0.2], action="sample")(batch, output, critic)
    torch.manual_seed(0)
    drawn = output.distribution.sample()
    own = torch.stack([drawn[..., 0].clamp(-0.3, 0.1), drawn[..., 1].clamp(-0.2, 0.2)], dim=-1)
    assert (own != drawn).any()
    assert loss.item() == pytest.approx(naive(batch, output, critic, own, 1 / 3, 100.0), rel=1e-9)


def test_the_weight_is_clipped_and_never_overflows():
    (batch, output), critic = example((3, 4, 2)), ExampleCritic(2)
    loss, info = AWAC(temperature=1e-6, max_weight=7.0)(batch, output, critic)
    assert loss.isfinite()
    assert info["importance"].item() <= 7.0


def test_the_weights_carry_no_gradient():
    """The gradient is that of a likelihood whose weights are numbers: nothing reaches the mean through Q(s, pi)."""
    (batch, output), critic = example((3, 4, 2)), ExampleCritic(2)
    loss, _ = AWAC()(batch, output, critic)
    gradient = torch.autograd.grad(loss, output.distribution.loc, retain_graph=True)[0]
    with torch.no_grad():
        flat = batch.states.flatten(0, 1)
        advantage = critic.q_reduced(flat, batch.actions.flatten(0, 1)) - critic.q_reduced(
            flat, output.action.flatten(0, 1)
        )
        weights = (advantage * 3).exp().clamp(max=100).view(batch.mask.shape)
    log_prob = output.distribution.log_prob(batch.actions).sum(-1)
    expected = torch.autograd.grad(-(weights * log_prob)[batch.mask].mean(), output.distribution.loc)[0]
    torch.testing.assert_close(gradient, expected)
    assert torch.autograd.grad(loss, list(critic.parameters()), allow_unused=True)[0] is None


def test_padding_changes_nothing():
    (batch, output), critic = example((6, 5, 2)), ExampleCritic(2)
    assert AWAC()(batch, output, critic)[0].item() == AWAC()(with_padding(batch, 1e3), output, critic)[0].item()


def test_what_it_lacks_is_named():
    batch, output = example((2, 2, 1))
    with pytest.raises(ValueError, match="critic"):
        AWAC()(batch, output, None)
    with pytest.raises(ValueError, match="distribution"):
        AWAC()(batch, output._replace(distribution=None), ExampleCritic(1))
    with pytest.raises(ValueError, match="positive"):
        AWAC(temperature=0.0)

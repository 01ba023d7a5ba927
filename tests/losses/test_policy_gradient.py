from __future__ import annotations

import pytest
import torch

from dtag.losses.policy_gradient import PolicyGradient
from tests.losses.example_batches import SHAPES, ExampleCritic, example, with_padding
from tests.reference.policy_losses import policy_gradient


def naive_q(critic, batch, actions, choice):
    """(B, K) nested lists, one position at a time."""
    return [
        [
            critic.q_reduced(batch.states[b, k][None], actions[b, k][None], choice).item()
            for k in range(actions.shape[1])
        ]
        for b in range(actions.shape[0])
    ]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("normalize", "choice"), [(True, "min"), (False, "q1"), (True, "mean")])
def test_it_equals_the_naive_loop(shape, normalize, choice):
    (batch, output), critic = example(shape), ExampleCritic(shape[2])
    loss, info = PolicyGradient(q=choice, normalize=normalize)(batch, output, critic)
    q, mask = naive_q(critic, batch, output.action, choice), batch.mask.tolist()
    assert loss.item() == pytest.approx(policy_gradient(q, mask, normalize), rel=1e-10)
    assert info["q"].item() == pytest.approx(-policy_gradient(q, mask, False), rel=1e-10)


@pytest.mark.parametrize("offset", [100.0, -100.0])
def test_where_q_has_one_sign_the_gradient_is_that_of_q_over_its_size(offset):
    (batch, output), critic = example((3, 4, 2)), ExampleCritic(2, offset=offset)
    loss, _ = PolicyGradient()(batch, output, critic)
    (gradient,) = torch.autograd.grad(loss, output.action)
    q = critic.q_reduced(batch.states.flatten(0, 1), output.action.flatten(0, 1)).view(batch.mask.shape)
    (expected,) = torch.autograd.grad(-q[batch.mask].mean(), output.action)
    assert expected.abs().max() > 0
    torch.testing.assert_close(gradient, expected / q[batch.mask].abs().mean())


def test_the_policys_action_moves_and_the_data_and_the_std_do_not():
    (batch, output), critic = example((3, 4, 2)), ExampleCritic(2)
    batch.states.requires_grad_()
    critic.requires_grad_(False)
    PolicyGradient()(batch, output, critic)[0].backward()
    assert output.action.grad.abs().max() > 0
    assert output.distribution.scale.grad is None
    assert all(p.grad is None for p in critic.parameters())


def test_a_sampled_action_sends_its_gradient_to_the_std_too():
    (batch, output), critic = example((3, 4, 2)), ExampleCritic(2)
    torch.manual_seed(0)
    loss, _ = PolicyGradient(action="sample", normalize=False)(batch, output, critic)
    torch.manual_seed(0)
    q = naive_q(critic, batch, output.distribution.rsample(), "min")
    assert loss.item() == pytest.approx(policy_gradient(q, batch.mask.tolist(), False), rel=1e-10)
    loss.backward()
    assert output.distribution.scale.grad.abs().max() > 0


def test_a_sample_is_judged_within_the_action_bounds():
    (batch, output), critic = example((3, 4, 2)), ExampleCritic(2)
    torch.manual_seed(0)
    loss, _ = PolicyGradient([-0.2, -0.1], [0.1, 0.3], action="sample", normalize=False)(batch, output, critic)
    torch.manual_seed(0)
    drawn = output.distribution.rsample()
    within = torch.stack([drawn[..., 0].clamp(-0.2, 0.1), drawn[..., 1].clamp(-0.1, 0.3)], dim=-1)
    assert not torch.equal(within, drawn)
    q = naive_q(critic, batch, within, "min")
    assert loss.item() == pytest.approx(policy_gradient(q, batch.mask.tolist(), False), rel=1e-10)


def test_padding_changes_neither_value_nor_gradient():
    (batch, output), critic = example((6, 5, 2)), ExampleCritic(2)
    clean, dirty = (PolicyGradient()(b, output, critic)[0] for b in (batch, with_padding(batch, 1e3)))
    assert clean.item() == dirty.item()
    (gradient,) = torch.autograd.grad(dirty, output.action)
    assert not gradient[~batch.mask].any()


def test_a_q_of_zero_everywhere_is_no_division_by_zero():
    batch, output = example((2, 2, 1))
    critic = ExampleCritic(1)
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.zero_()
    assert PolicyGradient()(batch, output, critic)[0].item() == 0.0


def test_what_it_lacks_is_named():
    batch, output = example((2, 2, 1))
    with pytest.raises(ValueError, match="critic"):
        PolicyGradient()(batch, output, None)
    with pytest.raises(ValueError, match="distribution"):
        PolicyGradient(action="sample")(batch, output._replace(distribution=None), ExampleCritic(1))

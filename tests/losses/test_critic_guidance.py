"""CGDT's guided loss against a loop; who moves; the schedule of its coefficient."""

from __future__ import annotations

import pytest
import torch

from dtag.losses.action_mse import ActionMSE
from dtag.losses.action_nll import ActionNLL
from dtag.losses.critic_guidance import CriticGuidance
from dtag.policy.return_critic import ReturnCritic
from tests.losses.example_batches import SHAPES, ExampleCritic, example, with_padding
from tests.reference.policy_losses import action_mse


def critic(action_dim: int) -> ReturnCritic:
    torch.manual_seed(2)
    made = ReturnCritic(3, action_dim, 20, hidden=8, n_layers=1, n_heads=2).double().eval()
    return made.requires_grad_(False)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("coefficient", "expectile", "masked"), [(0.0, 0.5, True), (2.0, 0.7, True), (0.5, 0.3, False)]
)
@pytest.mark.parametrize("weight", [1.0, 2.5])
def test_it_equals_the_naive_loop(shape, weight, coefficient, expectile, masked):
    (batch, output), model = example(shape), critic(shape[2])
    term = CriticGuidance(action=ActionMSE(weight=weight), coefficient=coefficient, expectile=expectile, masked=masked)
    loss, info = term(batch, output, model)
    mean, std = model(batch.states, output.action, batch.timesteps)
    total = count = 0.0
    for b, row in enumerate(batch.mask.tolist()):
        for k, valid in enumerate(row):
            if valid or not masked:
                u = (batch.returns_to_go[b, k, 0].item() - mean[b, k].item()) / std[b, k].item()
                total += (expectile if u >= 0 else 1 - expectile) * u**2
                count += 1
    guidance = total / count / max(expectile, 1 - expectile)
    imitation = action_mse(batch.actions.tolist(), output.action.tolist(), batch.mask.tolist(), "valid")
    assert loss.item() == pytest.approx((weight * imitation + coefficient * guidance) / (1 + coefficient), rel=1e-9)
    assert info["guidance"].item() == pytest.approx(guidance, rel=1e-9)


def test_a_position_teaches_earlier_actions_and_no_later_ones():
    (batch, output), model = example((1, 5, 2)), critic(2)
    batch = batch._replace(mask=torch.tensor([[False, False, True, False, False]]))
    loss, _ = CriticGuidance(action=ActionMSE(weight=0.0), coefficient=1e6)(batch, output, model)
    (gradient,) = torch.autograd.grad(loss, output.action)
    assert (gradient.abs().amax((0, 2)) > 0).tolist() == [True, True, True, False, False]


def test_the_policy_moves_and_the_critic_does_not():
    (batch, output), model = example((3, 4, 2)), critic(2)
    CriticGuidance(action=ActionMSE())(batch, output, model)[0].backward()
    assert output.action.grad.abs().max() > 0
    assert all(p.grad is None for p in model.parameters())


def test_masked_padding_changes_nothing_and_the_authors_form_counts_it():
    (batch, output), model = example((6, 5, 2)), critic(2)
    dirty = with_padding(batch, 3.0)
    for masked in (True, False):
        pair = [CriticGuidance(action=ActionMSE(), masked=masked)(b, output, model)[0].item() for b in (batch, dirty)]
        assert (pair[0] == pytest.approx(pair[1], rel=1e-9)) == masked


def test_the_coefficient_follows_its_schedule_and_counts_training_steps_alone():
    (batch, output), model = example((2, 3, 1)), critic(1)
    term = CriticGuidance(action=ActionMSE(), coefficient=2.0, start=2, warmup=4)
    seen = [term(batch, output, model)[1]["coefficient"].item() for _ in range(8)]
    assert seen == pytest.approx([0.5, 0.5, 0.5, 1.0, 1.5, 2.0, 2.0, 2.0])
    term.eval()(batch, output, model)
    assert term.state_dict()["n_updates"].item() == 8
    assert CriticGuidance(action=ActionMSE(), coefficient=2.0).scheduled_coefficient(0) == 2.0


def test_what_the_imitation_term_learns_has_its_rate():
    guided = CriticGuidance(action=ActionNLL(1, learning_rate=3e-3))
    assert guided.learning_rate == 3e-3
    assert len(list(guided.parameters())) == 1


def test_another_kind_of_critic_is_refused():
    batch, output = example((2, 2, 1))
    with pytest.raises(ValueError, match="ReturnCritic"):
        CriticGuidance(action=ActionMSE())(batch, output, ExampleCritic(1))

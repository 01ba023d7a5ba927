from __future__ import annotations

import pytest
import torch

from dtag.losses.advantage_regression import AdvantageRegression
from tests.losses.example_batches import SHAPES, ExampleCritic, example, with_padding
from tests.losses.test_policy_gradient import naive_q
from tests.reference.policy_losses import weighted_regression


def naive(batch, output, critic, beta: float, distance: str) -> float:
    q = naive_q(critic, batch, batch.actions, "target_min")
    values = [[critic.value(batch.states[b, k][None]).item() for k in range(len(q[0]))] for b in range(len(q))]
    advantages = [[a - v for a, v in zip(*rows, strict=True)] for rows in zip(q, values, strict=True)]
    if distance == "nll":
        distances = (-output.distribution.log_prob(batch.actions).sum(-1)).tolist()
    else:
        distances = (output.action - batch.actions).square().mean(-1).tolist()
    return weighted_regression(distances, advantages, batch.mask.tolist(), 1.0 / beta, 100.0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("distance", ["nll", "mse"])
@pytest.mark.parametrize("beta", [0.5, 3.0, 10.0])
def test_it_equals_the_naive_loop(shape, distance, beta):
    (batch, output), critic = example(shape), ExampleCritic(shape[2])
    loss, _ = AdvantageRegression(beta=beta, distance=distance)(batch, output, critic)
    assert loss.item() == pytest.approx(naive(batch, output, critic, beta, distance), rel=1e-9)


def test_adts_denominator_counts_padding():
    (batch, output), critic = example((6, 5, 2)), ExampleCritic(2)
    valid = AdvantageRegression(distance="mse")(batch, output, critic)[0]
    every = AdvantageRegression(distance="mse", denominator="all")(batch, output, critic)[0]
    assert every.item() == pytest.approx(valid.item() * batch.mask.sum().item() / batch.mask.numel(), rel=1e-6)


def test_the_policy_moves_and_the_critic_does_not():
    (batch, output), critic = example((3, 4, 2)), ExampleCritic(2)
    loss, _ = AdvantageRegression()(batch, output, critic)
    assert torch.autograd.grad(loss, output.distribution.loc, retain_graph=True)[0].abs().max() > 0
    assert all(g is None for g in torch.autograd.grad(loss, list(critic.parameters()), allow_unused=True))


def test_padding_changes_nothing():
    (batch, output), critic = example((6, 5, 2)), ExampleCritic(2)
    term = AdvantageRegression()
    assert term(batch, output, critic)[0].item() == term(with_padding(batch, 1e3), output, critic)[0].item()


def test_what_it_lacks_is_named():
    batch, output = example((2, 2, 1))
    with pytest.raises(ValueError, match="critic"):
        AdvantageRegression()(batch, output, None)
    with pytest.raises(ValueError, match="distribution"):
        AdvantageRegression()(batch, output._replace(distribution=None), ExampleCritic(1))

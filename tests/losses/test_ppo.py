from __future__ import annotations

import math

import pytest
import torch

from dtag.data.segments import Collected
from dtag.errors import UsageError
from dtag.losses.ppo import PPO
from tests.losses.example_batches import SHAPES, ExampleCritic, example, with_padding
from tests.reference.policy_losses import clipped_ratio


def collected(shape, spread: float = 0.5, seed: int = 3):
    """A batch whose old likelihoods differ from the output's by about `spread` in log, and the output."""
    batch, output = example(shape)
    generator = torch.Generator().manual_seed(seed)
    noise, advantages, targets = torch.randn((3, *shape[:2]), generator=generator, dtype=torch.float64)
    old = output.distribution.log_prob(batch.actions).sum(-1).detach() + spread * noise
    return batch._replace(
        collected=Collected(advantages, targets, old, torch.zeros(shape[0], dtype=torch.long))
    ), output


def naive(batch, output, epsilon: float, max_log_ratio: float) -> float:
    own, new = batch.collected, output.distribution.log_prob(batch.actions).sum(-1)
    tables = (new.tolist(), own.log_prob.tolist(), own.advantages.tolist(), batch.mask.tolist())
    return clipped_ratio(*tables, epsilon, max_log_ratio)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spread", [0.1, 3.0])
@pytest.mark.parametrize(("epsilon", "max_log_ratio"), [(0.2, 20.0), (0.05, 0.4)])
def test_it_equals_the_naive_loop(shape, spread, epsilon, max_log_ratio):
    batch, output = collected(shape, spread)
    loss, _ = PPO(epsilon=epsilon, max_log_ratio=max_log_ratio)(batch, output, None)
    assert loss.item() == pytest.approx(naive(batch, output, epsilon, max_log_ratio), rel=1e-9)


def one_step(log_ratio: float, advantage: float):
    """A batch of one step with that log-ratio and advantage, and the output."""
    batch, output = example((1, 1, 1))
    old = output.distribution.log_prob(batch.actions).sum(-1).detach() - log_ratio
    columns = [torch.full((1, 1), advantage, dtype=torch.float64)] * 2
    return batch._replace(collected=Collected(*columns, old, torch.zeros(1, dtype=torch.long))), output


@pytest.mark.parametrize(
    ("log_ratio", "advantage", "moves"),
    [(0.0, 1.0, True), (0.0, -1.0, True), (0.3, 1.0, False), (0.3, -1.0, True), (-0.3, 1.0, True), (-0.3, -1.0, False),
     (4.0, -1.0, True), (21.0, -1.0, False)],
)  # fmt: skip
def test_a_step_that_has_moved_far_enough_gives_no_gradient(log_ratio, advantage, moves):
    batch, output = one_step(log_ratio, advantage)
    loss, info = PPO()(batch, output, None)
    gradient = torch.autograd.grad(loss, output.distribution.loc)[0]
    assert bool(gradient.abs().max() > 0) == moves
    assert info["ratio"].item() == pytest.approx(math.exp(min(log_ratio, 20.0)))


def test_before_an_update_it_is_the_policy_gradient_with_the_advantage():
    batch, output = collected((6, 5, 2), spread=0.0)
    loss, info = PPO()(batch, output, None)
    log_prob = output.distribution.log_prob(batch.actions).sum(-1)
    weighted = (batch.collected.advantages * log_prob)[batch.mask].mean()
    expected, found = (torch.autograd.grad(x, output.distribution.loc)[0] for x in (-weighted, loss))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    assert info["ratio"].item() == 1.0
    assert info["clipped"].item() == 0.0


def test_normalized_advantages_ignore_their_scale_and_padding():
    batch, output = collected((6, 5, 2))
    own, term = batch.collected, PPO(normalize=True)
    moved = torch.where(batch.mask, 7.0 * own.advantages + 3.0, 1e3)
    other = batch._replace(collected=own._replace(advantages=moved))
    assert term(other, output, None)[0].item() == pytest.approx(term(batch, output, None)[0].item(), rel=1e-9)
    assert term(batch, output, None)[0].item() != pytest.approx(PPO()(batch, output, None)[0].item(), rel=1e-3)


@pytest.mark.parametrize(("log_ratio", "beyond"), [(-0.3, 1.0), (-0.1, 0.0), (0.1, 0.0), (0.3, 1.0)])
def test_it_says_how_far_the_policy_has_moved_and_for_how_many_steps_too_far(log_ratio, beyond):
    _, info = PPO()(*one_step(log_ratio, 1.0), None)
    assert info["kl"].item() == pytest.approx(-log_ratio)
    assert info["clipped"].item() == beyond


def test_equal_advantages_are_normalized_to_zero():
    batch, output = collected((3, 4, 2))
    same = batch._replace(collected=batch.collected._replace(advantages=torch.full((3, 4), 2.0, dtype=torch.float64)))
    assert PPO(normalize=True)(same, output, None)[0].item() == 0.0


def test_the_policy_moves_and_the_critic_does_not():
    (batch, output), critic = collected((3, 4, 2)), ExampleCritic(2)
    loss, _ = PPO()(batch, output, critic)
    for leaf in (output.distribution.loc, output.distribution.scale):
        assert torch.autograd.grad(loss, leaf, retain_graph=True)[0].abs().max() > 0
    assert all(g is None for g in torch.autograd.grad(loss, list(critic.parameters()), allow_unused=True))


def test_padding_changes_nothing():
    batch, output = collected((6, 5, 2))
    dirty = with_padding(batch, 0.5)
    dirty = dirty._replace(
        collected=Collected(*(torch.where(batch.mask, x, 9.0) for x in batch.collected[:3]), batch.collected.rounds)
    )
    assert PPO()(batch, output, None)[0].item() == PPO()(dirty, output, None)[0].item()


def test_what_it_lacks_is_named():
    batch, output = collected((2, 2, 1))
    with pytest.raises(UsageError, match="dtag finetune"):
        PPO()(batch._replace(collected=None), output, None)
    with pytest.raises(ValueError, match="distribution"):
        PPO()(batch, output._replace(distribution=None), None)
    with pytest.raises(ValueError, match="epsilon"):
        PPO(epsilon=0.0)

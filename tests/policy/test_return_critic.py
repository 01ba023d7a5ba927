"""CGDT's critic: its asymmetric likelihood against a loop, and what each position may see."""

from __future__ import annotations

import math

import pytest
import torch

from dtag.data.segments import SegmentBatch
from dtag.errors import UsageError
from dtag.policy.return_critic import ReturnCritic
from tests.policy.example_segments import QUIET, SMALL, TABLE, A, S, randomized, segments, with_garbage

LENGTHS = torch.tensor([1, 2, 3, 4, 5])


def critic(expectile: float = 0.5) -> ReturnCritic:
    return randomized(ReturnCritic(S, A, TABLE, expectile=expectile, embedding_dropout=0.0, **SMALL, **QUIET))


def batch(inputs: list[torch.Tensor] | None = None) -> SegmentBatch:
    states, actions, returns, timesteps = inputs or segments(5, 5)
    return SegmentBatch(states, actions, returns, timesteps, torch.arange(5) < LENGTHS[:, None], timesteps)


@pytest.mark.parametrize("expectile", [0.5, 0.7, 0.2])
def test_its_loss_equals_the_naive_loop(expectile):
    made, data = critic(expectile), batch()
    mean, std = made(data.states, data.actions, data.timesteps)
    total = 0.0
    for b, length in enumerate(LENGTHS.tolist()):
        for k in range(length):
            r, m, s = data.returns_to_go[b, k, 0].item(), mean[b, k].item(), std[b, k].item()
            nll = (r - m) ** 2 / (2 * s**2) + math.log(s) + 0.5 * math.log(2 * math.pi)
            total += (expectile if r >= m else 1 - expectile) * nll
    expected = total / LENGTHS.sum().item() / max(expectile, 1 - expectile)
    assert made.loss(data)[0].item() == pytest.approx(expected, rel=1e-10)


def test_padding_changes_nothing():
    made, inputs = critic(), segments(5, 5)
    clean, dirty = batch(inputs), batch(with_garbage(inputs, LENGTHS))
    assert made.loss(clean)[0].item() == pytest.approx(made.loss(dirty)[0].item(), rel=1e-6)


@torch.no_grad()
def test_it_sees_states_and_actions_up_to_its_own_step_and_no_return():
    made = critic()
    states, actions, _, timesteps = segments(1, 5)
    clean = torch.stack(made(states, actions, timesteps))
    for name in ("states", "actions"):
        for t in range(5):
            given = {"states": states.clone(), "actions": actions.clone()}
            given[name][:, t] += 1.0
            moved = (torch.stack(made(given["states"], given["actions"], timesteps)) - clean).abs().amax(0)[0] > 1e-6
            assert moved.tolist() == [k >= t for k in range(5)]


def test_the_std_stays_within_its_bounds():
    made = critic()
    with torch.no_grad():
        made.log_std.bias.fill_(100.0)
        high = made(*segments(2, 3)[:2], segments(2, 3)[3])[1]
        made.log_std.bias.fill_(-100.0)
        low = made(*segments(2, 3)[:2], segments(2, 3)[3])[1]
    torch.testing.assert_close(high, torch.full_like(high, math.exp(2)))
    torch.testing.assert_close(low, torch.full_like(low, math.exp(-10)))


def test_an_optimistic_critic_ends_above_a_plain_one():
    torch.manual_seed(0)
    states, actions, timesteps = torch.zeros(64, 1, S), torch.zeros(64, 1, A), torch.zeros(64, 1, dtype=torch.long)
    returns = torch.randn(64, 1, 1)
    data = SegmentBatch(states, actions, returns, timesteps, torch.ones(64, 1, dtype=torch.bool), timesteps)
    means = {}
    for expectile in (0.5, 0.9):
        made = ReturnCritic(S, A, TABLE, expectile=expectile, embedding_dropout=0.0, **SMALL, **QUIET)
        optimizer = torch.optim.Adam(made.parameters(), 1e-2)
        for _ in range(200):
            optimizer.zero_grad()
            made.loss(data)[0].backward()
            optimizer.step()
        means[expectile] = made(states[:1], actions[:1], timesteps[:1])[0].item()
    assert means[0.5] == pytest.approx(returns.mean().item(), abs=0.1)
    assert means[0.9] > means[0.5] + 0.3


def test_an_expectile_outside_0_and_1_is_refused():
    with pytest.raises(UsageError, match="expectile"):
        critic(1.0)

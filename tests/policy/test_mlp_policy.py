from __future__ import annotations

import pytest
import torch

from dtag.policy.mlp_policy import MLPPolicy
from dtag.policy.sequence_model import Window

BOUNDS = ((-1.0, -2.0), (1.0, 2.0))


def window(lengths: list[int], width: int = 5) -> Window:
    generator = torch.Generator().manual_seed(0)
    b = len(lengths)

    def normal(dims: int) -> torch.Tensor:
        return torch.randn(b, width, dims, generator=generator)

    return Window(normal(3), normal(2), normal(1), torch.arange(width).expand(b, width), torch.tensor(lengths))


@pytest.mark.parametrize("given", ["state", "return", "state_return"])
@pytest.mark.parametrize("head", ["deterministic", "gaussian", "squashed"])
def test_acting_on_a_window_equals_the_newest_step_of_a_segment(given, head):
    torch.manual_seed(0)
    policy = MLPPolicy(3, *BOUNDS, hidden=8, given=given, head=head).eval()
    w = window([1, 5, 3])
    output = policy(*w[:4])
    acted = policy.act(w)
    for row, length in enumerate([1, 5, 3]):
        torch.testing.assert_close(acted[row], output.action[row, length - 1])
    assert (output.distribution is None) == (head == "deterministic")


@pytest.mark.parametrize("given", ["state", "return", "state_return"])
def test_it_reads_what_it_is_given_and_nothing_else(given):
    policy = MLPPolicy(3, *BOUNDS, hidden=8, given=given).eval()
    states, actions, returns, timesteps = window([5])[:4]
    before = policy(states, actions, returns, timesteps).action

    def changed(*inputs: torch.Tensor) -> bool:
        return not torch.equal(before, policy(*inputs).action)

    assert changed(states + 1, actions, returns, timesteps) == ("state" in given)
    assert changed(states, actions, returns + 1, timesteps) == ("return" in given)
    assert not changed(states, actions + 1, returns, timesteps + 1)


def test_steps_of_a_segment_are_independent():
    policy = MLPPolicy(3, *BOUNDS, hidden=8).eval()
    states, actions, returns, timesteps = window([5])[:4]
    before = policy(states, actions, returns, timesteps).action
    states[:, 2] += 1.0
    moved = (policy(states, actions, returns, timesteps).action != before).any(-1)[0]
    assert moved.tolist() == [False, False, True, False, False]


@pytest.mark.parametrize("given", ["state", "return", "state_return"])
def test_it_says_whether_a_return_is_asked_of_it(given):
    assert MLPPolicy(3, *BOUNDS, hidden=8, given=given).reads_return == ("return" in given)


def test_with_noise_it_samples_as_far_from_the_mean_as_the_noise_says():
    torch.manual_seed(0)
    policy, w = MLPPolicy(3, *BOUNDS, hidden=8, head="gaussian").eval(), window([1, 5, 3])
    newest = policy(*w[:4]).distribution
    std = torch.stack([newest.stddev[row, length - 1] for row, length in enumerate([1, 5, 3])])
    noise = torch.tensor([[0.5, -1.0], [0.0, 2.0], [1.0, 1.0]])
    torch.testing.assert_close(policy.act(w._replace(noise=noise)), policy.act(w) + noise * std)

"""ADT's return token: Q' of the data's action in training, V at evaluation."""

from __future__ import annotations

import pytest
import torch

from dtag.critic.iql import IQL
from dtag.data.segments import SegmentBatch
from dtag.errors import UsageError
from dtag.policy.sequence_model import Window
from dtag.policy.value_return import ValueReturn
from tests.policy.example_segments import A, S, segments

LENGTHS = torch.tensor([1, 3, 4])


def made(scale: float = 10.0) -> tuple[ValueReturn, IQL]:
    torch.manual_seed(0)
    critic, token = IQL(S, A, hidden=(8, 8)).double(), ValueReturn(scale=scale)
    for buffer in critic.target_network.buffers():
        buffer.add_(0.1)
    token.attach(critic)
    return token, critic


def test_training_sees_the_least_target_q_of_the_datas_action_and_zero_in_padding():
    token, critic = made()
    states, actions, returns, timesteps = segments(3, 4)
    batch = SegmentBatch(states, actions, returns, timesteps, torch.arange(4) < LENGTHS[:, None], timesteps)
    relabelled = token.relabel(batch).returns_to_go
    assert relabelled.shape == returns.shape
    for b in range(3):
        for k in range(4):
            q = min(m.item() for m in critic.q_target(states[b, k][None], actions[b, k][None])) / 10.0
            assert relabelled[b, k, 0].item() == pytest.approx(q if k < LENGTHS[b] else 0.0, rel=1e-9)


def test_evaluation_asks_for_the_value_of_the_newest_state():
    token, critic = made()
    inputs = segments(3, 4)
    found = token.predict_return(Window(*inputs, LENGTHS))
    newest = inputs[0][torch.arange(3), LENGTHS - 1]
    torch.testing.assert_close(found[:, 0], critic.value(newest) / 10.0)


def test_it_has_no_weights_of_its_own():
    token, _ = made()
    assert not token.state_dict()
    assert not list(token.parameters())


def test_a_critic_without_a_value_is_refused():
    with pytest.raises(UsageError, match=r"V\(s\)"):
        ValueReturn().attach(None)

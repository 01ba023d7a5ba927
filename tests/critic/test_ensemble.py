from __future__ import annotations

import pytest
import torch

from dtag.critic.along import LearnsAlong
from dtag.critic.ensemble import CriticEnsemble
from dtag.critic.iql import IQL
from dtag.data.transitions import TransitionBatch


def _ensemble() -> CriticEnsemble:
    torch.manual_seed(0)
    rates = {"first": 3e-4, "second": 1e-3}
    return CriticEnsemble({name: IQL(3, 2, hidden=(8, 8), learning_rate=rate).double() for name, rate in rates.items()})


def _batch() -> TransitionBatch:
    draw = torch.Generator().manual_seed(1)
    states, following = (torch.randn(6, 3, generator=draw, dtype=torch.float64) for _ in range(2))
    actions, rewards = torch.rand(6, 2, generator=draw, dtype=torch.float64), torch.randn(6, generator=draw).double()
    return TransitionBatch(states, actions, rewards, following, torch.zeros(6))


@pytest.mark.parametrize("choice", ["min", "mean", "target_min", "q1"])
def test_the_value_is_the_mean_of_the_members_own_choices(choice):
    ensemble, batch = _ensemble(), _batch()
    own = [member.q_reduced(batch.states, batch.actions, choice) for member in ensemble.members.values()]
    expected = torch.tensor([(a + b) / 2 for a, b in zip(*(q.tolist() for q in own), strict=True)], dtype=torch.float64)
    torch.testing.assert_close(ensemble.q_reduced(batch.states, batch.actions, choice), expected, rtol=1e-10, atol=0)
    assert ensemble.q(batch.states, batch.actions).shape == (4, 6)
    values = [member.value(batch.states) for member in ensemble.members.values()]
    torch.testing.assert_close(ensemble.value(batch.states), (values[0] + values[1]) / 2)


def test_training_together_is_training_each_alone():
    together, batch = _ensemble(), _batch()
    alone = _ensemble().members.values()
    optimizer = together.optimizer()
    others = [member.optimizer() for member in alone]
    for _ in range(3):
        optimizer.zero_grad()
        together.loss(batch)[0].backward()
        optimizer.step()
        together.update_target()
        for member, own in zip(alone, others, strict=True):
            own.zero_grad()
            member.loss(batch)[0].backward()
            own.step()
            member.update_target()
    for member, single in zip(together.members.values(), alone, strict=True):
        for name, value in single.state_dict().items():
            torch.testing.assert_close(member.state_dict()[name], value, rtol=1e-12, atol=1e-14)


def test_members_start_apart():
    first, second = _ensemble().members.values()
    assert not torch.equal(first.q_network.hidden[0].weight, second.q_network.hidden[0].weight)


def test_an_ensemble_of_none_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        CriticEnsemble({})


def test_an_ensemble_learns_along_as_its_members_do():
    """As conf/hopper.yaml's critic does in IQL+ODT: targets included."""
    ensemble, batch = _ensemble(), _batch()
    along, members = LearnsAlong(ensemble), list(ensemble.members.values())
    pair = (batch.states, batch.actions)
    assert torch.equal(along.q_target(*pair), torch.cat([member.q_target(*pair) for member in members]))
    assert along.polyak == members[0].polyak
    with torch.no_grad():
        for parameter in members[1].q_network.parameters():
            parameter.add_(1.0)
    assert not torch.equal(along.q_target(*pair), along.q(*pair))
    along.copy_to_target()
    assert torch.equal(along.q_target(*pair), along.q(*pair))

from __future__ import annotations

import pytest
import torch

from dtag.critic.iql import IQL
from dtag.data.transitions import TransitionBatch
from dtag.errors import UsageError
from tests.reference.iql import iql_losses


def _batch(rows: int, state_dim: int, action_dim: int, dtype: torch.dtype = torch.float64) -> TransitionBatch:
    generator = torch.Generator().manual_seed(rows)
    return TransitionBatch(
        states=torch.randn(rows, state_dim, generator=generator, dtype=dtype),
        actions=torch.rand(rows, action_dim, generator=generator, dtype=dtype) * 2 - 1,
        rewards=torch.randn(rows, generator=generator, dtype=dtype),
        next_states=torch.randn(rows, state_dim, generator=generator, dtype=dtype),
        terminated=torch.rand(rows, generator=generator) < 0.4,
    )


def _critic(**options: object) -> IQL:
    """A critic whose targets differ from its online networks, as after some training."""
    critic = IQL(3, 2, hidden=(8, 8), **{"n_advantage": 0, **options}).double()
    for buffer in critic.target_network.buffers():
        buffer += 0.1 * torch.randn_like(buffer)
    return critic


@pytest.mark.parametrize("n_q", [1, 2, 4])
@pytest.mark.parametrize(("rows", "expectile", "discount"), [(1, 0.7, 0.99), (16, 0.5, 0.9), (33, 0.95, 1.0)])
def test_the_loss_equals_the_equations(n_q, rows, expectile, discount):
    critic, batch = _critic(n_q=n_q, expectile=expectile, discount=discount), _batch(rows, 3, 2)
    loss, info = critic.loss(batch)
    loss_q, loss_v = iql_losses(
        critic.q(batch.states, batch.actions).tolist(),
        critic.q_target(batch.states, batch.actions).tolist(),
        critic.value(batch.states).tolist(),
        critic.value(batch.next_states).tolist(),
        batch.rewards.tolist(),
        batch.terminated.tolist(),
        expectile=expectile,
        discount=discount,
    )
    assert info["loss_q"].item() == pytest.approx(loss_q, rel=1e-10)
    assert info["loss_v"].item() == pytest.approx(loss_v, rel=1e-10)
    assert loss.item() == pytest.approx(loss_q + loss_v, rel=1e-10)
    assert not any(value.requires_grad for value in info.values())


def test_termination_cuts_the_bootstrap_whatever_follows():
    critic, batch = _critic(), _batch(8, 3, 2)
    ended = batch._replace(terminated=torch.ones(8))
    nonsense = ended._replace(next_states=torch.full_like(batch.states, float("nan")))
    assert torch.equal(critic.loss(ended)[0], critic.loss(nonsense)[0])
    alive = batch._replace(terminated=torch.zeros(8))
    elsewhere = alive._replace(next_states=batch.next_states + 1)
    assert critic.loss(alive)[0] != critic.loss(elsewhere)[0]


def test_flags_may_be_bool_or_float():
    critic, batch = _critic(), _batch(8, 3, 2)
    assert torch.equal(critic.loss(batch)[0], critic.loss(batch._replace(terminated=batch.terminated.float()))[0])


def test_each_loss_moves_only_its_own_network():
    critic, batch = _critic(), _batch(16, 3, 2)
    inputs = tuple(tensor.requires_grad_() for tensor in batch[:4])
    critic.loss(TransitionBatch(*inputs, batch.terminated))[0].backward()
    together = {name: parameter.grad.clone() for name, parameter in critic.named_parameters()}
    assert all(gradient.abs().sum() > 0 for gradient in together.values())
    assert batch.next_states.grad is None  # y is a constant
    value = critic.value(batch.states)
    with torch.no_grad():
        y = batch.rewards + critic.discount * (~batch.terminated).double() * critic.value(batch.next_states)
        weight = (critic.expectile - (critic.q_target(batch.states, batch.actions).amin(0) < value).double()).abs()
        target = critic.q_target(batch.states, batch.actions).amin(0)
    for network, alone in (
        (critic.q_network, (critic.q(batch.states, batch.actions) - y).square().mean()),
        (critic.value_network, (weight * (target - value).square()).mean()),
    ):
        critic.zero_grad()
        alone.backward()
        own = dict(network.named_parameters())
        assert own
        for name, parameter in critic.named_parameters():
            if any(parameter is mine for mine in own.values()):
                torch.testing.assert_close(parameter.grad, together[name], rtol=1e-10, atol=1e-14)
            else:
                assert parameter.grad is None


def test_the_target_follows_in_place_by_polyak_and_no_optimiser_sees_it():
    critic = _critic(polyak=0.1)
    online = [parameter.detach().clone() for parameter in critic.q_network.parameters()]
    targets = list(critic.target_network.buffers())
    start = [target.clone() for target in targets]
    for _ in range(3):
        critic.update_target()
    for target, first, goal in zip(targets, start, online, strict=True):
        torch.testing.assert_close(target, goal + 0.9**3 * (first - goal), rtol=1e-10, atol=1e-14)
    assert all(a is b for a, b in zip(targets, critic.target_network.buffers(), strict=True))
    optimised = {id(p) for group in critic.optimizer().param_groups for p in group["params"]}
    assert optimised == {id(p) for p in (*critic.q_network.parameters(), *critic.value_network.parameters())}
    assert sum(name.startswith("target_network.") for name in critic.state_dict()) == len(targets)


def test_targets_start_equal_to_the_online_networks():
    critic, batch = IQL(3, 2, hidden=(8,)), _batch(4, 3, 2, torch.float32)
    assert torch.equal(critic.q(batch.states, batch.actions), critic.q_target(batch.states, batch.actions))


def test_reduced_values_come_from_the_networks_they_name():
    critic, batch = _critic(n_q=3), _batch(6, 3, 2)
    pair = (batch.states, batch.actions)
    q, q_target = critic.q(*pair), critic.q_target(*pair)
    assert torch.equal(critic.q_reduced(*pair), q.amin(0))
    assert torch.equal(critic.q_reduced(*pair, "target_min"), q_target.amin(0))
    assert torch.equal(critic.q_reduced(*pair, "q1"), q[0])
    bound = q.mean(0) - 2 * q.std(0, correction=0)
    torch.testing.assert_close(critic.q_reduced(*pair, "lower_bound", kappa=2.0), bound, rtol=1e-10, atol=1e-12)


def test_the_advantage_and_its_bound_are_of_the_advantage_networks():
    critic, batch = _critic(n_advantage=3), _batch(6, 3, 2)
    pair = (batch.states, batch.actions)
    advantages = critic.advantage_network.q(*pair)
    torch.testing.assert_close(critic.q_reduced(*pair, "advantage", kappa=2.0), advantages.mean(0))
    bound = advantages.mean(0) - 2 * advantages.std(0, correction=0)
    torch.testing.assert_close(critic.q_reduced(*pair, "advantage_bound", kappa=2.0), bound, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("choice", ["min", "q1", "mean", "target_min", "lower_bound"])
def test_a_frozen_critic_still_has_a_gradient_in_the_action(choice):
    torch.manual_seed(0)  # a small network may be born with every unit of a row at rest
    critic, batch = _critic().requires_grad_(False).eval(), _batch(5, 3, 2)
    actions = batch.actions.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(critic.q_reduced(batch.states, actions, choice).sum(), actions)
    assert (gradient.abs().sum(1) > 0).all()


def test_two_terminal_steps_are_learned_exactly():
    """One state, two actions with rewards 0 and 1: Q = reward, V their expectile, 0.9 at expectile 0.9."""
    torch.manual_seed(0)
    critic = IQL(1, 1, hidden=(32,), expectile=0.9, polyak=0.05, learning_rate=3e-3)
    optimizer = critic.optimizer()
    states, actions = torch.zeros(2, 1), torch.tensor([[-1.0], [1.0]])
    batch = TransitionBatch(states, actions, torch.tensor([0.0, 1.0]), states, torch.ones(2))
    for _ in range(600):
        loss, _ = critic.loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        critic.update_target()
    torch.testing.assert_close(critic.q_reduced(states, actions), torch.tensor([0.0, 1.0]), rtol=0, atol=0.02)
    torch.testing.assert_close(critic.value(states), torch.full((2,), 0.9), rtol=0, atol=0.02)


def test_the_advantage_networks_fit_the_residual_that_v_leaves():
    critic, batch = _critic(n_advantage=3), _batch(16, 3, 2)
    advantages = critic.advantage_network.q(batch.states, batch.actions)
    total = 0.0
    for i in range(16):
        bootstrap = 0.0 if batch.terminated[i] else critic.discount * critic.value(batch.next_states)[i].item()
        residual = batch.rewards[i].item() + bootstrap - critic.value(batch.states)[i].item()
        total += sum((advantages[j, i].item() - residual) ** 2 for j in range(3)) / 3
    _, info = critic.loss(batch)
    assert info["loss_a"].item() == pytest.approx(total / 16, rel=1e-10)


def test_the_advantage_networks_change_neither_q_nor_v():
    critic, batch = _critic(n_advantage=2), _batch(16, 3, 2)
    loss, info = critic.loss(batch)
    loss.backward()
    with_advantage = [p.grad.clone() for p in (*critic.q_network.parameters(), *critic.value_network.parameters())]
    critic.zero_grad()
    advantage, critic.advantage_network = critic.advantage_network, None
    critic.loss(batch)[0].backward()
    without = [p.grad for p in (*critic.q_network.parameters(), *critic.value_network.parameters())]
    assert all(torch.equal(a, b) for a, b in zip(with_advantage, without, strict=True))
    assert info["loss_a"] > 0
    assert all(p.grad is None for p in advantage.parameters())  # their gradient was cleared and nothing put it back


def test_a_critic_without_advantage_networks_says_how_to_get_them():
    critic, batch = _critic(), _batch(4, 3, 2)
    with pytest.raises(UsageError, match=r"critic\.model\.n_advantage=2"):
        critic.q_reduced(batch.states, batch.actions, "advantage")

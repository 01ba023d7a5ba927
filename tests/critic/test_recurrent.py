"""The recurrent critic against naive recurrences over explicit histories; padding, gradients, targets."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dtag.critic.recurrent import RecurrentCritic, RecurrentQ
from dtag.critic.target_rules import SampledPolicy, TargetPolicy
from dtag.data.segments import SegmentBatch, SegmentSampler
from dtag.losses.awac import AWAC
from dtag.losses.policy_gradient import PolicyGradient, q_of_segments
from dtag.policy.output import PolicyOutput
from tests.data.example_episodes import A, S, episodes, spec
from tests.reference.bellman import bellman_loss
from tests.reference.recurrent import recurrent_q

CELLS = ["lstm", "rnn"]
K = 4


def batch(k: int = K, next_states: bool = True) -> SegmentBatch:
    """Segments from every start of three episodes, the ends short, in float64."""
    data = episodes([6, 3, 8], "tlt", next_states=next_states)
    sampler = SegmentSampler(data, spec(), context_length=k, weighting="length", start="anywhere", look_ahead=True)
    of = torch.tensor([e for e, n in enumerate((6, 3, 8)) for _ in range(n)])
    starts = torch.tensor([t for n in (6, 3, 8) for t in range(n)])
    made = sampler.gather(of, starts)
    double = {name: getattr(made, name).double() for name in ("states", "actions", "returns_to_go")}
    following = made.following._replace(
        **{name: getattr(made.following, name).double() for name in ("rewards", "terminated", "states")}
    )
    return made._replace(**double, following=following)


def critic(cell: str = "lstm", rule=None, seed: int = 0, **options) -> RecurrentCritic:
    torch.manual_seed(seed)
    bounds = ((-1.0,) * A, (1.0,) * A)
    options = {"hidden": (5, 4, 3), "discount": 0.9, **options}
    made = RecurrentCritic(S, *bounds, rule=rule or TargetPolicy(noise=0.0), cell=cell, **options).double()
    for buffer in made.target_network.buffers():  # targets of their own, so that mixing them up shows
        buffer.add_(0.3 * torch.randn(buffer.shape, dtype=torch.float64))
    return made


class FixedActor:
    """Answers with given numbers at N next steps."""

    temperature = 0.0

    def __init__(self, n: int) -> None:
        self.actions = torch.rand(n, A, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) - 0.5

    def next_action(self, *, target: bool) -> Tensor:
        assert target
        return self.actions

    def next_sample(self, n: int) -> tuple[Tensor, Tensor]:
        return self.actions[None].expand(n, -1, -1) / 2, torch.zeros(n, len(self.actions))

    def sample(self, n: int) -> tuple[Tensor, Tensor]:
        raise AssertionError("a recurrent critic asks for the next steps alone")


def naive(network: RecurrentQ, states: Tensor, actions: Tensor) -> list[float]:
    """Q of the last step of one history, states (t, S), actions (t, A)."""
    cells = [{name: getattr(cell, name).tolist() for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
             for cell in network.cells]  # fmt: skip
    head = network.heads.weight.tolist(), network.heads.bias.tolist()
    return recurrent_q(cells, head, torch.cat([states, actions], -1).tolist())


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("choice", ["min", "q1", "target_min"])
def test_q_of_another_action_equals_the_naive_recurrence_over_its_history(cell, choice):
    made, own = critic(cell), batch()
    actions = torch.randn(own.actions.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = q_of_segments(made, own, actions, choice)
    network = made.target_network if choice == "target_min" else made.q_network
    for b in range(0, len(own.mask), 3):
        for t in range(int(own.mask[b].sum())):
            history = torch.cat([own.actions[b, :t], actions[b, t : t + 1]])
            expected = naive(network, own.states[b, : t + 1], history)
            value = expected[0] if choice == "q1" else min(expected)
            assert found[b, t].item() == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("rule", [TargetPolicy(noise=0.0), SampledPolicy()])
def test_the_loss_equals_the_naive_loop_with_targets_behind_the_shifted_context(cell, rule):
    made, own = critic(cell, rule), batch()
    known = own.following.known
    actor = FixedActor(int(known.sum()))
    chosen = actor.actions / 2 if isinstance(rule, SampledPolicy) else actor.actions
    q, next_q, rewards, terminated = [], [], [], []
    for i, (b, t) in enumerate(known.nonzero().tolist()):
        q.append(naive(made.q_network, own.states[b, : t + 1], own.actions[b, : t + 1]))
        later = torch.cat([own.actions[b, 1 : t + 1], chosen[i : i + 1]])  # a_2 .. a_t and the policy's
        next_q.append(naive(made.target_network, own.following.states[b, : t + 1], later))
        rewards.append(own.following.rewards[b, t].item())
        terminated.append(own.following.terminated[b, t].item())
    expected = bellman_loss(
        list(zip(*q, strict=True)), list(zip(*next_q, strict=True)), rewards, terminated, 0.9, "min"
    )
    assert sum(terminated) > 0
    assert made.loss(own, actor)[0].item() == pytest.approx(expected, rel=1e-9)


def dirty(own: SegmentBatch, value: float) -> SegmentBatch:
    """The batch with `value` wherever it is padding."""
    valid = own.mask.unsqueeze(2)
    following = own.following._replace(
        states=torch.where(valid, own.following.states, value),
        rewards=torch.where(own.mask, own.following.rewards, value),
    )
    states, actions = (torch.where(valid, x, value) for x in (own.states, own.actions))
    return own._replace(states=states, actions=actions, following=following)


def test_padding_changes_neither_loss_nor_gradient():
    made, own = critic(), batch()
    actor = FixedActor(int(own.following.known.sum()))
    results = []
    for given in (own, dirty(own, 50.0)):
        loss, _ = made.loss(given, actor)
        results.append([loss.detach(), *torch.autograd.grad(loss, list(made.q_network.parameters()))])
        actions = own.actions.clone().requires_grad_()
        policy_loss, _ = PolicyGradient(q="q1", normalize=False)(given, PolicyOutput(actions, None, None), made)
        results[-1] += [policy_loss.detach(), torch.autograd.grad(policy_loss, actions)[0]]
    assert not own.mask.all()
    for clean, other in zip(*results, strict=True):
        assert torch.equal(clean, other)


def test_a_step_without_a_known_next_state_teaches_nothing():
    own = batch(next_states=False)
    assert bool((own.mask & ~own.following.known).any())
    actor = FixedActor(int(own.following.known.sum()))
    moved = own.following._replace(rewards=torch.where(own.following.known, own.following.rewards, 1e3))
    made = critic()
    assert made.loss(own, actor)[0].item() == made.loss(own._replace(following=moved), actor)[0].item()


def test_an_action_changes_its_own_q_and_no_other():
    made, own = critic(), batch()
    actions = torch.zeros_like(own.actions).requires_grad_()
    q = q_of_segments(made, own, actions, "q1")
    (gradient,) = torch.autograd.grad(q[:, 2].sum(), actions)
    assert bool((gradient[:, 2] != 0).all())
    assert not gradient[:, [0, 1, 3]].any()


def test_the_past_matters():
    made, own = critic(), batch()
    other = own._replace(actions=torch.cat([own.actions[:, :1] + 1.0, own.actions[:, 1:]], 1))
    before, after = (q_of_segments(made, of, own.actions, "min") for of in (own, other))
    assert torch.equal(before[:, 0], after[:, 0])
    assert bool((before[:, 1:] != after[:, 1:])[own.mask[:, 1:]].all())


def test_gradients_go_to_the_online_network_alone_and_to_all_of_it():
    made, own = critic(), batch()
    made.loss(own, FixedActor(int(own.following.known.sum())))[0].backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in made.q_network.parameters())
    assert not any(name.startswith("target") for name, _ in made.named_parameters())
    found = {id(p) for group in made.optimizer().param_groups for p in group["params"]}
    assert found == {id(p) for p in made.q_network.parameters()}


def test_the_target_moves_by_polyak_and_can_be_copied():
    made = critic(polyak=0.25)
    before = [buffer.clone() for buffer in made.target_network.buffers()]
    made.update_target()
    for old, new, online in zip(before, made.target_network.buffers(), made.q_network.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.25 * (online - old))
    made.copy_to_target()
    own = batch()
    assert torch.equal(made.q_along(own, own.actions, "min"), made.q_along(own, own.actions, "target_min"))


def test_awac_may_use_it():
    made, own = critic(), batch(1)
    found = q_of_segments(made, own, own.actions, "min")
    assert found.shape == own.mask.shape
    distribution = torch.distributions.Normal(torch.zeros_like(own.actions), 1.0)
    assert AWAC()(own, PolicyOutput(own.actions, distribution, None), made)[0].isfinite()


@pytest.mark.parametrize("cell", CELLS)
def test_values_are_not_rounded_under_autocast(cell: str) -> None:
    torch.manual_seed(0)
    network = RecurrentQ(2, S + A, (5, 4), cell)
    states, actions = torch.randn(3, K, S), torch.randn(3, K, A)
    expected = network.along(states, actions)[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network.along(states, actions)[0], expected)

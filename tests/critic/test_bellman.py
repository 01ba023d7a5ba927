"""Critics that learn along: the target of each rule, what carries gradient, CQL's penalty."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dtag.critic.along import LearnsAlong
from dtag.critic.bellman import BellmanCritic
from dtag.critic.conservative import ConservativePenalty
from dtag.critic.iql import IQL
from dtag.critic.target_rules import RefinedPolicy, SampledPolicy, SoftPolicy, TargetPolicy
from dtag.data.transitions import TransitionBatch
from dtag.refiners.action_gradient import ActionGradient
from tests.reference.bellman import bellman_loss, conservative_gaps

S, A, N = 3, 2, 7
LOW, HIGH = (-1.0, -2.0), (1.0, 2.0)


class FixedActor:
    """Answers with given numbers, and remembers who was asked."""

    def __init__(self, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.actions = {key: torch.rand(N, A, generator=generator, dtype=torch.float64) - 0.5 for key in (True, False)}
        self.drawn = torch.rand(2, 4, N, A, generator=generator, dtype=torch.float64) - 0.5
        self.density = torch.randn(2, 4, N, generator=generator, dtype=torch.float64)
        self.asked: list[bool] = []
        self.temperature = 0.3

    def next_action(self, *, target: bool) -> Tensor:
        self.asked.append(target)
        return self.actions[target]

    def next_sample(self, n: int) -> tuple[Tensor, Tensor]:
        return self.drawn[0, :n], self.density[0, :n]

    def sample(self, n: int) -> tuple[Tensor, Tensor]:
        return self.drawn[1, :n], self.density[1, :n]


def transitions(seed: int = 0) -> TransitionBatch:
    generator = torch.Generator().manual_seed(seed)

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64)

    terminated = torch.tensor([0, 1, 0, 0, 1, 0, 0], dtype=torch.float64)
    return TransitionBatch(normal(N, S), normal(N, A).tanh(), normal(N), normal(N, S), terminated)


def critic(rule=None, seed: int = 0, **options) -> BellmanCritic:
    torch.manual_seed(seed)
    made = BellmanCritic(S, LOW, HIGH, rule=rule or TargetPolicy(noise=0.0), hidden=(8, 8), **options).double()
    for buffer in made.target_network.buffers():  # targets of their own, so that mixing them up shows
        buffer.add_(0.3 * torch.randn(buffer.shape, dtype=torch.float64))
    return made


def expected(made: BellmanCritic, next_actions: Tensor, reduce: str = "min") -> float:
    batch = transitions()
    q, next_q = made.q(batch.states, batch.actions), made.q_target(batch.next_states, next_actions)
    numbers = (batch.rewards.tolist(), batch.terminated.tolist())
    return bellman_loss(q.tolist(), next_q.tolist(), *numbers, made.discount, reduce)


@pytest.mark.parametrize("n_q", [1, 2, 3])
def test_td3s_loss_equals_the_naive_loop_and_asks_the_target_policy(n_q):
    made, actor = critic(n_q=n_q, discount=0.9), FixedActor()
    loss, _ = made.loss(transitions(), actor)
    assert loss.item() == pytest.approx(expected(made, actor.actions[True]), rel=1e-10)
    assert actor.asked == [True]


def test_smoothing_noise_is_clipped_scaled_to_the_range_and_kept_within_bounds():
    seen: list[Tensor] = []

    class Spy:
        def q_target(self, states: Tensor, actions: Tensor) -> Tensor:
            seen.append(actions)
            return actions.sum(-1).expand(2, -1)

    actor, bounds = FixedActor(), (torch.tensor(LOW).double(), torch.tensor(HIGH).double())
    torch.manual_seed(0)
    for _ in range(200):
        TargetPolicy(noise=0.4, noise_clip=0.5)(Spy(), transitions().next_states, actor, *bounds)
    shift = torch.stack(seen) - actor.actions[True]
    assert shift.abs().amax((0, 1)).tolist() == pytest.approx([0.5, 1.0])  # half the range is 1 and 2
    assert shift.std((0, 1))[1].item() == pytest.approx(2 * shift.std((0, 1))[0].item(), rel=0.1)
    actor.actions[True] += 5.0
    TargetPolicy()(Spy(), transitions().next_states, actor, *bounds)
    assert torch.equal(seen[-1], bounds[1].expand(N, A))


def test_awacs_and_cqls_target_takes_one_sample_of_the_policy():
    made, actor = critic(SampledPolicy()), FixedActor()
    assert made.loss(transitions(), actor)[0].item() == pytest.approx(expected(made, actor.drawn[0, 0]), rel=1e-10)


@pytest.mark.parametrize("rule", [SampledPolicy(), SoftPolicy()])
def test_a_sample_beyond_the_bounds_is_judged_at_the_bounds(rule):
    inside, outside = FixedActor(), FixedActor()
    outside.drawn[0, 0] += 5.0
    inside.drawn[0, 0] = torch.tensor(HIGH, dtype=torch.float64)
    made = critic(rule)
    assert made.loss(transitions(), outside)[0].item() == made.loss(transitions(), inside)[0].item()


def test_the_reduced_q_is_of_the_networks_it_names():
    made, batch = critic(n_q=3), transitions()
    online, target = (q(batch.states, batch.actions) for q in (made.q, made.q_target))
    assert torch.equal(made.q_reduced(batch.states, batch.actions, "min"), online.amin(0))
    assert torch.equal(made.q_reduced(batch.states, batch.actions, "target_min"), target.amin(0))
    for kappa in (0.5, 2.0):
        bound = online.mean(0) - kappa * online.std(0, correction=0)
        torch.testing.assert_close(made.q_reduced(batch.states, batch.actions, "lower_bound", kappa), bound)


def test_sacs_target_counts_the_sampled_actions_surprise():
    made, actor = critic(SoftPolicy()), FixedActor()
    batch, action = transitions(), actor.drawn[0, 0]
    next_q = made.q_target(batch.next_states, action).tolist()
    soft = [
        [q - 0.3 * density for q, density in zip(member, actor.density[0, 0].tolist(), strict=True)]
        for member in next_q
    ]
    numbers = (batch.rewards.tolist(), batch.terminated.tolist(), made.discount, "min")
    wanted = bellman_loss(made.q(batch.states, batch.actions).tolist(), soft, *numbers)
    assert made.loss(batch, actor)[0].item() == pytest.approx(wanted, rel=1e-10)
    actor.temperature = 0.0
    assert made.loss(batch, actor)[0].item() == pytest.approx(expected(made, action), rel=1e-10)


def test_iql_that_learns_along_has_its_own_loss_and_moves_its_targets_when_told():
    torch.manual_seed(0)
    made = LearnsAlong(IQL(S, A, hidden=(8, 8))).double()
    batch, actor = transitions(), FixedActor()
    assert torch.equal(made.loss(batch, actor)[0], made.model.loss(batch)[0])
    assert actor.asked == []
    for parameter in made.model.q_network.parameters():
        parameter.data += 1.0
    apart = made.q(batch.states, batch.actions) - made.q_target(batch.states, batch.actions)
    assert apart.abs().min() > 0
    made.copy_to_target()
    assert torch.equal(made.q(batch.states, batch.actions), made.q_target(batch.states, batch.actions))
    assert torch.equal(made.value(batch.states), made.model.value(batch.states))
    assert made.polyak == 0.005
    before = made.q_target(batch.states, batch.actions)
    for parameter in made.model.q_network.parameters():
        parameter.data += 1.0
    made.update_target()
    assert (made.q_target(batch.states, batch.actions) - before).abs().min() > 0


def test_the_naive_target_follows_the_policys_action_or_the_refined_one():
    actor = FixedActor()
    plain = critic(RefinedPolicy())
    assert plain.loss(transitions(), actor)[0].item() == pytest.approx(
        expected(plain, actor.actions[False], "mean"), rel=1e-10
    )
    assert actor.asked == [False]
    refiner = ActionGradient(0.2, 3, eta_unit="raw")
    refined = critic(RefinedPolicy(refiner=refiner))
    batch = transitions()

    def value(states: Tensor, actions: Tensor) -> Tensor:
        return refined.q_target(states, actions).mean(0)

    better = refiner.refine(value, batch.next_states, actor.actions[False], refined.low, refined.high)
    assert (better.q_after > better.q_before).all()
    loss, info = refined.loss(batch, actor)
    assert loss.item() == pytest.approx(expected(refined, better.actions, "mean"), rel=1e-10)
    assert info["target_mean"] > plain.loss(batch, actor)[1]["target_mean"]
    least = critic(RefinedPolicy(pessimistic=True))
    assert least.loss(batch, actor)[0].item() == pytest.approx(expected(least, actor.actions[False]), rel=1e-10)


def test_termination_cuts_the_bootstrap_and_nothing_else_does():
    made, actor, batch = critic(), FixedActor(), transitions()
    far = batch._replace(next_states=batch.next_states + 10.0 * batch.terminated[:, None])
    assert made.loss(batch, actor)[0].item() == made.loss(far, actor)[0].item()
    hollow = batch._replace(next_states=torch.where(batch.terminated[:, None] > 0, torch.nan, batch.next_states))
    assert made.loss(hollow, actor)[0].isfinite()
    moved = batch._replace(next_states=batch.next_states + 10.0 * (1 - batch.terminated[:, None]))
    assert made.loss(batch, actor)[0].item() != made.loss(moved, actor)[0].item()


def test_the_gradient_is_that_of_the_prediction_alone():
    made, actor, batch = critic(), FixedActor(), transitions()
    loss, _ = made.loss(batch, actor)
    gradients = torch.autograd.grad(loss, list(made.parameters()))
    with torch.no_grad():
        following = made.q_target(batch.next_states, actor.actions[True]).amin(0)
        y = batch.rewards + made.discount * following * (1 - batch.terminated)
    q = made.q(batch.states, batch.actions)
    wanted = torch.autograd.grad(sum((member - y).square().mean() for member in q), list(made.parameters()))
    for ours, theirs in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert not any(name.startswith("target") for name, _ in made.named_parameters())


def test_the_target_moves_by_polyak():
    made = critic(polyak=0.25)
    before = [buffer.clone() for buffer in made.target_network.buffers()]
    made.update_target()
    moved = zip(before, made.target_network.buffers(), made.q_network.parameters(), strict=True)
    for old, new, online in moved:
        torch.testing.assert_close(new, old + 0.25 * (online - old))


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("beyond", [0.0, 4.0])  # a Gaussian head's samples lie outside the bounds too
def test_cqls_penalty_equals_the_naive_loop(temperature, beyond):
    penalty = ConservativePenalty(alpha=3.0, n_actions=4, temperature=temperature)
    actor, batch = FixedActor(), transitions()
    actor.drawn[:, 1] += beyond
    made = critic(SampledPolicy(), penalty=penalty)
    torch.manual_seed(1)
    loss, info = made.loss(batch, actor)
    torch.manual_seed(1)
    unit = torch.rand(4, N, A, dtype=torch.float64)
    uniform = made.low + (made.high - made.low) * unit
    volume = sum(math.log(high - low) for low, high in zip(LOW, HIGH, strict=True))
    candidates = torch.cat([uniform, *(drawn.clamp(made.low, made.high) for drawn in actor.drawn.flip(0))])
    density = [[-volume] * N] * 4 + actor.density[1].tolist() + actor.density[0].tolist()
    q = [made.q(batch.states, candidate) for candidate in candidates]
    by_member = [[values[m].tolist() for values in q] for m in range(2)]
    gaps = conservative_gaps(by_member, density, made.q(batch.states, batch.actions).tolist(), temperature)
    plain = expected(made, actor.drawn[0, 0])
    assert loss.item() == pytest.approx(plain + 3.0 * sum(gaps), rel=1e-9)
    assert info["conservative_gap"].item() == pytest.approx(sum(gaps) / 2, rel=1e-9)


@pytest.mark.parametrize("multiplier", [1.0, 0.3])
def test_the_held_penalty_is_alpha_times_what_each_members_gap_has_beyond_the_one_asked_for(multiplier):
    """d loss / dQ is multiplier * alpha * d difference / dQ, d loss / d log multiplier minus its size beyond the gap."""
    actor, batch, alpha, gap = FixedActor(), transitions(), 3.0, 0.7
    plain, held = (critic(SampledPolicy(), penalty=ConservativePenalty(alpha=alpha, n_actions=4, lagrange_gap=own))
                   for own in (None, gap))  # fmt: skip
    with torch.no_grad():
        held.penalty.log_multiplier.fill_(math.log(multiplier))
    gradients, penalties = [], []
    for made in (plain, held):
        torch.manual_seed(1)
        q = made.q(batch.states, batch.actions)
        penalty, _ = made.penalty(made.q, batch, q, actor, made.low, made.high)
        penalties.append(penalty.item())
        penalty.backward()
        gradients.append([p.grad for p in made.q_network.parameters()])
    for free, own in zip(*gradients, strict=True):
        torch.testing.assert_close(own, multiplier * free)
    beyond = penalties[0] - alpha * 2 * gap  # two members
    assert held.penalty.log_multiplier.grad.item() == pytest.approx(-multiplier * beyond, rel=1e-9)


@pytest.mark.parametrize(("gap", "grows"), [(-100.0, True), (100.0, False)])
def test_the_multiplier_grows_while_the_gap_is_exceeded(gap, grows):
    made, actor = critic(SampledPolicy(), penalty=ConservativePenalty(n_actions=4, lagrange_gap=gap)), FixedActor()
    optimizer, before = made.optimizer(), made.penalty.log_multiplier.item()
    assert before == 1.0  # as CORL's
    loss, _ = made.loss(transitions(), actor)
    loss.backward()
    optimizer.step()
    assert (made.penalty.log_multiplier.item() > before) == grows


def test_weight_decay_makes_it_adamw():
    assert isinstance(critic(weight_decay=0.01).optimizer(), torch.optim.AdamW)
    assert not isinstance(critic().optimizer(), torch.optim.AdamW)


@pytest.mark.parametrize("options", [{"noise": -0.1}, {"noise_clip": -1.0}])
def test_negative_noise_is_refused(options):
    with pytest.raises(ValueError, match="negative"):
        TargetPolicy(**options)

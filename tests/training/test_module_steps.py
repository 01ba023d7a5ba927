"""One training step of each Lightning module, driven by hand: who is clipped, what is logged, that watching leaves no trace."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from dtag.critic.bellman import BellmanCritic
from dtag.critic.iql import IQL
from dtag.critic.target_rules import TargetPolicy
from dtag.data.segments import SegmentSampler
from dtag.data.transitions import TransitionBatch
from dtag.losses.action_mse import ActionMSE
from dtag.losses.action_nll import ActionNLL
from dtag.losses.critic_guidance import CriticGuidance
from dtag.losses.entropy_bonus import EntropyBonus
from dtag.losses.policy_gradient import PolicyGradient
from dtag.losses.return_expectile import ReturnExpectile
from dtag.policy.decision_transformer import DecisionTransformer
from dtag.policy.return_critic import ReturnCritic
from dtag.policy.return_model import ReturnMLP
from dtag.policy.value_return import ValueReturn
from dtag.training.critic_module import CriticModule
from dtag.training.optimizers import OptimizerSettings
from dtag.training.policy_module import PolicyModule
from tests.data.example_episodes import A, S, episodes, spec

BOUNDS = ((-1.0,) * A, (1.0,) * A)


def batch(n: int = 6):
    sampler = SegmentSampler(
        episodes([6, 3, 8], "tlt"), spec(), context_length=4, weighting="length", start="anywhere", look_ahead=True
    )
    return sampler.sample(n, torch.Generator().manual_seed(0))


def policy(head: str = "gaussian", order: str = "rsa", **options: Any) -> DecisionTransformer:
    torch.manual_seed(0)
    return DecisionTransformer(S, *BOUNDS, 20, hidden=8, n_layers=1, n_heads=2, token_order=order, head=head, **options)


def module(losses: dict[str, Any], network: nn.Module | None = None, **options: Any) -> PolicyModule:
    """Ready for `training_step`, with its optimisers at hand as `made.own` and everything it logs in `made.logged`."""
    settings = OptimizerSettings(
        name="adamw", learning_rate=0.1, weight_decay=0.0, warmup_steps=0, gradient_clip=options.pop("clip", 0.25)
    )
    made = PolicyModule(
        policy=network or policy(), return_model=options.pop("return_model", None), losses=losses, optimizer=settings,
        spec=spec(), seed=0, log_every=1, **options,
    )  # fmt: skip
    by_hand(made)
    return made


def by_hand(made: Any) -> None:
    found = made.configure_optimizers()
    optimizers, schedulers = found if isinstance(found, tuple | list) else ([found], [])
    made.own, made.logged = optimizers, {}
    made.optimizers = lambda: optimizers[0] if len(optimizers) == 1 else optimizers
    made.lr_schedulers = lambda: schedulers[0] if len(schedulers) == 1 else schedulers
    made.manual_backward = lambda loss: loss.backward()
    made.log_dict = lambda values, **_: made.logged.update(values)
    made.log = lambda *_, **__: None


def gradients_seen(optimizer: torch.optim.Optimizer) -> list[float]:
    """The norm over all parameters of the gradients that each later step is given."""
    seen: list[float] = []

    def note(stepped: torch.optim.Optimizer, *_: Any) -> None:
        norms = [p.grad.norm() for group in stepped.param_groups for p in group["params"] if p.grad is not None]
        seen.append(torch.stack(norms).norm().item())

    optimizer.register_step_pre_hook(note)
    return seen


def test_each_network_is_clipped_apart_and_what_terms_learn_is_not() -> None:
    torch.manual_seed(0)
    losses = {"action": ActionNLL(A, target_entropy=-1e4), "return": ReturnExpectile(weight=1e4)}
    losses["action"].weight = 1e4
    made = module(losses, return_model=ReturnMLP(S, hidden=8))
    assert len(made.own) == 3
    seen = [gradients_seen(optimizer) for optimizer in made.own]
    made.training_step(batch(), 0)
    assert seen[0] == pytest.approx([0.25], rel=1e-3)
    assert seen[1] == pytest.approx([0.25], rel=1e-3)
    assert seen[2][0] > 100.0
    unclipped = module(losses, return_model=ReturnMLP(S, hidden=8), clip=0.0)
    seen = [gradients_seen(optimizer) for optimizer in unclipped.own]
    unclipped.training_step(batch(), 0)
    assert min(seen[0][0], seen[1][0]) > 0.3


def test_a_term_that_does_not_reach_the_policy_is_watched_as_zero() -> None:
    losses = {"action": ActionMSE(), "return": ReturnExpectile(), "entropy": EntropyBonus(A)}  # the std is fixed at 1
    made = module(losses, return_model=ReturnMLP(S, hidden=8), gradient_norms=True)
    made.training_step(batch(), 0)
    norms = {name: made.logged[f"train/{name}/gradient_norm"].item() for name in losses}
    assert norms["action"] > 0.0
    assert norms["return"] == norms["entropy"] == 0.0


def test_the_watched_norm_is_that_of_the_weighted_terms_gradient() -> None:
    torch.manual_seed(1)
    losses = {"action": ActionMSE(weight=3.0), "td3": PolicyGradient(weight=0.1, q="q1", normalize=False)}
    made = module(losses, policy("deterministic", residual_dropout=0.0, attention_dropout=0.0), gradient_norms=True,
                  critic=IQL(S, A, hidden=(8,)))  # fmt: skip
    own, data = copy.deepcopy(made.policy), batch()
    output = own(data.states, data.actions, data.returns_to_go, data.timesteps)
    made.training_step(data, 0)
    for name, term in losses.items():
        found = torch.autograd.grad(
            term.weight * term(data, output, made.critic)[0],
            list(own.parameters()),
            retain_graph=True,
            allow_unused=True,
        )
        expected = torch.stack([g.norm() for g in found if g is not None]).norm()
        torch.testing.assert_close(made.logged[f"train/{name}/gradient_norm"], expected, rtol=1e-4, atol=1e-6)
    q = made.critic.q(data.states[data.mask], output.action.detach()[data.mask])[0].mean()
    torch.testing.assert_close(made.logged["train/policy_q"], q, rtol=1e-4, atol=1e-6)


def test_watching_changes_nothing_that_is_learned() -> None:
    weights = []
    for watched in (False, True):
        torch.manual_seed(0)
        critic = ReturnCritic(S, A, 20, hidden=8, n_layers=1, n_heads=2)
        guided = CriticGuidance(action=ActionMSE(), coefficient=2.0, warmup=10)
        made = module({"guided": guided}, policy(residual_dropout=0.5), critic=critic, gradient_norms=watched)
        for step in range(3):
            made.training_step(batch(), step)
        assert guided.n_updates.item() == 3
        weights.append([p.detach().clone() for p in made.policy.parameters()])
    for plain, other in zip(*weights, strict=True):
        assert torch.equal(plain, other)


def test_the_critics_targets_are_told_the_temperature_itself_not_its_logarithm() -> None:
    torch.manual_seed(0)
    critic = BellmanCritic(S, *BOUNDS, rule=TargetPolicy(), hidden=(8,))
    for term in (EntropyBonus(A, temperature=0.3), ActionNLL(A, temperature=0.3)):
        made = module({"own": term}, policy("squashed"), critic=critic, policy_delay=1)
        assert made._temperature() == pytest.approx(0.3)
    assert module({"action": ActionMSE()}, critic=critic, policy_delay=1)._temperature() == 0.0


def test_adts_tokens_in_training_are_the_critics_values_of_the_datas_actions() -> None:
    torch.manual_seed(0)
    critic, network = IQL(S, A, hidden=(8,)), policy("deterministic", "ja", residual_dropout=0.0, attention_dropout=0.0)
    made, data = module({"action": ActionMSE()}, network, critic=critic, return_model=ValueReturn(scale=7.0)), batch()
    found = made.objective(data)[1]["action"]
    q = critic.q_target(data.states.flatten(0, 1), data.actions.flatten(0, 1)).amin(0).view(data.mask.shape)
    tokens = (q * data.mask / 7.0).unsqueeze(-1).detach()
    said = network(data.states, data.actions, tokens, data.timesteps).action
    expected = (said - data.actions)[data.mask].square().mean()
    torch.testing.assert_close(found, expected.detach(), rtol=1e-5, atol=1e-7)


def transitions(n: int) -> TransitionBatch:
    draw = torch.Generator().manual_seed(0)
    states, following = (torch.randn(n, S, generator=draw) for _ in range(2))
    return TransitionBatch(
        states, torch.rand(n, A, generator=draw), 100 * torch.randn(n, generator=draw), following, torch.zeros(n)
    )


def test_a_critics_targets_move_once_an_update_and_its_gradients_are_clipped_where_asked() -> None:
    torch.manual_seed(0)
    critic, other = (IQL(S, A, hidden=(8,), polyak=0.5) for _ in range(2))
    other.load_state_dict(critic.state_dict())
    settings = OptimizerSettings(name="adamw", learning_rate=0.1, warmup_steps=0, gradient_clip=0.5)
    made = CriticModule(critic=critic, spec=spec(), seed=0, updates_per_step=3, log_every=1, optimizer=settings)
    by_hand(made)
    seen = gradients_seen(made.own[0])
    made.training_step(transitions(12), 0)
    assert seen == pytest.approx([0.5] * 3, rel=1e-3)
    plain = CriticModule(critic=other, spec=spec(), seed=0, updates_per_step=3, log_every=1)
    by_hand(plain)
    reference = copy.deepcopy(other)
    optimizer, seen = reference.optimizer(), gradients_seen(plain.own[0])
    plain.training_step(transitions(12), 0)
    for part in transitions(12).split(4):
        optimizer.zero_grad()
        reference.loss(part)[0].backward()
        optimizer.step()
        reference.update_target()
    assert min(seen) > 0.5
    for name, value in reference.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value)

from __future__ import annotations

import math

import pytest
import torch

from dtag.critic.iql import IQL
from dtag.errors import UsageError
from dtag.refiners.action_gradient import RULES, ActionGradient, Refined, action_gradient_rms
from tests.reference.action_gradient import refine_row

CASES = [(rule, variant) for rule in RULES for variant in ("paper", "standard")]


def bowl(states: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """Q = -sum (a - s)^4 in products and sums only: pow rounds differently at the tail of a vector register."""
    square = (actions - states) * (actions - states)
    fourth = square * square
    return -(fourth[:, 0] + fourth[:, 1] + fourth[:, 2])


def _rows(n: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(n)
    states = torch.rand(n, 3, generator=generator, dtype=dtype) * 3 - 1.5  # optima out of bounds too
    actions = torch.rand(n, 3, generator=generator, dtype=dtype) * 2 - 1
    return states, actions, -torch.ones(3, dtype=dtype), torch.ones(3, dtype=dtype)


def _assert_same(left: Refined, right: Refined) -> None:
    for name, a, b in zip(Refined._fields, left, right, strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize(("rule", "variant"), CASES)
@pytest.mark.parametrize(("n", "eta"), [(1, 0.05), (4, 0.01), (6, 0.3)])
def test_it_equals_algorithm_1(rule, variant, n, eta):
    states, actions, low, high = _rows(9)
    refined = ActionGradient(eta, n, rule=rule, variant=variant).refine(bowl, states, actions, low, high)
    for row, (state, action) in enumerate(zip(states.tolist(), actions.tolist(), strict=True)):
        chosen, index = refine_row(
            lambda a, s=state: -sum((x - y) ** 4 for x, y in zip(a, s, strict=True)),
            lambda a, s=state: [-4 * (x - y) ** 3 for x, y in zip(a, s, strict=True)],
            action,
            eta=eta,
            n_steps=n,
            rule=rule,
            variant=variant,
            low=-1.0,
            high=1.0,
        )
        assert refined.actions[row].tolist() == pytest.approx(chosen, rel=1e-10, abs=1e-12)
        assert refined.n_chosen[row].item() == index


def test_on_a_parabola_one_step_multiplies_the_action_by_1_minus_2_eta():
    action = torch.tensor([[0.8], [-0.3]], dtype=torch.float64)
    bounds = (-torch.ones(1), torch.ones(1))
    for n in (1, 3):
        refined = ActionGradient(0.1, n).refine(lambda _, a: 1 - a[:, 0] ** 2, action, action, *bounds)
        torch.testing.assert_close(refined.actions, action * 0.8**n, rtol=1e-10, atol=0)
        torch.testing.assert_close(refined.q_after, 1 - (action[:, 0] * 0.8**n) ** 2, rtol=1e-10, atol=0)
        assert refined.n_chosen.tolist() == [n, n]


def test_no_steps_is_exactly_the_base_action():
    states, actions, low, high = _rows(5, torch.float32)
    actions = actions * 1.5  # even out of bounds: AG that does nothing touches nothing
    for clip in ("each", "final", "none"):
        refined = ActionGradient(0.1, 0, clip=clip).refine(bowl, states, actions, low, high)
        assert torch.equal(refined.actions, actions)
        assert torch.equal(refined.q_after, bowl(states, actions))
        assert refined.n_chosen.tolist() == [0] * 5


@pytest.mark.parametrize(("rule", "variant"), CASES)
@pytest.mark.parametrize("eta", [1e-3, 0.1, 10.0])
def test_q_never_falls_and_bounds_hold(rule, variant, eta):
    states, actions, low, high = _rows(50)
    refined = ActionGradient(eta, 7, rule=rule, variant=variant).refine(bowl, states, actions, low, high)
    assert (refined.q_after >= refined.q_before).all()
    assert torch.equal(refined.q_before, bowl(states, actions))
    assert torch.equal(refined.q_after, bowl(states, refined.actions))
    assert ((refined.actions >= low) & (refined.actions <= high)).all()


def test_ties_go_to_the_fewest_steps():
    states, actions, low, high = _rows(4)
    flat = ActionGradient(0.1, 3).refine(lambda _, a: 0 * a.sum(1), states, actions, low, high)
    assert torch.equal(flat.actions, actions)
    at_the_wall = ActionGradient(10.0, 3).refine(lambda _, a: a.sum(1), states, actions, low, high)
    assert at_the_wall.n_chosen.tolist() == [1] * 4


@pytest.mark.parametrize(("rule", "variant"), CASES)
def test_rows_do_not_influence_each_other(rule, variant):
    states, actions, low, high = _rows(12, torch.float32)
    refiner = ActionGradient(0.05, 4, rule=rule, variant=variant)
    whole = refiner.refine(bowl, states, actions, low, high)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    for kept in (order, order[:5], order[:1]):
        part = refiner.refine(bowl, states[kept], actions[kept], low, high)
        _assert_same(part, Refined(*(value[kept] for value in whole)))


def test_per_row_settings_equal_separate_runs():
    states, actions, low, high = _rows(24)
    generator = torch.Generator().manual_seed(4)
    eta = torch.rand(24, generator=generator, dtype=torch.float64) * 0.2
    n_steps = torch.randint(0, 6, (24,), generator=generator)
    rule = torch.arange(24) % len(RULES)
    together = ActionGradient().refine(bowl, states, actions, low, high, eta=eta, n_steps=n_steps, rule=rule)
    assert len(set(together.n_chosen.tolist())) > 3
    for row in range(24):
        alone = ActionGradient(eta[row].item(), int(n_steps[row]), rule=RULES[rule[row]])
        one = slice(row, row + 1)
        _assert_same(alone.refine(bowl, states[one], actions[one], low, high), Refined(*(v[one] for v in together)))


def test_a_row_without_a_finite_q_keeps_the_base_action():
    states, actions, low, high = _rows(3)
    actions = torch.tensor([[0.0, 0, 0], [0.5, 0, 0], [-0.9, 0, 0]], dtype=torch.float64)
    states = torch.zeros_like(states)

    def cliff(states: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        return torch.where(actions[:, 0] > 0.6, math.nan, actions[:, 0])

    refined = ActionGradient(0.1, 3, eta_unit="raw").refine(cliff, states, actions, low, high)
    assert refined.actions[:, 0].tolist() == pytest.approx([0.3, 0.5, -0.6])
    assert refined.n_chosen.tolist() == [3, 0, 3]
    assert refined.q_after.tolist() == pytest.approx([0.3, 0.5, -0.6])
    broken = ActionGradient(0.1, 3).refine(lambda _, a: a[:, 0] * math.nan, states, actions, low, high)
    assert torch.equal(broken.actions, actions)


def test_clip_decides_where_bounds_apply():
    states, actions, low, high = _rows(2)
    actions = torch.full_like(actions, 0.9)

    def refine(clip: str) -> torch.Tensor:
        return ActionGradient(0.2, 2, clip=clip).refine(lambda _, a: a.sum(1), states, actions, low, high).actions

    torch.testing.assert_close(refine("each"), torch.ones_like(actions))
    torch.testing.assert_close(refine("final"), torch.ones_like(actions))
    torch.testing.assert_close(refine("none"), torch.full_like(actions, 1.3))
    back = ActionGradient(0.3, 1, clip="each").refine(lambda _, a: -((a - 1.1) ** 2).sum(1), states, actions, low, high)
    assert (back.actions <= 1).all()


def test_the_shift_is_bounded_in_units_of_the_half_range():
    states, actions, low, high = _rows(20)
    low, high = 2 * low, 4 * high  # half range 3
    refined = ActionGradient(1.0, 5, max_shift=0.1).refine(bowl, 3 * states, actions, low, high)
    shift = (refined.actions - actions).abs()
    assert shift.max().item() == pytest.approx(0.3)
    unbounded = ActionGradient(1.0, 5).refine(bowl, 3 * states, actions, low, high)
    assert (unbounded.actions - actions).abs().max() > 0.3


def test_a_bounded_shift_stays_within_the_action_bounds_too():
    states, _, low, high = _rows(4)
    actions = torch.tensor([[0.95, -0.95, 0.0]] * 4, dtype=torch.float64)
    outward = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)
    refined = ActionGradient(1.0, 3, max_shift=0.1).refine(
        lambda _, a: (a * outward).sum(1), states, actions, low, high
    )
    expected = torch.tensor([1.0, -1.0, 0.1], dtype=torch.float64)
    torch.testing.assert_close(refined.actions, expected.expand(4, 3))


@pytest.mark.parametrize("choice", ["min", "q1", "mean", "target_min", "lower_bound", "advantage", "advantage_bound"])
def test_what_is_climbed_is_the_choice_and_its_kappa(choice):
    torch.manual_seed(0)
    critic = IQL(4, 2, hidden=(8,), n_q=3, n_advantage=3)
    for buffer in critic.target_network.buffers():
        buffer.mul_(1.5)
    states, actions = torch.randn(6, 4), torch.rand(6, 2)
    found = ActionGradient(q=choice, kappa=3.0).q_function(critic)(states, actions)
    assert torch.equal(found, critic.q_reduced(states, actions, choice, 3.0))
    others = [critic.q_reduced(states, actions, other, 3.0) for other in ("min", "q1", "mean", "lower_bound")]
    assert sum(torch.equal(found, other) for other in others) == (choice in ("min", "q1", "mean", "lower_bound"))


def test_an_iterate_that_runs_off_keeps_the_base_action_even_where_q_stays_finite():
    states, actions, low, high = _rows(3)
    for clip in ("none", "final"):
        refined = ActionGradient(1e308, 3, clip=clip, eta_unit="raw").refine(
            lambda _, a: torch.tanh(a).sum(1) + 10.0, states, actions, low, high, eta_scale=1e10
        )
        assert torch.equal(refined.actions, actions)
        assert refined.n_chosen.tolist() == [0, 0, 0]


def test_eta_scale_multiplies_eta_where_steps_have_the_gradients_scale():
    states, actions, low, high = _rows(6)
    for rule in ("none", "fm"):
        scaled = ActionGradient(0.01, 3, rule=rule).refine(bowl, states, actions, low, high, eta_scale=4.0)
        _assert_same(scaled, ActionGradient(0.04, 3, rule=rule).refine(bowl, states, actions, low, high))
    for rule in ("sm", "fm_sm"):
        scaled = ActionGradient(0.01, 3, rule=rule).refine(bowl, states, actions, low, high, eta_scale=4.0)
        plain = ActionGradient(0.01, 3, rule=rule).refine(bowl, states, actions, low, high)
        torch.testing.assert_close(scaled.actions, plain.actions, rtol=1e-3, atol=1e-3)


def test_rms_units_do_not_notice_the_reward_scale():
    states, actions, low, high = _rows(40)
    results = []
    for scale in (1.0, 1000.0):
        refiner = ActionGradient(0.05, 3, eta_unit="rms")

        def q(states: torch.Tensor, actions: torch.Tensor, scale: float = scale) -> torch.Tensor:
            return scale * bowl(states, actions)

        unit = refiner.eta_scale(action_gradient_rms(q, states, actions))
        results.append(refiner.refine(q, states, actions, low, high, eta_scale=unit).actions)
    torch.testing.assert_close(results[0], results[1], rtol=1e-10, atol=1e-12)
    assert ActionGradient(eta_unit="raw").eta_scale(7.0) == 1.0
    assert ActionGradient(eta_unit="rms").eta_scale(0.0) == 1.0


@pytest.mark.parametrize("batch_size", [3, 10, 4096])
def test_the_rms_is_over_the_data_not_the_dims(batch_size):
    states, actions, _, _ = _rows(10)
    pairs = zip(actions.flatten().tolist(), states.flatten().tolist(), strict=True)
    expected = math.sqrt(sum((4 * (action - state) ** 3) ** 2 for action, state in pairs) / 10)
    assert action_gradient_rms(bowl, states, actions, batch_size) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("choice", ["min", "q1", "mean", "target_min", "lower_bound"])
def test_inference_mode_works_and_the_critic_keeps_no_gradient(choice):
    torch.manual_seed(0)
    critic = IQL(4, 2, hidden=(16, 16))
    refiner = ActionGradient(0.1, 3, rule="fm_sm", q=choice)
    states, actions = torch.randn(6, 4), torch.rand(6, 2) * 2 - 1
    low, high = -torch.ones(2), torch.ones(2)
    normal = refiner.refine(refiner.q_function(critic), states, actions, low, high)
    with torch.inference_mode():
        inputs = [tensor * 1 for tensor in (states, actions, low, high)]
        extra = {"eta": torch.full((6,), 0.1), "n_steps": torch.full((6,), 3), "rule": torch.full((6,), 3)}
        assert inputs[0].is_inference()
        inside = refiner.refine(refiner.q_function(critic), *inputs, **extra)
        assert action_gradient_rms(refiner.q_function(critic), *inputs[:2]) > 0
    _assert_same(normal, inside)
    assert (normal.q_after > normal.q_before).any()
    assert not normal.actions.requires_grad
    assert all(parameter.grad is None for parameter in critic.parameters())
    frozen = critic.requires_grad_(False).eval()
    _assert_same(normal, refiner.refine(refiner.q_function(frozen), states, actions, low, high))


def test_it_costs_n_gradients_and_one_value():
    states, actions, low, high = _rows(3)
    calls = []

    def counted(states: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        calls.append(actions.requires_grad)
        return bowl(states, actions)

    for n in (0, 1, 4):
        calls.clear()
        ActionGradient(0.01, n).refine(counted, states, actions, low, high)
        assert calls == [True] * n + [False]


def test_inputs_are_left_alone():
    states, actions, low, high = _rows(4)
    copies = [tensor.clone() for tensor in (states, actions)]
    ActionGradient(0.1, 3).refine(bowl, states, actions, low, high).actions.zero_()
    ActionGradient(0.1, 0).refine(bowl, states, actions, low, high).actions.zero_()
    assert torch.equal(states, copies[0])
    assert torch.equal(actions, copies[1])


def test_unknown_settings_are_named():
    with pytest.raises(UsageError, match="adam"):
        ActionGradient(rule="adam")
    with pytest.raises(UsageError, match="n_steps=-1"):
        ActionGradient(n_steps=-1)

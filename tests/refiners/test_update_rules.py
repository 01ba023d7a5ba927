from __future__ import annotations

import math

import pytest
import torch

from dtag.refiners.update_rules import BothMoments, FirstMoment, Plain, SecondMoment, UpdateRule
from tests.reference.action_gradient import deltas

RULES = {
    "none": lambda _: Plain(),
    "fm": lambda variant: FirstMoment(variant=variant),
    "sm": lambda variant: SecondMoment(variant=variant),
    "fm_sm": lambda variant: BothMoments(variant=variant),
}


def _steps(rule: UpdateRule, gradients: list[torch.Tensor]) -> list[torch.Tensor]:
    state: tuple[torch.Tensor, ...] = ()
    result = []
    for i, gradient in enumerate(gradients):
        delta, state = rule.step(gradient, state, i)
        result.append(delta)
    return result


def _constant(rule: UpdateRule, gradient: float, n: int) -> list[float]:
    return [delta.item() for delta in _steps(rule, [torch.full((1, 1), gradient, dtype=torch.float64)] * n)]


@pytest.mark.parametrize("variant", ["paper", "standard"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("shape", [(1, 1), (4, 3)])
def test_the_steps_equal_the_equations(rule, variant, shape):
    generator = torch.Generator().manual_seed(2)
    gradients = [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(7)]
    actual = torch.stack(_steps(RULES[rule](variant), gradients)).flatten(1).T  # (numbers, steps)
    columns = torch.stack(gradients).flatten(1).T.tolist()
    expected = torch.tensor([deltas(rule, variant, column) for column in columns], dtype=torch.float64)
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("gradient", [-2.0, 0.003, 50.0])
def test_closed_forms_for_a_linear_q(gradient):
    n = 6
    sign, counts = math.copysign(1, gradient), range(1, n + 1)
    assert _constant(Plain(), gradient, n) == pytest.approx([gradient] * n)
    paper, heavy = _constant(FirstMoment(0.9), gradient, n), _constant(FirstMoment(0.9, "standard"), gradient, n)
    assert paper == pytest.approx([0.9 * gradient * k for k in counts])
    assert sum(paper) == pytest.approx(0.9 * gradient * n * (n + 1) / 2)
    assert heavy == pytest.approx([gradient * (1 - 0.9**k) / 0.1 for k in counts])
    rms = _constant(SecondMoment(0.9), gradient, n)
    assert rms == pytest.approx([sign / math.sqrt(1 - 0.9**k) for k in counts], rel=1e-4)
    assert rms[0] == pytest.approx(3.1623 * sign, rel=1e-4)
    assert _constant(SecondMoment(0.99), gradient, 1)[0] == pytest.approx(10 * sign, rel=1e-4)
    assert _constant(SecondMoment(0.9, variant="standard"), gradient, n) == pytest.approx([sign] * n, rel=1e-4)
    assert _constant(BothMoments(variant="standard"), gradient, n) == pytest.approx([sign] * n, rel=1e-4)


def test_multipliers_of_equation_8_at_a_constant_gradient():
    multipliers = _constant(BothMoments(), 1.0, 3000)
    assert multipliers[:6] == pytest.approx([1, 1.344, 1.565, 1.721, 1.833, 1.915], abs=1e-3)
    assert max(multipliers) == pytest.approx(2.08, abs=5e-3)
    assert multipliers.index(max(multipliers)) == 11
    assert multipliers[99] == pytest.approx(1.02, abs=5e-3)
    assert _constant(BothMoments(), 1.0, 20000)[-1] == pytest.approx(0.316, abs=1e-3)


def test_the_standard_variant_of_equation_8_is_adam_step_for_step():
    eta, target = 0.05, torch.tensor([[0.3, -0.4], [0.1, 0.9]], dtype=torch.float64)
    ours = torch.zeros_like(target)
    theirs = torch.zeros_like(target, requires_grad=True)
    adam = torch.optim.Adam([theirs], lr=eta, betas=(0.9, 0.999), eps=1e-8, maximize=True)
    rule, state = BothMoments(variant="standard"), ()
    for i in range(20):
        delta, state = rule.step(-4 * (ours - target) ** 3, state, i)
        ours = ours + eta * delta
        theirs.grad = -4 * (theirs.detach() - target) ** 3
        adam.step()
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("variant", ["paper", "standard"])
@pytest.mark.parametrize("rule", RULES)
def test_a_zero_gradient_moves_nothing(rule, variant):
    assert _constant(RULES[rule](variant), 0.0, 3) == [0.0] * 3

"""No term teaches anything at padded steps, whatever lies there; the terms' own files test what they do elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dtag.losses.action_mse import ActionMSE
from dtag.losses.action_nll import ActionNLL
from dtag.losses.advantage_regression import AdvantageRegression
from dtag.losses.awac import AWAC
from dtag.losses.critic_guidance import CriticGuidance
from dtag.losses.entropy_bonus import EntropyBonus
from dtag.losses.policy_gradient import PolicyGradient
from dtag.policy.heads import SquashedGaussianHead
from dtag.policy.output import PolicyOutput
from tests.losses.example_batches import ExampleCritic, example, with_padding
from tests.losses.test_critic_guidance import critic as return_critic

TERMS: list[Any] = [
    ActionMSE(), ActionNLL(2), EntropyBonus(2), PolicyGradient(), AWAC(), AdvantageRegression(),
    AdvantageRegression(distance="mse", denominator="all"),
]  # fmt: skip


@pytest.mark.parametrize("term", TERMS, ids=lambda term: type(term).__name__)
def test_a_padded_step_gets_no_gradient(term: Any) -> None:
    batch, output = example((6, 5, 2))
    assert not batch.mask.all()
    loss, _ = term(with_padding(batch, 1e3), output, ExampleCritic(2))
    leaves = (output.action, output.distribution.scale)
    found = [g for g in torch.autograd.grad(loss, leaves, allow_unused=True) if g is not None]
    assert any(g[batch.mask].abs().max() > 0 for g in found)
    assert all(g[~batch.mask].abs().max() == 0 for g in found)


def test_a_guided_padded_step_gets_none_either() -> None:
    batch, output = example((6, 5, 2))
    CriticGuidance(action=ActionMSE())(with_padding(batch, 1e3), output, return_critic(2))[0].backward()
    gradient = output.action.grad
    assert gradient[batch.mask].abs().max() > 0
    assert gradient[~batch.mask].abs().max() == 0


def test_a_squashed_policys_likelihood_of_the_bounds_is_finite_under_autocast() -> None:
    torch.manual_seed(0)
    batch, _ = example((4, 3, 2))
    head, features = SquashedGaussianHead(8, (-1.0, -1.0), (1.0, 1.0)), torch.randn(4, 3, 8, requires_grad=True)
    edges = batch._replace(actions=torch.tensor([-1.0, 1.0]).expand(4, 3, 2), mask=batch.mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        action, distribution = head(features)
        loss, info = ActionNLL(2)(edges, PolicyOutput(action, distribution, None))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(value) for value in info.values())
    assert torch.isfinite(features.grad).all()  # type: ignore[arg-type]
    assert features.grad.abs().max() > 0  # type: ignore[union-attr]


def test_the_temperature_holds_the_entropy_and_the_policy_follows_it() -> None:
    """lambda grows where the entropy is below its target; the policy's share of the gradient is -lambda dH."""
    batch, output = example((3, 4, 2))
    term = EntropyBonus(2, temperature=0.3, target_entropy=50.0).double()
    loss, info = term(batch, output)
    entropy = output.distribution.entropy().sum(-1)[batch.mask].mean()
    assert info["entropy"].item() == pytest.approx(entropy.item())
    of_temperature, of_scale = torch.autograd.grad(
        loss, (term.log_temperature, output.distribution.scale), retain_graph=True
    )
    # Below the target: descent raises lambda.
    assert of_temperature.item() == pytest.approx(0.3 * (entropy.item() - 50.0), rel=1e-6)
    (expected,) = torch.autograd.grad(-0.3 * entropy, output.distribution.scale)
    torch.testing.assert_close(of_scale, expected)

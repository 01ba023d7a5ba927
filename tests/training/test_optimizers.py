from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dtag.errors import UsageError
from dtag.policy.heads import GaussianHead
from dtag.training.lamb import Lamb
from dtag.training.optimizers import OptimizerSettings


def _rates(settings: OptimizerSettings, n_steps: int) -> list[float]:
    """The learning rate of each step."""
    layer = nn.Linear(2, 2)
    optimizer, schedule = settings.make(layer)
    rates = []
    for _ in range(n_steps):
        layer(torch.ones(2)).sum().backward()
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


@pytest.mark.parametrize("name", ["lamb", "adamw"])
def test_the_rate_rises_linearly_from_its_first_step_and_stays(name):
    settings = OptimizerSettings(name, learning_rate=0.8, warmup_steps=4)
    assert _rates(settings, 7) == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8, 0.8])


@pytest.mark.parametrize("warmup_steps", [0, 1])
def test_without_warm_up_the_rate_is_full_from_the_start(warmup_steps):
    assert _rates(OptimizerSettings(learning_rate=0.8, warmup_steps=warmup_steps), 3) == pytest.approx([0.8] * 3)


@pytest.mark.parametrize(
    ("name", "kind", "learn_std"),
    [("lamb", Lamb, False), ("adamw", torch.optim.AdamW, False), ("adamw", torch.optim.AdamW, True)],
)
def test_every_parameter_is_in_exactly_one_group(name, kind, learn_std):
    head = GaussianHead(4, (-1.0,), (1.0,), learn_std)
    optimizer, _ = OptimizerSettings(name, weight_decay=0.3).make(head)
    assert type(optimizer) is kind
    grouped = [p for group in optimizer.param_groups for p in group["params"]]
    assert sorted(map(id, grouped)) == sorted(map(id, head.parameters()))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {name: decay[id(p)] for name, p in head.named_parameters()} == {
        "mean.linear.weight": 0.3,
        "mean.linear.bias": 0.3,
        **({"log_std": 0.0} if learn_std else {}),
    }


def test_lamb_refuses_a_log_std_it_could_not_move():
    with pytest.raises(UsageError, match=r"optimizer\.name='adamw'"):
        OptimizerSettings("lamb").make(GaussianHead(4, (-1.0,), (1.0,), learn_std=True))


def test_a_cosine_schedule_falls_to_zero_at_the_last_step_after_its_warm_up():
    settings = OptimizerSettings(schedule="cosine", warmup_steps=4)
    rates = [settings.rate(step, 100) for step in range(101)]
    for step, rate in enumerate(rates):
        expected = min((step + 1) / 4, 1.0) * 0.5 * (1.0 + math.cos(math.pi * step / 100))
        assert rate == pytest.approx(expected, rel=1e-12, abs=1e-15)
    assert rates[100] == pytest.approx(0.0, abs=1e-15)
    assert OptimizerSettings(warmup_steps=4).rate(50, None) == 1.0
    with pytest.raises(UsageError, match="number of training steps"):
        settings.rate(0, None)

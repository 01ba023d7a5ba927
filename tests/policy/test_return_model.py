from __future__ import annotations

import pytest
import torch

from dtag.policy.return_model import ReturnMLP, ReturnTransformer
from tests.policy.example_segments import QUIET, SMALL, TABLE, A, S, randomized, segments, window, with_garbage

EXACT = {"rtol": 1e-10, "atol": 1e-10}


def make(kind: str):
    if kind == "mlp":
        return randomized(ReturnMLP(S, hidden=8, n_layers=2))
    return randomized(ReturnTransformer(S, A, TABLE, norm=kind, **SMALL, **QUIET))


@pytest.mark.parametrize("kind", ["pre", "post", "mlp"])
@torch.no_grad()
def test_the_newest_step_equals_forward(kind):
    model = make(kind)
    for n_steps in (1, 2, 6):
        inputs, lengths = segments(n_steps, n_steps), torch.arange(1, n_steps + 1)
        expected = model(*inputs)[torch.arange(n_steps), lengths - 1]
        assert expected.shape == (n_steps, 1)
        for each in (inputs, with_garbage(inputs, lengths)):
            torch.testing.assert_close(model.predict_return(window(each, lengths)), expected, **EXACT)


@pytest.mark.parametrize("kind", ["pre", "post", "mlp"])
@torch.no_grad()
def test_it_sees_the_past_and_the_newest_state_but_not_the_newest_return_or_action(kind):
    model, inputs = make(kind), segments(2, 4)
    clean = model(*inputs)
    for position, delay in enumerate((0, 1, 1)):  # states, actions, returns_to_go
        for t in range(4):
            dirty = [x.clone() for x in inputs]
            dirty[position][:, t] += 1
            changed = ((model(*dirty) - clean).abs() > 1e-7)[..., 0]
            steps = torch.arange(4)
            expected = (steps == t) & (position == 0) if kind == "mlp" else steps >= t + delay
            assert torch.equal(changed, expected.expand(2, 4)), (position, t)


@torch.no_grad()
def test_the_mlp_is_a_plain_relu_network_of_the_state():
    model, inputs = make("mlp"), segments(2, 3)
    for b in range(2):
        for t in range(3):
            x = inputs[0][b, t]
            for layer in (0, 2):
                x = (model.net[layer].weight @ x + model.net[layer].bias).clamp(min=0)
            torch.testing.assert_close(model(*inputs)[b, t], model.net[4].weight @ x + model.net[4].bias, **EXACT)

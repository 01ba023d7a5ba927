from __future__ import annotations

import itertools

import pytest
import torch

from dtag.policy.sequence_model import SequenceModel, init_normal
from tests.policy.example_segments import QUIET, TABLE, A, S, randomized, segments, window, with_garbage
from tests.reference.naive_transformer import encode

EXACT = {"rtol": 1e-10, "atol": 1e-10}
ORDERS = ["sra", "rsa", "ja", "sa"]
THREE = [("state",), ("return",), ("action",), ("state", "return"), ("return", "action"), ("action", "state")]
READS = {
    "sra": THREE,
    "rsa": THREE,
    "ja": [("joint",), ("action",), ("action", "joint")],
    "sa": [("state",), ("action",), ("state", "action")],
}


def make(order="sra", norm="post", activation="gelu", time="absolute", n_heads=2, n_layers=2) -> SequenceModel:
    model = SequenceModel(
        S,
        A,
        TABLE,
        hidden=8,
        n_layers=n_layers,
        n_heads=n_heads,
        token_order=order,
        time_embedding=time,
        norm=norm,
        activation=activation,
        embedding_dropout=0.0,
        attention_dropout_on="output",
        init="torch",
        **QUIET,
    )
    return randomized(model)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("norm", "activation"), [("pre", "relu"), ("pre", "gelu"), ("post", "gelu"), ("post", "relu")])
@pytest.mark.parametrize(
    ("time", "n_heads", "n_layers", "n_steps"), [("absolute", 1, 1, 1), ("absolute", 4, 2, 3), ("none", 2, 3, 4)]
)
@torch.no_grad()
def test_whatever_is_read_equals_the_naive_full_pass(order, norm, activation, time, n_heads, n_layers, n_steps):
    model, inputs = make(order, norm, activation, time, n_heads, n_layers), segments(2, n_steps)
    inputs[3] += 5  # some rows reach beyond the time table
    options = {"order": order, "n_layers": n_layers, "n_heads": n_heads, "norm": norm, "activation": activation}
    naive = [encode(model.state_dict(), *(x[row] for x in inputs), **options) for row in range(2)]
    for read in READS[order]:
        features = model.encode(*inputs, read)
        assert features.shape == (2, n_steps, len(read), 8)
        for row, t, (slot, token) in itertools.product(range(2), range(n_steps), enumerate(read)):
            torch.testing.assert_close(features[row, t, slot], naive[row][t][token], **EXACT)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("norm", ["pre", "post"])
@torch.no_grad()
def test_the_newest_step_of_a_window_equals_the_full_pass(order, norm):
    model, inputs = make(order, norm), segments(7, 7)
    lengths = torch.arange(1, 8)
    for (token,) in (read for read in READS[order] if len(read) == 1):
        full = model.encode(*inputs, (token,))[torch.arange(7), lengths - 1, 0]
        torch.testing.assert_close(model.encode_last(window(inputs, lengths), token), full, **EXACT)


@pytest.mark.parametrize("order", ORDERS)
@torch.no_grad()
def test_padding_changes_no_valid_step(order):
    model, inputs = make(order), segments(6, 6)
    lengths = torch.tensor([1, 2, 3, 4, 5, 6])
    dirty = with_garbage(inputs, lengths)
    valid = torch.arange(6) < lengths[:, None]
    for read in READS[order]:
        clean, other = model.encode(*inputs, read), model.encode(*dirty, read)
        torch.testing.assert_close(other[valid], clean[valid], **EXACT)
        assert not torch.allclose(other[~valid], clean[~valid])
    for (token,) in (read for read in READS[order] if len(read) == 1):
        pair = [model.encode_last(window(x, lengths), token) for x in (inputs, dirty)]
        torch.testing.assert_close(*pair, **EXACT)


@torch.no_grad()
def test_the_amount_of_padding_changes_nothing():
    model, inputs = make(), segments(3, 6)
    lengths = torch.tensor([2, 1, 2])
    short = [x[:, :2] for x in inputs]
    pair = [model.encode_last(window(x, lengths), "return") for x in (inputs, short)]
    torch.testing.assert_close(*pair, **EXACT)


@torch.no_grad()
def test_no_row_depends_on_another():
    model, inputs = make(), segments(5, 4)
    lengths = torch.tensor([4, 1, 3, 2, 4])
    together = model.encode_last(window(inputs, lengths), "return")
    for row in range(5):
        alone = model.encode_last(window([x[row : row + 1] for x in inputs], lengths[row : row + 1]), "return")
        torch.testing.assert_close(alone[0], together[row], **EXACT)


@torch.no_grad()
def test_timesteps_beyond_the_table_hold_its_last_embedding():
    model, inputs = make(), segments(2, 3)
    at, beyond, before = (torch.full((2, 3), t) for t in (TABLE, TABLE + 10**6, TABLE - 1))
    read = ("state", "return")
    torch.testing.assert_close(
        model.encode(*inputs[:3], beyond, read), model.encode(*inputs[:3], at, read), rtol=0, atol=0
    )
    assert not torch.allclose(model.encode(*inputs[:3], before, read), model.encode(*inputs[:3], at, read))


@torch.no_grad()
def test_without_a_time_embedding_timesteps_have_no_effect():
    model, inputs = make(time="none"), segments(2, 3)
    assert not any("time" in name for name, _ in model.named_parameters())
    pair = [model.encode(*inputs[:3], t, ("state",)) for t in (inputs[3], inputs[3] + 1)]
    assert torch.equal(*pair)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="multiple of n_heads=3"):
        make(n_heads=3)


def test_the_normal_initialisation_is_gpt2s():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(200, 200), torch.nn.Embedding(200, 200), torch.nn.LayerNorm(200))
    module.apply(init_normal)
    for weight in (module[0].weight, module[1].weight):
        assert weight.std().item() == pytest.approx(0.02, rel=0.03)
        assert weight.mean().item() == pytest.approx(0, abs=5e-4)
    assert not module[0].bias.any()
    assert torch.equal(module[2].weight, torch.ones(200))
    assert not module[2].bias.any()


def token_change(model: SequenceModel, factor: float) -> dict[str, float]:
    """By token, how far (relative, the most of the steps) it moves when states, actions and returns are scaled."""
    model.eval()
    states, actions, returns, timesteps = (part.float() for part in segments(1, 4))
    given = [3.6 * torch.ones_like(returns) if part is returns else part for part in (states, actions, returns)]
    n = len(model.order)
    with torch.no_grad():
        before, after = (
            model._tokens(*(scale * part for part in given), timesteps.long(), 4 * n) for scale in (1.0, factor)
        )
    change = ((after - before).norm(dim=-1) / before.norm(dim=-1)).view(4, n).amax(0)
    return dict(zip(model.order, change.tolist(), strict=True))


@pytest.mark.parametrize(
    ("init", "time", "told"),
    [("torch", "none", True), ("gpt2", "none", True), ("normal", "absolute", True), ("normal", "none", False)],
)
def test_a_token_tells_how_large_a_return_is_from_the_first_step(init, time, told):
    """The norm behind LN(W x + 0) leaves of x its direction alone: biases or times must stand beside it."""
    torch.manual_seed(0)
    options = {"hidden": 64, "n_layers": 1, "n_heads": 1, "norm": "pre", "activation": "relu", "embedding_dropout": 0.0}
    model = SequenceModel(S, A, TABLE, **options, token_order="rsa", time_embedding=time, init=init,
                          attention_dropout_on="output", **QUIET)  # fmt: skip
    moved = token_change(model, 0.5)
    assert (moved["return"] > 0.05) == told  # hidden: 0.1 %, by the norm's own epsilon
    assert not told or min(moved.values()) > 0.05
    assert model.hides_scale == (not told)

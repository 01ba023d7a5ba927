from __future__ import annotations

import pytest
import torch

from dtag.policy.transformer import Block, CausalTransformer
from tests.policy.example_segments import randomized


def _attended(place: str, p: float, training: bool, n_tokens: int = 64) -> torch.Tensor:
    """What a block's output projection is given when every value is 1, so that attention without dropout gives 1."""
    torch.manual_seed(0)
    block = Block(
        8, 2, norm="post", activation="gelu", attention_dropout=p, attention_dropout_on=place, residual_dropout=0.0
    )
    torch.nn.init.zeros_(block.value.weight)
    torch.nn.init.ones_(block.value.bias)
    seen = []
    block.attention_out.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    block.train(training)(torch.randn(1, n_tokens, 8))
    return seen[0][0]  # (L, D)


def _model(norm: str, n_heads: int, activation: str = "gelu") -> CausalTransformer:
    """Three blocks, 8 wide, float64, for evaluation."""
    model = CausalTransformer(
        8,
        3,
        n_heads,
        norm=norm,
        activation=activation,
        attention_dropout=0.0,
        attention_dropout_on="output",
        residual_dropout=0.0,
    )
    return randomized(model)


def test_dropout_on_the_output_drops_single_features():
    attended = _attended("output", 0.5, training=True)
    close = torch.isclose(attended, torch.zeros(())) | torch.isclose(attended, torch.tensor(2.0))
    assert close.all()
    heads = attended.unflatten(-1, (2, 4))
    assert (heads.amax(-1) > heads.amin(-1)).any()


def test_dropout_on_the_weights_drops_whole_keys():
    heads = _attended("weights", 0.5, training=True).unflatten(-1, (2, 4))  # a head's features share their weights
    torch.testing.assert_close(heads, heads[..., :1].expand_as(heads))
    assert ((heads[..., 0] - 1).abs() > 0.05).any()
    assert heads[0, 0, 0].item() in (0.0, 2.0)  # the first token has one key


@pytest.mark.parametrize("place", ["weights", "output"])
def test_attention_dropout_acts_only_in_training(place):
    torch.testing.assert_close(_attended(place, 0.5, training=False), torch.ones(64, 8))
    torch.testing.assert_close(_attended(place, 0.0, training=True), torch.ones(64, 8))


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_residual_dropout_of_everything_leaves_the_residual_path_alone(norm):
    block = Block(
        8, 2, norm=norm, activation="gelu", attention_dropout=0.0, attention_dropout_on="output", residual_dropout=1.0
    )
    x = torch.randn(2, 5, 8)
    expected = x if norm == "pre" else block.norm_mlp(block.norm_attention(x))
    torch.testing.assert_close(block.train()(x)[0], expected)
    assert not torch.allclose(block.eval()(x)[0], expected)


@pytest.mark.parametrize("n_heads", [1, 2, 8])
@pytest.mark.parametrize("norm", ["pre", "post"])
@torch.no_grad()
def test_a_lone_query_needs_no_keys_and_values(norm, n_heads):
    model = _model(norm, n_heads)
    tokens = torch.randn(6, 9, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    read = torch.tensor([0, 3, 8, 8, 1, 5])[:, None]
    alone, _ = model.with_prefix(tokens, read)
    torch.testing.assert_close(alone, model(tokens, read), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_what_is_done_in_place_without_gradients_changes_nothing(norm, activation):
    model = _model(norm, 2, activation)
    tokens = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    given, read = tokens.clone(), torch.tensor([1, 4])
    with torch.no_grad():
        without = model(tokens, read)
    assert torch.equal(tokens, given)
    torch.testing.assert_close(without, model(tokens, read).detach(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("n_heads", [1, 2])
@pytest.mark.parametrize("norm", ["pre", "post"])
@torch.no_grad()
def test_one_token_behind_a_prefix_equals_the_whole_sequence(norm, n_heads):
    model = _model(norm, n_heads)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(6, 6, 8, generator=generator, dtype=torch.float64)
    n_valid = torch.arange(1, 7)
    _, prefixes = model.with_prefix(tokens, (n_valid - 1)[:, None])
    new = torch.randn(6, 1, 8, generator=generator, dtype=torch.float64)
    extended = model.extend(new, prefixes, n_valid)
    for row, n in enumerate(n_valid.tolist()):
        whole = torch.cat([tokens[row, :n], new[row]])[None]
        expected = model(whole, torch.tensor([n]))[0]
        torch.testing.assert_close(extended[row], expected, rtol=1e-10, atol=1e-10)

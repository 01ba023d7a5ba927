"""The token transformer one number of heads, query and token at a time, in float64, from a SequenceModel's weights."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor


def layer_norm(x: Tensor, weights: Mapping[str, Tensor], name: str) -> Tensor:
    mean = sum(x.tolist()) / len(x)
    variance = sum((value - mean) ** 2 for value in x.tolist()) / len(x)
    return (x - mean) / math.sqrt(variance + 1e-5) * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x: Tensor, weights: Mapping[str, Tensor], name: str) -> Tensor:
    return weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]


def activate(x: Tensor, activation: str) -> Tensor:
    if activation == "relu":
        return torch.tensor([max(value, 0.0) for value in x.tolist()], dtype=x.dtype)
    gelu = [0.5 * value * (1 + math.erf(value / math.sqrt(2))) for value in x.tolist()]
    return torch.tensor(gelu, dtype=x.dtype)


def attend(queries: list[Tensor], keys: list[Tensor], values: list[Tensor], n_heads: int) -> list[Tensor]:
    """Causal softmax attention: token i looks at tokens 0..i, each head at its own slice of the features."""
    size = len(queries[0]) // n_heads
    outputs = []
    for i, query in enumerate(queries):
        heads = []
        for h in range(n_heads):
            part = slice(h * size, (h + 1) * size)
            scores = [float(query[part] @ keys[j][part]) / math.sqrt(size) for j in range(i + 1)]
            exponentials = [math.exp(score - max(scores)) for score in scores]
            total = sum(exponentials)
            heads.append(sum(e / total * values[j][part] for j, e in enumerate(exponentials)))
        outputs.append(torch.cat(heads))
    return outputs


def block(
    xs: list[Tensor], w: Mapping[str, Tensor], name: str, n_heads: int, norm: str, activation: str
) -> list[Tensor]:
    def projected(part: str, inputs: list[Tensor]) -> list[Tensor]:
        return [linear(x, w, f"{name}.{part}") for x in inputs]

    inputs = [layer_norm(x, w, f"{name}.norm_attention") for x in xs] if norm == "pre" else xs
    attended = attend(*(projected(part, inputs) for part in ("query", "key", "value")), n_heads)
    outputs = []
    for x, heads in zip(xs, attended, strict=True):
        x = x + linear(heads, w, f"{name}.attention_out")
        if norm == "post":
            x = layer_norm(x, w, f"{name}.norm_attention")
        inner = layer_norm(x, w, f"{name}.norm_mlp") if norm == "pre" else x
        x = x + linear(activate(linear(inner, w, f"{name}.mlp_in"), activation), w, f"{name}.mlp_out")
        outputs.append(layer_norm(x, w, f"{name}.norm_mlp") if norm == "post" else x)
    return outputs


def encode(
    w: Mapping[str, Tensor],
    states: Tensor,
    actions: Tensor,
    returns_to_go: Tensor,
    timesteps: Tensor,
    *,
    order: str,
    n_layers: int,
    n_heads: int,
    norm: str,
    activation: str,
) -> list[dict[str, Tensor]]:
    """What every token of every step of one row sees: a dict of (D,) by token for each of the row's steps.

    w: a SequenceModel's state_dict. states (K, S), actions (K, A), returns_to_go (K, 1), timesteps (K,); all valid.
    """
    names = {"s": "state", "r": "return", "a": "action", "j": "joint"}
    tokens = []
    for t in range(len(states)):
        inputs = {"state": states[t], "return": returns_to_go[t], "action": actions[t]}
        inputs["joint"] = torch.cat([returns_to_go[t], states[t]])
        for letter in order:
            token = linear(inputs[names[letter]], w, f"embed_{names[letter]}")
            if "embed_time.weight" in w:
                table = w["embed_time.weight"]
                token = token + table[min(int(timesteps[t]), len(table) - 1)]
            tokens.append(layer_norm(token, w, "norm"))
    for i in range(n_layers):
        tokens = block(tokens, w, f"transformer.blocks.{i}", n_heads, norm, activation)
    if norm == "pre":
        tokens = [layer_norm(token, w, "transformer.final_norm") for token in tokens]
    return [{names[c]: tokens[len(order) * t + i] for i, c in enumerate(order)} for t in range(len(states))]

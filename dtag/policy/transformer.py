"""Causal transformer blocks that compute only what is read.

Three savings, none of which changes a number that is read by more than its rounding: the last block computes queries
and MLP only at the positions whose outputs a head reads, and neither keys nor values where that is one position of each
row; `extend` adds one token behind a prefix without computing the prefix again.

Letters: B batch, L tokens, P read positions, D hidden, H heads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dtag.products.linear import Linear, linear

Norm = Literal["pre", "post"]
Activation = Literal["gelu", "relu"]
DropoutPlace = Literal["weights", "output"]


class Prefix(NamedTuple):
    """Keys and values of one block over the tokens seen so far, each (B, H, L, D/H); for `attend_alone` (B, 1, L, D)."""

    key: Tensor
    value: Tensor


class Block(nn.Module):
    """Attention and MLP, each with a residual and a LayerNorm before ("pre") or after ("post") it.

    attention_dropout acts on the attention "weights" (GPT-2, CORL) or on the heads' "output" (Reinformer).
    """

    def __init__(
        self,
        hidden: int,
        n_heads: int,
        *,
        norm: Norm,
        activation: Activation,
        attention_dropout: float,
        attention_dropout_on: DropoutPlace,
        residual_dropout: float,
    ) -> None:
        super().__init__()
        self.n_heads, self.pre_norm = n_heads, norm == "pre"
        self.norm_attention, self.norm_mlp = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        # Three tensors, computed in one product: LAMB's trust ratio is per tensor, and Reinformer's are apart.
        self.query, self.key, self.value = (Linear(hidden, hidden) for _ in range(3))
        self.attention_out = Linear(hidden, hidden)
        self.mlp_in, self.mlp_out = Linear(hidden, 4 * hidden), Linear(4 * hidden, hidden)
        self.activation = F.gelu if activation == "gelu" else F.relu
        self.weights_dropout = attention_dropout if attention_dropout_on == "weights" else 0.0
        self.output_dropout = nn.Dropout(attention_dropout if attention_dropout_on == "output" else 0.0)
        self.residual_dropout = nn.Dropout(residual_dropout)

    def forward(self, x: Tensor, read: Tensor | None = None, mask: Tensor | None = None) -> tuple[Tensor, Prefix]:
        """Outputs at all positions, or at `read` (P,) or (B, P) only, and the keys and values of all positions.

        x: (B, L, D). mask: bool, True = may attend, broadcastable to (B, 1, P, L); needed when `read` is given,
        plain causal otherwise. Returns (B, L or P, D).
        """
        normed = self.normed(x)
        if read is None:
            query, key, value = self._project(normed, self.query, self.key, self.value)
        else:
            x = _take(x, read)
            (query,) = self._project(_take(normed, read), self.query)
            key, value = self._project(normed, self.key, self.value)
        return self._finish(x, query, key, value, mask, is_causal=read is None), Prefix(key, value)

    def extend(self, x: Tensor, prefix: Prefix, mask: Tensor) -> Tensor:
        """Outputs (B, 1, D) of one more token x (B, 1, D) behind `prefix`; mask (B, 1, 1, L + 1), itself last."""
        query, key, value = self._project(self.normed(x), self.query, self.key, self.value)
        key, value = torch.cat([prefix.key, key], dim=2), torch.cat([prefix.value, value], dim=2)
        return self._finish(x, query, key, value, mask, is_causal=False)

    def attend_alone(self, x: Tensor, seen: Tensor, mask: Tensor) -> Tensor:
        """Outputs (B, 1, D) of one token x (B, 1, D) per row that attends to the normed tokens `seen` (B, L, D).

        For evaluation. Keys and values are linear in the tokens, so one query needs neither of them:
        q . (W_k s_j + b_k) = (q W_k) . s_j + a constant that softmax ignores, and sum_j a_j (W_v s_j + b_v) =
        W_v (sum_j a_j s_j) + b_v as the a_j sum to 1; at H / D + 1 / L of their products' cost. mask: (B, 1, 1, L).
        """
        query = self.query(self.normed(x)).unflatten(-1, (self.n_heads, -1))[:, 0].transpose(0, 1)  # (H, B, D/H)
        key_weight, value_weight = (part.weight.unflatten(0, (self.n_heads, -1)) for part in (self.key, self.value))
        query = torch.bmm(query, key_weight).transpose(0, 1).unsqueeze(1)  # (B, 1, H, D): heads are rows of queries
        seen, scale = seen.unsqueeze(1), key_weight.shape[1] ** -0.5
        with one_cpu_thread(query):
            mixed = F.scaled_dot_product_attention(query, seen, seen, mask, scale=scale)[:, 0].transpose(0, 1)
        attended = torch.bmm(mixed, value_weight.transpose(1, 2)).transpose(0, 1).flatten(1)  # (B, D)
        return self._after_attention(x, (attended + self.value.bias).unsqueeze(1))

    def normed(self, x: Tensor) -> Tensor:
        """What queries, keys and values are computed from."""
        return self.norm_attention(x) if self.pre_norm else x

    def _finish(
        self, x: Tensor, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, is_causal: bool
    ) -> Tensor:
        dropout = self.weights_dropout if self.training else 0.0
        with contextlib.nullcontext() if self.training else one_cpu_thread(query):
            attended = F.scaled_dot_product_attention(query, key, value, mask, dropout, is_causal=is_causal)
        return self._after_attention(x, self.output_dropout(attended).transpose(1, 2).flatten(2))

    def _after_attention(self, x: Tensor, attended: Tensor) -> Tensor:
        """Outputs from inputs x and what the heads return, both (B, P, D)."""
        x = self.residual_dropout(self.attention_out(attended)).add_(x)
        if not self.pre_norm:
            x = self.norm_attention(x)
        inner = self.norm_mlp(x) if self.pre_norm else x
        x = self.residual_dropout(self.mlp_out(self._activated(self.mlp_in(inner)))).add_(x)
        return x if self.pre_norm else self.norm_mlp(x)

    def _activated(self, x: Tensor) -> Tensor:
        """In place where no gradient needs x: a second tensor of 4 D would push the first out of the core's cache."""
        if torch.is_grad_enabled():
            return self.activation(x)
        if self.activation is F.gelu:
            return F.gelu(x, out=x)  # type: ignore[call-arg]  # torch's stub leaves out `out`
        return F.relu(x, inplace=True)

    def _project(self, x: Tensor, *layers: nn.Linear) -> list[Tensor]:
        """Each layer's output in heads, (B, H, L, D/H)."""
        if torch.is_grad_enabled():  # one product, and one each of its gradients; without them not worth its copies
            weight, bias = torch.cat([layer.weight for layer in layers]), torch.cat([layer.bias for layer in layers])
            parts = linear(x, weight, bias).chunk(len(layers), dim=-1)
        else:
            parts = tuple(layer(x) for layer in layers)
        return [part.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for part in parts]


class CausalTransformer(nn.Module):
    """A stack of blocks; with pre-norm a final LayerNorm follows, with post-norm none does."""

    def __init__(
        self,
        hidden: int,
        n_layers: int,
        n_heads: int,
        *,
        norm: Norm,
        activation: Activation,
        attention_dropout: float,
        attention_dropout_on: DropoutPlace,
        residual_dropout: float,
    ) -> None:
        super().__init__()
        self.blocks: Any = nn.ModuleList(
            Block(
                hidden,
                n_heads,
                norm=norm,
                activation=activation,
                attention_dropout=attention_dropout,
                attention_dropout_on=attention_dropout_on,
                residual_dropout=residual_dropout,
            )
            for _ in range(n_layers)
        )
        self.final_norm = nn.LayerNorm(hidden) if norm == "pre" else nn.Identity()

    def forward(self, x: Tensor, read: Tensor) -> Tensor:
        """Outputs at the positions `read`, (P,) for all rows or (B, P) for each. x: (B, L, D) -> (B, P, D)."""
        for block in self.blocks[:-1]:
            x, _ = block(x)
        allowed = torch.arange(x.shape[1], device=x.device) <= read.unsqueeze(-1)  # (P, L) or (B, P, L)
        x, _ = self.blocks[-1](x, read, allowed if allowed.dim() == 2 else allowed.unsqueeze(1))
        return self.final_norm(x)

    def with_prefix(self, x: Tensor, read: Tensor) -> tuple[Tensor, list[Prefix]]:
        """`forward` at one position of each row, read (B, 1), and each block's prefix for `extend`; for evaluation."""
        prefixes = []
        for block in self.blocks[:-1]:
            x, prefix = block(x)
            prefixes.append(prefix)
        last = self.blocks[-1]
        seen = last.normed(x)
        mask = torch.arange(x.shape[1], device=x.device) <= read  # (B, L)
        x = last.attend_alone(_take(x, read), seen, mask[:, None, None])
        return self.final_norm(x), [*prefixes, Prefix(seen.unsqueeze(1), seen.unsqueeze(1))]

    def extend(self, x: Tensor, prefixes: list[Prefix], n_valid: Tensor) -> Tensor:
        """Output (B, 1, D) of the token x (B, 1, D) placed behind the first n_valid (B,) tokens of each row's prefix."""
        n_keys = prefixes[0].key.shape[2]
        position = torch.arange(n_keys + 1, device=x.device)
        mask = ((position < n_valid[:, None]) | (position == n_keys))[:, None, None]  # (B, 1, 1, L + 1)
        for block, prefix in zip(self.blocks[:-1], prefixes[:-1], strict=True):
            x = block.extend(x, prefix, mask)
        last = self.blocks[-1]
        seen = torch.cat([prefixes[-1].key[:, 0], last.normed(x)], dim=1)
        return self.final_norm(last.attend_alone(x, seen, mask))


@contextlib.contextmanager
def one_cpu_thread(x: Tensor) -> Iterator[None]:
    """On a CPU, one thread: torch's attention gives each thread a work area of its own alignment, by which MKL rounds.

    With several, a row's last bit would depend on its place in the batch. Costs little: attention is the small part.
    """
    n_threads = torch.get_num_threads()
    if x.device.type != "cpu" or n_threads == 1 or torch.compiler.is_compiling():
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


def _take(x: Tensor, read: Tensor) -> Tensor:
    """Positions `read` (P,) or (B, P) of x (B, L, D)."""
    if read.dim() == 1:
        return x.index_select(1, read)
    return x.gather(1, read.unsqueeze(-1).expand(-1, -1, x.shape[-1]))

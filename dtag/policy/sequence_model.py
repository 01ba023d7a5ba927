"""Tokens of (state, return-to-go, action) steps and the transformer over them.

Letters: B batch, K steps, L tokens, P read positions, S state dim, A action dim, D hidden.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from dtag.config.ranges import refuse_sizes
from dtag.policy.transformer import Activation, CausalTransformer, DropoutPlace, Norm, Prefix

TokenOrder = Literal["sra", "rsa", "ja", "sa"]
Token = Literal["state", "return", "action", "joint"]
Init = Literal["torch", "gpt2", "normal"]
ORDERS: dict[TokenOrder, tuple[Token, ...]] = {
    "sra": ("state", "return", "action"),
    "rsa": ("return", "state", "action"),
    "ja": ("joint", "action"),
    "sa": ("state", "action"),
}


class Window(NamedTuple):
    """K steps of context, oldest first, padded on the right; states normalised, returns scaled.

    states (B, K, S), actions (B, K, A), returns_to_go (B, K, 1), timesteps (B, K) long, lengths (B,) valid steps.
    noise (B, A): standard normal, to sample the newest step's action with; None = the mean action. latent_noise
    (B, n, Z): the same for a policy that draws n latents a step; None = their mean.
    """

    states: Tensor
    actions: Tensor
    returns_to_go: Tensor
    timesteps: Tensor
    lengths: Tensor
    noise: Tensor | None = None
    latent_noise: Tensor | None = None


class SequenceModel(nn.Module):
    """Embeds the tokens of each step, adds the timestep's embedding, and runs a causal transformer.

    token_order: "sra" (Reinformer: the return is predicted from the state before the action sees it), "rsa" (Decision
    Transformer), "ja" (ADT: return and state joined in one token) or "sa" (no return: CGDT's critic). time_embedding:
    "absolute" adds a learned vector per timestep of the episode; "none" where evaluation runs far beyond the trained
    lengths. norm: LayerNorm "post" (Reinformer) or "pre" (DT, ODT) attention and MLP. activation: of the MLPs, "gelu"
    (Reinformer, CORL's DT) or "relu" (DT, ODT). init: "torch" (Reinformer), "gpt2", N(0, 0.02) with biases of 0 in the
    transformer alone (DT, ODT), or "normal", the same in the embeddings and heads too (CORL's DT): then and without a time
    embedding the norm hides how large a return is, as LN(R w + 0) depends on its sign alone.
    return_dim: of what stands in the return's place, 1 where that is a return. hidden: D, the width of every token.
    n_layers, n_heads: of the transformer. embedding_dropout: of the tokens. attention_dropout: of what
    attention_dropout_on names. attention_dropout_on: the attention "weights" (GPT-2, CORL) or what the heads put out,
    "output" (Reinformer). residual_dropout: of what each attention and MLP adds.
    """

    embed_state: nn.Linear  # those that the order names
    embed_return: nn.Linear
    embed_joint: nn.Linear

    def __init__(
        self,
        state_dim: int,
        action_dim: int,
        max_timestep: int,
        *,
        hidden: int,
        n_layers: int,
        n_heads: int,
        token_order: TokenOrder,
        time_embedding: Literal["absolute", "none"],
        norm: Norm,
        activation: Activation,
        embedding_dropout: float,
        attention_dropout: float,
        attention_dropout_on: DropoutPlace,
        residual_dropout: float,
        init: Init,
        return_dim: int = 1,
    ) -> None:
        super().__init__()
        refuse_sizes(hidden=hidden, n_layers=n_layers, n_heads=n_heads)
        if hidden % n_heads:
            raise ValueError(f"hidden={hidden} must be a multiple of n_heads={n_heads}")
        self.order: tuple[Token, ...] = ORDERS[token_order]
        dims = {"state": state_dim, "return": return_dim, "joint": return_dim + state_dim}
        for token in ("state", "return", "joint"):
            if token in self.order:
                setattr(self, f"embed_{token}", nn.Linear(dims[token], hidden))
        self.embed_action = nn.Linear(action_dim, hidden)
        self.embed_time = nn.Embedding(max_timestep + 1, hidden) if time_embedding == "absolute" else None
        self.norm = nn.LayerNorm(hidden)
        self.dropout = nn.Dropout(embedding_dropout)
        self.transformer = CausalTransformer(
            hidden,
            n_layers,
            n_heads,
            norm=norm,
            activation=activation,
            attention_dropout=attention_dropout,
            attention_dropout_on=attention_dropout_on,
            residual_dropout=residual_dropout,
        )
        if init != "torch":
            (self if init == "normal" else self.transformer).apply(init_normal)
        self.hides_scale = init == "normal" and self.embed_time is None

    def encode(
        self, states: Tensor, actions: Tensor, returns_to_go: Tensor, timesteps: Tensor, read: tuple[Token, ...]
    ) -> Tensor:
        """What each step's `read` tokens see, (B, K, len(read), D); tokens nobody reads at the end are not computed.

        states (B, K, S), actions (B, K, A), returns_to_go (B, K, 1), timesteps (B, K).
        """
        n_steps = states.shape[1]
        slots = [self.order.index(token) for token in read]
        width = len(self.order)
        tokens = self._tokens(states, actions, returns_to_go, timesteps, width * (n_steps - 1) + 1 + max(slots))
        steps = width * torch.arange(n_steps, device=states.device)
        positions = torch.stack([steps + slot for slot in slots], dim=1).flatten()
        out = self.transformer(tokens, positions)
        return out.unflatten(1, (n_steps, len(read)))

    def encode_last(self, window: Window, read: Token) -> Tensor:
        """What the `read` token of each row's newest step sees, (B, D)."""
        return self._encode_last(window, read)[0][:, 0]

    def encode_last_then(self, window: Window, read: Token) -> tuple[Tensor, list[Prefix], Tensor]:
        """`encode_last` for the token before the newest return, ready for `extend_return`: output (B, D), prefix, count."""
        out, prefixes, position = self._encode_last(window, read)
        return out[:, 0], prefixes, position[:, 0] + 1

    def extend_return(
        self, returns_to_go: Tensor, timesteps: Tensor, prefixes: list[Prefix], n_valid: Tensor
    ) -> Tensor:
        """What a new return token (B, 1) at `timesteps` (B,) sees behind the prefix, (B, D). Order "sra" only."""
        token = self.embed_return(returns_to_go)
        if self.embed_time is not None:
            token = token + self.embed_time(timesteps.clamp(max=self.embed_time.num_embeddings - 1))
        token = self.norm(token).unsqueeze(1)  # evaluation only: no dropout
        return self.transformer.extend(token, prefixes, n_valid)[:, 0]

    def _encode_last(self, window: Window, read: Token) -> tuple[Tensor, list[Prefix], Tensor]:
        slot, width = self.order.index(read), len(self.order)
        tokens = self._tokens(*window[:4], width * (window.states.shape[1] - 1) + 1 + slot)
        position = (width * (window.lengths - 1) + slot).unsqueeze(1)  # (B, 1)
        out, prefixes = self.transformer.with_prefix(tokens, position)
        return out, prefixes, position

    def _tokens(
        self, states: Tensor, actions: Tensor, returns_to_go: Tensor, timesteps: Tensor, n_tokens: int
    ) -> Tensor:
        """The first n_tokens tokens, (B, L, D). Cut before the norm, whose output is then contiguous: a cut one is slow."""
        given = {"state": states, "return": returns_to_go, "action": actions}
        if "joint" in self.order:
            given["joint"] = torch.cat([returns_to_go, states], dim=-1)
        embedded = [getattr(self, f"embed_{token}")(given[token]) for token in self.order]
        tokens = torch.stack(embedded, dim=2)  # (B, K, 3 or 2, D)
        if self.embed_time is not None:
            # Beyond the longest trained episode an embedding was never trained: hold the last one that was.
            tokens = tokens + self.embed_time(timesteps.clamp(max=self.embed_time.num_embeddings - 1)).unsqueeze(2)
        return self.dropout(self.norm(tokens.flatten(1, 2)[:, :n_tokens]))


def init_normal(module: nn.Module) -> None:
    """GPT-2's initialisation: weights N(0, 0.02), biases 0, LayerNorm 1 and 0."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)

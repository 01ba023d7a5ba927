"""Return models: the largest return-to-go that the data promises from here (paper 1, Sec. 4.1: a network of its own)."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from dtag.config.ranges import refuse_sizes
from dtag.policy.row_stable_linear import RowStableLinear
from dtag.policy.sequence_model import Init, SequenceModel, Window, init_normal
from dtag.policy.transformer import Activation, DropoutPlace, Norm
from dtag.products.linear import Linear


class ReturnTransformer(nn.Module):
    """Return-to-go from (s, R, a) of past steps and the newest state: Reinformer's return head on its own network.

    Paper 1 separates it from the action network without saying what it sees; it keeps Reinformer's information.
    Others: see SequenceModel.
    """

    def __init__(
        self,
        state_dim: int,
        action_dim: int,
        max_timestep: int,
        *,
        hidden: int = 256,
        n_layers: int = 4,
        n_heads: int = 8,
        time_embedding: Literal["absolute", "none"] = "absolute",
        norm: Norm = "post",
        activation: Activation = "gelu",
        embedding_dropout: float = 0.0,
        attention_dropout: float = 0.1,
        attention_dropout_on: DropoutPlace = "output",
        residual_dropout: float = 0.1,
        init: Init = "torch",
    ) -> None:
        super().__init__()
        self.model = SequenceModel(
            state_dim,
            action_dim,
            max_timestep,
            hidden=hidden,
            n_layers=n_layers,
            n_heads=n_heads,
            token_order="sra",
            time_embedding=time_embedding,
            norm=norm,
            activation=activation,
            embedding_dropout=embedding_dropout,
            attention_dropout=attention_dropout,
            attention_dropout_on=attention_dropout_on,
            residual_dropout=residual_dropout,
            init=init,
        )
        self.head = RowStableLinear(hidden, 1)
        if init == "normal":
            init_normal(self.head)

    def forward(self, states: Tensor, actions: Tensor, returns_to_go: Tensor, timesteps: Tensor) -> Tensor:
        """Predicted scaled return-to-go (B, K, 1) at every step; the prediction at t never sees R_t or a_t."""
        return self.head(self.model.encode(states, actions, returns_to_go, timesteps, ("state",))[:, :, 0])

    def predict_return(self, window: Window) -> Tensor:
        """Predicted scaled return-to-go (B, 1) at each row's newest step."""
        return self.head(self.model.encode_last(window, "state"))


class ReturnMLP(nn.Module):
    """Return-to-go from the newest state alone: the cheap ablation (paper 1, Sec. 3.1 argues state by state).

    hidden, n_layers: width and number of hidden layers.
    """

    def __init__(self, state_dim: int, *, hidden: int = 256, n_layers: int = 2) -> None:
        super().__init__()
        refuse_sizes(hidden=hidden, n_layers=n_layers)
        dims = [state_dim] + [hidden] * n_layers
        layers = [m for i, o in pairwise(dims) for m in (Linear(i, o), nn.ReLU())]
        self.net = nn.Sequential(*layers, RowStableLinear(dims[-1], 1))

    def forward(self, states: Tensor, actions: Tensor, returns_to_go: Tensor, timesteps: Tensor) -> Tensor:
        """Predicted scaled return-to-go (B, K, 1) at every step."""
        return self.net(states)

    def predict_return(self, window: Window) -> Tensor:
        """Predicted scaled return-to-go (B, 1) at each row's newest step."""
        newest = (window.lengths - 1)[:, None, None].expand(-1, 1, window.states.shape[-1])
        return self.net(window.states.gather(1, newest)[:, 0])

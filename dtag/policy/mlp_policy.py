"""A policy without memory: the network of BC, TD3+BC, CQL, IQL and AWAC."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from dtag.config.ranges import refuse_sizes
from dtag.policy.heads import HeadName, make_head, newest_action
from dtag.policy.output import PolicyOutput
from dtag.policy.sequence_model import Window
from dtag.products.linear import Linear

Given = Literal["state", "return", "state_return"]


class MLPPolicy(nn.Module):
    """Actions from the newest state alone, by an MLP with ReLU.

    A batch of segments is a batch of independent steps to it, so train it with data.context_length=1, weighting=length
    and start=anywhere: transitions drawn uniformly. given: "state"; "state_return" also conditions on the
    return-to-go (RvS), "return" on nothing else (the one-state toys). hidden, n_layers: width and number of hidden layers.
    head, learn_std: see make_head. dropout: before each hidden layer but the first; 0 as published.
    """

    def __init__(
        self,
        state_dim: int,
        action_low: Sequence[float],
        action_high: Sequence[float],
        *,
        hidden: int = 256,
        n_layers: int = 2,
        given: Given = "state",
        head: HeadName = "deterministic",
        learn_std: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        refuse_sizes(hidden=hidden, n_layers=n_layers)
        self.given = given
        self.reads_return = given != "state"
        input_dim = {"state": state_dim, "return": 1, "state_return": state_dim + 1}[given]
        layers: list[nn.Module] = []
        for index, (wide, narrow) in enumerate(pairwise([input_dim] + [hidden] * n_layers)):
            layers += [nn.Dropout(dropout)] if index and dropout else []
            layers += [Linear(wide, narrow), nn.ReLU()]
        self.network = nn.Sequential(*layers)
        self.head = make_head(head, hidden, action_low, action_high, learn_std)

    @property
    def predicts_return(self) -> bool:
        return False

    def forward(self, states: Tensor, actions: Tensor, returns_to_go: Tensor, timesteps: Tensor) -> PolicyOutput:
        """Predictions at every step: (B, K, S), (B, K, A), (B, K, 1), (B, K) -> PolicyOutput. actions are not read."""
        action, distribution = self.head(self.network(self._input(states, returns_to_go)))
        return PolicyOutput(action, distribution, None)

    def act(self, window: Window) -> Tensor:
        """Action (B, A) for each row's newest step: the mean, or with noise a sample."""
        newest = (window.lengths - 1)[:, None, None]
        parts = (window.states, window.returns_to_go)
        states, returns = (part.gather(1, newest.expand(-1, 1, part.shape[-1]))[:, 0] for part in parts)
        return newest_action(self.head, self.network(self._input(states, returns)), window.noise)

    def predict_return_and_act(self, window: Window) -> tuple[Tensor, Tensor]:
        """Not offered: predicts_return is False."""
        raise TypeError("an MLPPolicy predicts no return; give it a return_model")

    def _input(self, states: Tensor, returns_to_go: Tensor) -> Tensor:
        if self.given == "state":
            return states
        return returns_to_go if self.given == "return" else torch.cat([states, returns_to_go], dim=-1)

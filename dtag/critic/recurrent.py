"""A critic that remembers: Q of the steps so far, by a recurrent network. Paper 2's ablation of its reflective critic.

Letters: B segments, K steps, N steps of any segments, S state dim, A action dim, H units of a layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from dtag.config.ranges import refuse_rates, refuse_sizes
from dtag.critic.actor import Actor
from dtag.critic.adam import adam
from dtag.critic.networks import QChoice, TargetNetwork, reduce_q, target_of, td_loss
from dtag.critic.target_rules import TargetRule
from dtag.data.segments import SegmentBatch

Cell = Literal["lstm", "rnn"]
Memory = list[tuple[Tensor, ...]]  # of every layer: h and, of an LSTM, c


class RecurrentQ(nn.Module):
    """Layers of recurrent cells over (s, a), one linear head for each of n_q members on the last.

    Cells one by one, not nn.LSTM: it hides what it remembers between steps, and its weights cannot become buffers.
    """

    def __init__(self, n_q: int, input_dim: int, hidden: tuple[int, ...], cell: Cell) -> None:
        super().__init__()
        refuse_sizes(hidden=hidden or (0,), n_q=n_q)
        kind = nn.LSTMCell if cell == "lstm" else nn.RNNCell
        self.cells = nn.ModuleList([kind(before, after) for before, after in pairwise((input_dim, *hidden))])
        self.heads = nn.Linear(hidden[-1], n_q)
        self.hidden, self.n_kept = hidden, 2 if cell == "lstm" else 1

    def step(self, states: Tensor, actions: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """Q (n_q, N) of states (N, S) and actions (N, A) behind what is remembered (N, H), and what then is."""
        if torch.is_autocast_enabled(states.device.type):  # see EnsembleMLP
            with torch.autocast(states.device.type, enabled=False):
                return self.step(states, actions.to(states.dtype), memory)
        x = torch.cat([states, actions], dim=-1)
        after: Memory = []
        for cell, kept in zip(self.cells, memory, strict=True):
            own = cell(x, kept) if self.n_kept == 2 else (cell(x, kept[0]),)
            after.append(own)
            x = own[0]
        return self.heads(x).T, after

    def along(self, states: Tensor, actions: Tensor) -> tuple[Tensor, Memory]:
        """Q (n_q, B, K) at every step of segments (B, K, S), (B, K, A), and what is remembered before each, (B, K, H).

        Nothing is remembered at a segment's start. A step sees those before it alone, so padding on the right is unseen.
        """
        memory: Memory = [(states.new_zeros(len(states), n),) * self.n_kept for n in self.hidden]
        q, before = [], []
        for t in range(states.shape[1]):
            before.append(memory)
            found, memory = self.step(states[:, t], actions[:, t], memory)
            q.append(found)
        layers = zip(*before, strict=True)  # of each layer, its memory before each step
        stacked = [tuple(torch.stack(kept, dim=1) for kept in zip(*layer, strict=True)) for layer in layers]
        return torch.stack(q, dim=2), stacked


class RecurrentCritic(TargetNetwork, nn.Module):
    """Q_1..n with L = sum_i mean[ (Q_i(h_t, s_t, a_t) - y_t)^2 ],  h_t = (s, a)_{<t} of the segment,
    y_t = r_t + discount (1 - terminated_t) rule(h'_t, s_{t+1}),  h'_t = (s, a)_{2..t}   (paper 2, eq. 3 and App. G)

    The target's history is the policy's shifted context: it begins one step later, so that it is never longer than the
    K steps that Q is trained on. History is the data's in every Q; the last action alone may be another, the policy's.
    Mean over steps whose next state is known.

    Action Gradient knows no history, so it cannot climb this critic: set ag=null.

    rule: for the value of the next step, one of dtag.critic.target_rules. hidden: units of each layer; paper 2 has
    three of 256. cell: "lstm", or "rnn" (tanh). n_q: 2 are the usual twins. discount: per step. polyak: share of the
    online weights, and of the policy's, that enters the targets after each policy step. learning_rate, weight_decay:
    Adam's, AdamW's.
    """

    learns_along = True
    learns_from = "segments"

    def __init__(
        self,
        state_dim: int,
        action_low: Sequence[float],
        action_high: Sequence[float],
        *,
        rule: TargetRule,
        hidden: tuple[int, ...] = (256, 256, 256),
        n_q: int = 2,
        cell: Cell = "lstm",
        discount: float = 0.99,
        polyak: float = 0.005,
        learning_rate: float = 3e-4,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__()
        refuse_rates(learning_rate=learning_rate, weight_decay=weight_decay, discount=discount, polyak=polyak)
        self.q_network = RecurrentQ(n_q, state_dim + len(action_low), tuple(hidden), cell)
        self.target_network = target_of(self.q_network)
        self.rule = rule
        self.register_buffer("low", torch.tensor(action_low, dtype=torch.float32))
        self.register_buffer("high", torch.tensor(action_high, dtype=torch.float32))
        self.discount, self.polyak = discount, polyak
        self.learning_rate, self.weight_decay = learning_rate, weight_decay

    low: Tensor
    high: Tensor

    def q_along(self, batch: SegmentBatch, actions: Tensor, choice: QChoice = "min") -> Tensor:
        """Q (B, K) of an action (B, K, A) at each step behind the data's history, differentiable in it; see reduce_q."""
        network = self.target_network if choice == "target_min" else self.q_network
        with torch.no_grad():
            memory = network.along(batch.states, batch.actions)[1]
        flat = [tuple(kept.flatten(0, 1) for kept in layer) for layer in memory]
        q, _ = network.step(batch.states.flatten(0, 1), actions.flatten(0, 1), flat)
        return reduce_q(q, choice).view(batch.mask.shape)

    def loss(self, batch: SegmentBatch, actor: Actor) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar loss over segments that look ahead. actor: the policy at their next steps; y carries no gradient."""
        following = batch.following
        if following is None:
            raise ValueError("a critic that learns along needs segments that look ahead: serve(..., look_ahead=True)")
        known = following.known
        with torch.no_grad():
            at_next = AtSteps(self.q_network, self.target_network, *shifted(batch), known)
            value = self.rule(at_next, following.states[known], actor, self.low, self.high)
            rewards = following.rewards[known]
            y = torch.where(following.terminated[known].bool(), rewards, rewards + self.discount * value)
        q = self.q_network.along(batch.states, batch.actions)[0][:, known]  # (n_q, N)
        return td_loss(q, y)

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam, or AdamW where there is weight decay."""
        return adam(self.parameters(), self.learning_rate, self.weight_decay)


def shifted(batch: SegmentBatch) -> tuple[Tensor, Tensor]:
    """States (B, K, S) and actions (B, K, A) of the segments one step later; the newest action is zero, to be replaced."""
    assert batch.following is not None
    actions = torch.cat([batch.actions[:, 1:], torch.zeros_like(batch.actions[:, :1])], dim=1)
    return batch.following.states, actions


class AtSteps:
    """Both networks at the chosen steps of segments, each behind its history: what a TargetRule evaluates.

    states (B, K, S), actions (B, K, A); chosen (B, K) bool, N of them. Row i of every call is the i-th chosen step.
    """

    def __init__(self, online: RecurrentQ, target: RecurrentQ, states: Tensor, actions: Tensor, chosen: Tensor) -> None:
        self.online, self.target = online, target
        self.segments, self.chosen = (states, actions), chosen

    def q(self, states: Tensor, actions: Tensor) -> Tensor:
        """(N, S), (N, A) -> (n_q, N)"""
        return self._ask(self.online, states, actions)

    def q_target(self, states: Tensor, actions: Tensor) -> Tensor:
        """(N, S), (N, A) -> (n_q, N), from the target networks."""
        return self._ask(self.target, states, actions)

    def _ask(self, network: RecurrentQ, states: Tensor, actions: Tensor) -> Tensor:
        with torch.no_grad():
            memory = network.along(*self.segments)[1]
        q, _ = network.step(states, actions, [tuple(kept[self.chosen] for kept in layer) for layer in memory])
        return q

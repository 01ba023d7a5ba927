"""Temporal-difference critics that learn along with a policy: TD3's, DDPG's, AWAC's, CQL's, and the naive one of eq. 3.

They see one-step transitions and ask a policy for next actions; whether those come from a dataset or from a replay
buffer that grows is nothing they know.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dtag.config.ranges import refuse_rates, refuse_sizes
from dtag.critic.actor import Actor
from dtag.critic.adam import adam
from dtag.critic.conservative import ConservativePenalty
from dtag.critic.networks import QChoice, QEnsemble, TargetNetwork, reduce_q, target_of, td_loss
from dtag.critic.target_rules import TargetRule
from dtag.data.transitions import TransitionBatch


class BellmanCritic(TargetNetwork, nn.Module):
    """Q_1..n with L = sum_i mean[ (Q_i(s, a) - y)^2 ] (+ penalty),  y = r + discount (1 - terminated) rule(s')
    (paper 2, eq. 3; paper 1, eq. 3).

    Paper 2's reflective critic: Q sees (s_t, a_t) alone, at every position of a segment. The mean is over valid steps;
    paper 2's code divides by B x K, padding included.
    rule: for the value of s', one of dtag.critic.target_rules. penalty: CQL's, or null. hidden: tuple of layer widths.
    n_q: 2 are the usual twins. layer_norm: see EnsembleMLP; paper 2 has it everywhere but in MuJoCo. discount: per
    step. polyak: share of the online weights, and of the policy's, that enters the targets after each policy step.
    learning_rate: Adam's; paper 2 has 1e-3. weight_decay: above 0 makes it AdamW; paper 2 has 0.01.
    """

    learns_along = True

    def __init__(
        self,
        state_dim: int,
        action_low: Sequence[float],
        action_high: Sequence[float],
        *,
        rule: TargetRule,
        penalty: ConservativePenalty | None = None,
        hidden: tuple[int, ...] = (256, 256),
        n_q: int = 2,
        layer_norm: bool = False,
        discount: float = 0.99,
        polyak: float = 0.005,
        learning_rate: float = 3e-4,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__()
        refuse_sizes(n_q=n_q)
        refuse_rates(learning_rate=learning_rate, weight_decay=weight_decay, discount=discount, polyak=polyak)
        self.q_network = QEnsemble(n_q, state_dim, len(action_low), tuple(hidden), layer_norm)
        self.target_network = target_of(self.q_network)
        self.rule, self.penalty = rule, penalty
        self.register_buffer("low", torch.tensor(action_low, dtype=torch.float32))
        self.register_buffer("high", torch.tensor(action_high, dtype=torch.float32))
        self.discount, self.polyak = discount, polyak
        self.learning_rate, self.weight_decay = learning_rate, weight_decay

    low: Tensor
    high: Tensor

    def q(self, states: Tensor, actions: Tensor) -> Tensor:
        """(B, S), (B, A) -> (n_q, B), from the online networks."""
        return self.q_network.q(states, actions)

    def q_target(self, states: Tensor, actions: Tensor) -> Tensor:
        """(B, S), (B, A) -> (n_q, B), from the target networks."""
        return self.target_network.q(states, actions)

    def q_reduced(self, states: Tensor, actions: Tensor, choice: QChoice = "min", kappa: float = 1.0) -> Tensor:
        """(B, S), (B, A) -> (B,), differentiable in the actions. See reduce_q for the choices."""
        return reduce_q((self.q_target if choice == "target_min" else self.q)(states, actions), choice, kappa)

    def loss(self, batch: TransitionBatch, actor: Actor) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar loss over N transitions. actor: the policy at their next states; y carries no gradient."""
        with torch.no_grad():
            following = self.rule(self, batch.next_states, actor, self.low, self.high)
            y = torch.where(batch.terminated.bool(), batch.rewards, batch.rewards + self.discount * following)
        q = self.q(batch.states, batch.actions)  # (n_q, N)
        loss, info = td_loss(q, y)
        if self.penalty is not None:
            penalty, own = self.penalty(self.q, batch, q, actor, self.low, self.high)
            loss, info = loss + penalty, {**info, **own}
        return loss, info

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam, or AdamW where there is weight decay, over the networks and the penalty's own parameters."""
        return adam(self.parameters(), self.learning_rate, self.weight_decay)

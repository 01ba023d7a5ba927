"""IQL: Q and V learned from the data alone, never asking for an action outside it.

Kostrikov et al. 2021; eq. 4 and 5 of the Action Gradient paper, which prints one Q, no target and no (1 - d).
Differences from the authors' code: y uses V before its update (as CORL); L_Q is the mean over members (as CORL), theirs
the sum; the policy is not part of it. `n_advantage` adds networks of our own, described in IQL.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dtag.config.ranges import refuse_rates, refuse_sizes
from dtag.critic.adam import adam
from dtag.critic.networks import EnsembleMLP, QChoice, QEnsemble, TargetNetwork, reduce_q, target_of
from dtag.data.transitions import TransitionBatch
from dtag.reductions.expectile import asymmetric_square


class IQL(TargetNetwork, nn.Module):
    """n_q Q-functions, their targets and V.

    expectile: higher trusts the best actions in the data more; 0.7 locomotion, 0.9 antmaze. discount: per step.
    polyak: share of the online weights that enters the target at each step. learning_rate: Adam's, for Q and V.
    weight_decay: above 0 makes it AdamW. hidden: tuple of layer widths, of Q and of V.
    n_q: 2 as published; more for ensemble research. layer_norm: see EnsembleMLP.
    n_advantage: networks A(s, a) fitted to the residual y - V(s), for Action Gradient to climb (ag.q=advantage); 0 =
    the published critic. Q must spend its accuracy on V's range, a hundred times the effect of an action; A has nothing
    else to fit. They change neither Q nor V. tests/results has what was measured.
    """

    def __init__(
        self,
        state_dim: int,
        action_dim: int,
        *,
        hidden: tuple[int, ...] = (256, 256),
        n_q: int = 2,
        n_advantage: int = 0,
        layer_norm: bool = False,
        expectile: float = 0.7,
        discount: float = 0.99,
        polyak: float = 0.005,
        learning_rate: float = 3e-4,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__()
        refuse_sizes(n_q=n_q)
        if n_advantage < 0:
            raise ValueError(f"n_advantage={n_advantage} must be at least 0; 0 is none")
        refuse_rates(learning_rate=learning_rate, weight_decay=weight_decay, discount=discount, polyak=polyak)
        if not 0 < expectile < 1 or polyak == 0:
            raise ValueError(f"expectile={expectile} and polyak={polyak} must lie between 0 and 1")
        hidden = tuple(hidden)  # a list when it comes from YAML
        self.q_network = QEnsemble(n_q, state_dim, action_dim, hidden, layer_norm)
        self.value_network = EnsembleMLP(1, state_dim, hidden, layer_norm)
        self.advantage_network = (
            QEnsemble(n_advantage, state_dim, action_dim, hidden, layer_norm) if n_advantage else None
        )
        self.target_network = target_of(self.q_network)
        self.expectile = expectile
        self.discount = discount
        self.polyak = polyak
        self.learning_rate, self.weight_decay = learning_rate, weight_decay

    def q(self, states: Tensor, actions: Tensor) -> Tensor:
        """(B, S), (B, A) -> (n_q, B), from the online networks."""
        return self.q_network.q(states, actions)

    def q_target(self, states: Tensor, actions: Tensor) -> Tensor:
        """(B, S), (B, A) -> (n_q, B), from the target networks."""
        return self.target_network.q(states, actions)

    def value(self, states: Tensor) -> Tensor:
        """(B, S) -> (B,)"""
        return self.value_network(states)[0]

    def q_reduced(self, states: Tensor, actions: Tensor, choice: QChoice = "min", kappa: float = 1.0) -> Tensor:
        """(B, S), (B, A) -> (B,), differentiable in the actions. See reduce_q for the choices.

        "advantage" is A(s, a), the mean of its members: Q less a value that the action does not change.
        """
        if choice in ("advantage", "advantage_bound") and self.advantage_network is not None:
            members = self.advantage_network.q(states, actions)
            return reduce_q(members, "mean" if choice == "advantage" else "lower_bound", kappa)
        q = self.q_target(states, actions) if choice == "target_min" else self.q(states, actions)
        return reduce_q(q, choice, kappa)

    def loss(self, batch: TransitionBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """L_V + L_Q (+ L_A) in one scalar: they share no parameter, so one backward serves all.

        L_V = E[ |expectile - 1(u < 0)| * u^2 ],  u = min_i Q'_i(s, a) - V(s)
        L_Q = E[ mean_i (Q_i(s, a) - y)^2 ],      y = r + discount * (1 - terminated) * V(s')
        L_A = E[ mean_i (A_i(s, a) - (y - V(s)))^2 ]

        Q' are the targets; neither Q' nor y carries gradient, nor V(s) in L_A.
        """
        pairs = torch.cat([batch.states, batch.actions], dim=-1)  # (B, S + A)
        with torch.no_grad():
            q_target = reduce_q(self.target_network(pairs), "min")
            bootstrapped = batch.rewards + self.discount * self.value(batch.next_states)
            y = torch.where(batch.terminated.bool(), batch.rewards, bootstrapped)
        value = self.value(batch.states)
        loss_v = asymmetric_square(q_target - value, self.expectile).mean()
        q = self.q_network(pairs)
        td_error = q - y  # (n_q, B)
        loss_q = (td_error * td_error).mean()  # not square(): its backward costs twice as much on CPU
        info = {
            "loss_q": loss_q.detach(),
            "loss_v": loss_v.detach(),
            "q_mean": q.detach().mean(),
            "v_mean": value.detach().mean(),
            "td_error_abs": td_error.detach().abs().mean(),
        }
        loss = loss_q + loss_v
        if self.advantage_network is not None:
            error = self.advantage_network(pairs) - (y - value).detach()
            loss_a = (error * error).mean()
            loss, info["loss_a"] = loss + loss_a, loss_a.detach()
        return loss, info

    def optimizer(self) -> torch.optim.Optimizer:
        """One Adam, or AdamW where there is weight decay, over Q, V and A."""
        return adam(self.parameters(), self.learning_rate, self.weight_decay)

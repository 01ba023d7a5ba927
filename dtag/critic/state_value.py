"""V(s) learned from what the policy has just collected: the critic of AWR and PPO."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dtag.config.ranges import refuse_rates
from dtag.critic.adam import adam
from dtag.critic.networks import EnsembleMLP
from dtag.critic.td_lambda import td_lambda
from dtag.data.segments import SegmentBatch
from dtag.errors import UsageError
from dtag.reductions.masked_mean import masked_mean

N_ROWS = 8192  # states valued at once when a round begins, a matter of memory only


class StateValue(nn.Module):
    """L = mean_m[ (V(s_t) - R_t)^2 ],  R_t the TD(lambda) return of `td_lambda`
    (Peng et al. 2019, Alg. 1; Schulman et al. 2017, eq. 9, with a network of its own)

    R and the advantages are estimated once a round, by the V that the round begins with, over whole episodes; V then
    learns from them as the policy does. It knows no Q(s, a), so Action Gradient cannot climb it: set ag=null.

    hidden: layer widths. layer_norm: see EnsembleMLP. discount: per step. trace_decay: lambda, 0.98 in paper 2's code
    (0.95 in the papers above); 1 is the Monte Carlo return, 0 one-step TD. learning_rate, weight_decay: Adam's, AdamW's.
    """

    learns_along = True
    learns_from = "recent"
    polyak = 1.0  # it has no targets, and asks nothing of the target policy

    def __init__(
        self,
        state_dim: int,
        *,
        hidden: tuple[int, ...] = (256, 256),
        layer_norm: bool = False,
        discount: float = 0.99,
        trace_decay: float = 0.98,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__()
        refuse_rates(learning_rate=learning_rate, weight_decay=weight_decay, discount=discount, trace_decay=trace_decay)
        self.value_network = EnsembleMLP(1, state_dim, tuple(hidden), layer_norm)
        self.discount, self.trace_decay = discount, trace_decay
        self.learning_rate, self.weight_decay = learning_rate, weight_decay

    def value(self, states: Tensor) -> Tensor:
        """(B, S) -> (B,)"""
        found: Tensor = self.value_network(states)[0]
        return found

    @torch.no_grad()
    def estimate(self, states: Tensor, rewards: Tensor, terminated: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Advantages and TD(lambda) returns (n, T) of n whole episodes under V as it is now.

        states (n, T + 1, S) normalised, the one after the last step included; rewards, terminated (n, T); lengths (n,).
        """
        rows = states.flatten(0, 1)
        values = torch.cat([self.value(part) for part in rows.split(N_ROWS)]).view(states.shape[:2])
        decays = {"discount": self.discount, "trace_decay": self.trace_decay}
        return td_lambda(rewards, values, terminated, lengths, **decays)

    def loss(self, batch: SegmentBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar loss over the valid steps of segments that hold `collected`."""
        if batch.collected is None:
            raise UsageError("StateValue learns from what was just collected: use it with dtag finetune")
        targets = batch.collected.value_targets
        value = self.value(batch.states.flatten(0, 1)).view(batch.mask.shape)
        error = value - targets
        loss = masked_mean(error * error, batch.mask)
        return loss, {
            "loss_v": loss.detach(),
            "v_mean": masked_mean(value.detach(), batch.mask),
            "target_mean": masked_mean(targets, batch.mask),
        }

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam, or AdamW where there is weight decay."""
        return adam(self.parameters(), self.learning_rate, self.weight_decay)

    def update_target(self) -> None:
        """There are no targets."""

    def copy_to_target(self) -> None:
        """There are no targets."""

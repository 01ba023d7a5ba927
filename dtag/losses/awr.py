"""AWR: likelihood of the actions just collected, weighted by how much better they did than expected."""

from __future__ import annotations

from torch import Tensor

from dtag.critic.critic import Critic
from dtag.data.segments import SegmentBatch
from dtag.losses.advantage_weight import advantage_weight
from dtag.losses.term import Info, Source, collected_of
from dtag.policy.output import PolicyOutput
from dtag.reductions.masked_mean import masked_mean


class AWR:
    """L = -mean_m[ w_t log pi(a_t | tau_t) ],  w_t = min( exp( (R_t - V(s_t)) / beta ), max )
    (Peng et al. 2019, Alg. 1; paper 2, App. C)

    Over the newest online.recent_steps collected steps. R is the TD(lambda) return, V the value that the round began
    with (Peng et al. have already updated it); w carries no gradient. The entropy is a term of its own (EntropyBonus).

    weight: of this term in the sum. beta: temperature, in units of the critic's reward. max_weight: paper 2's code has
    20, and beta = 1. first_round: teach nothing before this round of the run; the first, 0, has an untrained V.
    """

    source: Source = "recent"
    needs_log_prob = False

    def __init__(
        self, *, weight: float = 1.0, beta: float = 1.0, max_weight: float = 20.0, first_round: int = 1
    ) -> None:
        if beta <= 0 or max_weight <= 0:
            raise ValueError(f"AWR: beta={beta} and max_weight={max_weight} must be positive")
        self.weight, self.beta, self.max_weight, self.first_round = weight, beta, max_weight, first_round

    def __call__(self, batch: SegmentBatch, output: PolicyOutput, critic: Critic | None) -> tuple[Tensor, Info]:
        """The scalar loss; info: advantage and importance, the mean weight."""
        collected = collected_of(batch, "AWR")
        if output.distribution is None:
            raise ValueError("AWR needs a policy with a distribution: head='gaussian' or 'squashed'")
        if bool((collected.rounds < self.first_round).all()):
            # Without gradient: where this term is alone, the policy does not move.
            return batch.states.new_zeros(()), {}
        importance = advantage_weight(collected.advantages, self.beta, self.max_weight)  # (B, K)
        log_prob = output.distribution.log_prob(batch.actions).sum(-1)
        loss = -masked_mean(importance.to(log_prob.dtype) * log_prob, batch.mask)
        return loss, {
            "advantage": masked_mean(collected.advantages, batch.mask),
            "importance": masked_mean(importance, batch.mask),
        }

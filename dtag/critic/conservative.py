"""CQL's penalty: push Q down where the policy and chance would act, up where the data acted."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dtag.critic.actor import Actor
from dtag.data.transitions import TransitionBatch


class ConservativePenalty(nn.Module):
    """L = alpha sum_i mean[ logsumexp_a Q_i(s, a) - Q_i(s, a_D) ]     (Kumar et al. 2020, eq. 4, CQL(H))

    logsumexp over n_actions uniform actions, n_actions of pi(s) and n_actions of pi(s'), each Q less the log-density
    its action was drawn with (importance sampling, App. F).

    temperature: t of t logsumexp(Q / t), 1 as published. alpha: 10 in CORL's locomotion configs, 5 in antmaze.
    n_actions: of each kind. lagrange_gap: null, or the gap at which a learned multiplier holds the penalty (CORL: 5 in
    maze2d, 0.8 in antmaze), trained by the critic's optimiser: L = multiplier alpha (difference - gap), the multiplier
    growing while the difference exceeds the gap. It begins at e, as CORL's.
    """

    def __init__(
        self,
        *,
        alpha: float = 10.0,
        n_actions: int = 10,
        temperature: float = 1.0,
        lagrange_gap: float | None = None,
    ) -> None:
        super().__init__()
        self.alpha, self.n_actions, self.temperature, self.lagrange_gap = alpha, n_actions, temperature, lagrange_gap
        self.log_multiplier = nn.Parameter(torch.ones(())) if lagrange_gap is not None else None

    def forward(
        self,
        q_function: Callable[[Tensor, Tensor], Tensor],
        batch: TransitionBatch,
        q_data: Tensor,
        actor: Actor,
        low: Tensor,
        high: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar penalty. q_function: (N, S), (N, A) -> (n_q, N). q_data: (n_q, N), at the data's actions."""
        actions, log_density = self._candidates(batch, actor, low, high)  # (m, N, A), (m, N)
        m, n = log_density.shape
        q = q_function(batch.states.repeat(m, 1), actions.flatten(0, 1)).view(-1, m, n) - log_density
        spread = self.temperature * torch.logsumexp(q / self.temperature, dim=1)  # (n_q, N)
        difference = (spread - q_data).mean(1)  # (n_q,)
        info = {"conservative_gap": difference.detach().mean()}
        if self.log_multiplier is None or self.lagrange_gap is None:
            return self.alpha * difference.sum(), info
        multiplier = self.log_multiplier.exp().clamp(max=1e6)
        beyond = self.alpha * (difference - self.lagrange_gap).sum()
        # The first summand moves Q, the second only the multiplier: up while the gap is exceeded.
        return multiplier.detach() * beyond - multiplier * beyond.detach(), {**info, "multiplier": multiplier.detach()}

    def _candidates(self, batch: TransitionBatch, actor: Actor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        shape = (self.n_actions, *batch.actions.shape)
        uniform = low + (high - low) * torch.rand(shape, dtype=batch.actions.dtype, device=batch.actions.device)
        density = (-(high - low).log().sum()).expand(shape[:2]).to(uniform)
        drawn = [actor.sample(self.n_actions), actor.next_sample(self.n_actions)]
        actions = torch.cat([uniform, *(own.clamp(low, high) for own, _ in drawn)])  # a squashed head's are within
        return actions, torch.cat([density, *(log_prob for _, log_prob in drawn)])

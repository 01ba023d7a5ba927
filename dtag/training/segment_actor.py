"""A sequence policy as a critic that learns along with it sees it: actions at a batch's steps and at those after them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from dtag.data.segments import Following, SegmentBatch
from dtag.data.transitions import TransitionBatch
from dtag.errors import UsageError
from dtag.policy.output import PolicyOutput
from dtag.policy.squashed_normal import sample_with_log_prob


class SegmentActor:
    """Actions of a policy and of its target at the N positions of a batch whose next state is known.

    The next step's context is the segment one step later (paper 2, eq. 3): following states, returns-to-go and
    timesteps, and the actions moved up by one; the newest action, which no query sees, is zero. One pass over the
    shifted segment serves all positions. Networks are asked without dropout; nothing carries gradient.

    policy, target_policy: (states, actions, returns_to_go, timesteps) -> PolicyOutput. batch: with `following`.
    temperature: lambda of the policy's entropy bonus, for targets that count entropy.
    """

    def __init__(
        self, policy: nn.Module, target_policy: nn.Module, batch: SegmentBatch, temperature: float = 0.0
    ) -> None:
        if batch.following is None:
            raise ValueError("a critic that learns along needs segments that look ahead: serve(..., look_ahead=True)")
        self.policy, self.target_policy, self.batch = policy, target_policy, batch
        self.following: Following = batch.following
        self.temperature = temperature

    def transitions(self) -> TransitionBatch:
        """The batch's N one-step transitions, in the order of every answer."""
        following, known = self.following, self.following.known
        return TransitionBatch(
            states=self.batch.states[known],
            actions=self.batch.actions[known],
            rewards=following.rewards[known],
            next_states=following.states[known],
            terminated=following.terminated[known],
        )

    def next_action(self, *, target: bool) -> Tensor:
        """(N, A)"""
        network = self.target_policy if target else self.policy
        return self._ask(network, self._next_inputs()).action[self.following.known]

    def next_sample(self, n: int) -> tuple[Tensor, Tensor]:
        """(n, N, A), (n, N)"""
        return self._sample(n, self._next_inputs())

    def sample(self, n: int) -> tuple[Tensor, Tensor]:
        """(n, N, A), (n, N)"""
        batch = self.batch
        return self._sample(n, (batch.states, batch.actions, batch.returns_to_go, batch.timesteps))

    def _next_inputs(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        actions = torch.cat([self.batch.actions[:, 1:], torch.zeros_like(self.batch.actions[:, :1])], dim=1)
        return self.following.states, actions, self.following.returns_to_go, self.following.timesteps

    def _sample(self, n: int, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        distribution: Distribution | None = self._ask(self.policy, inputs).distribution
        if distribution is None:
            raise UsageError("this critic samples from the policy: use head='gaussian' or 'squashed'")
        with torch.no_grad():
            actions, log_prob = sample_with_log_prob(distribution, (n,))
        known = self.following.known
        return actions[:, known], log_prob[:, known]

    @torch.no_grad()
    def _ask(self, network: nn.Module, inputs: tuple[Tensor, ...]) -> PolicyOutput:
        was_training = network.training
        network.eval()
        output = network(*inputs)
        network.train(was_training)
        return output

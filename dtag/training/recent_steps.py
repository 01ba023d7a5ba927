"""The newest collected episodes as a source of their own, beside the replay buffer that holds them: AWR's, PPO's.

Letters: M segments, n episodes, T steps an episode has room for, K context steps.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from dtag.data.replay_buffer import ReplayBuffer
from dtag.data.segments import Collected, SegmentBatch
from dtag.errors import UsageError
from dtag.training.policy_module import PolicyModule
from dtag.training.settings import OnlineSettings

N_SEGMENTS = 256  # segments whose likelihood is asked for at once, a matter of memory only


class RecentSteps:
    """The last round's episodes and, while there is room for `n_steps`, the ones before; never offline data.

    As a round begins to learn, the episodes are cut into segments of K steps, at places drawn anew, so that every step
    lies in exactly one; the critic estimates advantages over whole episodes, and where a term asks for it the policy
    its actions' likelihood, in the segments as they will be learned from. All of that is held until the next round.
    Segments are drawn uniformly, with replacement.

    The steps themselves stay in the replay buffer: episodes that it has overwritten are gone here too.
    """

    def __init__(self, buffer: ReplayBuffer, *, n_steps: int) -> None:
        self.buffer, self.n_steps = buffer, n_steps
        self.n_offline = buffer.n_added
        self.round = -1
        empty = torch.zeros(0, dtype=torch.long)
        self.slots, self.starts, self.sizes = empty, empty, empty  # (M,) each
        self.advantages = self.value_targets = self.log_prob = torch.zeros(0, buffer.context_length)  # (M, K)

    @property
    def n_held(self) -> int:
        """Steps in all segments."""
        return int(self.sizes.sum())

    def begin_round(self, module: PolicyModule, n_new: int, generator: torch.Generator) -> None:
        """Take in the n_new episodes added last, and estimate what only this moment knows. module: in evaluation mode."""
        slots = self._newest(n_new)
        self.round += 1
        self.slots, self.starts, self.sizes, episodes = self._cut(slots, generator)
        estimates = self._estimate(module, slots)
        at = (episodes.unsqueeze(1), self.starts.unsqueeze(1) + torch.arange(self.buffer.context_length))
        # a segment may reach beyond the longest episode; what lies beyond its size is never read
        self.advantages, self.value_targets = (
            values[at[0], at[1].clamp(max=values.shape[1] - 1)] for values in estimates
        )
        self.log_prob = torch.zeros_like(self.advantages)
        if module.needs_log_prob:
            self.log_prob = self._log_prob(module)

    def sample(self, batch_size: int, generator: torch.Generator) -> SegmentBatch:
        """batch_size segments with `collected`."""
        return self.gather(torch.randint(len(self.slots), (batch_size,), generator=generator))

    def gather(self, segments: Tensor) -> SegmentBatch:
        """The given segments (B,). Steps that belong to the next segment are masked, and unseen by those before."""
        batch = self.buffer.gather(self.slots[segments], self.starts[segments])
        own = torch.arange(self.buffer.context_length) < self.sizes[segments].unsqueeze(1)
        collected = Collected(
            advantages=self.advantages[segments] * own,
            value_targets=self.value_targets[segments] * own,
            log_prob=self.log_prob[segments] * own,
            rounds=torch.full_like(segments, self.round),
        )
        return batch._replace(mask=batch.mask & own, collected=collected, following=None)

    def state_dict(self) -> dict[str, Any]:
        """Plain tensors; the steps are the replay buffer's to save."""
        return {name: getattr(self, name) for name in _STATE}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        for name in _STATE:
            setattr(self, name, state[name])

    def _newest(self, n_new: int) -> Tensor:
        """Slots of the episodes to learn from, oldest first."""
        buffer, total = self.buffer, 0
        chosen: list[int] = []
        for index in range(buffer.n_added - 1, max(self.n_offline, buffer.n_added - buffer.capacity) - 1, -1):
            total += int(buffer.lengths[index % buffer.capacity])
            if len(chosen) >= n_new and total > self.n_steps:
                break
            chosen.append(index % buffer.capacity)
        return torch.tensor(chosen[::-1], dtype=torch.long)

    def _cut(self, slots: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Slot, first step, number of steps and place in `slots` of each segment: the first of an episode is 1 to K
        steps long, those behind it K, the last what is left.
        """
        k = self.buffer.context_length
        offsets = torch.randint(1, k + 1, (len(slots),), generator=generator).tolist()
        starts: list[int] = []
        sizes: list[int] = []
        episodes: list[int] = []
        for episode, (length, offset) in enumerate(zip(self.buffer.lengths[slots].tolist(), offsets, strict=True)):
            bounds = [0, *range(offset, length, k), length]
            starts += bounds[:-1]
            sizes += [after - before for before, after in pairwise(bounds)]
            episodes += [episode] * (len(bounds) - 1)
        of = torch.tensor(episodes)
        return slots[of], torch.tensor(starts), torch.tensor(sizes), of

    def _estimate(self, module: PolicyModule, slots: Tensor) -> list[Tensor]:
        """Advantages and value targets (n, T)."""
        inputs = (*self.buffer.episodes(slots), self.buffer.lengths[slots])
        return [values.cpu() for values in module.critic.estimate(*(x.to(module.device) for x in inputs))]

    def _log_prob(self, module: PolicyModule) -> Tensor:
        """(M, K). With gradients on, as in the policy's steps: without them other kernels run, which round otherwise."""
        parts = []
        for segments in torch.arange(len(self.slots)).split(N_SEGMENTS):
            batch = module.transfer_batch_to_device(self.gather(segments), module.device, 0)
            distribution = module.recent_output(batch).distribution
            if distribution is None:
                raise ValueError("PPO needs a policy with a distribution: head='gaussian' or 'squashed'")
            parts.append(distribution.log_prob(batch.actions).sum(-1).detach().float().cpu())
        return torch.cat(parts)


_STATE = ("round", "slots", "starts", "sizes", "advantages", "value_targets", "log_prob")


def recent_steps(buffer: ReplayBuffer, module: PolicyModule, settings: OnlineSettings) -> RecentSteps | None:
    """The source that AWR and PPO learn from; None where nothing does. Raises UsageError where they cannot."""
    if not module.reads_recent:
        return None
    if not hasattr(module.critic, "estimate"):
        raise UsageError(
            "AWR and PPO need V(s) learned from what is collected: set critic.target="
            "dtag.training.settings.LiveCriticSettings and critic.model.target=dtag.critic.state_value.StateValue"
        )
    if module.needs_log_prob and (settings.exploration != "sample" or settings.refine):
        raise UsageError(
            "PPO's ratio is of actions drawn from the policy: set online.exploration=sample and online.refine=false"
        )
    return RecentSteps(buffer, n_steps=settings.recent_steps)

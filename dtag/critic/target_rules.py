"""Target rules: which next action a temporal-difference critic bootstraps from, and what it is worth."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from dtag.critic.actor import Actor
from dtag.critic.networks import reduce_q


class BootstrapCritic(Protocol):
    """The networks a rule may evaluate, (N, S), (N, A) -> (n_q, N)."""

    def q(self, states: Tensor, actions: Tensor) -> Tensor: ...

    def q_target(self, states: Tensor, actions: Tensor) -> Tensor: ...


class TargetRule(Protocol):
    """The value (N,) of the next states (N, S), without gradient. low, high: (A,), the action bounds."""

    def __call__(
        self, critic: BootstrapCritic, next_states: Tensor, actor: Actor, low: Tensor, high: Tensor
    ) -> Tensor: ...


class TargetPolicy:
    """TD3's: min_i Q'_i(s', clip( pi'(tau') + clip(noise, -c, c), low, high )), noise ~ N(0, std^2)
    (paper 2, eq. 3; Fujimoto et al. 2018). noise=0 with a critic of n_q=1 is DDPG's.

    noise, noise_clip: the target policy's smoothing, as a share of half the action range, which is 1 in every D4RL task.
    """

    def __init__(self, *, noise: float = 0.2, noise_clip: float = 0.5) -> None:
        if noise < 0 or noise_clip < 0:
            raise ValueError(f"noise={noise} and noise_clip={noise_clip} must not be negative")
        self.noise, self.noise_clip = noise, noise_clip

    def __call__(self, critic: BootstrapCritic, next_states: Tensor, actor: Actor, low: Tensor, high: Tensor) -> Tensor:
        actions = actor.next_action(target=True)
        if self.noise > 0:
            noise = (torch.randn_like(actions) * self.noise).clamp(-self.noise_clip, self.noise_clip)
            actions = (actions + noise * (high - low) / 2).clamp(low, high)
        return reduce_q(critic.q_target(next_states, actions), "min")


class SampledPolicy:
    """min_i Q'_i(s', a'), a' ~ pi(tau'): AWAC's and CQL's (whose entropy bonus in the target is off, as in CORL)."""

    def __call__(self, critic: BootstrapCritic, next_states: Tensor, actor: Actor, low: Tensor, high: Tensor) -> Tensor:
        actions, _ = actor.next_sample(1)
        return reduce_q(critic.q_target(next_states, actions[0].clamp(low, high)), "min")


class SoftPolicy:
    """SAC's: min_i Q'_i(s', a') - lambda log pi(a' | tau'), a' ~ pi(tau')   (Haarnoja et al. 2018b, eq. 5; paper 2, App. C).

    lambda is the temperature that the policy's EntropyBonus learns; without one this is SampledPolicy.
    """

    def __call__(self, critic: BootstrapCritic, next_states: Tensor, actor: Actor, low: Tensor, high: Tensor) -> Tensor:
        actions, log_prob = actor.next_sample(1)
        value = reduce_q(critic.q_target(next_states, actions[0].clamp(low, high)), "min")
        return value - actor.temperature * log_prob[0]


class RefinedPolicy:
    """Q'(s', a'), a' = pi(tau') corrected by Action Gradient: the naive Bellman target of paper 1, eq. 3.

    Kept to show what Sec. 3.3 warns of: a' follows the critic's own errors, and bootstrapping piles them up.
    refiner: an ActionGradient, with eta in raw units; null leaves the policy's action (the plain Bellman target).
    pessimistic: take the least of the target networks; the paper has one network, so False takes their mean.
    """

    def __init__(self, *, refiner: Any = None, pessimistic: bool = False) -> None:
        self.refiner, self.choice = refiner, "target_min" if pessimistic else "mean"

    def __call__(self, critic: BootstrapCritic, next_states: Tensor, actor: Actor, low: Tensor, high: Tensor) -> Tensor:
        def value(states: Tensor, actions: Tensor) -> Tensor:
            q = critic.q_target(states, actions)
            return reduce_q(q, "min") if self.choice == "target_min" else q.mean(0)

        actions = actor.next_action(target=False)
        if self.refiner is not None:
            actions = self.refiner.refine(value, next_states, actions, low, high).actions
        return value(next_states, actions)

"""The one agent that evaluation, online collection, play and a user's own loop all run.

Letters: E slots (rows at once), n rows acting, S state dim, A action dim.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from dtag.critic.critic import Critic
from dtag.data.spec import DataSpec
from dtag.errors import DtagError, UsageError
from dtag.policy.policy import Policy, ReturnModel
from dtag.refiners.action_gradient import RULES, ActionGradient
from dtag.rollout.blocks import bucket_widths, in_blocks
from dtag.rollout.context_rule import ContextRule, context_lengths
from dtag.rollout.exploration import Explorer
from dtag.rollout.history import History
from dtag.rollout.latent_noise import LatentNoise
from dtag.rollout.row_settings import RowSettings

NO_TARGET = (
    "the policy acts by the return it is to reach, and nothing predicts one: set eval.target_return=RETURN, the raw "
    "return of a good episode (3600 in Hopper), or give it a return_model"
)


@dataclass(frozen=True)
class ContextSettings:
    """How much history the policy sees at evaluation.

    rule: "chain" (paper 1, Sec. 4.1: grow backwards while each older step promises more return than the one after it),
    "anchor" (while it promises more than now) or "off" (always `maximum`). maximum: at most so many steps, and no more
    than the policy was trained on (data.context_length); the return model always sees that many.
    """

    rule: ContextRule = "chain"
    maximum: int = 20

    def __post_init__(self) -> None:
        if self.maximum < 1:
            raise ValueError(f"context.maximum={self.maximum} must be at least 1")


@dataclass(frozen=True)
class Decision:
    """What `act_rows` did: actions (n, A) executed; per row the window length, Q gained over the policy's action and the
    distance moved (largest over action dims); zeros where nothing was refined.
    """

    actions: NDArray[np.float32]
    context_length: NDArray[np.int64]
    q_gain: NDArray[np.float32]
    shift: NDArray[np.float32]


class Agent:
    """Return model + policy + refiner + critic over a batch of rows, each with its own history and settings.

    Rows never influence each other: networks run in blocks of exactly `block_size` rows. target_return: initial
    return-to-go, raw unless the spec shapes returns, for a policy without a return model, lowered by the rewards; None
    where returns are predicted, and UsageError from acting where they are not. action_gradient_rms: the data's
    root-mean-square action gradient of this critic, for eta in rms units.
    """

    def __init__(
        self,
        policy: Policy,
        spec: DataSpec,
        *,
        return_model: ReturnModel | None = None,
        critic: Critic | None = None,
        refiner: ActionGradient | None = None,
        context: ContextSettings | None = None,
        target_return: float | None = None,
        action_gradient_rms: float = 1.0,
        block_size: int = 16,
    ) -> None:
        if block_size != 1 and (block_size < 1 or block_size % 4):
            raise ValueError(f"block_size={block_size} must be 1 or a multiple of 4: others round by a row's place")
        self.policy, self.spec, self.return_model = policy, spec, return_model
        self.condition_dim: int = getattr(policy, "condition_dim", 1)
        if self.condition_dim > 1 and context is not None and context.rule != "off":
            raise UsageError("a latent promises no return for the context to follow: set context.rule=off")
        self.needs_target = needs_target(policy, return_model)
        self.critic, self.refiner = critic, refiner
        self.context = context or ContextSettings()
        self.target_return, self.action_gradient_rms, self.block_size = target_return, action_gradient_rms, block_size
        self.device = next(policy.parameters()).device
        self.low = torch.tensor(spec.action_low, device=self.device)
        self.high = torch.tensor(spec.action_high, device=self.device)
        self.widths = bucket_widths(self.context.maximum)
        self.reset()

    @property
    def default_settings(self) -> RowSettings:
        """The settings of a row that is given none: refined when there is a critic and a refiner."""
        if self.critic is None or self.refiner is None:
            return RowSettings(context=self.context.rule)
        return RowSettings(self.refiner.n_steps, self.refiner.eta, self.refiner.rule, self.context.rule)

    def reset(self, n_slots: int = 1) -> None:
        """Make room for n_slots rows, all at the start of an episode with the default settings.

        Raises DtagError when n_slots is no number of rows.
        """
        if not isinstance(n_slots, int) or n_slots < 1:
            raise DtagError(f"agent.reset({n_slots!r}): give the number of episodes to act in at once, 1 or more")
        dims = (self.spec.state_dim, self.spec.action_dim)
        self.history = History(n_slots, self.context.maximum, *dims, self.device, self.condition_dim)
        self.latents = LatentNoise(n_slots, self.policy, self.device)
        self.remaining = torch.zeros(n_slots, 1, dtype=torch.float64, device=self.device)  # raw return still to come
        self.settings = [self.default_settings] * n_slots
        self.explorer = Explorer(n_slots, self.low, self.high)
        self.restart(range(n_slots), self.settings)

    def restart(
        self, slots: Sequence[int], settings: Sequence[RowSettings], seeds: Sequence[int] | None = None
    ) -> None:
        """Begin a new episode in the given slots. seeds: of each row's own draws, one a slot; None = the slot's number."""
        seeds = slots if seeds is None else seeds
        self.explorer.restart(slots, settings, seeds)
        self.latents.restart(slots, seeds)
        self.history.clear(self._index(slots))
        for slot, own in zip(slots, settings, strict=True):
            if own.n_steps and (self.critic is None or self.refiner is None):
                raise DtagError("Action Gradient needs a critic: this agent has none; fit one, or set ag.n_steps=0")
            target = self.target_return if own.target_return is None else own.target_return
            self.settings[slot], self.remaining[slot] = own, 0.0 if target is None else target

    def act(self, state: ArrayLike, reward: ArrayLike = 0.0) -> NDArray[np.float32]:
        """Action for one raw state (S,) -> (A,), or for every row (E, S) -> (E, A). Call `reset` before each episode.

        reward: what the previous action earned; only policies with a target return use it.
        Raises DtagError when the state has another shape, or it or the reward holds NaN or infinity; nothing has happened then.
        """
        array = np.asarray(state)
        states = np.atleast_2d(array)
        slots = range(len(self.settings))
        if states.shape != (len(slots), self.spec.state_dim):
            raise DtagError(
                f"the agent acts on {len(slots)} row(s) of {self.spec.state_dim} state dims, not on {array.shape}: reset(n_rows)"
            )
        rewards = np.broadcast_to(reward, len(slots))
        self._refuse_unreal("state", slots, states)
        acted = [slot for slot, n_steps in zip(slots, self.history.n_steps.tolist(), strict=True) if n_steps]
        self.observe(acted, rewards[acted])  # a row at its start has earned nothing
        actions = self.act_rows(slots, states).actions
        return actions[0] if array.ndim == 1 else actions

    def observe(self, slots: Sequence[int], rewards: ArrayLike) -> None:
        """Lower the return still to come of the given rows by their raw rewards (n,), as the spec counts them.

        Raises DtagError for a reward that is not finite.
        """
        self._refuse_unreal("reward", slots, np.asarray(rewards)[:, None])
        earned = torch.from_numpy(self.spec.counted(np.array(rewards, dtype=np.float64))).to(self.device)
        self.remaining[self._index(slots)] -= earned.unsqueeze(1)

    @torch.inference_mode()
    def act_rows(self, slots: Sequence[int], states: NDArray[Any]) -> Decision:
        """Act in the given slots, on raw states (n, S). Raises DtagError for a state that is not finite."""
        self._refuse_unreal("state", slots, states)
        rows = self._index(slots)
        normalized = torch.from_numpy(self.spec.normalize(np.asarray(states))).to(self.device)
        self.history.begin_step(rows, normalized)
        noise = self.explorer.draw(slots)
        self.history.noise, self.history.latent_noise = noise.sampling, self.latents.draw(slots)
        lengths, actions = self._policy_action(rows)
        actions = actions.clamp(self.low, self.high)
        gain, shift = torch.zeros(len(rows), device=self.device), torch.zeros(len(rows), device=self.device)
        refined = [i for i, slot in enumerate(slots) if self.settings[slot].n_steps > 0]
        if refined:
            at = self._index(refined)
            better, gain[at] = self._refine(normalized[at], actions[at], [self.settings[slots[i]] for i in refined])
            shift[at] = (better - actions[at]).abs().amax(1)
            actions[at] = better
        actions = noise.added_to(actions, rows)
        self.history.write_action(rows, actions)  # the executed action, not the policy's
        return Decision(actions.cpu().numpy(), lengths.cpu().numpy(), gain.cpu().numpy(), shift.cpu().numpy())

    def _refuse_unreal(self, name: str, slots: Sequence[int], values: ArrayLike) -> None:
        """Raises DtagError for NaN or infinity in a row of (n, D): every action behind it would be NaN, without a word."""
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            raise DtagError(
                f"the {name} of row {list(slots)[int(np.argmin(finite))]} holds NaN or infinity, so there is no action for it: "
                f"mend the environment of {self.spec.info.id}, or wrap it, as eval.environment=module:make"
            )

    def _policy_action(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Window lengths (n,) and the policy's actions (n, A); writes the newest return-to-go."""
        available = self.history.available(rows)
        action = None
        if self.return_model is not None:
            model = self.return_model
            (predicted,) = self._by_width(rows, available, lambda window: (model.predict_return(window),))
        elif self.policy.predicts_return:
            predicted, action = self._by_width(rows, available, self.policy.predict_return_and_act)
        else:
            self._refuse_without_target(rows)
            predicted = (self.remaining[rows] / self.spec.return_scale).float()
        self.history.write_return(rows, predicted)
        lengths = self._context_lengths(rows, available)
        if action is None:
            return lengths, self._by_width(rows, lengths, lambda window: (self.policy.act(window),))[0]
        shorter = (lengths < available).nonzero()[:, 0]  # the others' windows were the ones already computed
        if len(shorter):
            (action[shorter],) = self._by_width(
                rows[shorter], lengths[shorter], lambda window: (self.policy.act(window),)
            )
        return lengths, action

    def _refuse_without_target(self, rows: Tensor) -> None:
        if not self.needs_target or self.target_return is not None:
            return
        if any(self.settings[slot].target_return is None for slot in rows.tolist()):
            raise UsageError(NO_TARGET)

    def _context_lengths(self, rows: Tensor, available: Tensor) -> Tensor:
        rules = [self.settings[slot].context for slot in rows.tolist()]
        asked = set(rules) - {"off"}
        if not asked:
            return available
        lengths, returns = available.clone(), self.history.past_returns(rows)
        for rule in asked:
            at = self._index([i for i, own in enumerate(rules) if own == rule])
            lengths[at] = context_lengths(returns[at], available[at], rule=rule, maximum=self.context.maximum)
        return lengths

    def _by_width(self, rows: Tensor, lengths: Tensor, compute: Any) -> tuple[Tensor, ...]:
        """compute(window) for each row, in blocks of rows whose windows share a width; results in the rows' order."""
        of_width: dict[int, list[int]] = {}
        for i, length in enumerate(lengths.tolist()):
            of_width.setdefault(self.widths[bisect_left(self.widths, length)], []).append(i)
        parts: list[tuple[Tensor, ...]] = []
        for width, members in of_width.items():
            at = self._index(members)
            window_of = self._on_windows(compute, rows[at], lengths[at], width)
            parts.append(in_blocks(window_of, len(members), self.block_size, self.device))
        if len(parts) == 1:  # nearly always: in the order of the rows already
            return parts[0]
        back = self._index([i for members in of_width.values() for i in members]).argsort()
        return tuple(torch.cat(columns)[back] for columns in zip(*parts, strict=True))

    def _on_windows(self, compute: Any, slots: Tensor, lengths: Tensor, width: int) -> Callable[[Tensor], Any]:
        return lambda block: compute(self.history.window(slots[block], lengths[block], width))

    def _refine(self, states: Tensor, actions: Tensor, settings: Sequence[RowSettings]) -> tuple[Tensor, Tensor]:
        """Refined actions (n, A) and the Q gained (n,)."""
        assert self.refiner is not None
        assert self.critic is not None
        refiner, q_function = self.refiner, self.refiner.q_function(self.critic)
        eta = torch.tensor([own.eta for own in settings], device=self.device)
        n_steps = torch.tensor([own.n_steps for own in settings], device=self.device)
        rule = torch.tensor([RULES.index(own.rule) for own in settings], device=self.device)

        def refine(i: Tensor) -> tuple[Tensor, Tensor]:
            refined = refiner.refine(
                q_function,
                states[i],
                actions[i],
                self.low,
                self.high,
                eta=eta[i],
                n_steps=n_steps[i],
                rule=rule[i],
                eta_scale=refiner.eta_scale(self.action_gradient_rms),
            )
            return refined.actions, refined.q_after - refined.q_before

        better, gain = in_blocks(refine, len(states), self.block_size, self.device)
        return better, gain

    def _index(self, values: Sequence[int]) -> Tensor:
        return torch.tensor(list(values), dtype=torch.long, device=self.device)


def needs_target(policy: Policy, return_model: ReturnModel | None) -> bool:
    """Whether somebody has to say how much return is wanted."""
    return return_model is None and not policy.predicts_return and bool(getattr(policy, "reads_return", False))

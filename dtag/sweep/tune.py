"""Choose Action Gradient's eta, n_steps and rule for a checkpoint from its data, without the environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dtag.config.build import build
from dtag.critic.critic import Critic
from dtag.errors import CheckpointError, UsageError
from dtag.rollout.agent import Agent
from dtag.rollout.row_settings import RowSettings
from dtag.sweep.grid import computation
from dtag.sweep.selection.criterion import Criterion
from dtag.sweep.selection.evidence import Evidence, steps_of
from dtag.sweep.selection.selection import Ranking, rank, refuse_unknown
from dtag.sweep.selection.tuning import Tuning
from dtag.training.checkpoint import agent_of, check_same_data, critic_of, read_checkpoint, read_with_overrides
from dtag.training.validate_offline import load_own_data


@dataclass(frozen=True)
class TuneResult:
    """cells: off first; own: the index of the checkpoint's setting. data: what was looked at, in words. held_out: whether
    the policy had not seen the steps that were scored.
    """

    cells: tuple[RowSettings, ...]
    own: int
    rankings: dict[str, Ranking]
    chosen: RowSettings
    data: str
    held_out: bool
    dataset: str


def tune(
    checkpoint: str | Path,
    tuning: Tuning,
    criteria: Mapping[str, Criterion],
    *,
    overrides: list[str] | None = None,
    critic: str | Path | None = None,
    trust: bool = False,
    on_stage: Callable[[str], None] = lambda _: None,
) -> TuneResult:
    """Every criterion's ranking of the cells, and the cell that tuning.choose names.

    critic: a checkpoint whose critic did not make the gradient, of another seed, say. overrides: of ag, context and
    critic.ckpt, as `dtag validate` takes them. Raises UsageError, CheckpointError, DataError.
    """
    contents, config = read_with_overrides(checkpoint, overrides or [], trust=trust)
    agent = agent_of(contents, config)
    if agent.critic is None or agent.refiner is None:
        lacks = "critic: add critic.ckpt=PATH" if agent.critic is None else "ag section: add ag.eta=0.01"
        raise UsageError(f"{checkpoint} has nothing to tune, since it has no {lacks}")
    independent = None if critic is None else independent_critic(critic, agent, trust=trust)
    criteria = {name: own for name, own in criteria.items() if not own.needs_independent or independent is not None}
    refuse_unknown(tuning.choose, list(criteria))  # before minutes of work, not after
    cells = tuning.cells(agent.default_settings)
    on_stage("reading the data")
    evidence, words, is_held_out = _gather(config, agent, cells, tuning, independent, on_stage)
    rankings = rank(evidence, criteria, on_stage)
    own = cells.index(computation(agent.default_settings))
    chosen = cells[rankings[tuning.choose].best]
    return TuneResult(cells, own, rankings, chosen, words, is_held_out, agent.spec.info.id)


def independent_critic(path: str | Path, agent: Agent, *, trust: bool) -> Critic:
    """The critic in a checkpoint; CheckpointError when it is the agent's own, saw other data, or has no Q(s, a)."""
    contents = read_checkpoint(path, trust=trust, only_critic=True)
    critic: Any = critic_of(contents)
    if critic is None or not hasattr(critic, "q"):
        raise CheckpointError(f"{path} holds no critic with a Q(s, a)")
    check_same_data(contents, agent.spec, path)
    if _shares_weights(critic, agent.critic):
        raise CheckpointError(
            f"the critic in {path} is one that Action Gradient climbs, so it is not independent: train another with "
            "`dtag fit --stage critic seed=1`"
        )
    return critic.to(agent.device)  # type: ignore[no-any-return]


def _shares_weights(one: nn.Module, other: Any) -> bool:
    """Whether any weight matrix of one is in the other, as an ensemble's member too."""
    theirs = [value for value in other.state_dict().values() if value.ndim > 1]
    return any(
        value.shape == own.shape and torch.equal(value.cpu(), own.cpu())
        for value in one.state_dict().values()
        if value.ndim > 1
        for own in theirs
    )


def _gather(
    config: dict[str, Any],
    agent: Agent,
    cells: tuple[RowSettings, ...],
    tuning: Tuning,
    independent: Critic | None,
    on_stage: Callable[[str], None],
) -> tuple[Evidence, str, bool]:
    data = load_own_data(config, agent.spec)
    trajectories, (train, held_out) = data.dataset.trajectories, data.split()
    is_held_out = bool(trajectories.complete[held_out].any())
    parts = []
    for episodes, n_steps, words in (
        (train, tuning.train_steps, "training"),
        (held_out if is_held_out else train, tuning.held_out_steps, "held-out"),
    ):
        on_stage(f"refining actions of {words} episodes in {len(cells)} cells")
        parts.append(steps_of(agent, trajectories.select(episodes), cells, n_steps=n_steps, seed=tuning.seed))
    sizes = [f"{len(part.states):,} steps of {int(part.episodes[-1]) + 1:,}" for part in parts]
    words = f"{sizes[1]} {'held-out' if is_held_out else 'TRAINING'} episodes; fits learn from {sizes[0]} training ones"
    assert agent.critic is not None
    evidence = Evidence(cells, parts[0], parts[1], agent.spec, agent.critic, independent, tuning.seed)
    return evidence, words, is_held_out


def build_criteria(sections: Mapping[str, Any]) -> dict[str, Criterion]:
    """The criteria of a checked config, by name."""
    return {name: build(section) for name, section in sections.items() if section is not None}

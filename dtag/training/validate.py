"""Score a checkpoint under Lightning's validation: one process or many."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from dtag.config.build import build
from dtag.data.spec import DataSpec
from dtag.errors import UsageError
from dtag.evaluation.evaluate import environment_factory
from dtag.evaluation.evaluator import Evaluator
from dtag.rollout.agent import Agent
from dtag.rollout.episodes import EpisodeRow, Interrupted
from dtag.training.callbacks import OwnSignals
from dtag.training.checkpoint import agent_of, read_with_overrides
from dtag.training.experiment import build_agent, chosen_rms
from dtag.training.process import make_trainer, quiet_lightning
from dtag.training.settings import TrainSettings
from dtag.training.signals import StopFlag, Stopped
from dtag.training.validate_offline import OfflineResult, score_held_out


@dataclass(frozen=True)
class ValidateResult:
    """summary: {label: {quantity: {"mean", "std", "iqm", "n"}}}; rows: one dict per episode; episodes: with their
    states where they were kept. offline: in their place, where there was no environment.
    """

    config: dict[str, Any]
    spec: DataSpec
    action_gradient_rms: float
    summary: dict[str, Any]
    rows: list[dict[str, Any]]
    episodes: list[EpisodeRow]
    offline: OfflineResult | None = None


class AgentModule(LightningModule):
    """An agent as Lightning sees it: it has no step of its own, the evaluator does the work."""

    def __init__(self, agent: Agent) -> None:
        super().__init__()
        self.policy, self.return_model = agent.policy, agent.return_model
        self.critic: Any = agent.critic

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        return None

    def val_dataloader(self) -> range:
        return range(1)  # Lightning runs no callback for an empty loader


def validate(
    checkpoint: str | Path,
    overrides: list[str] | None = None,
    *,
    trust: bool = False,
    on_step: Callable[[int, int], None] | None = None,
    keep_states: bool = False,
    plans: Any = None,
) -> ValidateResult:
    """Episodes with Action Gradient off and on, from the checkpoint alone; the same as `dtag validate`.

    overrides: of eval, ag, context and the machine, e.g. "ag.n_steps=20". trust: allow checkpoints that name foreign modules.
    plans: other rows than off and on, a function of (agent, settings). Without an environment the checkpoint is scored
    on its held-out trajectories instead, see `score_held_out`. Raises CheckpointError, UsageError, DataError, Stopped.
    """
    contents, config = read_with_overrides(checkpoint, overrides or [], trust=trust)
    spec, settings = DataSpec.from_dict(contents["spec"]), build(config["eval"])
    train: TrainSettings = build(config["train"])
    factory = environment_factory(settings, spec)
    if factory is None:
        if plans is not None:
            raise UsageError(f"{spec.info.id} names no environment to roll out in: give eval.environment=ID")
        return _validate_offline(contents, config, train)
    factory.check(spec)
    agent = agent_of(contents, config)
    module = AgentModule(agent)

    def make_agent(_: LightningModule) -> Agent:  # again, once Lightning has moved the networks to their device
        return build_agent(
            config, spec, agent.policy, agent.return_model, agent.critic, contents["action_gradient_rms"]
        )

    with StopFlag() as flag, warnings.catch_warnings():
        quiet_lightning()
        options = {"plans": plans} if plans is not None else {}
        evaluator = Evaluator(make_agent, settings, stop=flag, on_step=on_step, keep_states=keep_states, **options)
        trainer = _trainer(train, [OwnSignals(flag), evaluator])
        try:
            trainer.validate(module, verbose=False)
        except (Interrupted, KeyboardInterrupt, SIGTERMException) as error:  # the last is Lightning's, of status 0
            raise Stopped("stopped before the episodes were done", flag.exit_status or 143) from error
    return ValidateResult(
        config,
        spec,
        chosen_rms(config, contents["action_gradient_rms"]),
        evaluator.summary,
        evaluator.rows,
        evaluator.episodes,
    )


def _validate_offline(contents: dict[str, Any], config: dict[str, Any], train: TrainSettings) -> ValidateResult:
    with warnings.catch_warnings():
        quiet_lightning()
        device = _trainer(train, []).strategy.root_device
    agent = agent_of(contents, config, device)
    offline = score_held_out(config, agent)
    return ValidateResult(config, agent.spec, agent.action_gradient_rms, {}, [], [], offline)


def _trainer(train: TrainSettings, callbacks: list[Callback]) -> Trainer:
    return make_trainer(train, logger=False, enable_progress_bar=False, callbacks=callbacks)

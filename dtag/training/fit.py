"""dtag.fit: the critic stage, then the policy stage, then agent.ckpt."""

from __future__ import annotations

import json
import shlex
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.utilities.exceptions import SIGTERMException

from dtag.config.build import build, targets_named
from dtag.config.load import load_config
from dtag.config.schema import check
from dtag.data.datamodule import TrajectoryDataModule
from dtag.data.spec import DataSpec
from dtag.errors import CheckpointError, DtagError, UsageError
from dtag.evaluation.evaluate import environment_factory
from dtag.evaluation.evaluator import Evaluator
from dtag.evaluation.settings import EvaluationSettings
from dtag.refiners.action_gradient import ActionGradient, rms_name
from dtag.rollout.agent import NO_TARGET, needs_target
from dtag.rollout.episodes import Interrupted
from dtag.training.action_gradient_scale import rms_over_data
from dtag.training.atomic_file import AtomicCheckpointIO, write_text_atomically
from dtag.training.callbacks import BestCheckpoint, LastCheckpoint, OwnSignals, StageProgress
from dtag.training.checkpoint import (
    NO_CRITIC_THERE,
    check_same_data,
    critic_of,
    read_checkpoint,
    save_agent,
    save_critic,
)
from dtag.training.critic_module import CriticModule
from dtag.training.estimate import HOUR, estimate_seconds, in_words
from dtag.training.experiment import (
    SCHEMA,
    build_agent,
    build_critic,
    build_data,
    build_losses,
    build_networks,
    climbed_kappa,
    climbed_q,
    preset_file,
)
from dtag.training.own_parts import check_critic, check_networks, check_terms
from dtag.training.policy_module import PolicyModule
from dtag.training.process import make_trainer, quiet_lightning, set_process_up
from dtag.training.run_folder import RunFolder, create_run_folder, refuse_place
from dtag.training.settings import CriticSettings, LiveCriticSettings, TrainSettings
from dtag.training.signals import StopFlag, Stopped

Stage = Literal["all", "critic", "policy"]
NO_CRITIC = "stage=policy trains no critic: give critic.ckpt=PATH of one, or critic=null for none"


@dataclass(frozen=True)
class FitResult:
    """folder: the run's. agent, critic: checkpoints, None where that stage did not run. summary: the last evaluation,
    {"AG off" | "AG on": {"score" | "return" | ...: {"mean", "std", "iqm", "n"}}}; rows: its episodes.
    """

    folder: Path
    agent: Path | None
    critic: Path | None
    summary: dict[str, Any]
    rows: list[dict[str, Any]]


class FrozenCritic:
    """A trained critic and the root-mean-square of its action gradient over the data."""

    def __init__(self, critic: Any, rms: dict[str, float], path: Path | None) -> None:
        self.critic, self.rms, self.path = critic, rms, path


def fit(
    config: dict[str, Any],
    *,
    stage: Stage = "all",
    resume: str | Path | None = None,
    key: str = "",
    callbacks: list[Callback] | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> FitResult:
    """Train as `config` says; the same as `dtag fit`.

    config: as `dtag.training.experiment.resolve` returns it, or any dict of the same keys. stage: "critic" or "policy"
    to run one alone ("policy" needs critic.ckpt, or critic=null). resume: a run's folder to continue, whose own config
    is used; of a finished one the results are returned as they are. key: a sub-folder of the run, for several seeds.
    report: told what goes on, a line at a time.

    Raises UsageError for a wrong config, DataError for wrong data, Stopped after a signal, DtagError when a loss is NaN
    or the disk is full. On CPU a resumed run ends in the weights of an uninterrupted one.
    """
    folder = RunFolder(Path(resume)) if resume is not None else None
    if not isinstance(config, dict):
        raise UsageError(
            f"dtag.fit takes a config as a dict, not {config!r}: dtag.training.experiment.resolve([PATH], []) reads a file"
        )
    config = read_run_config(folder) if folder is not None else check(config, SCHEMA)
    if config["online"] is not None:
        raise UsageError(
            "the config has an `online` section: it fine-tunes a checkpoint, with `dtag finetune --ckpt ...`"
            if folder is None
            else f"{folder.path} is a run of dtag finetune: continue it with dtag finetune --resume"
        )
    if folder is not None and stage != "critic" and (finished := _finished(folder, config)) is not None:
        report(f"{folder.path} is finished: these are its results")
        return finished
    if folder is None:
        refuse_place(config, key)
    with StopFlag() as flag, warnings.catch_warnings():
        quiet_lightning()
        run = _Run(config, flag, callbacks or [], report)
        run.refuse_early(stage, started=folder is not None)
        run.report_no_episodes(stage)
        if config["ag"] is not None and config["critic"] is None:
            report(
                "no critic, so Action Gradient does nothing here; dtag validate critic.ckpt=PATH lends the policy one"
            )
        if folder is None:
            run.report_estimate(stage)
        folder = folder or create_run_folder(config, key)
        try:
            critic = run.critic_stage(folder, stage)
            if stage == "critic":
                return FitResult(folder.path, None, critic.path, {}, [])
            return run.policy_stage(folder, critic)
        except (Interrupted, KeyboardInterrupt, SIGTERMException) as error:  # the last is Lightning's, of status 0
            raise Stopped(
                f"stopped; continue with: dtag fit --resume {shlex.quote(str(folder.path))}", flag.exit_status or 143
            ) from error


def _finished(folder: RunFolder, config: dict[str, Any]) -> FitResult | None:
    results = folder.finished()
    if results is None:
        return None
    shared = (config["critic"] or {}).get("ckpt")
    critic = folder.critic if folder.critic.is_file() else Path(shared) if shared else None
    return FitResult(folder.path, folder.agent, critic, results["summary"], results["rows"])


def read_run_config(folder: RunFolder) -> dict[str, Any]:
    """The config a run was started with. Raises UsageError when there is no run there."""
    if not folder.config.is_file():
        raise UsageError(f"there is no run at {folder.path}: {folder.config} is missing; give the folder that holds it")
    return check(load_config([folder.config]), SCHEMA)


class _Run:
    """The parts that both stages share."""

    def __init__(
        self, config: dict[str, Any], flag: StopFlag, callbacks: list[Callback], report: Callable[[str], None]
    ) -> None:
        self.config, self.flag, self.callbacks, self.report = config, flag, callbacks, report
        self.train: TrainSettings = build(config["train"])
        set_process_up(self.train)
        make_trainer(self.train, logger=False, precision=self.train.precision)  # refuses before there is a folder
        self.data: TrajectoryDataModule = build_data(config)
        self.spec: DataSpec = self.data.spec
        self.kappa = climbed_kappa(config)
        self.evaluation: EvaluationSettings = build(config["eval"])
        self.factory = environment_factory(self.evaluation, self.spec)
        if self.factory is not None:
            self.factory.check(self.spec)  # before any training: a missing package should not cost hours
        self._given: tuple[Any, dict[str, Any]] | None = None  # the critic of critic.ckpt and what lies beside it

    def refuse_early(self, stage: Stage, *, started: bool) -> None:
        """What would be found hours later, or leave a folder that holds nothing and keeps the name.

        started: the run has a folder, and perhaps a critic, already.
        """
        settings = build_critic(self.config, self.spec)
        before = isinstance(settings, CriticSettings)
        if stage == "critic" and not before:
            reason = "the config has critic=null" if settings is None else "this one learns along with the policy"
            raise UsageError(f"stage=critic needs a critic that is trained before the policy: {reason}")
        critic = None if settings is None else settings.model
        check_critic(critic, before=before)
        if isinstance(settings, CriticSettings) and not started:
            if settings.ckpt is not None:
                self._given = self._read_critic(Path(settings.ckpt))
                critic = self._given[0]
            elif stage == "policy":
                raise UsageError(NO_CRITIC)
        if stage != "critic":
            check_terms(build_losses(self.config, self.spec))
            networks = build_networks(self.config, self.spec)
            check_networks(*networks)
            if self.factory is not None and None in self.evaluation.targets and needs_target(*networks):
                raise UsageError(NO_TARGET)
            build(self.config["optimizer"]).make(networks[0], self.train.n_steps)
            agent = build_agent(self.config, self.spec, *networks, critic, {})
            if isinstance(agent.refiner, ActionGradient) and critic is not None:
                sizes = ((1, self.spec.state_dim), (1, self.spec.action_dim))
                # Whether it has the Q that is to be climbed, a number a row: else hours pass before an episode asks.
                shape = tuple(agent.refiner.q_function(critic)(*map(torch.zeros, sizes)).shape)
                if shape != (1,):
                    raise UsageError(f"critic.model: q_reduced must return a Q a row, (B,), not {shape} of one row")

    def report_no_episodes(self, stage: Stage) -> None:
        """Where there is no environment to run them in, say so before hours of training."""
        if self.factory is None and stage != "critic":
            what = "eval.environment=null" if self.evaluation.environment is None else f"{self.spec.info.id} names none"
            self.report(
                f"no environment ({what}): no episodes are run; dtag validate compares with held-out trajectories"
            )

    def report_estimate(self, stage: Stage) -> None:
        """On a CPU, say how long training will take; over an hour, name the laptop's preset if it has fewer steps."""
        if self.train.accelerator not in ("cpu", "auto") or torch.cuda.is_available():
            return
        parts = estimate_seconds(self.config, self.data, self.train, stage)
        total = sum(parts.values())
        each = ", ".join(f"{name} {in_words(seconds)}" for name, seconds in parts.items())
        preset = "small" if self.config["data"]["context_length"] > 1 else "small_mlp"
        is_long = total > HOUR and self.train.n_steps > load_config([preset_file(preset)])["train"]["n_steps"]
        hint = f"; --preset {preset} makes it less" if is_long else ""
        self.report(f"estimated training time on this CPU: {in_words(total)} ({each}), evaluations apart{hint}")

    def critic_stage(self, folder: RunFolder, stage: Stage) -> FrozenCritic:
        seed_everything(self.config["seed"], verbose=False)
        settings = build_critic(self.config, self.spec)
        if settings is None or isinstance(settings, LiveCriticSettings):
            return FrozenCritic(None, {}, None)
        if folder.critic.is_file():  # this run's own, from before it was resumed
            return self._shared_critic(folder.critic, *self._read_critic(folder.critic, trust=True))
        if settings.ckpt is not None:
            path = Path(settings.ckpt)
            return self._shared_critic(path, *(self._given or self._read_critic(path)))
        if stage == "policy":
            raise UsageError(NO_CRITIC)
        return self._train_critic(folder, settings)

    def _read_critic(self, path: Path, trust: bool = False) -> tuple[Any, dict[str, Any]]:
        """A checkpoint's critic, that saw this run's data, and its contents."""
        contents = read_checkpoint(path, trust=trust, only_critic=True, known=targets_named(self.config))
        critic = critic_of(contents)
        if critic is None:
            raise CheckpointError(f"{path} {NO_CRITIC_THERE}")
        check_same_data(contents, self.spec, path)
        return critic, contents

    def _shared_critic(self, path: Path, critic: Any, contents: dict[str, Any]) -> FrozenCritic:
        self.report(f"critic: {path}")
        self.config["critic"]["model"] = contents["config"]["critic"]["model"]
        rms, ag = contents["action_gradient_rms"], self.config["ag"]
        if ag is not None and rms and rms_name(climbed_q(self.config), self.kappa) not in rms:
            rms = {**rms, **rms_over_data(critic, self.data, [climbed_q(self.config)], self.kappa)}
        return FrozenCritic(critic, rms, path)

    def _train_critic(self, folder: RunFolder, settings: CriticSettings) -> FrozenCritic:
        n_updates = settings.updates_per_step
        n_steps = max(settings.n_steps // n_updates, 1)
        module = CriticModule(
            critic=settings.model,
            spec=self.spec,
            seed=self.config["seed"],
            updates_per_step=n_updates,
            log_every=self._log_every(n_steps),
            optimizer=settings.optimizer,
            n_steps=n_steps * n_updates,
        )
        kind: Literal["segments", "transitions"] = getattr(settings.model, "learns_from", "transitions")
        self.data.serve(kind, n_steps, batch_size=settings.batch_size, updates_per_step=n_updates)
        self.report(f"critic: {n_steps * n_updates:,} updates of {settings.batch_size} {kind}")
        self._fit(module, folder, "critic", n_steps, self.train.checkpoint_every // n_updates, None)
        critic = settings.model.eval().requires_grad_(False).cpu()
        rms = rms_over_data(critic, self.data, kappa=self.kappa)
        save_critic(
            folder.critic,
            config=self.config,
            spec=self.spec,
            critic=critic,
            action_gradient_rms=rms,
            step=settings.n_steps,
        )
        return FrozenCritic(critic, rms, folder.critic)

    def policy_stage(self, folder: RunFolder, critic: FrozenCritic) -> FitResult:
        seed_everything(self.config["seed"], verbose=False)
        policy, return_model = build_networks(self.config, self.spec)
        settings = build_critic(self.config, self.spec) if critic.critic is None else None
        live = settings if isinstance(settings, LiveCriticSettings) else None
        module = PolicyModule(
            policy=policy,
            return_model=return_model,
            losses=build_losses(self.config, self.spec),
            optimizer=build(self.config["optimizer"]),
            spec=self.spec,
            seed=self.config["seed"],
            critic=live.model if live else critic.critic,
            policy_delay=live.policy_delay if live else 0,
            n_steps=self.train.n_steps,
            log_every=self._log_every(self.train.n_steps),
        )
        evaluator = self._evaluator(folder, critic)
        self.data.serve(
            "segments",
            self.train.n_steps,
            updates_per_step=live.policy_delay if live else 1,
            look_ahead=live is not None,
        )
        self.report(
            f"policy: {self.train.n_steps:,} steps of {self.data.batch_size} segments, K = {self.data.context_length}"
        )
        if self.train.compile:
            policy.compile()
            if return_model is not None:
                return_model.compile()
        trainer = self._fit(module, folder, "policy", self.train.n_steps, self.train.checkpoint_every, evaluator)
        if evaluator.n_updates != self.train.n_steps:  # evaluate_every is no part of n_steps
            trainer.validate(module, self.data, verbose=False)
        if live:
            critic = FrozenCritic(module.critic.cpu(), rms_over_data(module.critic, self.data, kappa=self.kappa), None)
        if trainer.is_global_zero:
            save_agent(
                folder.agent,
                config=self.config,
                spec=self.spec,
                policy=policy,
                return_model=return_model,
                critic=critic.critic,
                terms=module.terms,
                action_gradient_rms=critic.rms,
                step=self.train.n_steps,
            )
            write_text_atomically(
                json.dumps({"summary": evaluator.summary, "rows": evaluator.rows}, indent=1) + "\n", folder.results
            )
        return FitResult(folder.path, folder.agent, critic.path, evaluator.summary, evaluator.rows)

    def _evaluator(self, folder: RunFolder, critic: FrozenCritic) -> Evaluator:
        def make_agent(module: LightningModule) -> Any:
            own: Any = module.critic  # frozen, or learning along: then its slope is measured anew
            rms = (
                rms_over_data(own, self.data, kappa=self.kappa)
                if own is not None and critic.critic is None
                else critic.rms
            )
            return build_agent(self.config, self.spec, module.policy, module.return_model, own, rms)  # type: ignore[arg-type]

        return Evaluator(make_agent, self.evaluation, rows_file=folder.rows, stop=self.flag)

    def _log_every(self, n_steps: int) -> int:
        return max(min(self.train.log_every, n_steps), 1)

    def _fit(
        self,
        module: LightningModule,
        folder: RunFolder,
        stage: str,
        n_steps: int,
        checkpoint_every: int,
        evaluator: Evaluator | None,
    ) -> Trainer:
        """Lightning's fit of one stage, continued from its last checkpoint where there is one."""
        last = folder.last(stage)
        every = min(self.train.evaluate_every or n_steps, n_steps) if evaluator is not None else None
        evaluation: list[Callback] = []
        if evaluator is not None:
            evaluation = [evaluator, BestCheckpoint(folder.best(stage), self.train.monitor)]
        trainer = make_trainer(
            self.train,
            default_root_dir=folder.path,
            precision=self.train.precision,
            max_epochs=1,
            logger=build(self.config["log"]).make(folder.logs, stage),
            plugins=[AtomicCheckpointIO()],
            callbacks=[
                OwnSignals(self.flag),
                *evaluation,
                LastCheckpoint(last, checkpoint_every, self.flag, evaluate_every=every or 0),
                StageProgress(stage),
                *self.callbacks,
            ],
            val_check_interval=every,
            limit_val_batches=None if evaluator is not None else 0,
            num_sanity_val_steps=0,
            log_every_n_steps=self._log_every(n_steps),
        )
        trainer.fit(module, self.data, ckpt_path=last if last.is_file() else None, weights_only=True)
        if module.n_updates != n_steps:
            raise DtagError(
                f"the {stage} stage ended after {module.n_updates:,} of {n_steps:,} steps; continue with --resume {folder.path}"
            )
        return trainer

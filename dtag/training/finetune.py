"""dtag.finetune: an offline checkpoint improved by interacting (paper 2): collect, learn, evaluate, round by round."""

from __future__ import annotations

import json
import shlex
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.utilities.exceptions import SIGTERMException

from dtag.config.build import build
from dtag.data.datamodule import StepLoader
from dtag.data.replay_buffer import ReplayBuffer
from dtag.data.spec import DataSpec
from dtag.errors import DtagError, UsageError
from dtag.evaluation.evaluate import environment_factory
from dtag.evaluation.evaluator import Evaluator
from dtag.rollout.agent import Agent
from dtag.rollout.episodes import Interrupted
from dtag.training.action_gradient_scale import rms_over_data
from dtag.training.atomic_file import AtomicCheckpointIO, replaced_when_whole, write_text_atomically
from dtag.training.callbacks import BestCheckpoint, LastCheckpoint, OwnSignals
from dtag.training.checkpoint import agent_of, critic_of, read_checkpoint, save_agent
from dtag.training.collector import Collector
from dtag.training.experiment import build_agent, build_critic, build_losses, climbed_kappa, climbed_q
from dtag.training.fit import read_run_config
from dtag.training.online_progress import OnlineProgress
from dtag.training.own_parts import check_exploration
from dtag.training.policy_module import PolicyModule
from dtag.training.process import make_trainer, quiet_lightning, set_process_up
from dtag.training.recent_steps import recent_steps
from dtag.training.return_warmup import ReturnWarmup
from dtag.training.run_folder import RunFolder, create_run_folder, refuse_place
from dtag.training.settings import LiveCriticSettings, OnlineSettings, TrainSettings
from dtag.training.signals import StopFlag, Stopped
from dtag.training.validate_offline import load_own_data
from dtag.training.warm_start import start_critic, start_terms


@dataclass(frozen=True)
class FinetuneResult:
    """folder: the run's. agent: the checkpoint. before, after: the evaluations at the start and the end, as FitResult's
    summary. n_environment_steps: that were taken.
    """

    folder: Path
    agent: Path
    before: dict[str, Any]
    after: dict[str, Any]
    n_environment_steps: int


def finetune(
    checkpoint: str | Path | None,
    config: dict[str, Any] | None = None,
    *,
    resume: str | Path | None = None,
    trust: bool = False,
    callbacks: list[Callback] | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> FinetuneResult:
    """Fine-tune an agent.ckpt online; the same as `dtag finetune`.

    config: as `resolve_online` returns it. resume: a fine-tuning run's folder to continue, in place of both; on CPU it
    ends in the weights of an uninterrupted run, and of a finished one the results are returned as they are. Raises
    CheckpointError, UsageError, DataError, Stopped after a signal, DtagError when a loss is NaN or the disk is full.
    """
    if resume is not None:
        folder = RunFolder(Path(resume))
        config, checkpoint = read_run_config(folder), folder.start
        if config["online"] is None:
            raise UsageError(f"{folder.path} is a run of dtag fit: continue it with dtag fit --resume")
        if (results := folder.finished()) is not None:
            report(f"{folder.path} is finished: these are its results")
            n_steps = results.get("environment_steps", config["online"]["n_environment_steps"])
            return FinetuneResult(folder.path, folder.agent, results["before"], results["summary"], n_steps)
    elif checkpoint is None or not config or "online" not in config:
        raise UsageError(
            "fine-tuning needs a checkpoint and a whole config, as dtag.training.resolve_online.resolve_online makes it "
            "of the checkpoint's and conf/online/NAME.yaml; or resume"
        )
    else:
        folder = None
    if folder is None:
        refuse_place(config)
    contents = read_checkpoint(checkpoint, trust=trust or resume is not None)
    with StopFlag() as flag, warnings.catch_warnings():
        quiet_lightning()
        run = _Finetune(contents, config, flag, report, callbacks or [])
        if folder is None:
            folder = create_run_folder(config)
            source = Path(checkpoint)
            with replaced_when_whole(folder.start) as temporary:
                shutil.copyfile(source / "agent.ckpt" if source.is_dir() else source, temporary)
        try:
            return run.run(folder)
        except (Interrupted, KeyboardInterrupt, SIGTERMException) as error:
            raise Stopped(
                f"stopped; continue with: dtag finetune --resume {shlex.quote(str(folder.path))}",
                flag.exit_status or 143,
            ) from error


class _Finetune:
    def __init__(
        self,
        contents: dict[str, Any],
        config: dict[str, Any],
        flag: StopFlag,
        report: Callable[[str], None],
        callbacks: list[Callback],
    ) -> None:
        self.contents, self.config, self.flag, self.report = contents, config, flag, report
        self.callbacks = callbacks
        self.train: TrainSettings = build(config["train"])
        self.online: OnlineSettings = build(config["online"])
        self.log_every = min(self.train.log_every, self.online.updates_per_round)  # so that every round is logged
        set_process_up(self.train)
        make_trainer(self.train, logger=False, precision=self.train.precision)  # refuses before there is a folder
        self.spec = DataSpec.from_dict(contents["spec"])
        self.data = load_own_data(config, self.spec)
        factory = environment_factory(build(config["eval"]), self.spec)
        if factory is None:
            raise UsageError(f"{self.spec.info.id} names no environment to interact with: give eval.environment=ID")
        factory.check(self.spec)
        self.factory = factory
        seed_everything(config["seed"], verbose=False)
        self.module = self._module()  # before there is a folder, which what it refuses would leave behind
        check_exploration(self.module.policy, self.online.exploration)
        build(config["optimizer"]).rate(0, None)  # refuses a schedule that needs an end

    def run(self, folder: RunFolder) -> FinetuneResult:
        module = self.module
        collector = self._collector(module)
        evaluator = Evaluator(
            self._make_agent,
            build(self.config["eval"]),
            rows_file=folder.rows,
            stop=self.flag,
            facts=lambda: {"environment_steps": collector.n_environment_steps},
        )
        last = folder.last("online")
        trainer = self._trainer(folder, collector, evaluator, last)
        loaders = self._loaders(collector, module)
        before = self._before(folder, trainer, module, loaders[1], evaluator)
        self.report(
            f"online: {self.online.n_environment_steps:,} environment steps, {self.online.updates_per_round} policy steps a round"
        )
        trainer.fit(module, *loaders, ckpt_path=last if last.is_file() else None, weights_only=True)
        if not collector.finished:
            raise DtagError(
                f"fine-tuning ended after {collector.n_environment_steps:,} environment steps of "
                f"{self.online.n_environment_steps:,}; continue with: dtag finetune --resume {shlex.quote(str(folder.path))}"
            )
        if not self._has_evaluated(evaluator, collector):
            trainer.validate(module, loaders[1], verbose=False)
        n_steps = collector.n_environment_steps
        results = {"before": before, "summary": evaluator.summary, "rows": evaluator.rows, "environment_steps": n_steps}
        self._save(folder, module, results)
        return FinetuneResult(folder.path, folder.agent, before, evaluator.summary, n_steps)

    def _module(self) -> PolicyModule:
        agent = agent_of(self.contents, self.contents["config"])
        networks: list[Any] = [agent.policy, agent.return_model]
        for network in networks:
            if isinstance(network, torch.nn.Module):
                network.requires_grad_(True).train()
        settings = build_critic(self.config, self.spec)
        live = settings if isinstance(settings, LiveCriticSettings) else None
        frozen = critic_of(self.contents) if settings is not None and live is None else None
        if settings is not None and live is None and frozen is None:
            raise UsageError(
                "the checkpoint holds no critic: give one that learns along (critic.target), or critic=null"
            )
        if live is not None:
            start_critic(live.model, self.contents, keep=self.online.keep_critic, report=self.report)
        module = PolicyModule(
            policy=agent.policy,  # type: ignore[arg-type]
            return_model=agent.return_model,  # type: ignore[arg-type]
            losses=build_losses(self.config, self.spec),
            optimizer=build(self.config["optimizer"]),
            spec=self.spec,
            seed=self.config["seed"],
            critic=live.model if live else frozen,
            policy_delay=live.policy_delay if live else 0,
            first_step=int(self.contents["step"]) if self.online.continue_warmup else 0,
            gradient_norms=True,
            log_every=self.log_every,
        )
        start_terms(module.terms, self.contents)
        return module

    def _make_agent(self, module: LightningModule, *, refines: bool = True) -> Agent:
        """refines: False spares the pass over the data that Action Gradient's unit needs."""
        critic: Any = module.critic
        used = refines and hasattr(critic, "q_reduced") and self.config["ag"] is not None
        wanted = ([climbed_q(self.config)], climbed_kappa(self.config)) if used else None  # of one Q: it takes seconds
        rms = rms_over_data(critic, self.data, *wanted) if wanted else {}
        return build_agent(self.config, self.spec, module.policy, module.return_model, critic, rms)  # type: ignore[arg-type]

    def _collector(self, module: PolicyModule) -> Collector:
        trajectories = self.data.dataset.trajectories
        limit = self.factory.max_episode_steps or self.spec.info.max_episode_steps or 1
        rows_each = max(limit, int(trajectories.lengths.max())) + 1
        slots = self.online.replay_trajectories
        steps = trajectories.n_steps + self.online.n_environment_steps + slots  # a row more for every trajectory
        buffer = ReplayBuffer(
            slots,
            self.spec,
            room=min(slots * rows_each, steps) + rows_each,
            context_length=self.data.context_length,
            weighting=self.online.weighting,
            future_steps=self.data.future_steps,
        )
        if self.online.start_from == "data":
            buffer.fill_from(trajectories)
        return Collector(
            buffer,
            self.factory,
            partial(self._make_agent, refines=self.online.refine),
            self.online,
            seed=self.config["seed"],
            stop=self.flag,
            recent=recent_steps(buffer, module, self.online),
        )

    def _loaders(self, collector: Collector, module: PolicyModule) -> tuple[StepLoader, StepLoader]:
        size = self.data.batch_size * max(module.policy_delay, 1)
        rounds = StepLoader(lambda step: collector.draw(step, size), self.online.updates_per_round)
        return rounds, StepLoader(lambda _: None, 1)

    def _trainer(self, folder: RunFolder, collector: Collector, evaluator: Evaluator, last: Path) -> Trainer:
        callbacks: list[Callback] = [
            OwnSignals(self.flag),
            collector,
            ReturnWarmup(collector, self.data.batch_size, self.config["seed"], self.flag),
            evaluator,
            BestCheckpoint(folder.best("online"), self.train.monitor),
            LastCheckpoint(last, self.online.updates_per_round + 1, self.flag, "finetune"),
            RoundCheckpoint(last, self.online.checkpoint_every, collector),
            OnlineProgress(collector),
            *self.callbacks,
        ]
        return make_trainer(
            self.train,
            default_root_dir=folder.path,
            devices=1,
            num_nodes=1,
            strategy="auto",
            precision=self.train.precision,
            max_epochs=-1,
            logger=build(self.config["log"]).make(folder.logs, "online"),
            plugins=[AtomicCheckpointIO()],
            callbacks=callbacks,
            check_val_every_n_epoch=self.online.evaluate_every or 10**9,
            num_sanity_val_steps=0,
            log_every_n_steps=self.log_every,
        )

    def _before(
        self, folder: RunFolder, trainer: Trainer, module: PolicyModule, loader: StepLoader, evaluator: Evaluator
    ) -> dict[str, Any]:
        """The evaluation before anything is learnt; kept in the folder, so that a resumed run does not repeat it."""
        file = folder.path / "before.json"
        if not file.is_file():
            trainer.validate(module, loader, verbose=False)
            write_text_atomically(json.dumps(evaluator.summary, indent=1) + "\n", file)
        before: dict[str, Any] = json.loads(file.read_text())
        return before

    def _has_evaluated(self, evaluator: Evaluator, collector: Collector) -> bool:
        every = self.online.evaluate_every
        return bool(every and collector.n_rounds % every == 0 and evaluator.rows)

    def _save(self, folder: RunFolder, module: PolicyModule, results: dict[str, Any]) -> None:
        critic: Any = module.critic
        save_agent(
            folder.agent,
            config=self.config,
            spec=self.spec,
            policy=module.policy,
            return_model=module.return_model,
            critic=critic,
            terms=module.terms,
            action_gradient_rms={}
            if critic is None
            else rms_over_data(critic.cpu(), self.data, kappa=climbed_kappa(self.config)),
            step=int(self.contents["step"]) + module.n_updates,
        )
        write_text_atomically(json.dumps(results, indent=1) + "\n", folder.results)


class RoundCheckpoint(Callback):
    """Writes the last checkpoint after every so many rounds; 0 = never."""

    def __init__(self, path: Path, every: int, collector: Collector) -> None:
        self.path, self.every, self.collector = path, every, collector

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.every and self.collector.n_rounds % self.every == 0:
            trainer.save_checkpoint(self.path, weights_only=False)

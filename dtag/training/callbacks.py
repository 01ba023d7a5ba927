"""Checkpoints of a running stage, stopping it, and its progress bar."""

from __future__ import annotations

import math
import shlex
import time
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.trainer.states import TrainerFn

from dtag.training.signals import StopFlag, Stopped


class LastCheckpoint(Callback):
    """Writes `path` every so many batches; after a stop request, on any rank, writes it and raises Stopped on all.

    Lightning's ModelCheckpoint counts optimiser steps and writes a folder of names; resuming needs one file, by batches.
    evaluate_every: batches between evaluations, 0 for none. Lightning resumes what is saved between a batch and its
    evaluation behind the evaluation, so nothing is written there: a run that ends within an evaluation goes on from the
    batch before, and has it again.
    """

    def __init__(self, path: Path, every: int, flag: StopFlag, command: str = "fit", evaluate_every: int = 0) -> None:
        self.path, self.every, self.flag, self.command = path, max(every, 1), flag, command
        self.evaluate_every = evaluate_every

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        requested = self.flag.requested
        if trainer.world_size > 1:
            requested = trainer.strategy.reduce_boolean_decision(requested, all=False)
        if requested and trainer.max_epochs == -1 and batch_idx + 1 == trainer.num_training_batches:
            return  # Lightning would run an epoch that is saved behind its last batch once more
        wanted = requested or (batch_idx + 1) % self.every == 0 or self._evaluates(batch_idx + 1)
        if wanted and not self._evaluates(batch_idx):
            trainer.save_checkpoint(self.path, weights_only=False)  # with optimisers and progress
        if requested:
            self._stop()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.evaluate_every and trainer.state.fn == TrainerFn.FITTING:
            trainer.save_checkpoint(self.path, weights_only=False)

    def _evaluates(self, batch_idx: int) -> bool:
        """Whether an evaluation follows on this batch."""
        return bool(self.evaluate_every) and (batch_idx + 1) % self.evaluate_every == 0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.max_epochs == -1 and self.flag.requested:  # one of many rounds, run in one process
            trainer.save_checkpoint(self.path, weights_only=False)
            self._stop()

    def _stop(self) -> None:
        raise Stopped(
            f"stopped; continue with: dtag {self.command} --resume {shlex.quote(str(self.path.parents[1]))}",
            self.flag.exit_status or 143,
        )


class OwnSignals(Callback):
    """Keeps signals with the flag while a Trainer runs."""

    def __init__(self, flag: StopFlag) -> None:
        self.flag = flag

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.flag.take_back()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.flag.take_back()


class BestCheckpoint(Callback):
    """Writes `path` after an evaluation whose metric `monitor` is the highest so far; never where it is not measured.

    Lightning's ModelCheckpoint would leave out the evaluation at a run's end, which `fit` and `finetune` ask for apart.
    """

    def __init__(self, path: Path, monitor: str) -> None:
        self.path, self.monitor, self.best = path, monitor, -math.inf

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        value = float(trainer.callback_metrics.get(self.monitor, math.nan))
        if getattr(pl_module, "n_updates", 0) and value > self.best:  # false of NaN
            self.best = value
            trainer.save_checkpoint(self.path, weights_only=False)

    def state_dict(self) -> dict[str, float]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.best = state_dict["best"]


class LossProgress(RichProgressBar):
    """A bar with the loss and the latest score, without a version's number, drawn a few times a second.

    Lightning's own reads the metrics after every batch, on a GPU a wait for all that is queued there, and wakes a thread
    100 times a second.
    """

    refreshes_per_second = 4

    def __init__(self) -> None:
        super().__init__(refresh_rate=self.refreshes_per_second)
        self._next_update = -math.inf

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        if now >= self._next_update or batch_idx + 1 == trainer.num_training_batches:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
            self._next_update = now + 1 / self.refreshes_per_second

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        shown = super().get_metrics(trainer, pl_module)
        shown.pop("v_num", None)
        return shown


class StageProgress(LossProgress):
    """A bar of the stage's steps, with the loss and the latest score."""

    def __init__(self, stage: str) -> None:
        super().__init__()
        self.stage = stage

    def _get_train_description(self, current_epoch: int) -> str:
        return f"{self.stage:>9}"

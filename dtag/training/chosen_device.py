"""The device that Lightning takes for the `train` section of a config."""

from __future__ import annotations

import warnings

from lightning import Trainer

from dtag.training.process import quiet_lightning
from dtag.training.settings import TrainSettings


def chosen_device(train: TrainSettings) -> str:
    """ "cpu", "cuda", ...: the kind of device, for work that runs without a Trainer."""
    with warnings.catch_warnings():
        quiet_lightning()
        trainer = Trainer(accelerator=train.accelerator, devices=1, logger=False, enable_checkpointing=False)
        return str(trainer.strategy.root_device.type)

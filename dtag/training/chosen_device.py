"""The device that Lightning takes for the `train` section of a config."""

from __future__ import annotations

import warnings

from dtag.training.process import make_trainer, quiet_lightning
from dtag.training.settings import TrainSettings


def chosen_device(train: TrainSettings) -> str:
    """ "cpu", "cuda", ...: the kind of device, for work that runs without a Trainer."""
    with warnings.catch_warnings():
        quiet_lightning()
        trainer = make_trainer(train, devices=1, num_nodes=1, strategy="auto", logger=False)
        return str(trainer.strategy.root_device.type)

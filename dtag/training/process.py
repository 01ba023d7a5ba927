"""What a process that trains or evaluates sets for itself."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from lightning import Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException

from dtag.errors import UsageError
from dtag.products.linear import choose_library
from dtag.training.kept_memory import keep_freed_memory
from dtag.training.settings import TrainSettings

DDP = "ddp_find_unused_parameters_true"  # Lightning's name


def set_process_up(train: TrainSettings) -> None:
    """Threads, libraries, precision and memory of a process that trains."""
    keep_freed_memory()
    if train.threads:
        torch.set_num_threads(train.threads)
    choose_library(train.products)
    torch.set_float32_matmul_precision(train.matmul_precision)


def make_trainer(train: TrainSettings, **options: Any) -> Trainer:
    """Lightning's Trainer on the machine that the settings name; options: its own, over those.

    accelerator "auto" is CUDA's GPUs, else the CPU: Apple's have no float64, in which returns are counted. strategy
    "auto" with several devices is a DDP that allows weights which no term uses, as a std beside a squared error. Raises
    UsageError when this machine or Lightning has no such thing.
    """
    automatic = "cuda" if torch.cuda.is_available() else "cpu"
    machine = {
        "accelerator": automatic if train.accelerator == "auto" else train.accelerator,
        "devices": train.devices,
        "num_nodes": train.n_nodes,
        "strategy": train.strategy,
        "enable_model_summary": False,
        "enable_checkpointing": False,  # Lightning's own, by optimiser steps
        **options,
    }
    try:
        if train.accelerator == "mps":
            raise ValueError("Apple's GPUs have no float64, in which returns are counted")
        trainer = Trainer(**machine)
        if machine["strategy"] == "auto" and trainer.num_devices * trainer.num_nodes > 1:
            trainer = Trainer(**{**machine, "strategy": DDP})
        return trainer
    except (MisconfigurationException, ValueError) as error:
        named = ("accelerator", "devices", "strategy", "precision")
        settings = ", ".join(f"train.{name}={getattr(train, name)}" for name in named)
        raise UsageError(f"this machine cannot train with {settings}: {' '.join(str(error).split())}") from error


def quiet_lightning() -> None:
    """Advice that does not apply here: our loader is not a DataLoader, and one worker is right for it."""
    import logging

    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators.cuda", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*Checkpoint directory.*exists and is not empty.*",
        ".*litlogger.*",
        ".*treespec, LeafSpec.*",
        ".*but have no `validation_step`.*",
        ".*in eval mode at the start of training.*",
        ".*It is recommended to use `self.log.*sync_dist.*",  # what the evaluator logs is of all ranks already
    ):
        warnings.filterwarnings("ignore", message)

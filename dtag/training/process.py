"""What a process that trains or evaluates sets for itself."""

from __future__ import annotations

import warnings

import torch

from dtag.products.linear import choose_library
from dtag.training.kept_memory import keep_freed_memory
from dtag.training.settings import TrainSettings


def set_process_up(train: TrainSettings) -> None:
    """Threads, libraries, precision and memory of a process that trains."""
    keep_freed_memory()
    if train.threads:
        torch.set_num_threads(train.threads)
    choose_library(train.products)
    torch.set_float32_matmul_precision(train.matmul_precision)


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

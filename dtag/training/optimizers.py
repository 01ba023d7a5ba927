"""Optimisers of a policy or return model: parameter groups, warm-up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from dtag.config.ranges import refuse
from dtag.errors import UsageError
from dtag.training.lamb import Lamb

OptimizerName = Literal["lamb", "adamw"]
OPTIMIZERS: tuple[OptimizerName, ...] = get_args(OptimizerName)


@dataclass(frozen=True)
class OptimizerSettings:
    """How the policy's and the return model's networks are trained.

    name: "lamb" (Reinformer, ODT) or "adamw" (DT). learning_rate: after warm-up. weight_decay: decoupled.
    warmup_steps: the rate rises linearly to learning_rate over so many steps. gradient_clip: global norm per network;
    0 = none. schedule: "constant" after warm-up, or "cosine" down to 0 at the last step (IQL's policy).
    """

    name: OptimizerName = "lamb"
    learning_rate: float = 1e-4
    weight_decay: float = 1e-4
    warmup_steps: int = 5000
    gradient_clip: float = 0.25
    schedule: Literal["constant", "cosine"] = "constant"

    def __post_init__(self) -> None:
        refuse(
            "optimizer",
            learning_rate=(self.learning_rate, self.learning_rate >= 0, "at least 0"),
            weight_decay=(self.weight_decay, self.weight_decay >= 0, "at least 0"),
            warmup_steps=(self.warmup_steps, self.warmup_steps >= 0, "at least 0"),
            gradient_clip=(self.gradient_clip, self.gradient_clip >= 0, "at least 0; 0 is none"),
        )

    def make(self, network: nn.Module, n_steps: int | None = None, first_step: int = 0) -> tuple[Optimizer, LambdaLR]:
        """The optimiser of all parameters of `network` and its schedule. n_steps: of training, for "cosine". first_step:
        where the schedule begins, for training that goes on from a checkpoint.
        """
        frozen_by_lamb = [p for name, p in network.named_parameters() if name.endswith("log_std")]
        rest = [p for name, p in network.named_parameters() if not name.endswith("log_std")]
        if self.name == "lamb" and frozen_by_lamb:
            raise UsageError("learn_std=True needs optimizer.name='adamw': LAMB cannot move a log_std that starts at 0")
        optimizer: Optimizer
        if self.name == "lamb":
            optimizer = Lamb(rest, lr=self.learning_rate, weight_decay=self.weight_decay)
        else:
            groups: list[dict[str, Any]] = [{"params": rest}, {"params": frozen_by_lamb, "weight_decay": 0.0}]
            groups = [group for group in groups if group["params"]]
            optimizer = torch.optim.AdamW(groups, lr=self.learning_rate, weight_decay=self.weight_decay, fused=True)
        return optimizer, LambdaLR(optimizer, lambda step: self.rate(step + first_step, n_steps))

    def rate(self, step: int, n_steps: int | None) -> float:
        """The share of learning_rate at a step, counted from 0."""
        warm = min((step + 1) / max(self.warmup_steps, 1), 1.0)
        if self.schedule == "constant":
            return warm
        if n_steps is None:
            raise UsageError(
                "optimizer.schedule=cosine needs a number of training steps, and fine-tuning has none: set constant"
            )
        return warm * 0.5 * (1.0 + math.cos(math.pi * min(step / n_steps, 1.0)))

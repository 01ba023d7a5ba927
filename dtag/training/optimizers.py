"""Optimisers of a policy or return model: parameter groups, warm-up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from dtag.training.lamb import Lamb


@dataclass(frozen=True)
class OptimizerSettings:
    """How the policy's and the return model's networks are trained.

    name: "lamb" (Reinformer, ODT) or "adamw" (DT). learning_rate: after warm-up. weight_decay: decoupled.
    warmup_steps: the rate rises linearly to learning_rate over so many steps. gradient_clip: global norm per network;
    0 = none.
    """

    name: Literal["lamb", "adamw"] = "lamb"
    learning_rate: float = 1e-4
    weight_decay: float = 1e-4
    warmup_steps: int = 5000
    gradient_clip: float = 0.25

    def make(self, network: nn.Module) -> tuple[Optimizer, LambdaLR]:
        """The optimiser of all parameters of `network` and its warm-up schedule."""
        frozen_by_lamb = [p for name, p in network.named_parameters() if name.endswith("log_std")]
        rest = [p for name, p in network.named_parameters() if not name.endswith("log_std")]
        if self.name == "lamb" and frozen_by_lamb:
            raise ValueError("learn_std=True needs optimizer.name='adamw': LAMB cannot move a log_std that starts at 0")
        optimizer: Optimizer
        if self.name == "lamb":
            optimizer = Lamb(rest, lr=self.learning_rate, weight_decay=self.weight_decay)
        else:
            groups: list[dict[str, Any]] = [{"params": rest}, {"params": frozen_by_lamb, "weight_decay": 0.0}]
            groups = [group for group in groups if group["params"]]
            optimizer = torch.optim.AdamW(groups, lr=self.learning_rate, weight_decay=self.weight_decay, fused=True)
        warmup = max(self.warmup_steps, 1)
        return optimizer, LambdaLR(optimizer, lambda step: min((step + 1) / warmup, 1.0))

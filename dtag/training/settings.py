"""The `train` and `critic` sections of a config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class TrainSettings:
    """The policy stage, and the machine for both.

    n_steps: of the policy and return model. evaluate_every: steps between evaluations; 0 = only at the end.
    checkpoint_every: steps between writes of the last checkpoint. log_every: steps between logged losses.
    accelerator, devices, n_nodes, strategy, precision: Lightning's; keep 32-true on a CPU. compile: torch.compile the
    networks; pays on a GPU, loses on a CPU. monitor: the metric of the best checkpoint, highest is best; choosing by
    online score is optimistic, so results are reported from the last one. threads: CPU threads; 0 = torch's choice.
    """

    n_steps: int = 50_000
    evaluate_every: int = 5000
    checkpoint_every: int = 1000
    log_every: int = 50
    accelerator: str = "auto"
    devices: int | str = 1
    n_nodes: int = 1
    strategy: str = "auto"
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    compile: bool = False
    monitor: str = "eval/score"
    threads: int = 0


@dataclass(frozen=True)
class CriticSettings:
    """The critic stage.

    model: the critic. ckpt: a critic.ckpt or agent.ckpt to take it from instead of training one; it must come from the
    same data. n_steps: updates. batch_size: transitions per update. updates_per_step: updates
    per Lightning step; more spend less time in the loop, stop and log less often.
    """

    model: Any
    ckpt: str | None = None
    n_steps: int = 100_000
    batch_size: int = 256
    updates_per_step: int = 10

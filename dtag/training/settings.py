"""The `train` and `critic` sections of a config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from dtag.training.optimizers import OptimizerSettings


@dataclass(frozen=True)
class TrainSettings:
    """The policy stage, and the machine for both.

    n_steps: of the policy and return model. evaluate_every: steps between evaluations; 0 = only at the end.
    checkpoint_every: steps between writes of the last checkpoint. log_every: steps between logged losses.
    accelerator, devices, n_nodes, strategy, precision: Lightning's; keep 32-true on a CPU. compile: torch.compile the
    networks; pays on a GPU, loses on a CPU. monitor: the metric of the best checkpoint, highest is best; choosing by
    online score is optimistic, so results are reported from the last one. threads: CPU threads; 0 = torch's choice.
    matmul_precision: torch.set_float32_matmul_precision while training: "high" is TF32 on a GPU, "medium" bfloat16 inputs
    with float32 sums, several times as fast on CPUs with AMX; episodes are always run at "highest".
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
    matmul_precision: Literal["highest", "high", "medium"] = "highest"


@dataclass(frozen=True)
class CriticSettings:
    """A critic trained on the data alone, before the policy.

    model: the critic, like dtag.critic.iql.IQL. ckpt: a critic.ckpt or agent.ckpt to take it from instead of training
    one; it must come from the same data. n_steps: updates. batch_size: transitions per update. updates_per_step:
    updates per Lightning step; more spend less time in the loop, stop and log less often. optimizer: in place of the
    critic's own, e.g. {target: dtag.training.optimizers.OptimizerSettings, name: lamb}; a critic that learns from
    segments (CGDT's) draws batch_size of them.
    """

    model: Any
    ckpt: str | None = None
    n_steps: int = 100_000
    batch_size: int = 256
    updates_per_step: int = 10
    optimizer: OptimizerSettings | None = None


@dataclass(frozen=True)
class LiveCriticSettings:
    """A critic that learns along with the policy, like dtag.critic.bellman.BellmanCritic.

    policy_delay: critic updates per policy step, each on its own batch of data.batch_size segments; 2 is TD3's. The
    policy, and every target network, moves after the first of them. train.n_steps counts policy steps.
    """

    model: Any
    policy_delay: int = 1

    def __post_init__(self) -> None:
        if self.policy_delay < 1:
            raise ValueError(f"critic.policy_delay={self.policy_delay} must be at least 1")

"""The `train` and `critic` sections of a config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from dtag.config.ranges import refuse
from dtag.data.replay_buffer import Draw
from dtag.products.linear import Library
from dtag.rollout.row_settings import Exploration
from dtag.training.optimizers import OptimizerSettings


@dataclass(frozen=True)
class TrainSettings:
    """The policy stage, and the machine for both.

    n_steps: of the policy and return model. evaluate_every: steps between evaluations; 0 = only at the end.
    checkpoint_every: steps between writes of the last checkpoint. log_every: steps between logged losses.
    accelerator, devices, n_nodes, strategy, precision: Lightning's; keep 32-true on a CPU. accelerator "auto" is CUDA's
    GPUs, else the CPU. compile: torch.compile the networks; pays on a GPU, loses on a CPU. monitor: the metric of the best
    checkpoint, highest is best; choosing by online score is optimistic, so results are reported from the last one.
    threads: CPU threads; 0 = torch's choice.
    products: library of a CPU's float32 products while training, "torch", "onednn" or "auto": oneDNN on AMD CPUs, where it is
    twice as fast as the MKL that torch asks.
    matmul_precision: torch.set_float32_matmul_precision while training: "high" is TF32 on a GPU, "medium" bfloat16 inputs
    with float32 sums, faster or slower by network and CPU; episodes are always run at "highest".
    """

    n_steps: int = 50_000
    evaluate_every: int = 5000
    checkpoint_every: int = 1000
    log_every: int = 50
    accelerator: str = "auto"
    devices: int | str = 1
    n_nodes: int = 1
    strategy: str = "auto"
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    compile: bool = False
    monitor: str = "eval/score"
    threads: int = 0
    products: Library = "auto"
    matmul_precision: Literal["highest", "high", "medium"] = "highest"

    def __post_init__(self) -> None:
        refuse(
            "train",
            n_steps=(self.n_steps, self.n_steps >= 1, "at least 1"),
            evaluate_every=(self.evaluate_every, self.evaluate_every >= 0, "at least 0; 0 is only at the end"),
            checkpoint_every=(self.checkpoint_every, self.checkpoint_every >= 1, "at least 1"),
            log_every=(self.log_every, self.log_every >= 1, "at least 1"),
            threads=(self.threads, self.threads >= 0, "at least 0; 0 is torch's choice"),
            n_nodes=(self.n_nodes, self.n_nodes >= 1, "at least 1"),
        )


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

    def __post_init__(self) -> None:
        refuse(
            "critic",
            n_steps=(self.n_steps, self.n_steps >= 1, "at least 1"),
            batch_size=(self.batch_size, self.batch_size >= 1, "at least 1"),
            updates_per_step=(self.updates_per_step, self.updates_per_step >= 1, "at least 1"),
        )


@dataclass(frozen=True)
class LiveCriticSettings:
    """A critic that learns along with the policy, like dtag.critic.bellman.BellmanCritic.

    model: the critic. policy_delay: critic updates per policy step, each on its own batch of data.batch_size segments;
    2 is TD3's. The policy, and every target network, moves after the first of them. train.n_steps counts policy steps.
    """

    model: Any
    policy_delay: int = 1

    def __post_init__(self) -> None:
        if self.policy_delay < 1:
            raise ValueError(f"critic.policy_delay={self.policy_delay} must be at least 1")


@dataclass(frozen=True)
class OnlineSettings:
    """Fine-tuning by interaction: the `online` section. A round collects, then learns, until the budget is spent.

    n_environment_steps: the budget; the round in which it is reached is finished. replay_trajectories: the buffer's
    slots. start_from: "data" fills them with the offline episodes of highest return, "empty" with none (PDT).
    updates_per_round: policy steps; the critic makes critic.policy_delay times as many. episodes_per_round: a
    round collects so many. minimum_steps: and goes on until it has so many steps (paper 2: 1 episode, and
    1000 steps where the data is random or episodes are short). first_steps: at least so many in the first round (PDT).
    weighting: what a trajectory's probability to be drawn is proportional to, its "length" or its "return" (PDT).
    return_warmup: updates of a latent policy's return model before anything else learns (PDT). environments: episodes
    run at once; a round's number of episodes is rounded up to it. exploration: "noise" added to the action (TD3+ODT),
    "sample" from the policy's distribution (ODT), or "none". noise: its std, in units of half the action range.
    target_return: return-to-go to collect with, in the units of eval.target_return, for
    policies without a return model; paper 2 asks for twice the evaluation's. refine: Action Gradient while collecting
    too, with the critic as it stands. seed: online episode i of the run with seed s is reset with seed + 10,000,000 s +
    i. evaluate_every, checkpoint_every: in rounds; 0 = only at the end. continue_warmup: the learning rate's warm-up
    goes on from the checkpoint's step, as in paper 2's code, instead of starting again. truncation_is_terminal: an
    online time limit ends the bootstrap, as in paper 2's code; for parity with it alone. The value of the state an
    episode was cut off in is otherwise the critic's, as it is in the offline data. recent_steps: AWR and PPO learn from
    the last round's episodes and from older ones, collected by this run, while they are together at most so many steps
    (of those still in the replay buffer); 0 = the last round's alone, which PPO needs. keep_critic: begin with the
    checkpoint's critic where the networks are the same.
    """

    n_environment_steps: int = 500_000
    replay_trajectories: int = 1000
    start_from: Literal["data", "empty"] = "data"
    updates_per_round: int = 300
    episodes_per_round: int = 1
    minimum_steps: int = 0
    first_steps: int = 0
    weighting: Draw = "length"
    return_warmup: int = 0
    environments: int = 1
    exploration: Exploration = "noise"
    noise: float = 0.1
    target_return: float | None = None
    refine: bool = False
    seed: int = 1_000_000
    evaluate_every: int = 10
    checkpoint_every: int = 10
    continue_warmup: bool = True
    truncation_is_terminal: bool = False
    recent_steps: int = 0
    keep_critic: bool = True

    def __post_init__(self) -> None:
        least = {"n_environment_steps": 1, "replay_trajectories": 1, "updates_per_round": 1, "episodes_per_round": 1}
        least |= {"environments": 1, "minimum_steps": 0, "first_steps": 0, "return_warmup": 0, "evaluate_every": 0}
        for name, smallest in {**least, "noise": 0, "recent_steps": 0, "seed": 0}.items():
            if getattr(self, name) < smallest:
                raise ValueError(f"online.{name}={getattr(self, name)} must be at least {smallest}")

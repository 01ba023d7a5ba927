"""How an agent is evaluated: the `eval` section of a config."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class EvaluationSettings:
    """Evaluation by whole episodes, Action Gradient off and on in the same rollout.

    environment: Gymnasium id, "module:Id" or "package.module:callable"; "dataset" takes the one the data names; null
    skips rollouts, and `dtag validate` then compares with held-out trajectories. environment_kwargs: passed to it, over
    the dataset's own; null = none. max_episode_steps: null = the dataset's or the environment's own limit. episodes:
    per setting; 100 for a difference worth claiming. seed: episode i is reset with seed + i. rows: environments stepped
    at once. workers: processes that step them; 0 = this one, fastest on few cores. block_size: rows per network call, 1
    or a multiple of 4; results are bit-exact for one value of it, so it is part of the config.
    target_return: initial return-to-go, raw unless data.shaped_returns, of a policy without a return model (DT); null
    where returns are predicted. A list scores each as rows of the same rollout; the first is the one that is reported
    as the result.
    offline_positions: without an environment, at most so many steps of the held-out trajectories are scored, drawn by
    seed in segments of context.maximum; more narrow the intervals and take longer.
    """

    environment: str | None = "dataset"
    environment_kwargs: dict[str, Any] | None = field(default_factory=dict)
    max_episode_steps: int | None = None
    episodes: int = 10
    seed: int = 10_000
    rows: int = 60
    workers: int = 0
    block_size: int = 12
    target_return: float | tuple[float, ...] | None = None
    offline_positions: int = 20_000

    def __post_init__(self) -> None:
        for name, least in (("episodes", 1), ("rows", 1), ("workers", 0), ("seed", 0), ("offline_positions", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"eval.{name}={getattr(self, name)} must be at least {least}")
        if self.max_episode_steps is not None and self.max_episode_steps < 1:
            raise ValueError(f"eval.max_episode_steps={self.max_episode_steps} must be at least 1, or null")
        if self.block_size != 1 and (self.block_size < 1 or self.block_size % 4):
            raise ValueError(f"eval.block_size={self.block_size} must be 1 or a multiple of 4")

    @property
    def targets(self) -> tuple[float | None, ...]:
        """Every target return to score, the result's first; (None,) without any."""
        if isinstance(self.target_return, tuple | list):
            return tuple(self.target_return) or (None,)
        return (self.target_return,)

"""How long a stage will take, from a few of its own steps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from dtag.data.datamodule import TrajectoryDataModule
from dtag.data.segments import Collected, SegmentBatch
from dtag.data.spec import DataSpec
from dtag.training.experiment import build_critic, build_losses, build_networks
from dtag.training.optimizers import OptimizerSettings
from dtag.training.policy_module import PolicyModule
from dtag.training.settings import CriticSettings, LiveCriticSettings, TrainSettings

HOUR = 3600.0


def estimate_seconds(
    config: dict[str, Any], data: TrajectoryDataModule, train: TrainSettings, stage: str, *, as_collected: bool = False
) -> dict[str, float]:
    """{"critic": seconds, "policy": seconds} of training alone, for the stages that will run; on this machine's CPU.

    A critic that learns along is part of the policy's seconds. as_collected: let the data stand for what fine-tuning
    collects, for losses that learn from that; they raise UsageError otherwise.
    """
    spec, result = data.spec, {}
    settings = build_critic(config, spec)
    if isinstance(settings, CriticSettings) and stage != "policy" and settings.ckpt is None:
        critic, generator = settings.model, torch.Generator().manual_seed(0)
        of_segments = getattr(critic, "learns_from", "transitions") == "segments"
        sampler: Any = data.segment_sampler("all") if of_segments else data.transition_sampler()
        seconds = _per_call(lambda: critic.loss(sampler.sample(settings.batch_size, generator))[0].backward())
        result["critic"] = seconds * settings.n_steps
    if stage != "critic":
        result["policy"] = _per_call(_policy_step(config, data, spec, as_collected)) * train.n_steps
    return result


def _policy_step(
    config: dict[str, Any], data: TrajectoryDataModule, spec: DataSpec, as_collected: bool
) -> Callable[[], None]:
    policy, return_model = build_networks(config, spec)
    settings = build_critic(config, spec)
    delay = settings.policy_delay if isinstance(settings, LiveCriticSettings) else 0
    module = PolicyModule(
        policy=policy,
        return_model=return_model,
        losses=build_losses(config, spec),
        optimizer=OptimizerSettings(),
        spec=spec,
        seed=0,
        critic=getattr(settings, "model", None),
        policy_delay=delay,
    )
    data.look_ahead = delay > 0
    segments, generator = data.segment_sampler("all"), torch.Generator().manual_seed(0)

    def step() -> None:
        batch = segments.sample(data.batch_size, generator)
        if as_collected:
            batch = batch._replace(recent=_as_collected(batch))
        module.objective(batch)[0].backward()
        if delay:
            module.critic.requires_grad_(True)
        for _ in range(delay):
            module.critic_loss(batch)[0].backward()

    return step


def _as_collected(batch: SegmentBatch) -> SegmentBatch:
    """The segments as if a round after the first had just collected them: in that one AWR teaches nothing."""
    nothing = torch.zeros_like(batch.returns_to_go[..., 0])
    collected = Collected(nothing, nothing, nothing, rounds=torch.ones(len(nothing), dtype=torch.long))
    return batch._replace(collected=collected)


def _per_call(call: Callable[[], None], n_calls: int = 3) -> float:
    call()  # the first allocates
    start = time.perf_counter()
    for _ in range(n_calls):
        call()
    return (time.perf_counter() - start) / n_calls


def in_words(seconds: float) -> str:
    """90 -> "2 min"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < HOUR else f"{seconds / HOUR:.1f} h"

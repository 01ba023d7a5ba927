"""How long a run would take and how much memory, from its own first seconds: python -m dtag.training.probe KIND FILE.

FILE holds its config as JSON. Prints {"critic" | "policy" | "collection" | "evaluation": seconds in all, "peak_memory":
bytes}. Writes into temporary folders alone. A process of its own, so that its peak memory is that of such a run.
"""

from __future__ import annotations

import contextlib
import json
import math
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer

from dtag.config.build import build
from dtag.data.spec import DataSpec
from dtag.errors import DtagError
from dtag.evaluation.evaluate import environment_factory, plans_off_and_on
from dtag.evaluation.settings import EvaluationSettings
from dtag.losses.term import source_of
from dtag.rollout.agent import Agent
from dtag.rollout.episodes import EpisodePlan
from dtag.training.collector import exploring
from dtag.training.critic_module import CriticModule
from dtag.training.estimate import estimate_seconds
from dtag.training.experiment import build_agent, build_critic, build_data, build_losses, build_networks
from dtag.training.fit import fit
from dtag.training.settings import OnlineSettings

Kind = Literal["critic", "policy", "finetune", "validate"]
TRAINING_SECONDS, MOST_STEPS, LEAST_STEPS = 1.0, 200, 3
DECISIONS, ENVIRONMENT_STEPS = 2, 50
_TO_BYTES = 1 if sys.platform == "darwin" else 1024


def clock() -> float:
    """Seconds. On a CPU those that this process computed for, per thread, so that a busy machine counts like a free one."""
    return time.perf_counter() if torch.cuda.is_available() else time.process_time() / torch.get_num_threads()


class _Enough(Exception):
    """The stopwatch has seen what it needs."""


class Stopwatch(Callback):
    """Seconds a Lightning step of one stage takes, without its first; spec: of its data. Ends the run when it knows."""

    def __init__(self, stage: Kind) -> None:
        self.stage = stage
        self.times: list[float] = []
        self.spec: DataSpec | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if isinstance(pl_module, CriticModule) is not (self.stage == "critic"):
            return
        self.times.append(clock())
        self.spec = trainer.datamodule.spec  # type: ignore[attr-defined]
        n_seen = len(self.times)
        if n_seen == MOST_STEPS or (n_seen >= LEAST_STEPS and self.times[-1] - self.times[0] > TRAINING_SECONDS):
            raise _Enough

    @property
    def seconds_per_step(self) -> float:
        """0.0 where the whole stage was over in a few steps."""
        n_timed = len(self.times) - 1  # the first ends where timing begins
        return (self.times[-1] - self.times[0]) / n_timed if n_timed > 0 else 0.0


def probe(kind: Kind, config: dict[str, Any]) -> dict[str, float]:
    """Seconds of each part of a job of that kind, and its peak memory in bytes."""
    found: dict[str, float] = {}
    spec: DataSpec | None = None
    if kind == "finetune":
        found = _online_seconds(config)
    elif kind != "validate":
        found[kind], spec = _training_seconds(kind, config)
    if kind in ("policy", "validate"):
        n_evaluations = 1 if kind == "validate" else _n_evaluations(config["train"])
        found["evaluation"] = n_evaluations * _evaluation_seconds(config, spec or build_data(config).spec)
    found["peak_memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _TO_BYTES
    return found


def _online_seconds(config: dict[str, Any]) -> dict[str, float]:
    """What fine-tuning takes, if its episodes are as long as the data's: learning as from the data, at each round."""
    online: OnlineSettings = build(config["online"])
    data = build_data(config)
    n_episodes = -(-online.episodes_per_round // online.environments) * online.environments
    length = data.dataset.trajectories.n_steps / data.dataset.trajectories.n_episodes
    per_round = max(n_episodes * length, online.minimum_steps + length / 2)  # the last episode goes past the minimum
    n_rounds = max(math.ceil(online.n_environment_steps / per_round), 1)
    offline = {**config, "online": None}
    offline["train"] = {**config["train"], "n_steps": n_rounds * online.updates_per_round}
    if _learns_from_collected(config, data.spec):  # as no offline run can
        learning = estimate_seconds(offline, data, build(offline["train"]), "policy", as_collected=True)["policy"]
    else:
        learning, _ = _training_seconds("policy", offline)
    n_evaluations = 2 + ((n_rounds - 1) // online.evaluate_every if online.evaluate_every else 0)
    collection = online.n_environment_steps * _seconds_per_environment_step(config, data.spec, online)
    evaluation = n_evaluations * _evaluation_seconds(config, data.spec)
    return {"collection": collection, "policy": learning, "evaluation": evaluation}


def _learns_from_collected(config: dict[str, Any], spec: DataSpec) -> bool:
    critic = getattr(build_critic(config, spec), "model", None)
    sources = (source_of(term) for term in build_losses(config, spec).values())
    return "recent" in (*sources, getattr(critic, "learns_from", None))


def _seconds_per_environment_step(config: dict[str, Any], spec: DataSpec, online: OnlineSettings) -> float:
    agent, settings = _untrained_agent(config, spec), build(config["eval"])
    plans = [EpisodePlan(i, exploring(agent, online), "online") for i in range(online.environments)]
    return _decision_seconds(agent, plans) + _environment_seconds(settings, spec)


def _training_seconds(kind: Kind, config: dict[str, Any]) -> tuple[float, DataSpec | None]:
    """(seconds of the stage, spec of its data)"""
    stopwatch, critic = Stopwatch(kind), config["critic"]
    n_steps = config["train"]["n_steps"]
    if kind == "critic":
        n_steps = max(critic["n_steps"] // critic["updates_per_step"], 1)
    elif (
        critic is not None and "updates_per_step" in critic
    ):  # a policy's critic is another job's: one step stands for it
        critic = {**critic, "ckpt": None, "n_steps": critic["updates_per_step"]}
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        short = {**config, "output": folder, "critic": critic}
        short["train"] = {**config["train"], "checkpoint_every": n_steps + 1, "evaluate_every": 0}
        short["eval"] = {**config["eval"], "environment": None}
        with contextlib.suppress(_Enough):
            fit(short, stage="critic" if kind == "critic" else "all", callbacks=[stopwatch])
    return stopwatch.seconds_per_step * n_steps, stopwatch.spec


def _n_evaluations(train: dict[str, Any]) -> int:
    every = train["evaluate_every"] or train["n_steps"]
    return max(int(train["n_steps"] // min(every, train["n_steps"])), 1)


def _evaluation_seconds(config: dict[str, Any], spec: DataSpec) -> float:
    """One evaluation, were every episode to last until its limit."""
    settings: EvaluationSettings = build(config["eval"])
    if settings.environment is None:
        return 0.0
    agent = _untrained_agent(config, spec)
    plans = plans_off_and_on(agent, settings)
    per_step = _decision_seconds(agent, plans[: settings.rows]) + _environment_seconds(settings, spec)
    limit = settings.max_episode_steps or spec.info.max_episode_steps or spec.max_timestep + 1
    return per_step * len(plans) * limit


def _untrained_agent(config: dict[str, Any], spec: DataSpec) -> Agent:
    policy, return_model = build_networks(config, spec)
    critic = getattr(build_critic(config, spec), "model", None)
    for module in (policy, return_model, critic):
        if isinstance(module, torch.nn.Module):
            module.eval().requires_grad_(False)
    return build_agent(config, spec, policy, return_model, critic, {})


def _decision_seconds(agent: Agent, plans: Sequence[EpisodePlan]) -> float:
    """One decision for one of these rows, on contexts of full length."""
    generator, rows = np.random.default_rng(0), range(len(plans))
    agent.reset(len(rows))
    agent.restart(rows, [plan.settings for plan in plans])
    times = []
    for _ in range(agent.context.maximum + DECISIONS + 1):
        agent.act_rows(rows, generator.standard_normal((len(rows), agent.spec.state_dim)))
        agent.observe(rows, np.zeros(len(rows)))
        times.append(clock())
    return (times[-1] - times[-1 - DECISIONS]) / DECISIONS / len(rows)


def _environment_seconds(settings: EvaluationSettings, spec: DataSpec) -> float:
    """One step of one environment; 0.0 where none can be made."""
    try:
        factory = environment_factory(settings, spec)
        environment = None if factory is None else factory()
    except DtagError:
        environment = None
    if environment is None:
        return 0.0
    environment.reset(seed=0)
    action = np.zeros(environment.action_space.shape or (), environment.action_space.dtype)
    start = clock()
    for _ in range(ENVIRONMENT_STEPS):
        _, _, terminated, truncated, _ = environment.step(action)
        if terminated or truncated:
            environment.reset()
    seconds = (clock() - start) / ENVIRONMENT_STEPS
    environment.close()
    return seconds


if __name__ == "__main__":
    kind_, file = sys.argv[1:]
    measured = probe(kind_, json.loads(Path(file).read_text()))  # type: ignore[arg-type]
    print(json.dumps(measured))

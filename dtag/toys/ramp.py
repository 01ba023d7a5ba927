"""Paper 2, Figures 1 and 2: why fine-tuning by supervision alone stays where it is, and a critic's gradient does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningDataModule, Trainer, seed_everything
from numpy.typing import NDArray

from dtag.config.build import build
from dtag.data.datamodule import StepLoader
from dtag.data.segments import SegmentSampler
from dtag.data.spec import DataSpec
from dtag.data.step_generator import step_generator
from dtag.data.toy_datasets import one_state_episodes, ramp_actions, write_npz
from dtag.data.toy_environments import ramp
from dtag.data.trajectories import Trajectories
from dtag.evaluation.evaluate import environment_factory
from dtag.rollout.agent import Agent
from dtag.rollout.environments import Environments, make_environments
from dtag.training.experiment import build_agent, build_critic, build_data, build_losses, build_networks, resolve
from dtag.training.policy_module import PolicyModule
from dtag.training.process import quiet_lightning

CONFIG = "conf/toy/ramp.yaml"
# What differs from the YAML. DDPG has nothing to imitate and so nothing to be asked for: a policy of the state alone.
METHODS: dict[str, tuple[str, ...]] = {
    "ODT": ("losses.ddpg=null", "critic=null"),
    "DDPG": ("losses.action=null", "policy.given=state"),
    "ODT+DDPG": (),
}
N_PRETRAINING, N_FINE_TUNING = 5, 32  # epochs
PAPER_FINE_TUNING = 16  # when some seeds are not there yet
N_ROLLOUTS = 64  # before every epoch of fine-tuning
NOISE = 0.02


@dataclass(frozen=True)
class RampResult:
    """One seed of one method. data: (128,) the offline actions. actions, rewards: (37,) of the policy after each epoch."""

    method: str
    seed: int
    data: NDArray[np.float32]
    actions: NDArray[np.float64]
    rewards: NDArray[np.float64]


class GrowingData(LightningDataModule):
    """One-step segments of trajectories to which `collect` adds before every epoch; nothing is ever dropped.

    An epoch has as many batches as fit into the data. collect: None while pre-training.
    """

    def __init__(self, trajectories: Trajectories, spec: DataSpec, *, batch_size: int, seed: int) -> None:
        super().__init__()
        self.trajectories, self.spec, self.batch_size, self.seed = trajectories, spec, batch_size, seed
        self.collect: Callable[[], Trajectories] | None = None
        self.n_drawn = 0

    def train_dataloader(self) -> StepLoader:
        if self.collect is not None:
            self.trajectories = Trajectories.concatenate([self.trajectories, self.collect()])
        sampler = SegmentSampler(
            self.trajectories, self.spec, context_length=1, weighting="length", start="anywhere", look_ahead=True
        )
        n_steps, first = self.trajectories.n_steps // self.batch_size, self.n_drawn
        self.n_drawn += n_steps
        return StepLoader(
            lambda step: sampler.sample(self.batch_size, step_generator(self.seed, "segments", 0, first + step)),
            n_steps,
        )


class RecordAction(Callback):
    """The agent's action, without noise, after every epoch."""

    def __init__(self, agent: Agent) -> None:
        self.agent, self.actions = agent, list[float]()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.agent.reset()
        self.actions.append(float(self.agent.act(np.zeros(1))[0]))


def run_ramp(folder: Path, method: str, seed: int, overrides: Sequence[str] = ()) -> RampResult:
    """Pre-train one of METHODS on the offline actions, then fine-tune it on its own rollouts.

    Differs from the authors' script: float32; batches are drawn with replacement, as many as an epoch has; ODT+DDPG's
    critic is of the constant state and the action, theirs of the return asked for and the action; twice the epochs.
    """
    offline = one_state_episodes("ramp", ramp_actions(seed))
    file = write_npz(offline, folder / "data" / f"ramp-{method.replace('+', '-')}-{seed}.npz")
    config = resolve([CONFIG], [f"data.id={file}", f"seed={seed}", *METHODS[method], *overrides])
    spec = build_data(config).spec
    seed_everything(seed, verbose=False)
    module = _module(config, spec)
    agent = build_agent(config, spec, module.policy, None, None, {})  # type: ignore[arg-type]
    data = GrowingData(offline, spec, batch_size=config["data"]["batch_size"], seed=seed)
    record = RecordAction(agent)
    _fit(module, data, record, N_PRETRAINING)
    factory = environment_factory(build(config["eval"]), spec)
    assert factory is not None
    environments, generator = make_environments(factory, N_ROLLOUTS), np.random.default_rng(seed)
    data.collect = lambda: explore(agent, environments, generator)
    _fit(module, data, record, N_FINE_TUNING)
    actions = np.array(record.actions)
    return RampResult(method, seed, offline.actions[:, 0], actions, ramp(actions))


def explore(agent: Agent, environments: Environments, generator: np.random.Generator) -> Trajectories:
    """One-step episodes in every slot, with uniform noise of NOISE's width on the agent's actions."""
    slots = range(environments.n_slots)
    states = environments.reset(slots, list(slots))
    agent.reset(environments.n_slots)
    actions = agent.act_rows(slots, states).actions
    noise = NOISE * (generator.random(actions.shape) - 0.5)
    actions = np.clip(actions + noise, agent.spec.action_low, agent.spec.action_high).astype(np.float32)
    stepped = environments.step(slots, actions)
    return Trajectories.from_arrays(
        states, actions, stepped.rewards, stepped.terminated, stepped.truncated, next_states=stepped.states
    )


def _module(config: dict[str, Any], spec: DataSpec) -> PolicyModule:
    policy, _ = build_networks(config, spec)
    live: Any = build_critic(config, spec)
    return PolicyModule(
        policy=policy,
        return_model=None,
        losses=build_losses(config, spec),
        optimizer=build(config["optimizer"]),
        spec=spec,
        seed=config["seed"],
        critic=live.model if live else None,
        policy_delay=live.policy_delay if live else 0,
    )


def _fit(module: PolicyModule, data: GrowingData, record: RecordAction, n_epochs: int) -> None:
    """Lightning's fit, with optimisers of its own, the data grown and reloaded before every epoch."""
    quiet_lightning()
    torch.set_num_threads(1)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=n_epochs,
        reload_dataloaders_every_n_epochs=1,
        callbacks=[record],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data)

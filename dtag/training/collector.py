"""Online rounds under Lightning: before each epoch the agent collects whole episodes into the replay buffer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import torch
from lightning import Callback, LightningModule, Trainer

from dtag.data.replay_buffer import ReplayBuffer
from dtag.data.segments import SegmentBatch
from dtag.data.step_generator import step_generator
from dtag.data.trajectories import Trajectories
from dtag.evaluation.scores import normalized_score
from dtag.rollout.agent import Agent
from dtag.rollout.environments import EnvironmentFactory, make_environments
from dtag.rollout.episodes import EpisodePlan, rollout
from dtag.rollout.recording import Recorder
from dtag.rollout.row_settings import RowSettings
from dtag.training.policy_module import PolicyModule
from dtag.training.recent_steps import RecentSteps
from dtag.training.settings import OnlineSettings

SEEDS_PER_RUN = 10_000_000  # more episodes than a run has


class Collector(Callback):
    """One Lightning epoch is one round: collect, then `updates_per_round` policy steps from the buffer.

    Episode i of the run is reset with online.seed + SEEDS_PER_RUN * seed + i and draws its exploration from a generator
    of that number, so that a resumed run collects what an uninterrupted one does. make_agent: builds the agent from the
    module being trained. stop: asked before every environment step. recent: where terms or the critic learn from the
    newest steps. The state in a checkpoint holds what was collected; the offline part of the buffer is filled again from
    the data.
    """

    def __init__(
        self,
        buffer: ReplayBuffer,
        factory: EnvironmentFactory,
        make_agent: Callable[[LightningModule], Agent],
        settings: OnlineSettings,
        *,
        seed: int,
        stop: Callable[[], bool] | None = None,
        recent: RecentSteps | None = None,
    ) -> None:
        self.buffer, self.factory, self.make_agent, self.settings = buffer, factory, make_agent, settings
        self.seed, self.stop, self.recent = seed, stop, recent
        self.n_offline = buffer.n_added
        self.n_rounds = self.n_episodes = self.n_environment_steps = 0
        self._environments: Any = None
        self._metrics: dict[str, float] = {}

    @property
    def finished(self) -> bool:
        """Whether the budget of environment steps is spent."""
        return self.n_environment_steps >= self.settings.n_environment_steps

    def draw(self, step: int, batch_size: int) -> SegmentBatch:
        """The batch of a round's policy step, a function of the round, the step and the buffer."""
        index = (self.n_rounds - 1) * self.settings.updates_per_round + step
        batch = self.buffer.sample(batch_size, step_generator(self.seed, "replay", 0, index))
        if self.recent is None:
            return batch
        return batch._replace(recent=self.recent.sample(batch_size, step_generator(self.seed, "recent", 0, index)))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        progress: Any = trainer.fit_loop.epoch_progress.current
        rounds_learnt = progress.processed
        trainer.should_stop = self.finished and rounds_learnt == self.n_rounds  # resumed behind its last round

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.n_rounds > trainer.current_epoch:
            return  # resumed within a round: its episodes are in the buffer
        began = time.perf_counter()
        was_training = pl_module.training
        pl_module.eval()
        with torch.inference_mode(False):
            agent = self.make_agent(pl_module)
        collected = self.collect(agent)
        seconds = time.perf_counter() - began
        self.buffer.add(_cut_at_time_limits(collected) if self.settings.truncation_is_terminal else collected)
        if self.recent is not None:
            generator = step_generator(self.seed, "cuts", 0, self.n_rounds)
            with trainer.precision_plugin.train_step_context():  # as the policy will be asked again
                self.recent.begin_round(cast(PolicyModule, pl_module), collected.n_episodes, generator)
        pl_module.train(was_training)
        self.n_rounds += 1
        self.n_episodes += collected.n_episodes
        self.n_environment_steps += collected.n_steps
        self._metrics = {
            "return": float(collected.returns.mean()),
            "length": collected.n_steps / collected.n_episodes,
            "steps_per_second": collected.n_steps / seconds,
            "replay_return": float(self.buffer.returns().mean()),
            "replay_steps": self.buffer.n_steps,
            "replay_share_online": min(self.buffer.n_added - self.n_offline, self.buffer.capacity)
            / self.buffer.n_trajectories,
        }
        if self.recent is not None:
            self._metrics["recent_steps"] = self.recent.n_held
        reference = self.buffer.spec.info.reference
        if reference is not None:
            self._metrics["score"] = float(normalized_score(self._metrics["return"], reference))

    def collect(self, agent: Agent) -> Trajectories:
        """A round's episodes: at least episodes_per_round of them and minimum_steps steps, first_steps in the first."""
        agent.block_size = min(agent.block_size, _block_for(self.settings.environments))
        parts: list[Trajectories] = []
        n_done = 0
        environments = self._open()
        minimum = max(self.settings.minimum_steps, 0 if self.n_rounds else self.settings.first_steps)
        while n_done < self.settings.episodes_per_round or sum(p.n_steps for p in parts) < minimum:
            first = self.settings.seed + SEEDS_PER_RUN * self.seed + self.n_episodes + n_done
            settings = exploring(agent, self.settings)
            plans = [EpisodePlan(first + i, settings, "online") for i in range(self.settings.environments)]
            recorder = Recorder()
            rollout(agent, environments, plans, stop=self.stop, recorder=recorder)
            parts.append(recorder.trajectories())
            n_done += len(plans)
        return Trajectories.concatenate(parts)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        module: Any = pl_module
        if batch_idx == 0:  # values logged at an epoch's start are not written at a step
            counts = {
                "environment_steps": self.n_environment_steps,
                "episodes": self.n_episodes,
                "updates": module.n_updates,
            }
            pl_module.log_dict({f"online/{k}": float(v) for k, v in {**counts, **self._metrics}.items()}, batch_size=1)
        self._log_x(pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log_x(pl_module)

    def _log_x(self, pl_module: LightningModule) -> None:
        """Whatever is logged at this moment is logged over environment steps: loggers take a metric `step` for their x."""
        pl_module.log("step", float(self.n_environment_steps), batch_size=1)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.finished:
            trainer.should_stop = True

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._environments is not None:
            self._environments.close()
            self._environments = None

    def state_dict(self) -> dict[str, Any]:
        counts = {name: getattr(self, name) for name in _COUNTS}
        recent = {} if self.recent is None else {"recent": self.recent.state_dict()}
        return {**counts, **recent, "replay": self.buffer.state_dict(self.n_offline)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name in _COUNTS:
            setattr(self, name, state_dict[name])
        self.buffer.load_state_dict(state_dict["replay"])
        if self.recent is not None:
            self.recent.load_state_dict(state_dict["recent"])

    def _open(self) -> Any:
        if self._environments is None:
            self._environments = make_environments(self.factory, self.settings.environments)
        return self._environments


_COUNTS = ("n_rounds", "n_episodes", "n_environment_steps")


def _cut_at_time_limits(collected: Trajectories) -> Trajectories:
    """The episodes with every time limit passed off as a termination."""
    return replace(collected, terminated=collected.terminated | collected.truncated)


def _block_for(n_rows: int) -> int:
    """The smallest block of rows that holds them: collection's rows are the same in number, whatever the evaluation's."""
    return 1 if n_rows == 1 else -(-n_rows // 4) * 4


def exploring(agent: Agent, settings: OnlineSettings) -> RowSettings:
    """The agent's row settings while collecting: exploration on, Action Gradient only if asked for."""
    own = agent.default_settings
    return replace(
        own,
        n_steps=own.n_steps if settings.refine else 0,
        target_return=settings.target_return,
        exploration=settings.exploration,
        noise=settings.noise,
    )

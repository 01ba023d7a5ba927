"""TrajectoryDataModule: offline data as Lightning sees it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from lightning import LightningDataModule

from dtag.config.ranges import refuse
from dtag.data.dataset import Dataset
from dtag.data.load import load_dataset
from dtag.data.segments import SegmentBatch, SegmentSampler, Start, Weighting
from dtag.data.spec import DataSpec, RewardRule, longest_episode, make_spec
from dtag.data.step_generator import step_generator
from dtag.data.trajectories import Trajectories
from dtag.data.transitions import TransitionBatch, TransitionSampler
from dtag.errors import UsageError

Batch = SegmentBatch | TransitionBatch | None


class StepLoader:
    """One batch per training step, a function of the step alone.

    Its state is the next step's number: a resumed run continues with the batch an uninterrupted one would have drawn.
    """

    def __init__(self, draw: Callable[[int], Batch], n_steps: int) -> None:
        self.draw, self.n_steps, self.next_step = draw, n_steps, 0

    def __len__(self) -> int:
        return self.n_steps

    def __iter__(self) -> Iterator[Batch]:
        start = self.next_step % self.n_steps
        for step in range(start, self.n_steps):
            self.next_step = step + 1
            yield self.draw(step)

    def state_dict(self) -> dict[str, int]:
        return {"next_step": self.next_step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.next_step = state["next_step"]


class TrajectoryDataModule(LightningDataModule):
    """K-step segments for the policy or transitions for the critic, from any source `load_dataset` knows.

    id: dataset id, D4RL name or file; several joined by "+". context_length: K, the steps of a segment. batch_size:
    segments per step and rank. weighting, start: see SegmentSampler. return_scale: divides returns-to-go; about the
    best return in hundreds. reward_rule, reward_divisor: see make_spec. shaped_returns: returns-to-go, and with them
    eval.target_return and online.target_return, count the critic's rewards, as in paper 2's code for antmaze and
    Adroit; scores stay raw. top_fraction: share of the complete training trajectories, best returns first, that the
    policy learns from (10% BC: 0.1). held_out: share of the trajectories kept from the policy for validation losses.
    Normalisation still sees all, and so does a critic of transitions that is trained before the policy (IQL); one that
    learns along, or from segments, sees what the policy does. future_steps: gathered behind each segment, for policies
    that learn from them (PDT: 20). n_validation_batches: per validation and rank. on_device: gather on the GPU when the
    data takes under a quarter of its free memory.
    """

    def __init__(
        self,
        id: str,
        *,
        seed: int = 0,
        context_length: int = 20,
        batch_size: int = 128,
        weighting: Weighting = "uniform",
        start: Start = "inside",
        return_scale: float = 1000.0,
        reward_rule: RewardRule = "raw",
        reward_divisor: float = 1.0,
        shaped_returns: bool = False,
        top_fraction: float = 1.0,
        held_out: float = 0.05,
        n_validation_batches: int = 4,
        on_device: bool = True,
        future_steps: int = 0,
    ) -> None:
        super().__init__()
        if not 0.0 <= held_out < 1.0:
            raise UsageError(f"data.held_out must lie in [0, 1), not {held_out}")
        if not 0.0 < top_fraction <= 1.0:
            raise UsageError(f"data.top_fraction must lie in (0, 1], not {top_fraction}")
        refuse(
            "data",
            reward_divisor=(reward_divisor, reward_divisor > 0, "above 0"),
            return_scale=(return_scale, 0 < return_scale < math.inf, "above 0"),
            context_length=(context_length, context_length >= 1, "at least 1"),
            batch_size=(batch_size, batch_size >= 1, "at least 1"),
            n_validation_batches=(n_validation_batches, n_validation_batches >= 1, "at least 1"),
            future_steps=(future_steps, future_steps >= 0, "at least 0"),
        )
        if not 0 <= seed < 2**32:  # the run's own, not a key of `data`
            raise UsageError(f"seed={seed} must be at least 0 and below 2^32, as NumPy's")
        self.top_fraction, self.reward_divisor, self.shaped_returns = top_fraction, reward_divisor, shaped_returns
        self.future_steps = future_steps
        self.id, self.seed, self.context_length, self.batch_size = id, seed, context_length, batch_size
        self.weighting, self.start, self.return_scale, self.reward_rule = weighting, start, return_scale, reward_rule
        self.held_out, self.n_validation_batches, self.on_device = held_out, n_validation_batches, on_device
        self.serve_nothing()
        self._dataset: Dataset | None = None
        self._spec: DataSpec | None = None
        self._some: tuple[int, TransitionBatch] | None = None

    @property
    def dataset(self) -> Dataset:
        """The loaded dataset; loads it on first use."""
        if self._dataset is None:
            self._dataset = load_dataset(self.id)
        return self._dataset

    @property
    def spec(self) -> DataSpec:
        if self._spec is None:
            made = make_spec(
                self.dataset,
                return_scale=self.return_scale,
                reward_rule=self.reward_rule,
                reward_divisor=self.reward_divisor,
                shaped_returns=self.shaped_returns,
            )
            longest = longest_episode(self._trajectories("train"))  # what lies beyond it is never trained
            self._spec = replace(made, max_timestep=longest - 1)
        return self._spec

    def serve_nothing(self) -> None:
        """Forget what `serve` asked for."""
        self.kind: Literal["segments", "transitions", "nothing"] = "nothing"
        self.n_steps, self.served_batch_size, self.updates_per_step, self.look_ahead = 0, 0, 1, False

    def serve(
        self,
        kind: Literal["segments", "transitions"],
        n_steps: int,
        *,
        batch_size: int | None = None,
        updates_per_step: int = 1,
        look_ahead: bool = False,
    ) -> TrajectoryDataModule:
        """Choose what the training loader yields, for how many steps.

        batch_size: None = data.batch_size. A step's batch holds updates_per_step batches end to end. look_ahead: segments
        come with what follows each step, see SegmentBatch.
        """
        self.kind, self.n_steps, self.look_ahead = kind, n_steps, look_ahead
        self.served_batch_size, self.updates_per_step = batch_size or self.batch_size, updates_per_step
        return self

    def split(self) -> tuple[np.ndarray, np.ndarray]:
        """(train, held out) episode indices; every rank and stage of one seed gets the same split."""
        episodes = np.random.default_rng(self.seed).permutation(self.dataset.trajectories.n_episodes)
        n_held_out = int(self.held_out * len(episodes))
        return np.sort(episodes[n_held_out:]), np.sort(episodes[:n_held_out])

    def segment_sampler(self, part: Literal["train", "held_out", "all"] = "train") -> SegmentSampler:
        return SegmentSampler(
            self._trajectories(part),
            self.spec,
            context_length=self.context_length,
            weighting=self.weighting,
            start=self.start,
            look_ahead=self.look_ahead,
            future_steps=self.future_steps,
        )

    def _trajectories(self, part: Literal["train", "held_out", "all"]) -> Trajectories:
        train, held_out = self.split()
        trajectories = self.dataset.trajectories
        if part == "train" and self.top_fraction < 1.0:
            return trajectories.select(self._best(train))
        if part != "all" and len(held_out):
            return trajectories.select(train if part == "train" else held_out)
        return trajectories

    def _best(self, episodes: np.ndarray) -> np.ndarray:
        """The top_fraction of the complete ones of `episodes`, by return; at least one."""
        trajectories = self.dataset.trajectories
        complete = episodes[trajectories.complete[episodes]]
        n_kept = max(int(self.top_fraction * len(complete)), 1)
        return np.sort(complete[np.argsort(-trajectories.returns[complete], kind="stable")[:n_kept]])

    def transition_sampler(self) -> TransitionSampler:
        """All steps: the critic is not validated on held-out episodes, so it learns from every transition."""
        return TransitionSampler(self.dataset.trajectories, self.spec)

    def some_transitions(self, n: int) -> TransitionBatch:
        """At most n steps of the data, drawn by its seed: the same at every call, on the CPU, normalised once."""
        if self._some is None or self._some[0] != n:
            sampler, generator = self.transition_sampler(), torch.Generator().manual_seed(self.seed)
            rows = sampler.usable[torch.randperm(len(sampler.usable), generator=generator)[:n]]
            self._some = n, sampler.gather(rows)
        return self._some[1]

    def train_dataloader(self) -> StepLoader:
        rank, device, kind = self._rank(), self._device(), self.kind
        size = self.served_batch_size * self.updates_per_step
        made = self.transition_sampler() if kind == "transitions" else self.segment_sampler("train")
        sampler = made.to(device)
        return StepLoader(
            lambda step: sampler.sample(size, step_generator(self.seed, kind, rank, step, device)), self.n_steps
        )

    def val_dataloader(self) -> StepLoader | list[None]:
        """The same held-out segments at every validation; one empty batch where there are none, so that callbacks run."""
        held_out = self.split()[1]
        if self.kind != "segments":
            return []
        if not self.dataset.trajectories.complete[held_out].any():
            return StepLoader(lambda _: None, 1)
        sampler, rank = self.segment_sampler("held_out"), self._rank()
        return StepLoader(
            lambda step: sampler.sample(self.served_batch_size, step_generator(self.seed, "held_out", rank, step)),
            self.n_validation_batches,
        )

    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer is not None else 0

    def _device(self) -> torch.device:
        device = self.trainer.strategy.root_device if self.trainer is not None else torch.device("cpu")
        if device.type != "cuda" or not self.on_device:
            return torch.device("cpu")
        free, _ = torch.cuda.mem_get_info(device)
        needed = 2 * self.dataset.trajectories.states.nbytes
        return device if needed < free / 4 else torch.device("cpu")

"""A checkpoint under a grid: which ones are asked for, what their episodes depend on, and how they are run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import torch

from dtag.config.build import build
from dtag.data.dataset import Reference
from dtag.data.reference_scores import reference_as_evaluated
from dtag.data.spec import DataSpec
from dtag.errors import UsageError
from dtag.evaluation.evaluate import environment_factory, row_to_dict
from dtag.evaluation.settings import EvaluationSettings
from dtag.rollout.agent import Agent
from dtag.rollout.environments import Environments, make_environments
from dtag.rollout.episodes import EpisodePlan, EpisodeRow, rollout
from dtag.rollout.row_settings import RowSettings
from dtag.training.checkpoint import agent_of, read_with_overrides, versions

# What changes no episode, only which are run, how many at once, or what another command does with the checkpoint.
FREE_OF_EVAL = frozenset({"target", "episodes", "seed", "rows", "workers", "target_return", "offline_positions"})
SET_BY_CELLS = frozenset({"eta", "n_steps", "rule"})
LIBRARIES = ("torch", "numpy", "gymnasium", "gymnasium-robotics", "mujoco")


@dataclass(frozen=True)
class Subject:
    """A checkpoint and the overrides of its config; picklable, for worker processes."""

    checkpoint: Path
    overrides: tuple[str, ...] = ()
    trust: bool = False

    def __reduce__(self) -> Any:
        return Subject, (self.checkpoint, self.overrides, self.trust)  # another process reads the file itself

    @property
    def folder(self) -> Path:
        """Where the checkpoint lies."""
        return self.checkpoint.parent

    @cached_property
    def _read(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return read_with_overrides(self.checkpoint, list(self.overrides), trust=self.trust)

    @property
    def config(self) -> dict[str, Any]:
        """The checkpoint's config with the overrides."""
        return self._read[1]

    @cached_property
    def spec(self) -> DataSpec:
        return DataSpec.from_dict(self._read[0]["spec"])

    @cached_property
    def settings(self) -> EvaluationSettings:
        settings: EvaluationSettings = build(self.config["eval"])
        return settings

    @property
    def reference(self) -> Reference | None:
        """The returns that its scores count from and to."""
        return reference_as_evaluated(self.spec.info, self.config["eval"])

    @property
    def action_gradient_rms(self) -> dict[str, float]:
        """By choice of Q; empty without a critic."""
        return dict(self._read[0]["action_gradient_rms"])

    def agent(self, device: str = "cpu") -> Agent:
        """A new agent with the checkpoint's networks."""
        return agent_of(*self._read, device)

    def check(self) -> RowSettings:
        """The checkpoint's own setting. Raises UsageError or DtagError where a grid cannot be run on it."""
        factory = environment_factory(self.settings, self.spec)
        if factory is None:
            raise UsageError(f"{self.checkpoint} names no environment to roll out in: give eval.environment=ID")
        factory.check(self.spec)
        agent = self.agent()
        if agent.critic is None or agent.refiner is None:
            raise UsageError(
                f"{self.checkpoint} has no critic for Action Gradient to climb: attach one with critic.ckpt=PATH, or "
                "fit one (critic=null or ag=null in its config says not to)"
            )
        return agent.default_settings

    def identity(self, device: str = "cpu") -> dict[str, Any]:
        """All that an episode of given seed and cell depends on, by name: weights, settings, versions of libraries."""
        contents, config = self._read
        parts = {name: _digest(contents[name]) for name in ("policy", "return_model", "critic", "spec")}
        parts["action_gradient_rms"] = contents["action_gradient_rms"]
        own = {
            "ag": {key: value for key, value in (config["ag"] or {}).items() if key not in SET_BY_CELLS},
            "context.maximum": config["context"]["maximum"],
            "eval": {key: value for key, value in config["eval"].items() if key not in FREE_OF_EVAL},
            "eval.target_return": self.settings.targets[0],
        }
        found = versions()
        libraries = {name: found[name] for name in LIBRARIES if name in found}
        return _flat({"checkpoint": parts, **own, "device": device, "versions": libraries})


class SubjectRollouts:
    """Runs episodes of one subject; agent and environments last from one call to the next."""

    def __init__(self, subject: Subject, n_slots: int, *, n_workers: int = 0, device: str = "cpu") -> None:
        self.subject, self.n_slots, self.n_workers = subject, n_slots, n_workers
        self.agent = subject.agent(device)
        self._environments: Environments | None = None

    def run(self, plans: Sequence[EpisodePlan], on_row: Callable[[int, dict[str, Any]], None], **options: Any) -> None:
        """on_row(index, row) as each plan's episode ends; options are `rollout`'s."""
        if self._environments is None:
            factory = environment_factory(self.subject.settings, self.subject.spec)
            assert factory is not None
            self._environments = make_environments(factory, self.n_slots, self.n_workers)

        def ended(index: int, row: EpisodeRow) -> None:
            on_row(index, row_to_dict(row, self.subject.spec))

        rollout(self.agent, self._environments, plans, on_row=ended, **options)

    def close(self) -> None:
        if self._environments is not None:
            self._environments.close()


def find_checkpoints(asked: Sequence[str]) -> list[Path]:
    """The agent.ckpt files that paths, run folders, folders of seeds and patterns stand for, each once.

    Raises UsageError for each that stands for none.
    """
    found: dict[Path, None] = {}
    for text in asked:
        expanded = os.path.expanduser(text)
        paths = [Path(path) for path in sorted(glob(expanded, recursive=True))] if has_magic(expanded) else []
        files = [file for path in paths or [Path(expanded)] for file in _agents_at(path)]
        if not files:
            raise UsageError(
                f"there is no checkpoint at {text}; a finished run has runs/<experiment>/<name>/agent.ckpt"
            )
        found |= dict.fromkeys(files)
    return list(found)


def _agents_at(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    own = path / "agent.ckpt"
    return [own] if own.is_file() else sorted(path.glob("seed-*/agent.ckpt"))  # those of `dtag fit --seeds`


def _digest(value: Any) -> str | None:
    """12 hexadecimal digits of nested containers of numbers, texts and tensors; None of None."""
    if value is None:
        return None
    sha = hashlib.sha256()
    _update(sha, value)
    return sha.hexdigest()[:12]


def _update(sha: Any, value: Any) -> None:
    if isinstance(value, dict):
        for name in sorted(value):
            sha.update(f"{name}:".encode())
            _update(sha, value[name])
    elif isinstance(value, torch.Tensor):
        sha.update(f"{value.dtype}{tuple(value.shape)}".encode())
        sha.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    elif isinstance(value, list | tuple):
        for entry in value:
            _update(sha, entry)
            sha.update(b",")
    else:
        sha.update(repr(value).encode())


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a.b": value} of nested mappings."""
    flat: dict[str, Any] = {}
    for name, entry in value.items():
        flat |= _flat(entry, f"{prefix}{name}.") if isinstance(entry, dict) and entry else {prefix + name: entry}
    return flat

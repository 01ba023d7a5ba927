"""Runs on a Ray cluster, or on one that is started on this machine for them."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dtag.errors import DtagError, UsageError
from dtag.sweep.executor import Needs, Outcome, RaySettings, thread_environment
from dtag.sweep.job import Job
from dtag.sweep.ray_worker import PATIENCE_SECONDS, Workplace, look

DTAG = ("-m", "dtag")
PASSED_ON = ("MINARI_DATASETS_PATH", "DTAG_CACHE")
LOOK_SECONDS = 60.0  # a node's first task waits for a Python to start there
NODES_SECONDS = 2.0  # between two looks at what the cluster has


class RayExecutor:
    """An actor a run, with its share of a node's cores, GPUs and memory.

    folder: the sweep's, on storage that every node and this machine share, under the same path. at_most: runs at once; 0
    = as many as the cluster takes. program: what a job's words are appended to after the node's own Python.

    Raises UsageError when Ray is not installed, the cluster cannot be reached, no node has what a run needs, or a node
    does not see the folder.
    """

    def __init__(
        self,
        folder: Path,
        settings: RaySettings,
        *,
        needs: Needs | None = None,
        at_most: int = 0,
        program: Sequence[str] = DTAG,
    ) -> None:
        self.ray = _ray()
        self.needs, self.at_most, self.program = needs or Needs(), at_most, tuple(program)
        self.environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        self.environment |= dict(word.split("=", 1) for word in settings.environment)
        self.environment |= thread_environment(self.needs.cpus)
        self.running: list[_Actor] = []
        self.n_places, self.counted_at = 0, -NODES_SECONDS
        self.is_ours = not self.ray.is_initialized()
        self._connect(settings)
        try:
            self._check_offers()
            self._check_storage(folder)
        except BaseException:
            self.close()
            raise

    @property
    def n_workers(self) -> int:
        """Runs that the nodes that are alive take at once; one at least, which waits for a node to come back."""
        if time.monotonic() - self.counted_at > NODES_SECONDS:
            self.n_places, self.counted_at = sum(self._places(node) for node in self._nodes()), time.monotonic()
        return max(min(self.n_places, self.at_most or self.n_places), 1)

    def has_room(self, job: Job) -> bool:
        self.running = [each for each in self.running if each.outcome() is None]
        return len(self.running) < self.n_workers

    def start(self, job: Job, words: tuple[str, ...]) -> _Actor:
        options: dict[str, Any] = {"num_cpus": self.needs.cpus, "num_gpus": self.needs.gpus or 0, "max_concurrency": 2}
        if self.needs.memory is not None:
            options["memory"] = self.needs.memory
        actor = self.ray.remote(Workplace).options(**options).remote()
        result = actor.run.remote((*self.program, *words), str(Path.cwd()), str(job.log.absolute()), self.environment)
        self.running.append(_Actor(self.ray, actor, result))
        return self.running[-1]

    def close(self) -> None:
        if self.is_ours:
            self.ray.shutdown()

    def _connect(self, settings: RaySettings) -> None:
        if not self.is_ours:
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        options = {"log_to_driver": False, "logging_level": "critical", "include_dashboard": False}
        if settings.address is not None:
            del options["include_dashboard"]
        try:
            self.ray.init(address=settings.address or "local", **options)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise UsageError(
                f"there is no Ray cluster at ray.address={settings.address}: {reason}; start one with `ray start --head`, "
                "or leave ray.address null for one on this machine"
            ) from error

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self.ray.nodes() if node["Alive"]]

    def _places(self, node: dict[str, Any]) -> int:
        """How many runs a node takes."""
        needs, has = self.needs, node["Resources"]
        asked = (("CPU", needs.cpus), ("GPU", needs.gpus or 0), ("memory", needs.memory or 0))
        return min(int(has.get(name, 0) / amount + 1e-9) for name, amount in asked if amount)

    def _check_offers(self) -> None:
        if not any(self._places(node) for node in self._nodes()):
            asked = f"{self.needs.cpus} cores" + (f", {self.needs.gpus:g} GPUs" if self.needs.gpus else "")
            asked += f", {self.needs.memory / 2**30:g} GiB" if self.needs.memory else ""
            raise UsageError(
                f"no node of the Ray cluster has what a run needs ({asked}): change cpus_per_run, gpus_per_run or "
                "memory_per_run, or add such a node"
            )

    def _check_storage(self, folder: Path) -> None:
        """Every node must read what this machine writes there, and the other way round."""
        nodes = [node for node in self._nodes() if self._places(node)]
        with _probe_file(folder) as (probe, text):
            seen = [self._look(node, probe) for node in nodes]
            limit = time.monotonic() + PATIENCE_SECONDS
            blind = []
            for answer, found in seen:
                while found["text"] == text and not answer.is_file() and time.monotonic() < limit:
                    time.sleep(0.2)
                if found["text"] != text or not answer.is_file():
                    blind.append(f"{found['node']}: {found['error'] or 'it has another folder of that name'}")
                elif not found["folder"]:
                    blind.append(f"{found['node']}: has no {Path.cwd()}")
        if blind:
            raise UsageError(
                "\n  ".join(
                    [f"{len(blind)} of {len(nodes)} nodes do not share {folder.absolute()} with this machine:", *blind]
                )
                + "\nthe output folder, the configs and the folder this was started in must be on storage that all nodes "
                "have under the same path: choose another output=FOLDER, or mount it there"
            )

    def _look(self, node: dict[str, Any], probe: Path) -> tuple[Path, dict[str, Any]]:
        """(the file it was to write, what it saw) of one node."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        answer = probe.with_name(f"{probe.name}.{node['NodeID'][:8]}")
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        task = self.ray.remote(look).options(num_cpus=0, scheduling_strategy=there, max_retries=0)
        try:
            found = self.ray.get(task.remote(str(Path.cwd()), str(probe), answer.name), timeout=LOOK_SECONDS)
        except (self.ray.exceptions.RayError, ModuleNotFoundError) as error:
            reason = str(error).strip().rpartition("\n")[2]
            found = {"node": node["NodeManagerHostname"], "text": None, "error": reason or type(error).__name__}
        return answer, found


@dataclass
class _Actor:
    """A run on the cluster."""

    ray: Any
    actor: Any
    result: Any
    ended: Outcome | None = None

    def __post_init__(self) -> None:
        self.placed = self.actor.place.remote()

    def outcome(self) -> Outcome | None:
        if self.ended is None and self.ray.wait([self.result], timeout=0)[0]:
            try:
                self.ended = Outcome(**self.ray.get(self.result))
            except self.ray.exceptions.RayActorError as error:
                self.ended = Outcome(is_lost=True, error=f"its node or its worker was lost ({_cause(error)})")
            except self.ray.exceptions.RayError as error:
                self.ended = Outcome(error=f"Ray could not run it: {_cause(error)}")
            self.ray.kill(self.actor)
        return self.ended

    def send_signal(self, number: int) -> None:
        """One that has no place yet is taken back."""
        if self.outcome() is not None:
            return
        if self.ray.wait([self.placed], timeout=0)[0]:
            self.actor.send_signal.remote(number)
        else:
            self.ray.kill(self.actor)


def _ray() -> Any:
    """The module."""
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            "executor=ray needs Ray: pip install -e '.[ray]' (here and on every node), or use executor=local"
        ) from error
    return ray


def _cause(error: Exception) -> str:
    """The sentence of Ray's message that says why."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "node" in line.lower() and "died" in line.lower()]
    return (telling or lines or [type(error).__name__])[0].rstrip(".")


@contextmanager
def _probe_file(folder: Path) -> Iterator[tuple[Path, str]]:
    """A file for the nodes to read, gone afterwards with what they wrote beside it."""
    text = uuid.uuid4().hex
    probe = folder.absolute() / f".probe-{text[:8]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_text(text)
    except OSError as error:
        raise DtagError(f"cannot write into {folder}: {error}") from error
    try:
        yield probe, text
    finally:
        for file in folder.absolute().glob(f"{probe.name}*"):
            file.unlink(missing_ok=True)

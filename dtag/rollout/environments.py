"""Environments of a rollout: a plain list stepped in this process, or the same list spread over worker processes.

Gymnasium's vector environments do not serve here: their autoreset steps finished environments and seeds only the first
episode. These step exactly the slots they are told to and seed every episode.
"""

from __future__ import annotations

import importlib
import inspect
import multiprocessing
import sys
import warnings
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, Protocol

import gymnasium
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dtag.config.nearest import did_you_mean, nearest
from dtag.data.environment_facts import register_robotics
from dtag.data.spec import DataSpec
from dtag.errors import DtagError


class Stepped(NamedTuple):
    """states (n, S) after the step, rewards (n,) float64, terminated and truncated (n,) bool."""

    states: NDArray[Any]
    rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]


class Environments(Protocol):
    """E slots, each one environment."""

    n_slots: int

    def reset(self, slots: Sequence[int], seeds: Sequence[int]) -> NDArray[Any]:
        """Begin an episode in each slot; states (n, S)."""
        ...

    def step(self, slots: Sequence[int], actions: NDArray[np.float32]) -> Stepped:
        """One step in each of the given slots, the others untouched."""
        ...

    def close(self) -> None: ...


class EnvironmentFactory:
    """Makes the evaluation's environment from its id or import path; picklable, for worker processes.

    environment: a Gymnasium id ("Hopper-v5"), "module:Id" (the module registers it) or "package.module:name" (a callable
    that returns an environment). max_episode_steps: None = the environment's own limit. observation_keys: entries of a
    dict observation to join into the state.

    Raises DtagError when it cannot be made, saying which package to install.
    """

    def __init__(
        self,
        environment: str,
        kwargs: dict[str, Any] | None = None,
        max_episode_steps: int | None = None,
        observation_keys: Sequence[str] = (),
    ) -> None:
        self.environment, self.kwargs = environment, dict(kwargs or {})
        self.max_episode_steps, self.observation_keys = max_episode_steps, tuple(observation_keys)

    def __call__(self) -> gymnasium.Env[Any, Any]:
        try:
            made = self._make()
        except DtagError:
            raise
        except Exception as error:  # a stranger's module or constructor can raise anything
            what = str(error).rstrip(".")
            what = what if " " in what else f"{type(error).__name__}: {what}"  # KeyError('robot') says 'robot'
            raise DtagError(
                f"cannot make the environment {self.environment!r}: {what}.{_hint(self.environment)}"
            ) from error
        if self.observation_keys:
            made = JoinedObservation(made, self.observation_keys)
        return made

    def _make(self) -> gymnasium.Env[Any, Any]:
        limit = {} if self.max_episode_steps is None else {"max_episode_steps": self.max_episode_steps}
        module, _, name = self.environment.partition(":")
        if name:
            made = getattr(importlib.import_module(module), name, None)
            if callable(made):
                if limit and "max_episode_steps" in inspect.signature(made).parameters:
                    return made(**{**self.kwargs, **limit})  # a limit around its own could not be the higher one
                environment = made(**self.kwargs)
                return gymnasium.wrappers.TimeLimit(environment, **limit) if limit else environment
        _silence_mujoco()
        register_robotics(self.environment)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of the -v4 that D4RL's data needs
            return gymnasium.make(self.environment, disable_env_checker=True, **limit, **self.kwargs)

    def check(self, spec: DataSpec) -> None:
        """Raises DtagError when the environment's dims are not the data's, or its action bounds are narrower."""
        environment = self()
        state, action = environment.observation_space, environment.action_space
        environment.close()
        dims = (int(np.prod(state.shape or (0,))), int(np.prod(action.shape or (0,))))
        if dims != (spec.state_dim, spec.action_dim):
            raise DtagError(
                f"{self.environment} has {dims[0]} state and {dims[1]} action dims, the data {spec.info.id} has "
                f"{spec.state_dim} and {spec.action_dim}; set eval.environment to the one the data came from, or to null"
            )
        low, high = (
            np.broadcast_to(getattr(action, name, bound), dims[1:])
            for name, bound in (("low", -np.inf), ("high", np.inf))
        )
        if (low > np.array(spec.action_low) + 1e-6).any() or (high < np.array(spec.action_high) - 1e-6).any():
            raise DtagError(
                f"{self.environment} takes actions within {_bounds(low, high)}, the data {spec.info.id} has them within "
                f"{_bounds(spec.action_low, spec.action_high)}: it would execute others than the agent scores and remembers. "
                "Import the data with --env, or set eval.environment to the one it came from, or to null"
            )


class JoinedObservation(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Dict observation -> the given entries, flattened and joined."""

    def __init__(self, environment: gymnasium.Env[Any, Any], keys: Sequence[str]) -> None:
        super().__init__(environment)
        self.keys = keys
        space: Any = environment.observation_space
        size = sum(int(np.prod(space[key].shape)) for key in keys)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float64)

    def observation(self, observation: Any) -> NDArray[np.float64]:
        return np.concatenate([np.ravel(observation[key]) for key in self.keys])


class InProcess:
    """All environments in this process: the fastest on few cores."""

    def __init__(self, factory: EnvironmentFactory, n_slots: int) -> None:
        self.environments = [factory() for _ in range(n_slots)]
        self.n_slots = n_slots

    def reset(self, slots: Sequence[int], seeds: Sequence[int]) -> NDArray[Any]:
        return np.stack(
            [np.ravel(self.environments[s].reset(seed=seed)[0]) for s, seed in zip(slots, seeds, strict=True)]
        )

    def step(self, slots: Sequence[int], actions: NDArray[np.float32]) -> Stepped:
        results = [self.environments[slot].step(action) for slot, action in zip(slots, actions, strict=True)]
        states, rewards, terminated, truncated, _ = zip(*results, strict=True)
        return Stepped(
            np.stack([np.ravel(state) for state in states]),
            np.array(rewards, np.float64),
            np.array(terminated, bool),
            np.array(truncated, bool),
        )

    def close(self) -> None:
        for environment in self.environments:
            environment.close()


class OverWorkers:
    """Slots dealt out over worker processes, each of which steps its share while the others step theirs."""

    def __init__(self, factory: EnvironmentFactory, n_slots: int, n_workers: int) -> None:
        self.n_slots, self.n_workers = n_slots, min(n_workers, n_slots)
        context = multiprocessing.get_context("spawn")  # a forked child would inherit torch's thread pools
        self.pipes: list[Connection] = []
        self.processes = []
        for worker in range(self.n_workers):
            here, there = context.Pipe()
            share = len(range(worker, n_slots, self.n_workers))
            process = context.Process(target=_work, args=(there, factory, share), daemon=True)
            process.start()
            there.close()
            self.pipes.append(here)
            self.processes.append(process)

    def reset(self, slots: Sequence[int], seeds: Sequence[int]) -> NDArray[Any]:
        return self._ask("reset", slots, seeds)

    def step(self, slots: Sequence[int], actions: NDArray[np.float32]) -> Stepped:
        return self._ask("step", slots, actions)

    def close(self) -> None:
        for pipe, process in zip(self.pipes, self.processes, strict=True):
            pipe.close()  # the worker's recv raises EOFError and it ends
            process.join(timeout=5)
            if process.is_alive():
                process.kill()
                process.join()

    def _ask(self, verb: str, slots: Sequence[int], values: Any) -> Any:
        shares = [[i for i, slot in enumerate(slots) if slot % self.n_workers == w] for w in range(self.n_workers)]
        for worker, share in enumerate(shares):
            if share:
                self._send(worker, (verb, [slots[i] // self.n_workers for i in share], [values[i] for i in share]))
        answers = [self._answer(worker) for worker, share in enumerate(shares) if share]
        order = np.argsort(np.concatenate([share for share in shares if share]))
        if verb == "reset":
            return np.concatenate(answers)[order]
        return Stepped(*(np.concatenate(column)[order] for column in zip(*answers, strict=True)))

    def _send(self, worker: int, question: Any) -> None:
        try:
            self.pipes[worker].send(question)
        except OSError:  # not left as a BrokenPipeError, which ends `dtag ... | head` without a word
            raise self._died(worker) from None

    def _answer(self, worker: int) -> Any:
        try:
            answer = self.pipes[worker].recv()
        except (EOFError, OSError):
            raise self._died(worker) from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _died(self, worker: int) -> DtagError:
        self.processes[worker].join(timeout=5)
        code = self.processes[worker].exitcode
        return DtagError(f"environment worker {worker} died (exit status {code}); use eval.workers=0 to see why")


def _work(pipe: Connection, factory: EnvironmentFactory, n_slots: int) -> None:
    """A worker's loop: (verb, slots, values) -> what InProcess answers, or the exception it raised."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    environments: InProcess | None = None
    while True:
        try:
            verb, slots, values = pipe.recv()
            try:
                environments = environments or InProcess(factory, n_slots)
                answer = getattr(environments, verb)(slots, values)
            except Exception as error:  # noqa: BLE001 - handed to the parent, which raises it
                answer = DtagError(f"in an environment worker: {type(error).__name__}: {error}")
            pipe.send(answer)
        except (EOFError, OSError):  # the parent closed its end, or died
            return


def make_environments(factory: EnvironmentFactory, n_slots: int, n_workers: int = 0) -> Environments:
    """n_workers 0 or 1: in this process."""
    return OverWorkers(factory, n_slots, n_workers) if n_workers > 1 else InProcess(factory, n_slots)


def _silence_mujoco() -> None:
    """mujoco 3.16 and later write an asset warning to stderr and a log file into the working directory."""
    try:
        import mujoco
    except ImportError:
        return
    mujoco.set_mju_user_warning(lambda _: None)


def _hint(environment: str) -> str:
    if environment.partition("-")[0] in ("Hopper", "HalfCheetah", "Walker2d", "Ant", "Humanoid", "Swimmer", "Pusher"):
        return " MuJoCo environments need: pip install -e '.[mujoco]'"
    if environment.startswith(("PointMaze", "AntMaze", "Adroit", "FrankaKitchen")):
        return " This family needs: pip install -e '.[robotics]'"
    module, _, name = environment.partition(":")
    found = sys.modules.get(module) if name else None
    if found is not None and callable(getattr(found, name, None)):
        return ""  # it was found, and what it raised is said
    if found is not None:
        offers = did_you_mean(
            f"{module}:{near}" for near in nearest(name, [key for key in vars(found) if key[0] != "_"])
        )
        return f" '{module}' has no '{name}' and registers no such id{offers}"
    return " Give a Gymnasium id, 'module:Id' or 'package.module:callable'"


def _bounds(low: ArrayLike, high: ArrayLike) -> str:
    """ "[-1, 1]", or a pair for each dim where they differ."""
    pairs = list(dict.fromkeys(f"[{a:g}, {b:g}]" for a, b in zip(np.ravel(low), np.ravel(high), strict=True)))
    return " x ".join(pairs)

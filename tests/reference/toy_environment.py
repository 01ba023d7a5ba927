"""A point on a line, and data, configs and agents for it: small enough for whole runs within a test's seconds."""

from __future__ import annotations

import functools
import os
import time
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from dtag.critic.iql import IQL
from dtag.data.dataset import Dataset, DatasetInfo, Reference
from dtag.data.spec import DataSpec
from dtag.data.trajectories import Trajectories
from dtag.policy.decision_transformer import DecisionTransformer
from dtag.policy.return_model import ReturnTransformer
from dtag.refiners.action_gradient import ActionGradient
from dtag.rollout.agent import Agent, ContextSettings

LINE = "tests.reference.toy_environment:Line"
LIMIT = 12
S, A = 2, 1


class Line(gymnasium.Env[NDArray[np.float64], NDArray[np.float32]]):
    """Moves by action / 4 and some noise and pays 1 - position^2: best stay at 0. Beyond 1.5 the episode terminates.

    state: position, previous action. The noise comes from the episode's seed. pause: seconds a step takes.
    """

    def __init__(self, limit: int = LIMIT, noise: float = 0.1, pause: float = 0.0) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (S,), np.float64)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (A,), np.float32)
        self.limit, self.noise, self.pause = limit, noise, pause

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float64], dict[str, Any]]:
        super().reset(seed=seed)
        self.position, self.previous, self.elapsed = self.np_random.uniform(-1.0, 1.0), 0.0, 0
        return np.array([self.position, self.previous]), {}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        time.sleep(self.pause)
        self.previous = float(action[0])
        self.position += self.previous / 4 + self.noise * self.np_random.standard_normal()
        self.elapsed += 1
        terminated = bool(abs(self.position) > 1.5)
        truncated = not terminated and self.elapsed == self.limit
        return np.array([self.position, self.previous]), 1.0 - self.position**2, terminated, truncated, {}


class TwoParts(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Line with its state as a dict, like a robotics task's."""

    def __init__(self, environment: gymnasium.Env[Any, Any]) -> None:
        super().__init__(environment)
        part = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float64)
        self.observation_space = gymnasium.spaces.Dict({"position": part, "previous": part})

    def observation(self, observation: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        return {"position": observation[:1], "previous": observation[1:]}


def line_of_parts() -> gymnasium.Env[Any, Any]:
    return TwoParts(Line())


class Dies(Line):
    """A process that steps it ends."""

    def step(self, action: NDArray[np.float32]) -> Any:
        os._exit(7)


class Raises(Line):
    """Its step raises."""

    def step(self, action: NDArray[np.float32]) -> Any:
        raise ValueError("the line broke")


def line_dataset(
    id: str = "local/line/test-v0",
    n_episodes: int = 40,
    seed: int = 0,
    *,
    scored: bool = True,
    environment: str | None = LINE,
) -> Dataset:
    """Episodes of a noisy controller that heads for 0."""
    generator = np.random.default_rng(seed)
    columns: dict[str, list[Any]] = {key: [] for key in ("states", "actions", "rewards", "next_states")}
    terminals, timeouts = [], []
    line = Line()
    for episode in range(n_episodes):
        state, _ = line.reset(seed=seed * 10_000 + episode)
        ended = False
        while not ended:
            action = np.clip([-2.0 * state[0] + generator.standard_normal()], -1.0, 1.0).astype(np.float32)
            following, reward, terminated, truncated, _ = line.step(action)
            for column, value in zip(columns.values(), (state, action, reward, following), strict=True):
                column.append(value)
            terminals.append(terminated)
            timeouts.append(truncated)
            state, ended = following, terminated or truncated
    trajectories = Trajectories.from_arrays(
        columns["states"], columns["actions"], columns["rewards"], terminals, timeouts,
        next_states=columns["next_states"],
    )  # fmt: skip
    reference = Reference(-5.0, 12.0, "local") if scored else None
    bounds = {"action_low": (-1.0,), "action_high": (1.0,)}
    return Dataset(trajectories, DatasetInfo(id, environment, reference=reference, **bounds))


@functools.cache
def store_line(id: str = "local/line/test-v0", n_episodes: int = 40, seed: int = 0, **options: Any) -> str:
    """`line_dataset` written once below MINARI_DATASETS_PATH; its id."""
    from dtag.data.minari_store import save

    save(line_dataset(id, n_episodes, seed, **options))
    return id


def line_config(id: str, output: Any, **sections: Any) -> dict[str, Any]:
    """A whole run on the line within seconds; each of `sections` is merged over its section, None replaces it."""
    config: dict[str, Any] = {
        "experiment": "line",
        "name": "run",
        "output": str(output),
        "data": {"id": id, "context_length": 4, "batch_size": 8, "return_scale": 10.0, "held_out": 0.2,
                 "start": "anywhere", "n_validation_batches": 2},
        "policy": {"hidden": 8, "n_layers": 1, "n_heads": 2},
        "return_model": {"hidden": 8, "n_layers": 1, "n_heads": 2},
        "losses": {
            "action": {"target": "dtag.losses.action_nll.ActionNLL"},
            "return": {"target": "dtag.losses.return_expectile.ReturnExpectile"},
        },
        "optimizer": {"learning_rate": 1e-3, "warmup_steps": 5},
        "critic": {"n_steps": 40, "batch_size": 16, "updates_per_step": 2,
                   "model": {"target": "dtag.critic.iql.IQL", "hidden": [8, 8]}},
        "ag": {"n_steps": 2, "eta": 0.05},
        "context": {"maximum": 4},
        "train": {"n_steps": 20, "evaluate_every": 10, "checkpoint_every": 5, "log_every": 5, "accelerator": "cpu",
                  "threads": 1},
        "eval": {"episodes": 3, "rows": 4, "block_size": 4},
        "log": {"tensorboard": False},
    }  # fmt: skip
    for name, changes in sections.items():
        nested = isinstance(changes, dict) and isinstance(config.get(name), dict)
        config[name] = {**config[name], **changes} if nested else changes
    return config


def random_agent(
    state_dim: int = S,
    action_dim: int = A,
    *,
    kind: str = "two networks",
    seed: int = 0,
    context: ContextSettings | None = None,
    critic: bool = True,
    n_steps: int = 3,
    hidden: int = 16,
    environment: str | None = LINE,
    **options: Any,
) -> Agent:
    """An untrained agent. kind: "two networks" and "one network" (Reinformer), or "dt", conditioned on a target."""
    torch.manual_seed(seed)
    bounds, sizes = ((-1.0,) * action_dim, (1.0,) * action_dim), {"hidden": hidden, "n_layers": 2, "n_heads": 2}
    one = {"one network": {"predicts_return": True}, "dt": {"token_order": "rsa", "norm": "pre"}}.get(kind, {})
    policy = DecisionTransformer(state_dim, *bounds, 30, **sizes, **one)
    return_model = ReturnTransformer(state_dim, action_dim, 30, **sizes) if kind == "two networks" else None
    network = IQL(state_dim, action_dim, hidden=(hidden, hidden))
    for module in (policy, return_model, network):
        if module is not None:
            module.eval().requires_grad_(False)
    spec = DataSpec(
        info=DatasetInfo("local/random/test-v0", environment),
        state_mean=(0.1,) * state_dim,
        state_std=(0.9,) * state_dim,
        action_low=bounds[0],
        action_high=bounds[1],
        max_timestep=30,
        return_scale=10.0,
        reward_scale=1.0,
        reward_shift=0.0,
    )
    return Agent(
        policy,
        spec,
        return_model=return_model,
        critic=network if critic else None,
        refiner=ActionGradient(0.1, n_steps, eta_unit="raw") if critic else None,
        context=context or ContextSettings("chain", 6),
        target_return=10.0 if kind == "dt" else None,
        **options,
    )


def raises() -> gymnasium.Env[Any, Any]:
    """An environment that cannot be made."""
    raise KeyError("robot")

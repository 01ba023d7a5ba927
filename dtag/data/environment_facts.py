"""What an environment says of itself, asked for when data is imported."""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from dtag.data.source_file import first_line
from dtag.errors import DataError, DtagError, UsageError


@dataclass(frozen=True)
class EnvironmentFacts:
    """state_dim: None for dict observations. action_low, action_high: (A,). spec: None where it is not registered."""

    state_dim: int | None
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    max_episode_steps: int | None
    spec: EnvSpec | None


def environment_facts(environment: str, kwargs: dict[str, Any] | None = None) -> EnvironmentFacts:
    """Make the environment (a Gymnasium id, or "package.module:name" of a callable), ask, close it.

    Raises UsageError when there is no such environment, DataError when it exists but cannot be made here (a package is
    missing) or its actions are not a flat vector of numbers.
    """
    made = make_environment(environment, kwargs or {})
    actions, states = made.action_space, made.observation_space
    spec = made.spec
    made.close()
    if not isinstance(actions, gymnasium.spaces.Box) or len(actions.shape) != 1:
        raise DataError(f"{environment} takes actions of {actions}; dtag needs a vector of continuous numbers")
    return EnvironmentFacts(
        state_dim=int(np.prod(states.shape)) if states.shape is not None else None,
        action_low=tuple(actions.low.astype(float).tolist()),
        action_high=tuple(actions.high.astype(float).tolist()),
        max_episode_steps=spec.max_episode_steps if spec else None,
        spec=spec if spec and spec.id in gymnasium.registry else None,
    )


def make_environment(environment: str, kwargs: dict[str, Any]) -> gymnasium.Env[Any, Any]:
    """The environment, quietly: Gymnasium calls the -v4 that D4RL's data needs out of date. Raises as said above."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _make(environment, kwargs)


def _make(environment: str, kwargs: dict[str, Any]) -> gymnasium.Env[Any, Any]:
    try:
        factory = _factory(environment)
        if factory is None:
            register_robotics(environment)
        return factory(**kwargs) if factory else gymnasium.make(environment, disable_env_checker=True, **kwargs)
    except gymnasium.error.DependencyNotInstalled as error:
        raise DataError(f"cannot make the environment '{environment}' here: {first_line(error)}") from error
    except gymnasium.error.Error as error:  # no such name, no such version, not an id at all
        raise UsageError(f"there is no environment '{environment}': {first_line(error)}") from error
    except Exception as error:  # a stranger's environment can raise anything
        raise DataError(f"cannot make the environment '{environment}' here: {first_line(error)}") from error


def _factory(environment: str) -> Callable[..., gymnasium.Env[Any, Any]] | None:
    """The callable that "package.module:name" names; None for Gymnasium ids, "module:Id" among them."""
    module, _, name = environment.partition(":")
    found = getattr(importlib.import_module(module), name, None) if name else None
    return found if callable(found) else None


def robotics_class(where: str, needed_by: str) -> Any:
    """A class of Gymnasium-Robotics, "module:name" below its envs. Raises DtagError saying how to install it."""
    module, _, name = where.partition(":")
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # its notice on Adroit's rewards, printed on first import
            return getattr(importlib.import_module(f"gymnasium_robotics.envs.{module}"), name)
    except ImportError as error:
        raise DtagError(f"{needed_by} needs gymnasium-robotics ({error}): pip install -e '.[robotics]'") from error


def register_robotics(environment: str) -> None:
    """Import Gymnasium-Robotics, which registers its ids by that alone, if this one is not registered yet."""
    if ":" not in environment and environment not in gymnasium.registry:
        with contextlib.suppress(ImportError), contextlib.redirect_stderr(io.StringIO()):  # its notice on rewards
            importlib.import_module("gymnasium_robotics")

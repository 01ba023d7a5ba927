"""agent.ckpt and critic.ckpt: plain containers that hold everything an agent needs, and how they are read.

Loading never unpickles code (torch.load with weights_only=True), but building the objects imports what the config names;
a file that names anything but parts of dtag and torch is refused unless it is trusted.
"""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dtag.config.build import build, import_target, targets_named
from dtag.config.schema import check
from dtag.critic.critic import Critic
from dtag.data.spec import DataSpec
from dtag.errors import CheckpointError, UsageError
from dtag.rollout.agent import Agent
from dtag.training.atomic_file import save_atomically
from dtag.training.experiment import (
    CHANGEABLE,
    SCHEMA,
    build_agent,
    build_networks,
    changes_of_training,
    load_over,
    spec_arguments,
)

FORMAT = 1
NO_CRITIC_THERE = "holds no critic: give a run's critic.ckpt, or an agent.ckpt trained with one"
# Parts alone, not all of dtag: as a `target`, a function that writes files would write what the checkpoint's author likes.
TRUSTED_PREFIXES = (
    *(f"dtag.{folder}." for folder in ("policy", "critic", "losses", "refiners")),
    "dtag.data.datamodule.TrajectoryDataModule",
    *(f"dtag.data.{made}" for made in ("pointmaze_environment.make_point_maze", "antmaze_environment.make_ant_maze")),
    "dtag.data.adroit_environment.make_adroit",
    *(f"dtag.data.toy_environments.{name}" for name in ("OneState", "Chain")),
    "dtag.rollout.agent.ContextSettings",
    "dtag.evaluation.settings.",
    *(f"dtag.training.{file}." for file in ("settings", "optimizers", "loggers")),
    "torch.nn.",
    "torch.optim.",
)


def save_agent(
    path: Path,
    *,
    config: dict[str, Any],
    spec: DataSpec,
    policy: nn.Module,
    return_model: nn.Module | None,
    critic: nn.Module | None,
    terms: nn.Module | None = None,
    action_gradient_rms: dict[str, float],
    step: int,
) -> None:
    """Write policy, return model, critic, what loss terms have learned, DataSpec, config and versions, atomically."""
    states = {"policy": policy, "return_model": return_model, "critic": critic, "terms": terms}
    save_atomically(
        {
            **_header("agent", config, spec, step),
            **{name: None if module is None else _state(module) for name, module in states.items()},
            "action_gradient_rms": dict(action_gradient_rms),
        },
        path,
    )


def save_critic(
    path: Path,
    *,
    config: dict[str, Any],
    spec: DataSpec,
    critic: nn.Module,
    action_gradient_rms: dict[str, float],
    step: int,
) -> None:
    """Write a critic that any run on the same data may share."""
    contents = {"critic": _state(critic), "action_gradient_rms": dict(action_gradient_rms)}
    save_atomically({**_header("critic", config, spec, step), **contents}, path)


def read_checkpoint(
    path: str | Path, *, trust: bool = False, only_critic: bool = False, known: Collection[str] = ()
) -> dict[str, Any]:
    """The contents of an agent.ckpt or critic.ckpt.

    only_critic: nothing but its critic will be built, so nothing else needs trust. known: import paths that the user's
    own config names. Raises CheckpointError when it is missing, not one, of another format, or names other foreign
    modules and `trust` is False.
    """
    file = Path(path)
    if file.is_dir():
        file = file / "agent.ckpt"
    if not file.is_file():
        raise CheckpointError(
            f"there is no checkpoint at {file}; a finished run has runs/<experiment>/<name>/agent.ckpt"
        )
    try:
        contents = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, zip and pickle raise many kinds for a bad file
        raise CheckpointError(
            f"{file} is not a readable checkpoint ({type(error).__name__}): truncated, or another program's"
        ) from error
    if not isinstance(contents, dict) or contents.get("format") != FORMAT:
        found = contents.get("format") if isinstance(contents, dict) else None
        hint = (
            "; it looks like Lightning's own: use the run's agent.ckpt"
            if isinstance(contents, dict) and "state_dict" in contents
            else ""
        )
        raise CheckpointError(f"{file} is not a dtag checkpoint of format {FORMAT} (found {found}){hint}")
    missing = {
        "kind",
        "config",
        "spec",
        "critic",
        "action_gradient_rms",
        *(("policy", "return_model") if contents.get("kind") == "agent" else ()),
    } - set(contents)
    if missing:
        raise CheckpointError(f"{file} is not a whole checkpoint: {', '.join(sorted(missing))} is missing")
    used = {"critic": contents["config"]["critic"]} if only_critic else contents["config"]
    environment = None if only_critic else contents["spec"]["info"].get("environment")
    foreign = [path for path in foreign_targets({**used, "data": {"environment": environment}}) if path not in known]
    if foreign and not trust:
        raise CheckpointError(
            f"{file} would run code outside dtag: {', '.join(foreign)}. If you trust its author, add --trust "
            "(trust=True in Python)"
        )
    return contents


def foreign_targets(config: dict[str, Any]) -> list[str]:
    """The import paths in a config that are neither dtag's parts nor torch's layers and optimisers."""
    return sorted(path for path in targets_named(config) if not _is_trusted(path.replace(":", ".")))


def _is_trusted(path: str) -> bool:
    """Whether a class or function of a trusted module, defined in one too: a module also holds what it imported."""
    if not path.startswith(TRUSTED_PREFIXES):
        return False
    try:
        found = import_target(path)  # imports nothing but dtag and torch
    except UsageError:
        return True  # there is no such thing, which `build` will say
    module, name = getattr(found, "__module__", None), getattr(found, "__qualname__", ".")
    return "." not in name and f"{module}.{name}".startswith(TRUSTED_PREFIXES)


def load_agent(
    path: str | Path, *, overrides: list[str] | None = None, trust: bool = False, device: str = "cpu"
) -> Agent:
    """The agent of a checkpoint, its config changed by overrides ("ag.n_steps=20") where they need no retraining."""
    if isinstance(overrides, str):
        raise UsageError(f"overrides is a list of texts, like [{overrides!r}]")
    contents, config = read_with_overrides(path, overrides or [], trust=trust)
    return agent_of(contents, config, device)


def read_with_overrides(
    path: str | Path, overrides: list[str], *, trust: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """An agent's contents and its config with overrides applied.

    "critic.ckpt=PATH" attaches another critic, trained on the same data, in place of the checkpoint's own or none;
    "critic.ckpt=PATH+PATH" attaches several as a CriticEnsemble. Action Gradient is then on by its defaults where the
    checkpoint has none and the overrides name none.
    """
    contents = read_checkpoint(path, trust=trust)
    attached = [word.partition("=")[2] for word in overrides if word.startswith("critic.ckpt=")]
    if attached:
        paths = attached[-1].split("+")
        contents = attach_critics(
            contents, {path: read_checkpoint(path, trust=trust, only_critic=True) for path in paths}
        )
    rest = [word for word in overrides if not word.startswith("critic.ckpt=")]
    if contents.get("critic") is None and any(word.startswith("ag.") for word in rest):
        raise UsageError(f"{path} has no critic, so Action Gradient would do nothing: add critic.ckpt=PATH of one")
    if attached and contents["config"].get("ag") is None and not any(word.startswith(("ag.", "ag=")) for word in rest):
        rest = ["ag={}", *rest]  # a critic is attached to be climbed
    return contents, override_config(contents, rest)


def attach_critics(contents: dict[str, Any], others: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The agent's contents with the critics of other checkpoints, by path.

    Several become one CriticEnsemble, whose rms action gradient is taken as the mean of theirs.
    Raises CheckpointError when one has no critic or saw other data.
    """
    own = DataSpec.from_dict(contents["spec"])
    for path, other in others.items():
        if other.get("critic") is None:
            raise CheckpointError(f"{path} {NO_CRITIC_THERE}")
        check_same_data(other, own, path)
    first = next(iter(others.values()))
    if len(others) == 1:
        model, state, rms = first["config"]["critic"]["model"], first["critic"], first["action_gradient_rms"]
    else:
        named = {f"member_{i}": other for i, other in enumerate(others.values())}
        members = {name: other["config"]["critic"]["model"] for name, other in named.items()}
        model = {"target": "dtag.critic.ensemble.CriticEnsemble", "members": members}
        state = {
            f"members.{name}.{key}": value for name, other in named.items() for key, value in other["critic"].items()
        }
        rms = {
            choice: sum(other["action_gradient_rms"][choice] for other in named.values()) / len(named)
            for choice in first["action_gradient_rms"]
            if all(choice in other["action_gradient_rms"] for other in named.values())
        }
    config = {**contents["config"], "critic": {**first["config"]["critic"], "model": model}}
    return {**contents, "config": config, "critic": state, "action_gradient_rms": rms}


def check_same_data(contents: dict[str, Any], own: DataSpec, path: str | Path) -> None:
    """Raises CheckpointError when a checkpoint's critic saw other states or rewards than the agent it is to serve, or
    where it is of returns-to-go (CGDT's), those on another scale.
    """
    critics = DataSpec.from_dict(contents["spec"])
    of_returns = getattr(import_target(contents["config"]["critic"]["model"]["target"]), "of_returns", False)
    names = ["state_mean", "state_std", "reward_scale", "reward_shift"]
    for name in names + (["return_scale", "shaped_returns"] if of_returns else []):
        if getattr(critics, name) != getattr(own, name):
            raise CheckpointError(
                f"the critic in {path} was trained with another {name} ({critics.info.id}) than this run has ({own.info.id})"
            )


def override_config(contents: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """The checkpoint's config with overrides; those that change what was trained, or ask for more context, are refused.

    So are those that would change nothing: a learning rate, or the seed, which also says what the run held out.
    """
    config = load_over([], overrides, contents["config"])
    trained = check(contents["config"], SCHEMA)  # with the defaults of options that are younger than the checkpoint
    if fixed := changes_of_training(config, trained):
        raise CheckpointError(f"{', '.join(fixed)} cannot be changed in a trained checkpoint; {CHANGEABLE}")
    longest, asked = config["data"].get("context_length"), config["context"].get("maximum")
    if None not in (longest, asked) and asked > longest and asked != trained["context"].get("maximum"):
        raise CheckpointError(
            f"context.maximum={asked} is more than the {longest} steps that the policy was trained on: give at most those"
        )
    return config


def agent_of(contents: dict[str, Any], config: dict[str, Any], device: str | torch.device = "cpu") -> Agent:
    """Build the networks, fill them from the checkpoint's contents, and join them to an agent in evaluation mode."""
    if contents["kind"] != "agent":
        raise CheckpointError("this is a critic's checkpoint; an agent.ckpt is needed")
    spec = DataSpec.from_dict(contents["spec"])
    policy, return_model = build_networks(config, spec)
    _fill(policy, contents["policy"])
    if return_model is not None:
        _fill(return_model, contents["return_model"])
    critic = critic_of(contents)
    for module in (policy, return_model, critic):
        if isinstance(module, nn.Module):
            module.to(device).eval().requires_grad_(False)
    return build_agent(config, spec, policy, return_model, critic, contents["action_gradient_rms"])


def critic_of(contents: dict[str, Any]) -> Critic | None:
    """The checkpoint's critic, frozen; None when it has none."""
    if contents.get("critic") is None:
        return None
    spec = DataSpec.from_dict(contents["spec"])
    critic = build(contents["config"]["critic"]["model"], **spec_arguments(spec))
    _fill(critic, contents["critic"])
    return critic.eval().requires_grad_(False)


def versions() -> dict[str, str]:
    """Versions and commit that a number hangs on."""
    names = ("dtag", "torch", "lightning", "gymnasium", "gymnasium-robotics", "mujoco", "minari", "numpy")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {**found, "commit": _commit()}


def _commit() -> str:
    """The checkout's commit, with "+" when it has changes; empty for an installed package."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return ""
    try:
        run = ["git", "-C", str(folder)]
        commit = subprocess.run(
            [*run, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True, timeout=10
        )
        changed = subprocess.run(
            [*run, "status", "--porcelain"], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "")


def _header(kind: str, config: dict[str, Any], spec: DataSpec, step: int) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "kind": kind,
        "config": config,
        "spec": _plain(spec.to_dict()),
        "step": step,
        "versions": versions(),
    }


def _plain(value: Any) -> Any:
    """Only dicts, lists and primitives."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value if isinstance(value, bool | int | float | str) or value is None else str(value)


def _state(module: nn.Module) -> dict[str, Any]:
    return {
        name.replace("_orig_mod.", ""): tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()
    }


def _fill(module: nn.Module, state: dict[str, Any]) -> None:
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"the checkpoint's weights do not fit its config: {error}") from error

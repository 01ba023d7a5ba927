"""Which runs may share a critic, or a whole pre-training: those for which it would be the same."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dtag.config.build import import_target, targets_named
from dtag.config.signature import signature_of
from dtag.config.values import is_component

# What of `data` only the policy sees, where the critic learns from transitions. All else, also what is yet to be added,
# tells critics apart.
OF_THE_POLICY = frozenset(
    {
        "context_length",
        "batch_size",
        "weighting",
        "start",
        "top_fraction",
        "return_scale",
        "shaped_returns",
        "held_out",
        "n_validation_batches",
        "on_device",
    }
)


def is_trained_before(config: dict[str, Any]) -> bool:
    """Whether a run's critic is a stage of its own: there is one, it is not given, and it does not learn along.

    A critic's class says with `learns_along = True` that it learns beside the policy.
    """
    critic = config["critic"]
    if critic is None or critic.get("ckpt") is not None:
        return False
    return not any(getattr(import_target(path), "learns_along", False) for path in targets_named(critic["model"]))


def critic_identity(config: dict[str, Any]) -> dict[str, Any]:
    """All of a config that its critic depends on. Critics of equal identity are the same critic."""
    model = import_target(config["critic"]["model"]["target"])
    of_policy = frozenset() if getattr(model, "learns_from", "transitions") == "segments" else OF_THE_POLICY
    data = {name: value for name, value in config["data"].items() if name not in of_policy}
    return {"critic": {**config["critic"], "ckpt": None}, "data": data, "seed": config["seed"]}


def critic_name(config: dict[str, Any]) -> str:
    """ "IQL-3f2a91": the class and a digest of the identity; the same for every seed.

    Defaults are left out of the digest, so that a parameter that is yet to be added to a class renames no critic; where
    a default itself changes, the stored config tells.
    """
    identity = {**critic_identity(config), "seed": None}
    return f"{config['critic']['model']['target'].replace(':', '.').rpartition('.')[2]}-{_digest(identity)}"


def pretraining_name(config: dict[str, Any], files: Sequence[str]) -> str:
    """ "dt_td3-3f2a91": the method's files and a digest of all else; the same for every seed. Trainings of equal names
    are the same training.
    """
    identity = {key: value for key, value in config.items() if key not in ("experiment", "name", "output", "seed")}
    if identity["critic"] is not None and is_trained_before(config):
        identity["critic"] = critic_identity(config)["critic"]
    stems = (re.sub(r"[^\w.+-]", "_", Path(file).stem) for file in files)
    return f"{'+'.join(stems)}-{_digest(identity)}"


def _digest(identity: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(_without_defaults(identity), sort_keys=True).encode()).hexdigest()[:6]


def _without_defaults(value: Any) -> Any:
    """The value without those parameters of its components that are at their class's default."""
    if isinstance(value, list):
        return [_without_defaults(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    parameters = signature_of(import_target(value["target"]), value["target"]).parameters if is_component(value) else {}
    defaults = {name: p.plain_default() for name, p in parameters.items() if p.has_plain_default}
    return {
        name: _without_defaults(entry)
        for name, entry in value.items()
        if name not in defaults or defaults[name] != entry
    }

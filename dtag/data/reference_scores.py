"""The returns that score 0 and 100 in D4RL's tables (Fu et al. 2020, App. A; constants of d4rl/infos.py)."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import Any

from dtag.config.nearest import did_you_mean, nearest
from dtag.data.dataset import DatasetInfo, Reference
from dtag.errors import UsageError

D4RL_LABEL = "d4rl"
D4RL_SCALE_LABEL = "d4rl scale"

# Gymnasium family -> (a D4RL dataset of it, the versions whose rewards and dynamics are those D4RL's data came from).
# v5 pays the healthy reward differently, walker2d-v5 has another foot, and Gymnasium-Robotics' Adroit never terminates.
_FAMILIES = {
    "Hopper": ("hopper-medium-v2", ("2", "4")),
    "HalfCheetah": ("halfcheetah-medium-v2", ("2", "4")),
    "Walker2d": ("walker2d-medium-v2", ("2", "4")),
    "Ant": ("ant-medium-v2", ("2", "4")),
    "AdroitHandPen": ("pen-human-v1", ()),
    "AdroitHandHammer": ("hammer-human-v1", ()),
    "AdroitHandDoor": ("door-human-v1", ()),
    "AdroitHandRelocate": ("relocate-human-v1", ()),
}


@cache
def d4rl_reference_scores() -> dict[str, tuple[float, float]]:
    """D4RL dataset name -> (return that scores 0, return that scores 100)."""
    text = resources.files("dtag.data").joinpath("reference_scores.csv").read_text(encoding="utf-8")
    return {row["env"]: (float(row["ref_min"]), float(row["ref_max"])) for row in csv.DictReader(text.splitlines())}


def d4rl_reference(name: str) -> Reference:
    """D4RL's constants for a dataset such as "hopper-medium-v2", on D4RL's own environment.

    Raises UsageError, offering the nearest names, when D4RL has none of that name.
    """
    scores = d4rl_reference_scores()
    if name not in scores:
        raise UsageError(f"D4RL has no reference scores for '{name}'{did_you_mean(nearest(name, scores))}")
    return Reference(*scores[name], D4RL_LABEL)


def reference_for_environment(environment: str) -> Reference | None:
    """D4RL's constants of an environment's family, labelled by whether the version is D4RL's; None for other families.

    "Hopper-v4" -> label "d4rl"; "Hopper-v5" -> "d4rl scale": the same scale, not comparable with published tables.
    """
    match = re.fullmatch(r"(\w+)-v(\d+)", environment)
    if match is None or match[1] not in _FAMILIES:
        return None
    name, faithful_versions = _FAMILIES[match[1]]
    label = D4RL_LABEL if match[2] in faithful_versions else D4RL_SCALE_LABEL
    return Reference(*d4rl_reference_scores()[name], label)


def reference_as_evaluated(info: DatasetInfo, section: Mapping[str, Any]) -> Reference | None:
    """The reference of scores that were made with an `eval` section: in another environment than the data's, or with
    other keyword arguments, D4RL's constants are no more than its scale.
    """
    changed = section.get("environment", "dataset") not in ("dataset", None, info.environment)
    changed = changed or bool(section.get("environment_kwargs"))
    if info.reference is None or info.reference.label != D4RL_LABEL or not changed:
        return info.reference
    return replace(info.reference, label=D4RL_SCALE_LABEL)

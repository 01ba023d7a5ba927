"""The config of a fine-tuning run, from a checkpoint's and what is given over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dtag.config.build import build
from dtag.config.load import load_config
from dtag.config.schema import check
from dtag.errors import UsageError
from dtag.training.experiment import SCHEMA, load_over, preset_that_fits, told_changes

REPLACED = ("losses", "optimizer", "critic", "online")  # sections of which a fine-tuning config leaves nothing over
OF_LEARNING = ("batch_size", "context_length")  # keys of `data` that are no fact of the checkpoint


def resolve_online(
    contents: dict[str, Any], paths: Sequence[str], overrides: Sequence[str], preset: str | None = None
) -> dict[str, Any]:
    """A fine-tuning run's config: the checkpoint's, with the YAMLs and the overrides over it.

    losses, optimizer, critic and online are the YAMLs' alone where they name them. Raises UsageError for every mistake,
    and where something is changed that the checkpoint has fixed.
    """
    named = load_config(list(paths))
    inherited = {
        name: section
        for name, section in contents["config"].items()
        if name not in ("name", "online") and not (name in REPLACED and name in named)
    }
    layers: list[Any] = list(paths)
    if preset is not None:
        layers.append(preset_that_fits(preset, load_over(layers, overrides, inherited)))
    config = load_over(layers, overrides, inherited)
    if config["online"] is None:
        raise UsageError("fine-tuning needs an `online` section: give --config, e.g. --config conf/online/hopper.yaml")
    if build(config["train"]).devices not in (1, "1", "auto"):
        raise UsageError("dtag finetune runs in one process: set train.devices=1")
    trained = check(contents["config"], SCHEMA)
    learns = {key: config["data"][key] for key in OF_LEARNING}
    trained = {**trained, "data": {**trained["data"], **learns}}
    fixed = [name for name in ("policy", "return_model", "data") if config[name] != trained[name]]
    if fixed:
        raise UsageError(
            f"{', '.join(fixed)} cannot be changed in a trained checkpoint (but {', '.join(OF_LEARNING)} can)"
            + told_changes("data", config["data"], trained["data"])
        )
    return config

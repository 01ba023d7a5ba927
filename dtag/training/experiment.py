"""An experiment's sections, and the objects they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dtag.config.build import build, import_target
from dtag.config.load import find_config, load_config, refuse_emptying
from dtag.config.schema import Component, Components, Schema, Value, check
from dtag.config.signature import REQUIRED, signature_of
from dtag.critic.critic import Critic
from dtag.critic.networks import QChoice
from dtag.data.datamodule import TrajectoryDataModule
from dtag.data.spec import DataSpec
from dtag.errors import UsageError
from dtag.evaluation.settings import EvaluationSettings
from dtag.policy.policy import Policy, ReturnModel
from dtag.policy.value_return import ValueReturn
from dtag.refiners.action_gradient import rms_name
from dtag.rollout.agent import Agent, ContextSettings
from dtag.training.optimizers import OPTIMIZERS
from dtag.training.settings import CriticSettings, LiveCriticSettings

SEGMENTS = "segments"  # what some critics learn from, and a preset's key for those
SPEC_ARGUMENTS = frozenset({"state_dim", "action_dim", "action_low", "action_high", "max_timestep"})

SCHEMA: Schema = {
    "experiment": Value(str, REQUIRED, "the name of the run's folder under output"),
    "name": Value(str | None, None, "the run's own folder; null = the time it began"),
    "output": Value(str, "runs", "where run folders go"),
    "seed": Value(int, 0, "of initialisation, sampling and dropout; evaluation has eval.seed"),
    "data": Component("dtag.data.datamodule.TrajectoryDataModule", frozenset({"seed"}), optional=False),
    "policy": Component("dtag.policy.decision_transformer.DecisionTransformer", SPEC_ARGUMENTS, optional=False),
    "return_model": Component("dtag.policy.return_model.ReturnTransformer", SPEC_ARGUMENTS),
    "losses": Components(SPEC_ARGUMENTS, "the named terms of the policy's objective; null drops one"),
    "optimizer": Component("dtag.training.optimizers.OptimizerSettings", optional=False),
    "critic": Component("dtag.training.settings.CriticSettings", SPEC_ARGUMENTS),
    "ag": Component("dtag.refiners.action_gradient.ActionGradient"),
    "context": Component("dtag.rollout.agent.ContextSettings", optional=False),
    "eval": Component("dtag.evaluation.settings.EvaluationSettings", optional=False),
    "train": Component("dtag.training.settings.TrainSettings", optional=False),
    "online": Component("dtag.training.settings.OnlineSettings"),
    "log": Component("dtag.training.loggers.LogSettings", optional=False),
}
USUAL = {
    name: kind.default_target
    for name, kind in SCHEMA.items()
    if isinstance(kind, Component) and kind.default_target is not None
}
# What may be changed of a trained agent; of `train`, on which machine it is evaluated: the rest is of training alone.
OF_AN_EVALUATION = ("ag", "context", "eval", "train")
OF_THE_MACHINE = ("target", "accelerator", "devices", "n_nodes", "strategy")
CHANGEABLE = (
    f"eval, ag and context can, and of train {', '.join(OF_THE_MACHINE[1:-1])} and {OF_THE_MACHINE[-1]}; "
    "critic.ckpt=PATH attaches another critic"
)


def load_over(
    layers: Sequence[str | Path | dict[str, Any]], overrides: Sequence[str], base: dict[str, Any] | None = None
) -> dict[str, Any]:
    """An experiment's config, checked; UsageError lists every mistake."""
    refuse_emptying(overrides, [name for name, kind in SCHEMA.items() if isinstance(kind, Components)])
    return check(load_config(layers, overrides, base, USUAL), SCHEMA)


def resolve(
    paths: list[str], overrides: list[str], preset: str | None = None, base: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The checked config of some YAMLs, a preset over them and overrides over both; UsageError lists every mistake."""
    layers: list[str | Path | dict[str, Any]] = list(paths)
    if preset is not None:
        layers.append(preset_that_fits(preset, load_over(paths, overrides, base)))
    return load_over(layers, overrides, base)


def preset_that_fits(name: str, config: dict[str, Any]) -> dict[str, Any]:
    """The preset of that name without what this method has no use for, so that one preset serves many.

    A section that the config sets to null is left out, and so is a key that only the section's default component has.
    What stands under an optimiser's name is for that one alone: 3e-3 is LAMB's; and under `segments` in the critic's
    section for critics that learn from segments. Anything else stays, to be refused by the check if it is a mistake.
    Raises UsageError where a preset for sequences meets a policy of one step.
    """
    preset, kept = load_config([preset_file(name)]), {}
    segments = (preset.get("data") or {}).get("context_length", 1)
    if segments > 1 and "n_heads" not in config["policy"] and config["data"]["context_length"] == 1:
        raise UsageError(f"preset {name} is for sequence models, this policy sees one step: take --preset small_mlp")
    for key, section in preset.items():
        kind, own = SCHEMA.get(key), config.get(key)
        if not isinstance(kind, Component) or not isinstance(section, dict) or kind.default_target is None:
            kept[key] = section
        elif own is not None:
            usual = signature_of(import_target(kind.default_target), kind.default_target).parameters
            others = {"optimizer": OPTIMIZERS, "critic": (SEGMENTS,)}.get(key, ())
            named = section.get(own["name"], {}) if key == "optimizer" else {}
            if key == "critic" and _learns_from(own) == SEGMENTS:
                named = section.get(SEGMENTS, {})
            plain = {k: v for k, v in section.items() if k not in others and (k in own or k not in usual)}
            kept[key] = {**plain, **named}
    return kept


def _learns_from(critic: dict[str, Any]) -> str:
    """What a critic's class says it learns from."""
    target = (critic.get("model") or {}).get("target")
    return str(getattr(import_target(target), "learns_from", "transitions")) if target else "transitions"


def changes_of_training(config: dict[str, Any], trained: dict[str, Any]) -> list[str]:
    """The sections and keys of `train` that a config has otherwise than a trained agent's, and that only training heeds."""
    sections = [name for name in SCHEMA if name not in OF_AN_EVALUATION and config[name] != trained[name]]
    train, then = config["train"], trained["train"]
    keys = [f"train.{key}" for key in train if key not in OF_THE_MACHINE and train[key] != then.get(key)]
    return sections + keys


def told_changes(name: str, wanted: dict[str, Any], trained: dict[str, Any]) -> str:
    """The end of a refusal: the keys of a section that a config has otherwise than the checkpoint, and what to do."""
    changed = [
        f"{name}.{key} is {trained.get(key)} there, {wanted[key]} here"
        for key in wanted
        if wanted[key] != trained.get(key)
    ]
    what = "Train one with this config, or give the checkpoint's values as overrides"
    return f": {'; '.join(changed)}. {what}" if changed else ""


def preset_file(name: str) -> Path:
    """conf/presets/NAME.yaml, or a file of one's own."""
    try:
        return find_config(name if name.endswith(".yaml") else f"presets/{name}")
    except UsageError as error:
        raise UsageError(f"there is no preset {name!r}: {error}") from error


def spec_arguments(spec: DataSpec) -> dict[str, Any]:
    """What constructors may ask of the data."""
    return {
        "state_dim": spec.state_dim,
        "action_dim": spec.action_dim,
        "action_low": spec.action_low,
        "action_high": spec.action_high,
        "max_timestep": spec.max_timestep,
    }


def build_data(config: dict[str, Any]) -> TrajectoryDataModule:
    return build(config["data"], seed=config["seed"])


def build_networks(config: dict[str, Any], spec: DataSpec) -> tuple[Any, Any]:
    """(policy, return model or None), freshly initialised."""
    supplied = spec_arguments(spec)
    return_model = None if config["return_model"] is None else build(config["return_model"], **supplied)
    return build(config["policy"], **supplied), return_model


def build_losses(config: dict[str, Any], spec: DataSpec) -> dict[str, Any]:
    return {name: build(term, **spec_arguments(spec)) for name, term in config["losses"].items()}


def build_critic(config: dict[str, Any], spec: DataSpec) -> CriticSettings | LiveCriticSettings | None:
    """The critic's settings with a fresh critic in `model`. Raises UsageError when its kind does not fit them."""
    if config["critic"] is None:
        return None
    settings: CriticSettings | LiveCriticSettings = build(config["critic"], **spec_arguments(spec))
    along = getattr(settings.model, "learns_along", False)
    if along != isinstance(settings, LiveCriticSettings):
        name, section = type(settings.model).__name__, LiveCriticSettings if along else CriticSettings
        verb = "learns along with the policy" if along else "is trained before the policy"
        raise UsageError(f"{name} {verb}: set critic.target={section.__module__}.{section.__qualname__}")
    return settings


def build_agent(
    config: dict[str, Any],
    spec: DataSpec,
    policy: Policy,
    return_model: ReturnModel | None,
    critic: Critic | None,
    action_gradient_rms: dict[str, float],
) -> Agent:
    """The agent that evaluation runs."""
    settings: EvaluationSettings = build(config["eval"])
    refines = critic is not None and config["ag"] is not None
    if refines and not hasattr(critic, "q_reduced"):
        raise UsageError(f"{type(critic).__name__} has no Q(s, a) for Action Gradient to climb: set ag=null")
    if isinstance(return_model, ValueReturn):
        return_model.attach(critic)
    return Agent(
        policy,
        spec,
        return_model=return_model,
        critic=critic,
        refiner=build(config["ag"]) if refines else None,
        context=_context(config),
        target_return=settings.targets[0],
        action_gradient_rms=chosen_rms(config, action_gradient_rms),
        block_size=settings.block_size,
    )


def _context(config: dict[str, Any]) -> ContextSettings:
    settings: ContextSettings = build(config["context"])
    trained = config["data"].get("context_length", settings.maximum)  # a data module of one's own may not have it
    return replace(settings, maximum=min(settings.maximum, trained))


def chosen_rms(config: dict[str, Any], action_gradient_rms: dict[str, float]) -> float:
    """The data's root-mean-square gradient of the Q that the config's `ag` climbs; 1 without a critic.

    Raises UsageError when the checkpoint knows that of another kappa alone, and eta is in its unit.
    """
    if config["ag"] is None:
        return 1.0
    q, name = climbed_q(config), rms_name(climbed_q(config), climbed_kappa(config))
    if name not in action_gradient_rms and q in action_gradient_rms and config["ag"].get("eta_unit") == "rms":
        raise UsageError(
            f"the checkpoint does not know the unit of ag.eta at ag.kappa={climbed_kappa(config):g}: fit with that "
            "kappa, or set ag.eta_unit=raw"
        )
    return action_gradient_rms.get(name, 1.0)


def climbed_q(config: dict[str, Any]) -> QChoice:
    """Which Q the config's `ag`, which is not null, climbs; the least where a refiner of one's own does not say."""
    found: QChoice = getattr(build(config["ag"]), "q", "min")
    return found


def climbed_kappa(config: dict[str, Any]) -> float:
    """Which weight the config's `ag` gives to the members' std; 1 without `ag`."""
    return float(getattr(build(config["ag"]), "kappa", 1.0)) if config["ag"] is not None else 1.0

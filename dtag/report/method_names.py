"""What a run's method is called: in a report, and in the papers."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from dtag.config.load import load_config, shipped_folder

# By shipped config (conf/methods): the name in reports, and where it differs the papers'.
NAMES = {
    "bc": "BC", "bc_10": "10% BC", "td3_bc": "TD3+BC", "awac": "AWAC", "cql": "CQL", "iql": "IQL", "dt": "DT",
    "odt": "ODT", "cgdt": "CGDT", "adt": "ADT", "dt_td3": "DT+TD3", "dt_ddpg": "DT+DDPG",
    "naive_bellman": "DT+naive Bellman", "rf": "RF", "rf_pg": "RF+PG", "rf_awac": "RF+AWAC",
    "pdt": "PDT",
}  # fmt: skip
PAPER_NAMES = {**NAMES, "dt_td3": "TD3+ODT", "dt_ddpg": "DDPG+ODT"}
# By fine-tuning config (conf/online): what paper 2 calls the method; td3_odt is an environment's file alone.
ONLINE_NAMES = {
    "td3_bc": "TD3+BC", "iql": "IQL", "odt": "ODT", "pdt": "PDT", "td3": "TD3", "ddpg_odt": "DDPG+ODT", "sac_odt": "SAC+ODT",
    "iql_odt": "IQL+ODT", "awac_odt": "AWAC+ODT", "awr_odt": "AWR+ODT", "awr": "AWR", "ppo_odt": "PPO+ODT", "ppo": "PPO",
    "td3_odt": "TD3+ODT",
}  # fmt: skip
ORDER = [*NAMES, *(name for name in ONLINE_NAMES if name not in NAMES)]

# Environment family and data quality in a D4RL name or a dataset's id; the longer quality first.
_FAMILIES = ("halfcheetah", "hopper", "walker2d", "ant")
_QUALITIES = ("medium-expert", "medium-replay", "medium", "expert", "random")
_HAND = re.compile(r"\w+/(pen|hammer|door|relocate)/(human|cloned|expert)-v\d")  # Minari's and local copies
_ANT_MAZE = re.compile(r"\w+/antmaze/([a-z-]+)-v\d")
_D4RL = re.compile(r"(halfcheetah|hopper|walker2d|ant|maze2d|antmaze|pen|hammer|door|relocate)-[a-z-]+-v\d")


def shipped_name(config: dict[str, Any], own: str = "") -> str | None:
    """The shipped method (conf/methods/NAME.yaml) whose parts are a run's; None when it is like none.

    own: the run's own name for its method, which decides where it is a shipped one's. A critic of another class than
    the method's makes it another method; none at all does not.
    """
    if own in NAMES:
        return own
    parts, kind = _parts(config), _critic_kind(config)
    return next(
        (name for name in NAMES if _parts_of_shipped(name) == (parts, kind or _parts_of_shipped(name)[1])), None
    )


def name_of_changed(config: dict[str, Any], own: str) -> str:
    """What a run that is like no shipped method is called: "RF [+HuberLoss, -ActionNLL]" where `own` is one's name."""
    if own not in NAMES:
        return own
    (policy, model, losses, *_), kind = _parts(config), _critic_kind(config)
    (its_policy, its_model, its_losses, *_), its_kind = _parts_of_shipped(own)
    words = [f"{sign}{term}" for sign, a, b in (("+", losses, its_losses), ("-", its_losses, losses))
             for term in a if term not in b]  # fmt: skip
    pairs = (("policy", policy, its_policy), ("return model", model, its_model), ("critic", kind, its_kind))
    words += [f"{what} {ours or 'none'}" for what, ours, theirs in pairs if ours != theirs]
    return f"{NAMES[own]} [{', '.join(words)}]" if words else own


def paper_dataset(dataset_id: str) -> str | None:
    """D4RL's name of the dataset that an id stands for, "hopper-medium-v2"; None where it stands for none.

    Medium data joined with expert data of the same robot is medium-expert.
    """
    if _D4RL.fullmatch(dataset_id):
        return dataset_id
    if match := _HAND.fullmatch(dataset_id):
        return f"{match[1]}-{match[2]}-v1"
    if match := _ANT_MAZE.fullmatch(dataset_id):
        return f"antmaze-{match[1]}-v2"
    sources = [_family_and_quality(part) for part in dataset_id.split("+")]
    families = {family for family, _ in sources}
    if len(families) != 1 or None in families:
        return None
    qualities = {quality for _, quality in sources if quality}
    quality = "medium-expert" if qualities == {"medium", "expert"} else "+".join(sorted(qualities))
    family = families.pop()
    if family == "maze2d":
        return f"maze2d-{quality}-v1" if quality in ("umaze", "medium", "large") else None
    return f"{family}-{quality}-v2" if quality in _QUALITIES else None


def _family_and_quality(source: str) -> tuple[str | None, str | None]:
    words = re.split(r"[/_-]", source.lower())
    if "pointmaze" in words or "maze2d" in words:
        return "maze2d", next((word for word in ("umaze", "medium", "large") if word in words), None)
    text = "-".join(words)
    return (
        next((family for family in _FAMILIES if family in words), None),
        next((quality for quality in _QUALITIES if f"-{quality}-" in f"-{text}-"), None),
    )


def online_name(config: dict[str, Any], own: str = "") -> str | None:
    """The key in ONLINE_NAMES of the method that a fine-tuning run is; None when it is like none. own: see shipped_name."""
    if own in ONLINE_NAMES:
        return own
    if _class(config.get("policy")) == "MLPPolicy":
        name = shipped_name(config)
        return name if name in ONLINE_NAMES else None
    _, _, *parts, _ = _parts(config)
    return next((name for name in reversed(ONLINE_NAMES) if _parts_online(name) == parts), None)


@cache
def _parts_online(name: str) -> list[Any] | None:
    """Losses and critic of a fine-tuning method over Hopper's file; None where it has no file."""
    folder = shipped_folder() / "online"
    files = [folder / "hopper.yaml", *([folder / f"{name}.yaml"] if name != "td3_odt" else [])]
    if not all(file.is_file() for file in files):
        return None
    _, _, *parts, _ = _parts(load_config([str(file) for file in files]))
    return parts


@cache
def _parts_of_shipped(name: str) -> tuple[tuple[Any, ...], str | None]:
    config = load_config([str(shipped_folder() / "methods" / f"{name}.yaml")])
    return _parts(config), _critic_kind(config)


def _critic_kind(config: dict[str, Any]) -> str | None:
    """The critic's class; of an ensemble of one class, its members', and of one made to learn along the one within."""
    model = (config.get("critic") or {}).get("model") or {}
    model = model.get("model") or model
    members = {_class(member) for member in (model.get("members") or {}).values()}
    return members.pop() if len(members) == 1 else _class(model)


def _parts(config: dict[str, Any]) -> tuple[Any, ...]:
    """What tells methods apart: classes of policy, return model and terms, and how a critic that learns along does."""
    losses = tuple(sorted(_class(term) or "" for term in (config.get("losses") or {}).values() if term))
    critic = (config.get("critic") or {}).get("model") or {}
    rule = critic.get("rule") or {}
    learns_along = (_class(rule), rule.get("noise") == 0.0, _class(critic.get("penalty")))
    is_best_part = (config.get("data") or {}).get("top_fraction", 1.0) < 1.0
    return _class(config.get("policy")), _class(config.get("return_model")), losses, learns_along, is_best_part


def _class(component: Any) -> str | None:
    return str(component["target"]).rsplit(".", 1)[-1] if component and component.get("target") else None

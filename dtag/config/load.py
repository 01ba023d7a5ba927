"""From YAML files and overrides to one plain dict, not yet checked against a schema."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError

from dtag.config.build import import_target
from dtag.config.nearest import did_you_mean, nearest
from dtag.config.signature import signature_of
from dtag.config.values import is_component, show
from dtag.errors import UsageError

MISSING: Any = object()


def load_config(
    paths: Sequence[str | Path | dict[str, Any]],
    overrides: Sequence[str] = (),
    base: dict[str, Any] | None = None,
    usual: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The YAML files (or mappings) merged in order, then the overrides ("ag.eta=0.1"), then ${...} resolved: a plain dict.

    Mappings merge, everything else replaces; "losses.pg=null" removes a component. A section of a file that names another
    `target` than the one before it starts afresh: the other component's keys mean nothing to it. What it shall keep of them,
    `${earlier:critic.model.discount}` takes from the files before it, where they write that key. An override of a `target`
    keeps those keys that the new one takes too, and those that an override before it has set. `base` is an already
    resolved config (a checkpoint's) to start from; a "${" in its texts stays text. usual: by section, the target of one
    that writes none.
    """
    config = OmegaConf.create(_escape(base or {}))
    for path in paths:
        read = OmegaConf.create(path) if isinstance(path, dict) else _read_yaml(Path(find_config(str(path))))
        before = OmegaConf.to_container(config)
        read = OmegaConf.create(_with_earlier(OmegaConf.to_container(read), before))
        _merge_afresh(config, read, usual or {}, None)
    typed: list[str] = []
    for override in overrides:
        raw = cast(dict[str, Any], OmegaConf.to_container(config))
        _merge_afresh(config, _parse_override(override, raw), usual or {}, typed)
        typed.append(override.partition("=")[0])
    return _resolve(config)


def _merge_afresh(config: DictConfig, over: DictConfig, usual: Mapping[str, str], typed: list[str] | None) -> None:
    """Merges `over` into the config, without what the sections that it gives another target had before.

    typed: of an override, the keys of those before it; then what the new target takes and what was typed stays.
    """
    for key in list(_retargeted(OmegaConf.to_container(config), OmegaConf.to_container(over), "", usual)):
        before: Any = OmegaConf.to_container(OmegaConf.select(config, key))
        kept = {} if typed is None else _taken(before, str(OmegaConf.select(over, f"{key}.target")))
        kept |= {name: value for name, value in before.items() if f"{key}.{name}" in (typed or ())}
        OmegaConf.update(config, key, kept, merge=False)
    config.merge_with(over)


def _taken(section: dict[str, Any], path: str) -> dict[str, Any]:
    """The entries of a section that the class at `path` has a parameter for; all where there is no such class."""
    try:
        signature = signature_of(import_target(path), path)
    except UsageError:  # the check will say so
        return section
    return {name: value for name, value in section.items() if signature.is_open or name in signature.parameters}


def refuse_emptying(overrides: Sequence[str], named: Collection[str]) -> None:
    """Refuses KEY={} for the keys of named components: mappings merge, so it would drop nothing, without a word."""
    for override in overrides:
        if override.endswith("={}") and (key := override.removesuffix("={}")) in named:
            raise UsageError(
                f"the override '{override}' changes nothing, as mappings merge; drop one by {key}.NAME=null"
            )


def to_yaml(config: dict[str, Any]) -> str:
    """A resolved config as YAML text that `load_config` reads back unchanged."""
    return OmegaConf.to_yaml(OmegaConf.create(_escape(config)))


def find_config(path: str) -> Path:
    """The file at `path`, else the shipped config of that name: "conf/hopper.yaml", "hopper.yaml" or "hopper"."""
    given = Path(path).expanduser()
    if given.is_file():
        return given
    folder = shipped_folder()
    inner = path.removeprefix("conf/")
    for name in (inner, f"{inner}.yaml") if not given.is_absolute() else ():
        if (folder / name).is_file():
            return folder / name
    known = {found.relative_to(folder).with_suffix("").as_posix() for found in folder.rglob("*.yaml")}
    wanted = Path(inner.removesuffix(".yaml"))
    same_name = [other for other in sorted(known) if Path(other).name == wanted.name]
    offers = did_you_mean(dict.fromkeys([*same_name, *nearest(wanted.as_posix(), known)]))
    raise UsageError(f"there is no config '{path}', neither a file nor a shipped one{offers}")


def shipped_folder() -> Path:
    """The folder of the shipped configs: dtag/conf in an installed wheel, conf beside dtag in a checkout."""
    package = Path(__file__).resolve().parents[1]
    return package / "conf" if (package / "conf").is_dir() else package.parent / "conf"


def _read_yaml(path: Path) -> DictConfig:
    try:
        config = OmegaConf.load(path)
    except MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UsageError(f"{path}{line}: not valid YAML: {error.problem or error.context}") from error
    except (YAMLError, UnicodeDecodeError, OmegaConfBaseException, OSError) as error:
        raise UsageError(f"{path}: cannot be read: {_first_line(error)}") from error
    if not isinstance(config, DictConfig):
        raise UsageError(f"{path}: a config is a mapping of keys to values, this is a list")
    bad = next(_bad_keys(OmegaConf.to_container(config), ""), None)
    if bad is not None:
        raise UsageError(f"{path}: the key '{bad}' is not text to YAML: put it in quotes")
    return config


def _retargeted(before: Any, after: Any, prefix: str, usual: Mapping[str, str]) -> Iterator[str]:
    """The full keys of mappings in both whose `target` is another one afterwards. usual: see load_config."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return
    for name in before.keys() & after.keys():
        old, new = before[name], after[name]
        key = f"{prefix}{name}"
        if isinstance(old, dict) and isinstance(new, dict):
            targets = old.get("target", usual.get(key)), new.get("target")
            if None not in targets and targets[0] != targets[1]:
                yield key
            else:
                yield from _retargeted(old, new, f"{key}.", usual)


def _with_earlier(value: Any, before: Any) -> Any:
    """The value with every ${earlier:KEY} as `before` has it; where it has no such key, the entry is left out."""
    if not isinstance(value, dict):
        return value
    found: dict[str, Any] = {}
    for name, entry in value.items():
        asked = re.fullmatch(r"\$\{earlier:([^}\s]+)\}", entry) if isinstance(entry, str) else None
        if asked is None:
            found[name] = _with_earlier(entry, before)
            continue
        kept = before
        for key in asked[1].split("."):
            kept = kept.get(key, MISSING) if isinstance(kept, dict) else MISSING
        if kept is not MISSING:
            found[name] = kept
    return found


def _bad_keys(value: Any, prefix: str) -> Iterator[str]:
    """The full keys in nested mappings that are not text."""
    if isinstance(value, dict):
        for name, entry in value.items():
            if not isinstance(name, str):
                yield f"{prefix}{name}"
            yield from _bad_keys(entry, f"{prefix}{name}.")
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from _bad_keys(entry, f"{prefix}{index}.")


def _parse_override(override: str, config: dict[str, Any]) -> DictConfig:
    """The override as a config to merge over the one it changes."""
    key, equals, _ = override.partition("=")
    names = re.sub(r"\[([^\]]*)\]", r".\1", key).split(".")
    if not equals or not all(re.fullmatch(r"[^\s\[\]{}]+", name) for name in names):
        raise UsageError(f"the override '{override}' is not of the form key=value, like ag.eta=0.1")
    try:
        parsed = OmegaConf.from_dotlist([override])
    except (YAMLError, OmegaConfBaseException) as error:
        raise UsageError(f"the override '{override}' has a value that is not valid YAML: {_problem(error)}") from error
    bad = next(_bad_keys(OmegaConf.to_container(parsed), ""), None)
    if bad is not None:
        raise UsageError(f"the override '{override}' has the key '{bad}', which is not text: put it in quotes")
    _check_way(override, names, config)
    if override.endswith("=null"):
        _check_removal(override, names, config)
    return parsed


def _check_way(override: str, names: list[str], config: Any) -> None:
    """Refuses an override whose key leads through something that has no keys."""
    for depth, name in enumerate(names[:-1], 1):
        config = config.get(name)
        if config is None:
            return
        if isinstance(config, dict):
            continue
        parent = ".".join(names[:depth])
        what = "a list: write all of it, like " + f"{parent}=[1,2]" if isinstance(config, list) else show(config)
        raise UsageError(f"the override '{override}' cannot be applied: '{parent}' is {what}, not a mapping")


def _check_removal(override: str, names: list[str], config: dict[str, Any]) -> None:
    """Refuses to remove a named component that is not there: it would be a misspelling without an effect."""
    siblings: Any = config
    for name in names[:-1]:
        siblings = (siblings or {}).get(name)
    if len(names) < 2 or not siblings or names[-1] in siblings:
        return
    if all(entry is None or is_component(entry) for entry in siblings.values()):
        offers = did_you_mean(f"{'.'.join(names[:-1])}.{name}" for name in nearest(names[-1], siblings))
        raise UsageError(f"the override '{override}' removes nothing: there is {', '.join(siblings)}{offers}")


def _resolve(config: DictConfig) -> dict[str, Any]:
    try:
        return cast(dict[str, Any], OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    except OmegaConfBaseException as error:
        where = f"{error.full_key}: " if getattr(error, "full_key", None) else ""
        missing = re.search(r"Interpolation key '([^']*)' not found", str(error))
        if missing is None:
            raise UsageError(f"{where}{_first_line(error)}") from error
        offers = did_you_mean(nearest(missing[1], _full_keys(OmegaConf.to_container(config), "")))
        raise UsageError(f"{where}${{{missing[1]}}} names a key that the config does not write{offers}") from error


def _full_keys(value: Any, prefix: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, entry in value.items():
            yield f"{prefix}{name}"
            yield from _full_keys(entry, f"{prefix}{name}.")


def _escape(value: Any) -> Any:
    """The value with every "${" in its texts escaped, so that OmegaConf reads it as text."""
    if isinstance(value, dict):
        return {name: _escape(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_escape(entry) for entry in value]
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", r"\1\1\\${", value)
    return value


def _problem(error: Exception) -> str:
    return error.problem or _first_line(error) if isinstance(error, MarkedYAMLError) else _first_line(error)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)

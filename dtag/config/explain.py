"""What may be written in a config: every key with its type, its default and the sentence that describes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dtag.config.build import import_target
from dtag.config.nearest import did_you_mean, nearest
from dtag.config.schema import Component, Schema, Value, target_of
from dtag.config.signature import REQUIRED, Parameter, describe_parameters, signature_of
from dtag.config.values import describe, is_component, show
from dtag.errors import UsageError


@dataclass(frozen=True)
class Row:
    """One key, in words. default: "required" where there is none. help: empty where no docstring describes the key."""

    key: str
    type: str
    default: str
    help: str


def explain(schema: Schema, config: dict[str, Any] | None = None, key: str = "") -> list[Row]:
    """The rows of `key` and of all keys below it; of the whole schema when it is empty.

    config: which targets are in use, and which entries the named mappings have; without it, the default targets.
    A key with no row is a UsageError with the nearest ones.
    """
    section = key.split(".")[0]
    names = [section] if section in schema else schema
    rows = [row for name in names for row in _section_rows(name, schema, config or {})]
    found = [row for row in rows if not key or row.key == key or row.key.startswith(f"{key}.")]
    if not found:
        offers = did_you_mean(nearest(key, [row.key for row in rows]))
        raise UsageError(f"there is no key '{key}' in the config{offers}")
    return found


def explain_target(path: str, key: str = "", supplied: frozenset[str] = frozenset()) -> list[Row]:
    """A row for each parameter of the class at an import path, with `key` before its name."""
    return list(_target_rows(path, {}, f"{key}." if key else "", supplied))


def _section_rows(name: str, schema: Schema, config: dict[str, Any]) -> Iterator[Row]:
    kind, section = schema[name], config.get(name)
    if isinstance(kind, Value):
        yield _row(name, Parameter(name, kind.annotation, kind.default), kind.help)
    elif isinstance(kind, Component):
        yield from _component_rows(name, target_of(section, kind), section, kind)
    else:
        yield Row(name, "a mapping from names to components", "{}", kind.help)
        for entry, component in (section or {}).items():
            if component is not None:
                named = Component(supplied=kind.supplied)
                yield from _component_rows(f"{name}.{entry}", target_of(component, kind), component, named)


def _component_rows(key: str, path: str | None, section: Any, kind: Component) -> Iterator[Row]:
    default = kind.default_target or "required"
    yield Row(f"{key}.target", "an import path", default, _first_sentence(import_target(path)) if path else "")
    if path:
        yield from _target_rows(path, section or {}, f"{key}.", kind.supplied)


def _target_rows(path: str, section: dict[str, Any], prefix: str, supplied: frozenset[str]) -> Iterator[Row]:
    target = import_target(path)
    parameters = signature_of(target, path).parameters
    texts = describe_parameters(target, list(parameters))
    for name, parameter in parameters.items():
        if name in supplied or name == "target":
            continue
        yield _row(prefix + name, parameter, texts.get(name, ""))
        nested = section.get(name)
        if is_component(nested):
            yield from _target_rows(nested["target"], nested, f"{prefix}{name}.", supplied)


def _row(key: str, parameter: Parameter, text: str) -> Row:
    if parameter.default is REQUIRED:
        default = "required"
    else:
        default = show(parameter.plain_default()) if parameter.has_plain_default else repr(parameter.default)
    return Row(key, describe(parameter.annotation), default, text)


def _first_sentence(target: Any) -> str:
    lines = (target.__doc__ or "").strip().splitlines()
    return lines[0].strip() if lines else ""

"""The check of a whole config: every default written out, every mistake reported at once.

A schema names the sections of an experiment. What a section may contain is not repeated there: it is the signature of
the constructor that the section names under `target`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dtag.config.build import import_target
from dtag.config.nearest import did_you_mean, nearest
from dtag.config.signature import REQUIRED, Parameter, Signature, signature_of
from dtag.config.values import MismatchError, describe, plain, show
from dtag.errors import UsageError


@dataclass(frozen=True)
class Component:
    """One object, built from a mapping of its constructor's parameters and the import path of the class, `target`.

    default_target: the class when `target` is not written; None: it must be. supplied: the parameters that the program
    fills in. optional: an absent section is null and null stays; otherwise an absent or null one is all defaults.
    """

    default_target: str | None = None
    supplied: frozenset[str] = frozenset()
    optional: bool = True


@dataclass(frozen=True)
class Components:
    """A mapping from names to such objects, each with its own `target`; those set to null are dropped.

    help: the sentence shown beside it.
    """

    supplied: frozenset[str] = frozenset()
    help: str = ""


@dataclass(frozen=True)
class Value:
    """A plain value at the root of the config. help: the sentence shown beside it."""

    annotation: Any
    default: Any = REQUIRED
    help: str = ""


Schema = Mapping[str, Component | Components | Value]


def check(config: dict[str, Any], schema: Schema) -> dict[str, Any]:
    """The config fully resolved, in plain containers: sections in the schema's order, parameters in their signature's.

    Raises one UsageError that lists every mistake with its full key. Checking the result again changes nothing.
    A default that YAML cannot write (an object, a function) is left to the constructor.
    """
    checker = _Checker(config, schema)
    resolved = checker.root()
    if checker.mistakes:
        count = len(checker.mistakes)
        title = f"{count} mistake{'s' if count > 1 else ''} in the config:"
        raise UsageError("\n  ".join([title, *checker.mistakes]))
    return resolved


def target_of(section: Any, component: Component | Components) -> str | None:
    """The import path that a section asks for, written or by default; None if there is none."""
    default = component.default_target if isinstance(component, Component) else None
    path = section.get("target", default) if isinstance(section, dict) else default
    return path if isinstance(path, str) else None


class _Checker:
    def __init__(self, config: dict[str, Any], schema: Schema):
        self.config = config
        self.schema = schema
        self.mistakes: list[str] = []

    def root(self) -> dict[str, Any]:
        resolved: dict[str, Any] = {}
        for name, kind in self.schema.items():
            given = self.config.get(name, REQUIRED)
            if isinstance(kind, Value):
                self.parameter(resolved, Parameter(name, kind.annotation, kind.default), given, name, frozenset())
            elif isinstance(kind, Components):
                resolved[name] = self.components(given, name, kind)
            elif given is None or given is REQUIRED:
                resolved[name] = None if kind.optional else self.component({}, name, kind)
            else:
                resolved[name] = self.component(given, name, kind)
        for name in self.config:
            if name not in self.schema:
                self.unknown(name, list(self.schema))
        return resolved

    def components(self, given: Any, key: str, kind: Components) -> dict[str, Any]:
        if given is None or given is REQUIRED:
            return {}
        if not isinstance(given, dict):
            self.mistakes.append(f"{key}: found {show(given)}, expected a mapping from names to components")
            return {}
        component = Component(supplied=kind.supplied)
        return {
            name: self.component(section, f"{key}.{name}", component)
            for name, section in given.items()
            if section is not None
        }

    def component(self, section: Any, key: str, kind: Component) -> dict[str, Any]:
        """The section with its target and all parameters written out; what is wrong with it joins the mistakes."""
        if not isinstance(section, dict):
            self.mistakes.append(f"{key}: found {show(section)}, expected a component: a mapping of its parameters")
            return {}
        path = section.get("target", kind.default_target)
        try:
            signature = _signature_at(path)
        except UsageError as error:
            self.mistakes.append(f"{key}.target: {error}")
            return {}
        resolved: dict[str, Any] = {"target": path}
        for name, parameter in signature.parameters.items():
            if name not in kind.supplied and name != "target":
                given = section.get(name, REQUIRED)
                self.parameter(resolved, parameter, given, f"{key}.{name}", kind.supplied)
        for name in [name for name in section if name not in resolved]:
            self.extra(resolved, section[name], f"{key}.{name}", signature, kind.supplied)
        return resolved

    def parameter(
        self, resolved: dict[str, Any], parameter: Parameter, given: Any, key: str, supplied: frozenset[str]
    ) -> None:
        """Writes one parameter into `resolved`, as given or by default."""
        name = parameter.name
        if given is REQUIRED:
            if parameter.default is REQUIRED:
                self.mistakes.append(f"{key}: required: {describe(parameter.annotation)}")
            elif parameter.has_plain_default:
                resolved[name] = parameter.plain_default()
            return
        resolved[name] = None  # so that a value at fault is not also reported as unknown
        nested = Component(supplied=supplied)
        try:
            read = parameter.read(given, key, lambda section, nested_key: self.component(section, nested_key, nested))
            resolved[name] = plain(read)
        except MismatchError as mismatch:
            self.mistakes.append(f"{mismatch.key}: {mismatch}")

    def extra(
        self, resolved: dict[str, Any], given: Any, key: str, signature: Signature, supplied: frozenset[str]
    ) -> None:
        """A key that the constructor does not name: one for its **kwargs, or a mistake."""
        if key.rsplit(".", 1)[1] in supplied:
            self.mistakes.append(f"{key}: is set by the program; remove it")
        elif signature.is_open:
            self.parameter(resolved, Parameter(key.rsplit(".", 1)[1], Any), given, key, supplied)
        else:
            self.unknown(key, [name for name in signature.parameters if name not in supplied])

    def unknown(self, key: str, siblings: list[str]) -> None:
        """Reports an unknown key with the nearest known ones: those beside it, then the same name in other sections."""
        parent, _, name = key.rpartition(".")
        prefix = f"{parent}." if parent else ""
        beside = [prefix + match for match in nearest(name, siblings, 2)]
        leaves = {known: known.rsplit(".", 1)[-1] for known in _known_keys(self.config, self.schema)}
        elsewhere = [known for known, leaf in leaves.items() if leaf == name]
        closest = nearest(name, leaves.values(), 1)
        similar = [known for known, leaf in leaves.items() if leaf in closest]
        offers = list(dict.fromkeys([*beside, *elsewhere] or similar))[:3]
        here = f" (known here: {', '.join(siblings)})" if siblings and not offers else ""
        self.mistakes.append(f"{key}: unknown key{did_you_mean(offers)}{here}")


def _signature_at(path: Any) -> Signature:
    if path is None:
        raise UsageError("required: the import path of a class, like 'package.module.Class'")
    if not isinstance(path, str):
        raise UsageError(f"found {show(path)}, expected an import path like 'package.module.Class'")
    return signature_of(import_target(path), path)


def _known_keys(config: dict[str, Any], schema: Schema) -> Iterator[str]:
    """The full keys of every section with a known target, as the config stands."""
    for name, kind in schema.items():
        section = config.get(name)
        yield name
        if isinstance(kind, Component):
            yield from _known_parameters(name, target_of(section, kind), kind.supplied)
        elif isinstance(kind, Components) and isinstance(section, dict):
            for entry in section:
                yield from _known_parameters(f"{name}.{entry}", target_of(section[entry], kind), kind.supplied)


def _known_parameters(key: str, path: str | None, supplied: frozenset[str]) -> Iterator[str]:
    try:
        parameters = _signature_at(path).parameters
    except UsageError:
        return
    yield from (f"{key}.{name}" for name in parameters if name not in supplied)

"""From a checked section of a config to the object it describes."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, cast

from dtag.config.nearest import did_you_mean, nearest
from dtag.config.signature import Parameter, signature_of
from dtag.errors import UsageError


def build(section: dict[str, Any], /, **supplied: Any) -> Any:
    """The object that `section` describes: its `target` called with its parameters.

    Lists become tuples where the parameter is annotated so, mappings with a `target` become objects. `supplied` are the
    program's own arguments: each constructor, nested ones too, gets those that it names. A ValueError from a
    constructor becomes a UsageError.
    """
    path = section["target"]
    target = import_target(path)
    signature = signature_of(target, path)
    arguments = {name: value for name, value in supplied.items() if name in signature.parameters}
    for name, value in section.items():
        if name != "target":
            parameter = signature.parameters.get(name, Parameter(name, Any))
            arguments[name] = parameter.read(value, name, lambda nested, _: build(nested, **supplied))
    try:
        return target(**arguments)
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error


def import_target(path: str) -> Callable[..., Any]:
    """The class or function at "package.module.Class" or "package.module:Class"; UsageError if there is none.

    Modules are reached only by their own names, never through another module that imported them ("torch.os.system").
    """
    names = path.replace(":", ".").split(".")
    if not all(name.isidentifier() for name in names) or len(names) < 2 or path.count(":") > 1:
        raise UsageError(f"'{path}' is not an import path like 'package.module.Class'")
    module, depth = _import_longest(names[:-1])
    found: Any = module
    for name in names[depth:]:
        owner, found = found, getattr(found, name, None)
        if found is None or isinstance(found, ModuleType):
            raise UsageError(_missing(owner, name))
    if not callable(found):
        raise UsageError(f"'{path}' is not a class or function")
    return cast(Callable[..., Any], found)


def targets_named(config: Any) -> set[str]:
    """Every import path in a config: all values of `target`, and "module:name" texts under `environment`."""
    return set(_targets(config, in_environment=False))


def modules_named(config: Any) -> set[str]:
    """The top-level packages that building the objects of a config would import."""
    return {re.split(r"[.:]", path)[0] for path in targets_named(config)}


def _targets(value: Any, in_environment: bool) -> Iterator[str]:
    if isinstance(value, dict):
        for name, entry in value.items():
            if name == "target" and isinstance(entry, str):
                yield entry
            else:
                yield from _targets(entry, in_environment or name == "environment")
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _targets(entry, in_environment)
    elif in_environment and isinstance(value, str) and ":" in value:
        yield value


def _import_longest(names: list[str]) -> tuple[ModuleType, int]:
    """The deepest of the modules "a", "a.b", "a.b.c" that exists, and how many of the names it took."""
    for length in range(len(names), 0, -1):
        name = ".".join(names[:length])
        try:
            return importlib.import_module(name), length
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise UsageError(f"'{name}' needs the module '{error.name}', which is not installed") from error
        except Exception as error:  # a stranger's module can raise anything when it is imported
            raise UsageError(f"'{name}' cannot be imported: {type(error).__name__}: {error}") from error
    known = {module.name for module in pkgutil.iter_modules()}
    offers = did_you_mean(nearest(names[0], known, 1)) or "."
    raise UsageError(
        f"there is no module '{names[0]}'{offers} One of your own is found from the folder it lies in, or from anywhere "
        "once it is installed or on PYTHONPATH"
    )


def _missing(owner: Any, name: str) -> str:
    prefix = owner.__name__ if isinstance(owner, ModuleType) else f"{owner.__module__}.{owner.__qualname__}"
    known = {entry for entry in dir(owner) if not entry.startswith("_") and callable(getattr(owner, entry, None))}
    known |= {module.name for module in pkgutil.iter_modules(getattr(owner, "__path__", []))}
    offers = [f"{prefix}.{match}" for match in nearest(name, known)]
    return f"there is no '{name}' in '{prefix}'{did_you_mean(offers)}"

"""Whether a config value fits a constructor parameter's annotation, and what the constructor then receives.

One walk serves both the check (which wants plain containers back) and the build (which wants tuples and objects), so
the two cannot disagree.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeGuard, Union, get_args, get_origin

from dtag.config.nearest import did_you_mean, nearest

ReadComponent = Callable[[dict[str, Any], str], Any]

_PLAIN = (NoneType, bool, int, float, str)
_LISTS = (list, Sequence, Iterable, Collection)
_MAPPINGS = (dict, Mapping)
_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    NoneType: "null",
    Path: "a path",
}
# YAML 1.1 reads these words as booleans; a Literal that lists one of them gets it back, the first listed here winning.
_BOOLEAN_WORDS = {False: ("off", "no", "false"), True: ("on", "yes", "true")}


class MismatchError(ValueError):
    """A value does not fit its annotation. `key` is the full dotted key of the innermost value at fault."""

    def __init__(self, key: str, value: Any, annotation: Any):
        super().__init__(f"found {show(value)}, expected {describe(annotation)}{_hint(value, annotation)}")
        self.key = key


def plain(value: Any) -> Any:
    """The value with tuples as lists and paths as text; TypeError if it holds anything YAML cannot write."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Mapping) and all(type(name) is str for name in value):
        return {name: plain(item) for name, item in value.items()}
    raise TypeError(f"{type(value).__name__} is not a plain value")


def read(value: Any, annotation: Any, key: str, component: ReadComponent) -> Any:
    """The value as the constructor receives it; MismatchError if it does not fit.

    Whole numbers fit float, and floats without a fraction fit int (YAML reads 1e6 as a float). true and false fit only
    bool. `component` is called with (mapping, key) for each mapping with a `target` where an object is expected.
    """
    annotation = NoneType if annotation is None else annotation
    origin = get_origin(annotation) or annotation
    if origin in (Union, UnionType):
        return _read_union(value, annotation, key, component)
    if origin is Literal:
        return _read_literal(value, annotation, key)
    if origin in _WORDS:
        return _read_scalar(value, annotation, key)
    if origin in _LISTS or origin is tuple:
        return _read_list(value, annotation, key, component)
    if origin in _MAPPINGS:
        return _read_mapping(value, annotation, key, component)
    if is_component(value):
        return component(value, key)
    if annotation not in (Any, object):
        raise MismatchError(key, value, annotation)
    return _read_anything(value, key)


def is_component(value: Any) -> TypeGuard[dict[str, Any]]:
    """Whether a config value describes an object: a mapping that names its import path under `target`."""
    return isinstance(value, dict) and isinstance(value.get("target"), str)


def _read_anything(value: Any, key: str) -> Any:
    try:
        return plain(value)
    except TypeError:
        raise MismatchError(key, value, Any) from None


def _read_scalar(value: Any, annotation: Any, key: str) -> Any:
    if type(value) is annotation:
        return value
    if annotation is float and type(value) is int:
        return float(value)
    if annotation is int and type(value) is float and value.is_integer():
        return int(value)
    if annotation is Path and type(value) is str:
        return Path(value)
    raise MismatchError(key, value, annotation)


def _read_literal(value: Any, annotation: Any, key: str) -> Any:
    choices = get_args(annotation)
    for choice in choices:
        if type(choice) is type(value) and choice == value:
            return choice
    if type(value) is bool:
        for word in _BOOLEAN_WORDS[value]:
            if word in choices:
                return word
    raise MismatchError(key, value, annotation)


def _read_union(value: Any, annotation: Any, key: str, component: ReadComponent) -> Any:
    members = [member for member in get_args(annotation) if member is not NoneType]
    if value is None and len(members) < len(get_args(annotation)):
        return None
    if len(members) == 1 and value is not None:  # an optional: its own error names the inner key
        return read(value, members[0], key, component)
    for member in sorted(members, key=lambda member: type(value) is not member):  # 1 for float | int stays 1
        try:
            return read(value, member, key, component)
        except MismatchError:
            continue
    raise MismatchError(key, value, annotation)


def _read_list(value: Any, annotation: Any, key: str, component: ReadComponent) -> Any:
    if not isinstance(value, list | tuple):
        raise MismatchError(key, value, annotation)
    is_tuple = (get_origin(annotation) or annotation) is tuple
    arguments = get_args(annotation)
    if is_tuple and arguments and arguments[-1] is not Ellipsis:
        if len(arguments) != len(value):
            raise MismatchError(key, value, annotation)
        items = arguments
    else:
        items = (arguments[0] if arguments else Any,) * len(value)
    pairs = enumerate(zip(value, items, strict=True))
    result = [read(item, kind, f"{key}.{index}", component) for index, (item, kind) in pairs]
    return tuple(result) if is_tuple else result


def _read_mapping(value: Any, annotation: Any, key: str, component: ReadComponent) -> Any:
    if not isinstance(value, dict):
        raise MismatchError(key, value, annotation)
    item = (*get_args(annotation), Any, Any)[1]
    if item is Any:  # free-form data: a `target` in it is just a name
        return _read_anything(value, key)
    return {name: read(entry, item, f"{key}.{name}", component) for name, entry in value.items()}


def show(value: Any) -> str:
    """A value as YAML would write it, cut at 80 characters."""
    text = json.dumps(value, default=repr, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."


def describe(annotation: Any) -> str:
    """What an annotation accepts, in words."""
    annotation = NoneType if annotation is None else annotation
    origin, arguments = get_origin(annotation) or annotation, get_args(annotation)
    if annotation in (Any, object):
        return "plain values (numbers, text, true, false, null, lists, mappings)"
    if origin in (Union, UnionType):
        return " or ".join(describe(argument) for argument in arguments)
    if origin is Literal:
        return ("one of " if len(arguments) > 1 else "") + ", ".join(show(choice) for choice in arguments)
    if origin in _WORDS:
        return _WORDS[origin]
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        return f"a list of {len(arguments)} ({', '.join(describe(argument) for argument in arguments)})"
    if origin in _LISTS or origin is tuple:
        return "a list" + (f" ({describe(arguments[0])} each)" if arguments and arguments[0] is not Any else "")
    if origin in _MAPPINGS:
        has_type = len(arguments) > 1 and arguments[1] is not Any
        return "a mapping" + (f" (names to {describe(arguments[1])})" if has_type else "")
    return f"a component ({getattr(origin, '__name__', origin)})"


def _hint(value: Any, annotation: Any) -> str:
    """What to write instead, for the traps that YAML sets."""
    members = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    choices = [choice for member in members if get_origin(member) is Literal for choice in get_args(member)]
    if isinstance(value, str) and choices:
        return did_you_mean(nearest(value, [choice for choice in choices if isinstance(choice, str)], 1))
    if type(value) is bool and (str in members or any(isinstance(choice, str) for choice in choices)):
        return " (YAML reads on, off, yes and no as true and false: put text in quotes)"
    if type(value) in (int, float) and str in members:
        return " (put it in quotes)"
    if isinstance(value, dict) and "target" not in value:
        return " (an object is a mapping with `target`)"
    if isinstance(value, str) and {int, float} & set(members) and _is_number(value):
        return " (write .inf, -.inf or .nan)" if value.strip("+-").isalpha() else " (write it without quotes)"
    return ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

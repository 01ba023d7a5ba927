"""What a constructor takes: its parameters with their types, defaults and the sentence that describes each."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, get_type_hints

from dtag.config.values import MismatchError, ReadComponent, plain, read
from dtag.errors import UsageError

REQUIRED: Any = inspect.Parameter.empty
SEE = re.compile(r"see (\w+)\b(.*)")
OTHERS = re.compile(r"Others: see\s(\w+)\.")


@dataclass(frozen=True)
class Parameter:
    """One named argument of a constructor. default is REQUIRED where there is none."""

    name: str
    annotation: Any
    default: Any = REQUIRED

    def read(self, value: Any, key: str, component: ReadComponent) -> Any:
        """The value as the constructor receives it. A default always fits, whatever its annotation says."""
        try:
            return read(value, self.annotation, key, component)
        except MismatchError:
            if self.has_plain_default and type(value) is type(plain(self.default)) and value == plain(self.default):
                return self.default
            raise

    @property
    def has_plain_default(self) -> bool:
        """Whether the default can be written to a config."""
        try:
            plain(self.default)
        except TypeError:
            return False
        return True

    def plain_default(self) -> Any:
        """The default as a resolved config holds it: 1 for a float is 1.0, a tuple a list."""
        return plain(self.read(plain(self.default), self.name, lambda mapping, _: mapping))


@dataclass(frozen=True)
class Signature:
    """The parameters of a constructor in order. is_open: it takes **kwargs, so any other name too."""

    parameters: Mapping[str, Parameter]
    is_open: bool


def signature_of(target: Callable[..., Any], path: str) -> Signature:
    """The signature of a class or function; UsageError if it has none. `path` names it in the message.

    An annotation that cannot be resolved (imported for type checkers only) accepts anything.
    """
    try:
        found = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        raise UsageError(f"'{path}' cannot be called with named parameters") from None
    namespace = _namespace(target)
    factories = _default_factories(target)
    parameters = {}
    for parameter in found:
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            name = parameter.name
            default = factories[name]() if name in factories else parameter.default
            parameters[name] = Parameter(name, _resolve(parameter.annotation, default, namespace), default)
    return Signature(parameters, is_open=any(parameter.kind is parameter.VAR_KEYWORD for parameter in found))


def describe_parameters(target: Callable[..., Any], names: Iterable[str]) -> dict[str, str]:
    """What the docstrings of a class or function, and of its __init__, say of each of the named parameters.

    Found by "name: ..." at the start of a line or sentence, also "name, other: ..." and "name (type): ..."; the text
    runs until the next parameter or blank line. "name: see OTHER" is what OTHER says of it, as is, for parameters that
    are not described, "Others: see OTHER"; OTHER is a name that the module of the class knows. Parameters that nothing
    describes are left out.
    """
    own, others = _own_descriptions(target, names)
    namespace = _namespace(target)
    result = {}
    for name in names:
        text = own.get(name, f"see {others}" if others else "")
        if seen := SEE.match(text):
            text = _described_elsewhere(namespace.get(seen[1]), name, seen[2].strip(" ;.,")) or text
        if text:
            result[name] = text
    return result


def _described_elsewhere(other: Any, name: str, more: str) -> str:
    """What `other` says of the parameter, with what its own class adds; empty where it says nothing."""
    if not callable(other):
        return ""
    text = describe_parameters(other, {name, *signature_of(other, name).parameters}).get(name, "")
    return f"{text.rstrip('.')}; {more}." if text and more else text


def _own_descriptions(target: Callable[..., Any], names: Iterable[str]) -> tuple[dict[str, str], str]:
    """The sentences of its own docstrings, and what they name for all others; empty where they name nothing."""
    one = "|".join(re.escape(name) for name in names)
    start = re.compile(rf"(?:(?<=^)|(?<=\n)|(?<=[.;)] ))[-*` ]*((?:{one})`?(?:,\s`?(?:{one})`?)*)(?: \([^)]*\))?:\s")
    result: dict[str, str] = {}
    others = ""
    for documented in (target, getattr(target, "__init__", None)) if one else ():
        text = re.sub(r"\n[ ]+", "\n", inspect.cleandoc(getattr(documented, "__doc__", None) or ""))
        if rest := OTHERS.search(text):
            others, text = others or rest[1], text[: rest.start()] + text[rest.end() :]
        matches = list(start.finditer(text))
        ends = [*(following.start() for following in matches[1:]), len(text)]
        for match, end in zip(matches, ends, strict=False):
            sentence = " ".join(text[match.end() : end].split("\n\n")[0].split())
            for name in match[1].split(","):
                result.setdefault(name.strip("` \n"), sentence)
    return result, others


def _default_factories(target: Callable[..., Any]) -> dict[str, Callable[[], Any]]:
    if not (isinstance(target, type) and dataclasses.is_dataclass(target)):
        return {}
    factories = {field.name: field.default_factory for field in dataclasses.fields(target)}
    return {name: factory for name, factory in factories.items() if factory is not dataclasses.MISSING}


def _namespace(target: Callable[..., Any]) -> dict[str, Any]:
    """The names that annotations may use: those of the modules of a class and its bases, or of a function's module."""
    owners = reversed(target.__mro__) if isinstance(target, type) else [inspect.unwrap(target)]
    namespace: dict[str, Any] = {}
    for owner in owners:
        namespace |= vars(sys.modules.get(getattr(owner, "__module__", None) or "", SimpleNamespace()))
    return namespace


def _resolve(annotation: Any, default: Any, namespace: dict[str, Any]) -> Any:
    if annotation is inspect.Parameter.empty:
        return tuple if isinstance(default, tuple) else Any
    try:
        return get_type_hints(SimpleNamespace(__annotations__={"it": annotation}), globalns=namespace)["it"]
    except Exception:  # noqa: BLE001 evaluating a stranger's annotation can raise anything
        return Any

"""The nearest known names to one that is unknown."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Up to `count` of the known names that look like `name`, best first; letter case does not matter."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    return [by_lower[match] for match in get_close_matches(name.lower(), by_lower, n=count)]


def did_you_mean(names: Iterable[str]) -> str:
    """What to append to a message: "; did you mean 'a' or 'b'?", or nothing when there is no name to offer."""
    quoted = [f"'{name}'" for name in names]
    return f"; did you mean {' or '.join(quoted)}?" if quoted else ""

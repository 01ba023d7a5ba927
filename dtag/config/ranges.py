"""Values out of their range, refused with one message for all of a section."""

from __future__ import annotations

import math
from collections.abc import Iterable

from dtag.errors import UsageError


def refuse(section: str, **values: tuple[object, bool, str]) -> None:
    """Raises UsageError for every value that is not allowed. values: name=(value, whether it is allowed, what is).

    A comparison with NaN is false, so NaN is never allowed.
    """
    wrong = [
        f"{section}.{name}={value} must be {what}" for name, (value, allowed, what) in values.items() if not allowed
    ]
    if wrong:
        raise UsageError("; ".join(wrong))


def refuse_sizes(**sizes: int | Iterable[int]) -> None:
    """Raises ValueError, which `build` puts the class before, for a size, or any of several, that is not at least 1.

    A network without width or layers would train and say nothing.
    """
    named = {name: (size,) if isinstance(size, int) else tuple(size) for name, size in sizes.items()}
    wrong = [f"{name}={sizes[name]}" for name, several in named.items() if any(size < 1 for size in several)]
    if wrong:
        raise ValueError(f"{', '.join(wrong)} must be at least 1")


def refuse_rates(*, learning_rate: float, weight_decay: float, **fractions: float) -> None:
    """Raises ValueError for a rate that is negative or no number, and for a fraction (discount, polyak) outside [0, 1]."""
    rates = {"learning_rate": learning_rate, "weight_decay": weight_decay}
    wrong = [f"{name}={rate} must be at least 0 and finite" for name, rate in rates.items() if not 0 <= rate < math.inf]
    wrong += [
        f"{name}={fraction} must lie between 0 and 1" for name, fraction in fractions.items() if not 0 <= fraction <= 1
    ]
    if wrong:
        raise ValueError("; ".join(wrong))

"""Values out of their range, refused with one message for all of a section."""

from __future__ import annotations

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

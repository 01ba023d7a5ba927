"""The adaptive context length, walking back one step at a time."""

from __future__ import annotations


def context_length_loop(predicted: list[float], rule: str, maximum: int) -> int:
    """predicted: the real steps of one row only, newest last."""
    window = 1
    while window < min(len(predicted), maximum):
        older = predicted[-1 - window]
        compared = predicted[-window] if rule == "chain" else predicted[-1]
        if rule != "off" and not older > compared:
            break
        window += 1
    return window

"""The errors a user sees: one clear message each, never a traceback.

`dtag` (the command) prints the message and exits with `exit_status`: 1 for a failed run, 2 for wrong usage.
From Python they are ordinary exceptions.
"""

from __future__ import annotations


class DtagError(Exception):
    """A run failed in a way the user can act on. The message names what is wrong and what to do."""

    exit_status = 1


class UsageError(DtagError):
    """What the user typed is wrong: an unknown key, option, name or value."""

    exit_status = 2


class DataError(DtagError):
    """A dataset is missing, unreachable, unreadable or holds values that cannot be trained on."""


class CheckpointError(DtagError):
    """A checkpoint is missing, unreadable, of another format or not to be trusted."""

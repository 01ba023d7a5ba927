"""Signals set a flag that is acted on between batches and rollout steps; a second one aborts at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

from dtag.errors import DtagError

_STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}


class Stopped(DtagError):
    """The run was told to stop and did, its last checkpoint written. exit_status: 130 (Ctrl-C) or 143 (SIGTERM)."""

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class StopFlag:
    """While active, the first SIGINT or SIGTERM sets `requested`; the next ends the process on the spot.

    Files are replaced atomically, so an abort leaves the last good checkpoint. Outside the main thread, where Python
    allows no handlers, it does nothing.
    """

    def __init__(self) -> None:
        self.requested = False
        self.exit_status = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopFlag:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in _STATUS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def take_back(self) -> None:
        """Handle the signals again after Lightning's Trainer has set handlers of its own.

        On SIGTERM that one ends the process with status 0, and it broadcasts to other ranks from inside the handler.
        """
        for number in self._previous:
            signal.signal(number, self._handle)

    def __call__(self) -> bool:
        return self.requested

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.requested:
            os._exit(_STATUS[signal.Signals(number)])
        self.requested, self.exit_status = True, _STATUS[signal.Signals(number)]
        print("\ndtag: stopping at the next step; once more to abort at once", file=sys.stderr, flush=True)

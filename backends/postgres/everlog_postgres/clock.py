"""The store's clock: the server's, told from this process by an offset. Never goes back. It asks nobody by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import Final

FRESH: Final = 30.0
"""Seconds after which the offset is to be measured again: clocks of machines drift some milliseconds a minute."""


class ServerClock:
    """Gives the server's time in microseconds, from this process's monotonic clock and what was last measured."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._offset = time.time_ns() // 1000 - _monotonic()  # until it is measured
        self._measured_at = float("-inf")
        self._last = 0

    def now(self) -> int:
        """Give the time; never less than what was given before in this process."""
        with self._lock:
            self._last = max(self._last, _monotonic() + self._offset)
            return self._last

    def is_due(self) -> bool:
        """Say whether the offset was measured too long ago."""
        return time.monotonic() - self._measured_at > FRESH

    def measure(self, ask: Callable[[], int]) -> None:
        """Measure the offset: `ask` gives the server's time, which lies in the middle of asking and being told."""
        before = _monotonic()
        server = ask()
        after = _monotonic()
        with self._lock:
            self._offset = server - (before + after) // 2
            self._measured_at = time.monotonic()


def _monotonic() -> int:
    return time.monotonic_ns() // 1000

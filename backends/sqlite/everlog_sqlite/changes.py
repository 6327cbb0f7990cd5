"""Changes: a number that tells that another connection has written. Mostly only the write-ahead log is looked at.

Asking SQLite means a lock of the file, fifty times a second, also where nothing ever happens. Whoever commits writes to
the log, so as long as that is as it was nobody has. But a commit becomes visible only after it was written, when the
disk has it, and some systems tell the time of a write in ticks of milliseconds. So SQLite is asked for a while after
each write, and now and then in any case.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Final

from everlog_sqlite.connection import Connection

SETTLING: Final = 0.25
"""Seconds for which SQLite is asked after a write was seen."""

ANYWAY: Final = 1.0
"""Seconds between two questions at the most: so late a write is noticed that took the disk longer than `SETTLING`."""

_TELLS: Final = sys.platform != "win32"
"""Whether a file that others hold open tells when it was written. Windows may tell so when it is closed."""


class Changes:
    """Looks through one connection to a file for what others wrote since it looked last."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._log = f"{connection.path}-wal" if _TELLS else ""
        self._number = 0
        self._written_at = self._size = -1
        """Of the log, when it was looked at last."""
        self._ask_until = self._ask_from = float("-inf")

    def look(self) -> int:
        """Give SQLite's count of what other connections wrote; what this one wrote does not count."""
        self._connection.require_usable()
        at = time.monotonic()
        try:
            log = os.stat(self._log)
        except OSError:
            return self._ask(at)
        if log.st_mtime_ns != self._written_at or log.st_size != self._size:
            self._written_at, self._size = log.st_mtime_ns, log.st_size
            self._ask_until = at + SETTLING
            return self._ask(at)
        return self._number if self._ask_until <= at < self._ask_from else self._ask(at)

    def _ask(self, at: float) -> int:
        with self._connection.using:
            self._number = self._connection.value("PRAGMA data_version")
        self._ask_from = at + ANYWAY
        return self._number

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
from pathlib import Path
from typing import Final

from everlog_sqlite.connection import Connection

SETTLING: Final = 0.25
"""Seconds for which SQLite is asked after a write was seen."""

ANYWAY: Final = 1.0
"""Seconds between two questions at the most: so late a write is noticed that took the disk longer than `SETTLING`."""

_TELLS: Final = sys.platform != "win32"
"""Whether a file that others hold open tells when it was written. Windows may tell so when it is closed."""


class LogFile:
    """Looks at the write-ahead log of a file: whether SQLite is to be asked. Each who looks has one of its own."""

    def __init__(self, path: Path | None) -> None:
        self._log = f"{path}-wal" if _TELLS else ""
        self._written_at = self._size = -1
        self._ask_until = float("-inf")

    def may_tell(self, at: float) -> bool:
        """Say whether what others wrote may have become visible since the last look; `at` by the monotonic clock."""
        try:
            log = os.stat(self._log)
        except OSError:
            return True
        if log.st_mtime_ns != self._written_at or log.st_size != self._size:
            self._written_at, self._size = log.st_mtime_ns, log.st_size
            self._ask_until = at + SETTLING
            return True
        return at < self._ask_until


class Changes:
    """Looks through one connection to a file for what others wrote since it looked last."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._log = LogFile(connection.path)
        self._number = 0
        self._ask_from = float("-inf")

    def look(self) -> int:
        """Give SQLite's count of what other connections wrote; what this one wrote does not count."""
        self._connection.require_usable()
        at = time.monotonic()
        if not self._log.may_tell(at) and at < self._ask_from:
            return self._number
        with self._connection.using:
            self._number = self._connection.value("PRAGMA data_version")
        self._ask_from = at + ANYWAY
        return self._number

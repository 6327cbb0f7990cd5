"""Checkpoints: when the write-ahead log is moved into the database file. Off the way of commits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from everlog_sqlite.connection import Connection

_FROM_BYTES: Final = 4_000_000
_LONGEST_LOG: Final = 16_000
"""Pages in the log beyond which writers wait until it begins anew: of the usual size, 64 MB."""
_MOST_ROOM_BYTES: Final = 256_000_000
"""So much room the log may keep."""


class Checkpoints:
    """Those of one file, on a connection of their own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: Connection | None = None

    def maintain(self) -> None:
        """Move a long log into the file, usually without stopping anybody.

        A log that grew very long, since commits never paused for long enough to begin it anew, begins anew while the
        writers wait: most of it has been moved by then. It keeps its room, up to a bound, since disks are faster where
        they overwrite than where a file grows.
        """
        if self._log_bytes() < _FROM_BYTES:
            return
        if self._connection is None:
            self._connection = Connection(self._path, durability="full", create=False)
        ((_, pages, _),) = self._connection.rows("PRAGMA wal_checkpoint(PASSIVE)")
        if self._log_bytes() > _MOST_ROOM_BYTES:
            self._connection.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        elif pages > _LONGEST_LOG:
            self._connection.rows("PRAGMA wal_checkpoint(RESTART)")

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()

    def _log_bytes(self) -> int:
        try:
            return os.stat(f"{self._path}-wal").st_size
        except FileNotFoundError:
            return 0

"""Transactions of users in the engine's own file, each on a connection that nobody else uses meanwhile."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

from everlog.errors import StoreUnavailable
from everlog_sqlite.connection import PATIENCE, Durability
from everlog_sqlite.driver_errors import primary_code

_MOST_IDLE: Final = 4
_PAUSE: Final = 0.001


class Transactions:
    """Connections for users. They are opened when needed, and a few are kept."""

    def __init__(self, path: Path, durability: Durability, wrote: Callable[[], None]) -> None:
        self._path = path
        self._durability = durability
        self._wrote = wrote
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def blocking(self) -> Generator[sqlite3.Connection]:
        """Give a connection that has the write lock; commit in the end."""
        connection = self._take()
        try:
            deadline = time.monotonic() + PATIENCE
            while not _begins(connection, deadline):
                time.sleep(_PAUSE)
            yield connection
            connection.execute("COMMIT")
        finally:
            self._give_back(connection)
        self._wrote()

    @asynccontextmanager
    async def on_a_loop(self) -> AsyncGenerator[sqlite3.Connection]:
        """Do the same, and wait for the write lock without holding up the loop."""
        connection = self._take()
        try:
            deadline = time.monotonic() + PATIENCE
            while not _begins(connection, deadline):  # noqa: ASYNC110 - SQLite tells nobody when its lock is free
                await asyncio.sleep(_PAUSE)
            yield connection
            connection.execute("COMMIT")
        finally:
            self._give_back(connection)
        self._wrote()

    def close(self) -> None:
        """Close those that nobody uses; the others are closed when they are given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take(self) -> sqlite3.Connection:
        with self._lock:
            if self._closed:
                raise StoreUnavailable(f"the database file {str(self._path)!r} was closed by this program")
            if self._idle:
                return self._idle.pop()
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA busy_timeout = 0")
        connection.execute(f"PRAGMA synchronous = {'FULL' if self._durability == 'full' else 'NORMAL'}")
        connection.execute("PRAGMA wal_autocheckpoint = 0")  # checkpoints are made apart
        return connection

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        with self._lock:
            if not self._closed and len(self._idle) < _MOST_IDLE and not connection.in_transaction:
                self._idle.append(connection)
                return
        connection.close()


def _begins(connection: sqlite3.Connection, deadline: float) -> bool:
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
            raise
        return False
    return True

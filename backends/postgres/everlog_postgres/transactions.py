"""Transactions of users in the engine's own database, each on a connection that nobody else uses meanwhile.

The connections are as the user's own would be: with the settings of the URL, and none of ours.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final, Generic, TypeVar

import psycopg

from everlog.errors import StoreUnavailable
from everlog_postgres.urls import Target

_MOST_IDLE: Final = 4

Kind = TypeVar("Kind", "psycopg.Connection[Any]", "psycopg.AsyncConnection[Any]")


class Transactions:
    """Connections for users. They are opened when needed, and a few are kept."""

    def __init__(self, target: Target, wrote: Callable[[], None]) -> None:
        self._target = target
        self._wrote = wrote
        self._blocking: _Idle[psycopg.Connection[Any]] = _Idle()
        self._asyncs: dict[asyncio.AbstractEventLoop, _Idle[psycopg.AsyncConnection[Any]]] = {}

    @contextmanager
    def blocking(self) -> Generator[psycopg.Connection[Any]]:
        """Give a connection with a transaction; commit in the end."""
        connection = self._blocking.take()
        if connection is None:
            connection = psycopg.connect(self._target.conninfo, autocommit=True, **self._settings())
        try:
            with connection.transaction():
                yield connection
        finally:
            if not self._blocking.keep(connection):
                connection.close()
        self._wrote()

    @asynccontextmanager
    async def on_a_loop(self) -> AsyncGenerator[psycopg.AsyncConnection[Any]]:
        """Do the same for asyncio."""
        idle = self._asyncs.setdefault(asyncio.get_running_loop(), _Idle())
        connection = idle.take()
        if connection is None:
            connection = await psycopg.AsyncConnection.connect(
                self._target.conninfo, autocommit=True, **self._settings()
            )
        try:
            async with connection.transaction():
                yield connection
        finally:
            if not idle.keep(connection):
                await connection.close()
        self._wrote()

    def close(self) -> None:
        """Close those that nobody uses; the others are closed when they are given back."""
        for connection in self._blocking.close():
            connection.close()
        for idle in self._asyncs.values():
            for one in idle.close():
                with suppress(psycopg.Error):
                    one.pgconn.finish()  # what `close` does, which is a coroutine that never waits

    def _settings(self) -> dict[str, Any]:
        name = {} if "application_name" in self._target.given else {"application_name": "everlog transactions"}
        return {"prepare_threshold": None, **name}


class _Idle(Generic[Kind]):
    """Connections that nobody uses."""

    def __init__(self) -> None:
        self._connections: list[Kind] = []
        self._lock = threading.Lock()
        self._closed = False

    def take(self) -> Kind | None:
        with self._lock:
            if self._closed:
                raise StoreUnavailable("the database was closed by this program; open it again")
            while self._connections:
                connection = self._connections.pop()
                if not connection.closed:
                    return connection
        return None

    def keep(self, connection: Kind) -> bool:
        with self._lock:
            is_free = not connection.closed and connection.info.transaction_status == 0
            if self._closed or len(self._connections) >= _MOST_IDLE or not is_free:
                return False
            self._connections.append(connection)
            return True

    def close(self) -> list[Kind]:
        with self._lock:
            self._closed = True
            connections, self._connections = self._connections, []
        return connections

"""Borrowed connections: which kind a user's connection is, and how one statement is executed on it.

Drivers are not imported here: a connection of one can only be met where the program has imported it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Awaitable, Mapping
from typing import Any, Final, Protocol

from everlog.errors import UsageError

Parameters = Mapping[str, object]
Rows = list[tuple[Any, ...]]

_NAMED: Final = re.compile(r":(\w+)")
_KINDS: Final = (
    "a sqlite3.Connection, a psycopg.Connection or AsyncConnection, or a connection or session of SQLAlchemy, blocking"
    " or for asyncio"
)


class Borrowed(Protocol):
    """A connection of the user's. Parameters stand in statements as `:name`."""

    @property
    def is_blocking(self) -> bool:
        """Whether rows are given at once; else they are to be awaited."""
        ...

    @property
    def dialect(self) -> str:
        """What SQL it is: `sqlite`, `postgresql`, or what SQLAlchemy calls another."""
        ...

    def execute(self, sql: str, parameters: Parameters) -> Rows | Awaitable[Rows]:
        """Execute one statement, and give its rows, none where it gives none."""
        ...

    def is_in_transaction(self) -> bool:
        """Say whether what was executed waits for a commit."""
        ...


def borrowed(connection: object) -> Borrowed:
    """Give what executes on a user's connection. Raises `UsageError` for what is none."""
    sqlite3 = sys.modules.get("sqlite3")
    if sqlite3 is not None and isinstance(connection, sqlite3.Connection):
        return _Sqlite(connection)
    psycopg = sys.modules.get("psycopg")
    if psycopg is not None and isinstance(connection, psycopg.Connection):
        return _Psycopg(connection)
    if psycopg is not None and isinstance(connection, psycopg.AsyncConnection):
        return _AsyncPsycopg(connection)
    if type(connection).__module__.partition(".")[0] == "sqlalchemy" or _is_session(connection):
        orm_async = sys.modules.get("sqlalchemy.ext.asyncio")
        if orm_async is not None and isinstance(connection, (orm_async.AsyncConnection, orm_async.AsyncSession)):
            return _AsyncAlchemy(connection)
        if hasattr(connection, "execute"):
            return _Alchemy(connection)
    raise UsageError(f"a transaction of a step is on {_KINDS}; got {connection!r}")


def _is_session(connection: object) -> bool:
    """Say whether it is of a subclass of SQLAlchemy's sessions, which programs often have."""
    return any(base.__module__.partition(".")[0] == "sqlalchemy" for base in type(connection).__mro__)


class _Sqlite:
    is_blocking: bool = True
    dialect: str = "sqlite"

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def execute(self, sql: str, parameters: Parameters) -> Rows:
        cursor = self._connection.cursor()
        cursor.row_factory = None  # whatever the user has set
        return list(cursor.execute(sql, dict(parameters)))

    def is_in_transaction(self) -> bool:
        return bool(self._connection.in_transaction)


class _Psycopg:
    is_blocking: bool = True
    dialect: str = "postgresql"

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def execute(self, sql: str, parameters: Parameters) -> Rows:
        cursor = self._connection.cursor(row_factory=sys.modules["psycopg.rows"].tuple_row)
        cursor.execute(_NAMED.sub(r"%(\1)s", sql), parameters)
        return cursor.fetchall() if cursor.description is not None else []

    def is_in_transaction(self) -> bool:
        return bool(self._connection.info.transaction_status != 0)


class _AsyncPsycopg:
    is_blocking: bool = False
    dialect: str = "postgresql"

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def execute(self, sql: str, parameters: Parameters) -> Rows:
        cursor = self._connection.cursor(row_factory=sys.modules["psycopg.rows"].tuple_row)
        await cursor.execute(_NAMED.sub(r"%(\1)s", sql), parameters)
        return await cursor.fetchall() if cursor.description is not None else []

    def is_in_transaction(self) -> bool:
        return bool(self._connection.info.transaction_status != 0)


class _Alchemy:
    is_blocking: bool = True

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.dialect = str(_blocking(connection).dialect.name)

    def execute(self, sql: str, parameters: Parameters) -> Rows:
        result = self._connection.execute(_text(sql), dict(parameters))
        return [tuple(row) for row in result] if result.returns_rows else []

    def is_in_transaction(self) -> bool:
        return _is_in_transaction(self._connection)


class _AsyncAlchemy:
    is_blocking: bool = False

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._inner = getattr(connection, "sync_session", None) or connection.sync_connection
        self.dialect = str(_blocking(self._inner).dialect.name)

    async def execute(self, sql: str, parameters: Parameters) -> Rows:
        result = await self._connection.execute(_text(sql), dict(parameters))
        return [tuple(row) for row in result] if result.returns_rows else []

    def is_in_transaction(self) -> bool:
        return _is_in_transaction(self._inner)


def _text(sql: str) -> Any:
    return sys.modules["sqlalchemy"].text(sql)


def _blocking(given: Any) -> Any:
    """Give the connection, or the engine, that a connection or session of SQLAlchemy has."""
    return given.get_bind() if hasattr(given, "get_bind") else given


def _is_in_transaction(given: Any) -> bool:
    """Also what is set to commit each statement by itself has a transaction, as SQLAlchemy counts."""
    bind = _blocking(given)
    return bool(given.in_transaction()) and bind.get_execution_options().get("isolation_level") != "AUTOCOMMIT"

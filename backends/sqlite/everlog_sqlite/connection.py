"""One connection to the database file: opening, settings, locking and transactions. It knows no table."""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from os import getpid
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, NoReturn, TypeVar

from everlog.errors import SchemaMismatch, StoreUnavailable
from everlog_sqlite.driver_errors import primary_code, raise_translated, translate, translated

Durability = Literal["full", "process"]
Parameters = Mapping[str, object] | Sequence[object]
Result = TypeVar("Result")

PATIENCE = 10.0
"""Seconds that a call waits for a lock of another connection."""

_PAUSE = 0.001
_OLDEST_SQLITE = (3, 35, 0)


class Connection:
    """A connection that threads may share, one at a time. `path` is None for a database in memory.

    `driver` is the connection of the `sqlite3` module underneath.
    """

    def __init__(self, path: Path | None, *, durability: Durability, create: bool) -> None:
        _require_recent_sqlite()
        self.path = path
        self.name = "the SQLite database in memory" if path is None else f"the database file {str(path)!r}"
        self.lock = threading.RLock()
        self.process: Final = getpid()
        self.closed = False
        self.on_commit: Callable[[], None] | None = None
        """Called after each transaction, but not after those that are `quiet`."""
        self.using: Final = _Using(self)
        self.transaction: Final = _Transaction(self)
        self.quiet: Final = _Transaction(self, tells=False)
        if path is not None:
            _check_place(path, create=create)
        with translated(self.name):
            self.driver = _connect(path, create=create)
            try:
                self.patiently(lambda: self._set_up(durability))
            except BaseException:
                self.driver.close()
                raise

    def _set_up(self, durability: Durability) -> None:
        # The driver waits two milliseconds for a lock and `patiently` does the rest: SQLite's own waiting backs off
        # to a tenth of a second, and so would hardly ever meet the short gaps between the commits of a busy writer.
        self.driver.execute("PRAGMA busy_timeout = 2")
        self.driver.execute(f"PRAGMA synchronous = {'FULL' if durability == 'full' else 'NORMAL'}")
        # Checkpoints are made by `maintain`, on a connection of their own: in a commit one would cost milliseconds.
        self.driver.execute("PRAGMA wal_autocheckpoint = 0")
        if sys.platform == "darwin":
            # There fsync leaves the data in the drive's cache.
            self.driver.execute("PRAGMA fullfsync = ON")
            self.driver.execute("PRAGMA checkpoint_fullfsync = ON")

    def execute(self, sql: str, parameters: Parameters = ()) -> sqlite3.Cursor:
        """Run one statement as it is; within `transaction`."""
        return self.driver.execute(sql, parameters)

    def rows(self, sql: str, parameters: Parameters = ()) -> list[Any]:
        """Give the rows of one reading statement."""
        with self.using:
            return self.patiently(lambda: self.driver.execute(sql, parameters).fetchall())

    def value(self, sql: str, parameters: Parameters = ()) -> Any:
        """Give the first column of the first row of one reading statement; None where there is none."""
        rows = self.rows(sql, parameters)
        return rows[0][0] if rows else None

    def patiently(self, call: Callable[[], Result]) -> Result:
        """Repeat what another connection's lock keeps from happening, for as long as `PATIENCE`."""
        deadline = 0.0
        while True:
            try:
                return call()
            except sqlite3.OperationalError as error:
                deadline = deadline or time.monotonic() + PATIENCE
                if primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(_PAUSE)

    def refuse_fork(self) -> NoReturn:
        """Raise `StoreUnavailable` in a fork of the opening process. Before the lock is asked for: it may be lost."""
        raise StoreUnavailable(
            f"{self.name} was opened by process {self.process}, and this is a fork of it, {getpid()};"
            " a connection does not survive a fork: open the database in the child"
        )

    def refuse_closed(self) -> NoReturn:
        """Raise `StoreUnavailable` since this connection was closed."""
        raise StoreUnavailable(f"{self.name} was closed by this program; open it again")

    def require_usable(self) -> None:
        """Do what both do, where there is reason to, without asking for the lock."""
        if self.process != getpid():
            self.refuse_fork()
        if self.closed:
            self.refuse_closed()

    def close(self) -> None:
        """Close the connection. The last one to a file moves the write-ahead log into it."""
        if self.process == getpid():
            with self.lock, translated(self.name):
                self.closed = True
                self.driver.close()


class _Using:
    """Keeps other threads away from a connection, and translates the driver's errors. May be nested."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        connection = self._connection
        if connection.process != getpid():
            connection.refuse_fork()
        connection.lock.acquire()
        if connection.closed:
            connection.lock.release()
            connection.refuse_closed()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._connection.lock.release()
        if error is not None:
            raise_translated(error, self._connection.name)


class _Transaction:
    """Holds the write lock of the database: all of what is written inside becomes durable, or nothing.

    The only opener of transactions. A failing commit leaves nothing written, save where the disk failed while it was
    asked to keep the data: then that is unknown.
    """

    def __init__(self, connection: Connection, *, tells: bool = True) -> None:
        self._connection = connection
        self._tells = tells

    def __enter__(self) -> None:
        connection = self._connection
        connection.using.__enter__()
        try:
            # A transaction that begins as a reader and becomes a writer may be refused at once; this one waits.
            connection.patiently(self._begin)
        except BaseException as error:
            self._roll_back()  # an interrupt may have come just after the beginning
            self._connection.lock.release()
            raise_translated(error, self._connection.name)
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if error is None:
                self._commit()
            else:
                self._roll_back()
                raise_translated(error, self._connection.name)
        finally:
            self._connection.lock.release()
        if error is None and self._tells and self._connection.on_commit is not None:
            self._connection.on_commit()

    def _commit(self) -> None:
        try:
            self._connection.driver.execute("COMMIT")
        except BaseException as error:
            self._roll_back()
            if isinstance(error, sqlite3.Error) and primary_code(error) == sqlite3.SQLITE_IOERR:
                message = str(translate(error, self._connection.name))
                raise StoreUnavailable(message, unknown_outcome=True) from error
            raise_translated(error, self._connection.name)
            raise

    def _begin(self) -> sqlite3.Cursor:
        return self._connection.driver.execute("BEGIN IMMEDIATE")

    def _roll_back(self) -> None:
        if self._connection.driver.in_transaction:
            # A failure here would hide the one that brought us here; SQLite rolls back what is left open.
            with suppress(sqlite3.Error):
                self._connection.driver.execute("ROLLBACK")


def _connect(path: Path | None, *, create: bool) -> sqlite3.Connection:
    target = ":memory:" if path is None else f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
    return sqlite3.connect(
        target,
        uri=path is not None,
        isolation_level=None,  # transactions are ours alone to open
        check_same_thread=False,  # `lock` keeps threads apart
        cached_statements=512,
    )


def _require_recent_sqlite() -> None:
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise SchemaMismatch(
            f"Everlog needs SQLite {'.'.join(map(str, _OLDEST_SQLITE))} or later, and this Python has"
            f" {sqlite3.sqlite_version}; install a Python that is built with a later one"
        )


def _check_place(path: Path, *, create: bool) -> None:
    """Say what is wrong with a path more clearly than SQLite does."""
    if path.is_dir():
        raise StoreUnavailable(f"{str(path)!r} is a directory; name a file in it, such as {str(path / 'everlog.db')!r}")
    if not path.parent.is_dir():
        raise StoreUnavailable(f"the directory of {str(path)!r} does not exist; make it, or name another")
    if path.exists():
        if not os.access(path, os.R_OK | os.W_OK):
            raise StoreUnavailable(f"{str(path)!r} is not readable and writable for this user; change its permissions")
    elif not create:
        raise StoreUnavailable(
            f"there is no database file {str(path)!r}; check the path, or start an engine on it, which creates it"
        )
    if not os.access(path.parent, os.W_OK):
        raise StoreUnavailable(
            f"the directory of {str(path)!r} is read-only for this user; SQLite keeps its write-ahead log there,"
            " so make it writable"
        )

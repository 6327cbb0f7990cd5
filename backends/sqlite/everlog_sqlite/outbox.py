"""Writing within a transaction of the user's, on the user's own connection to the file. It never ends that transaction.

Nothing here asks for the store's connections: as long as the user's transaction is open, it may have the write lock
that they are waiting for.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from everlog.errors import StoreUnavailable, UsageError
from everlog.store import Batch, BatchOutcome, EventRow, QueueRow, check_batch
from everlog.store_outbox import driver_connection, only_from_outside
from everlog_sqlite import statements as sql
from everlog_sqlite.connection import Connection, Parameters
from everlog_sqlite.driver_errors import primary_code, raise_translated
from everlog_sqlite.queues import Queues
from everlog_sqlite.taking import read_history
from everlog_sqlite.writing import Writer


class Borrowed(Connection):
    """A connection of the user's, to be used like one of ours. What the user has set on it does not matter here."""

    def __init__(self, driver: sqlite3.Connection, name: str) -> None:
        # Not that of the base class, which opens one; and transactions are the user's, so there is no `transaction`.
        self.name = name
        self.driver = driver
        self.lock = threading.RLock()
        self.closed = False

    def execute(self, sql: str, parameters: Parameters = ()) -> sqlite3.Cursor:
        """Run one statement, whose rows come as tuples."""
        cursor = sqlite3.Cursor(self.driver)
        cursor.row_factory = None
        return cursor.execute(sql, parameters)

    def rows(self, sql: str, parameters: Parameters = ()) -> list[Any]:
        """Give the rows of one reading statement; it waits as long as the user has set."""
        return self.execute(sql, parameters).fetchall()


class OpenTransaction:
    """What writes on one connection of the user's to the file at `path`."""

    is_blocking: Final = True

    def __init__(
        self,
        driver: sqlite3.Connection,
        path: Path,
        now: Callable[[], int],
        may_commit: Callable[[sqlite3.Connection], None],
    ) -> None:
        self._path: Final = path
        self._may_commit: Final = may_commit
        self._connection: Final = Borrowed(driver, f"the database file {str(path)!r}")
        self._queues: Final = Queues(self._connection, now)
        self._writer: Final = Writer(self._connection, self._queues, now)
        self._is_to_our_file = False

    async def write(self, batch: Batch) -> BatchOutcome:
        """Write creations and posts."""
        only_from_outside(batch)
        check_batch(batch)
        with self._within():
            outcome = self._writer.write(batch)
        self._may_commit(self._connection.driver)
        return outcome

    async def read(self, workflow_id: str, *, limit: int | None = None) -> Sequence[EventRow]:
        """Give the events of a workflow."""
        with self._within():
            return read_history(self._connection, workflow_id, after=0, limit=limit)

    async def queues(self) -> Sequence[QueueRow]:
        """Give all queues."""
        with self._within():
            return self._queues.rows()

    @contextmanager
    def _within(self) -> Generator[None]:
        """Hold the write lock, and have all of what is done inside done, or nothing."""
        name, driver = self._connection.name, self._connection.driver
        given, driver.text_factory = driver.text_factory, str
        try:
            self._require_our_file()
            self._require_transaction()
            self._execute("SAVEPOINT everlog")
            try:
                # First, so that what is looked up is what is there when it is written.
                self._execute(sql.TAKE_WRITE_LOCK)
                yield
            except BaseException:
                with suppress(sqlite3.Error):  # a failure that ended the whole transaction has ended this with it
                    self._execute("ROLLBACK TO everlog")
                    self._execute("RELEASE everlog")
                raise
            self._execute("RELEASE everlog")
        except sqlite3.ProgrammingError as error:
            raise UsageError(
                f"{name}: the connection given to using() cannot be used here: {error}; it must be open, and is used"
                " by the thread that calls"
            ) from error
        except sqlite3.Error as error:
            if _is_too_old(error):
                raise StoreUnavailable(
                    f"{name}: another connection has written since this transaction began to read, so that it can no"
                    " longer write (SQLite says: SQLITE_BUSY_SNAPSHOT); roll it back and do it again, from BEGIN"
                    " IMMEDIATE on"
                ) from error
            raise_translated(error, name)
            raise
        finally:
            driver.text_factory = given

    def _execute(self, statement: str) -> None:
        self._connection.execute(statement)

    def _require_our_file(self) -> None:
        """A connection stays with its file, so this is asked once."""
        if self._is_to_our_file:
            return
        files = {row[1]: row[2] for row in self._connection.rows("PRAGMA database_list")}
        main = files.get("main") or ""
        if not (main and os.path.exists(main) and os.path.samefile(main, self._path)):
            attached = next(
                (name for name, file in files.items() if name != "main" and _is_file(file, self._path)), None
            )
            what = f"{main!r}" if main else "a database in memory"
            also = (
                f", which has that of this engine attached as {attached!r}: SQLite does not commit to two files as one"
                if attached is not None
                else ""
            )
            raise UsageError(
                f"the connection given to using() is one to {what}{also}, and this engine keeps its workflows in"
                f" {str(self._path)!r}; open that file, and keep your tables in it"
            )
        if not self._connection.rows("PRAGMA query_only")[0][0] == 0:
            raise UsageError(f"the connection given to using() only reads (PRAGMA query_only), and {main!r} is written")
        self._is_to_our_file = True

    def _require_transaction(self) -> None:
        driver = self._connection.driver
        if driver.in_transaction:
            return
        # From Python 3.12 on there is a second way to say so, which counts more.
        if driver.isolation_level is None or getattr(driver, "autocommit", None) is True:
            raise UsageError(
                "the connection given to using() has no transaction open, so that each statement would be one of its"
                ' own (isolation_level=None); execute "BEGIN IMMEDIATE" first, or use engine.start and engine.send'
            )
        # The driver begins one before the first statement that writes, of which this is to be one.
        self._execute("BEGIN IMMEDIATE")


def open_transaction(
    connection: object,
    path: Path | None,
    now: Callable[[], int],
    may_commit: Callable[[sqlite3.Connection], None],
) -> OpenTransaction:
    """Give what writes on a connection of the user's; `may_commit` is called after each write."""
    if path is None:
        raise UsageError(
            "a store in memory has no second connection, so that none of yours can be to it; use a file, as by"
            " Engine('sqlite:///shop.db')"
        )
    found = driver_connection(connection, lambda one: isinstance(one, sqlite3.Connection))
    if found is None:
        raise UsageError(
            f"using() takes a sqlite3.Connection to {str(path)!r}, or what has one as SQLAlchemy's sessions do, got"
            f" {connection!r}"
        )
    return OpenTransaction(found, path, now, may_commit)


def _is_file(file: str, path: Path) -> bool:
    return bool(file) and os.path.exists(file) and os.path.samefile(file, path)


def _is_too_old(error: sqlite3.Error) -> bool:
    code: int = getattr(error, "sqlite_errorcode", 0)
    return primary_code(error) == sqlite3.SQLITE_BUSY and code == sqlite3.SQLITE_BUSY_SNAPSHOT

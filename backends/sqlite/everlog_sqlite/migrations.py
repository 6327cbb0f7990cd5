"""The schema of the file: recognising it, creating it, bringing it up to date. No table is named here."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from everlog.errors import SchemaMismatch, StoreUnavailable
from everlog_sqlite.connection import Connection

if TYPE_CHECKING:
    from sqlite_utils import Database

APPLICATION_ID: Final = 0x45564C47
"""Marks a file as ours, in its header: "EVLG"."""

MIGRATIONS: Final = (
    "0001_initial",
    "0002_values_and_streams",
    "0003_queues",
    "0004_waits",
    "0005_schedules",
    "0006_continued",
    "0007_attributes",
    "0008_moves",
    "0009_retention",
)
"""All that were ever made, in order. The header's `user_version` says how many a file has had."""


def migrate(connection: Connection, *, create: bool) -> list[str]:
    """Make the database one that this version works with, and give the names of the migrations that took.

    A file with other tables, or from a later version, is left as it is. Any number of processes may do this at once.
    """
    applied: list[str] = []
    if not _is_current(connection, create=create):
        with connection.transaction:
            if not _is_current(connection, create=create):
                applied = _apply(connection)
    _use_write_ahead_log(connection)
    return applied


def _use_write_ahead_log(connection: Connection) -> None:
    """Have commits appended beside the file: without that each takes twice the time, and readers stop writers."""
    mode = connection.value("PRAGMA journal_mode = WAL")
    if connection.path is not None and mode != "wal":
        raise StoreUnavailable(
            f"{connection.name} cannot have a write-ahead log here (the journal mode stays {mode!r}); put it on a"
            " local disk"
        )


def _is_current(connection: Connection, *, create: bool) -> bool:
    """Say whether nothing is left to do; raise where the file is not ours, or not for us."""
    version: int = connection.value("PRAGMA user_version")
    if connection.value("PRAGMA application_id") == APPLICATION_ID:
        if version > len(MIGRATIONS):
            raise SchemaMismatch(
                f"{connection.name} has schema {version}, and this version of Everlog knows {len(MIGRATIONS)} at most;"
                " use the version that last wrote it, or a later one"
            )
        return version == len(MIGRATIONS)
    if version or connection.value("SELECT count(*) FROM sqlite_master"):
        raise SchemaMismatch(
            f"{connection.name} is not an Everlog database: it has tables of another program, and was left as it is;"
            " name another file"
        )
    if not create:
        raise SchemaMismatch(f"{connection.name} is empty; start an engine on it, which creates the tables")
    return False


def _apply(connection: Connection) -> list[str]:
    # Imported here, since a file that is up to date, which is nearly every one, is opened without it.
    from sqlite_utils import Database
    from sqlite_utils.migrations import Migrations

    migrations = Migrations("everlog")
    for name in MIGRATIONS:
        migrations(name=name)(_runner(name))
    # Within our transaction: sqlite-utils makes savepoints in it.
    database = Database(connection.driver)
    applied = [migration.name for migration in migrations.pending(database)]
    migrations.apply(database)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    return applied


def _runner(name: str) -> Callable[[Database], None]:
    sql = files("everlog_sqlite").joinpath("sql", "migrations", f"{name}.sql").read_text(encoding="utf-8")

    def run(db: Database) -> None:
        for statement in _statements(sql):
            db.conn.execute(statement)

    run.__name__ = name
    return run


def _statements(sql: str) -> Iterator[str]:
    """Split a script: the driver's own way of running one would commit the transaction that we are in."""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""

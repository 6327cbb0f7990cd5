"""Translation of the driver's errors into ours. The only place that knows SQLite's error codes."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager

from everlog.errors import CorruptLog, EverlogError, InternalError, SchemaMismatch, StoreUnavailable

UNAVAILABLE = {
    sqlite3.SQLITE_BUSY: "another process holds the write lock; end its transaction, or the process",
    sqlite3.SQLITE_LOCKED: "another connection holds a table; end its transaction",
    sqlite3.SQLITE_FULL: "the disk is full; free some space, nothing of this write was kept",
    sqlite3.SQLITE_READONLY: "the file, or the directory it is in, is read-only; make both writable for this user",
    sqlite3.SQLITE_PERM: "the file may not be used by this user; make it readable and writable",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened; the directory must exist, and be writable for this user",
    sqlite3.SQLITE_IOERR: "the disk reported an error; look into the system's log before you trust this disk",
    sqlite3.SQLITE_PROTOCOL: "the file could not be locked; is it on a network file system?",
    sqlite3.SQLITE_INTERRUPT: "the statement was interrupted",
}

CLOSED = "everlog: "
"""What a trigger says begins with, of a database that is closed."""


@contextmanager
def translated(name: str) -> Generator[None]:
    """Raise what the driver raises inside as one of our errors that names the database, the original chained."""
    try:
        yield
    except Exception as error:
        raise_translated(error, name)
        raise


def raise_translated(error: BaseException, name: str) -> None:
    """Raise our error for an error of the driver; do nothing about any other."""
    if isinstance(error, sqlite3.Error):
        raise translate(error, name) from error
    if isinstance(error, UnicodeError):
        raise InternalError(f"{name}: a text to be stored is not valid UTF-8: {error}") from error


def translate(error: sqlite3.Error, name: str) -> EverlogError:
    """Give our error for one of the driver's."""
    code = primary_code(error)
    if code in UNAVAILABLE:
        return StoreUnavailable(f"{name}: {UNAVAILABLE[code]} (SQLite says: {error})")
    if code == sqlite3.SQLITE_CONSTRAINT and str(error).startswith(CLOSED):
        return StoreUnavailable(f"{name}: {str(error).removeprefix(CLOSED)}")
    if code == sqlite3.SQLITE_NOTADB:
        return SchemaMismatch(f"{name} is not a SQLite database, and was left as it is; name another file")
    if code == sqlite3.SQLITE_CORRUPT:
        return CorruptLog(
            f"{name} is damaged, or not a whole file (SQLite says: {error}); restore a backup, or save what can be"
            " read with the `.recover` command of the sqlite3 shell"
        )
    if str(error).startswith(("no such table", "no such column")):
        return SchemaMismatch(f"{name} has lost a part of its tables: {error}; restore a backup")
    return InternalError(f"{name}: SQLite refused a statement: {error}")


def primary_code(error: sqlite3.Error) -> int:
    """Give SQLite's error code without its extension, 0 where the driver raised without asking SQLite."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return (code or 0) & 0xFF

"""The index: documented names in an SQLite file with full-text search, and beside them a ledger of the attempts.

It is the user's own database, apart from the event log, and the ledger is how the demo checks on the engine: each
attempt of a step notes that it began, and, in one transaction with its effect, that it wrote.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from everlog.cli.demo.modules import DocumentedName

Outcome = Literal["indexed", "refused"]
Entry = tuple[str, str, str, int, str]
"""Module, kind, name, line and summary."""

_TABLES: Final = """
CREATE TABLE names (id INTEGER PRIMARY KEY, module TEXT, kind TEXT, name TEXT, line INTEGER, summary TEXT);
CREATE INDEX names_by_module ON names (module);
CREATE TABLE attempts (id INTEGER PRIMARY KEY, module TEXT, process INTEGER, outcome TEXT);
CREATE INDEX attempts_by_module ON attempts (module);
"""
_SEARCH: Final = (
    "CREATE VIRTUAL TABLE search USING fts5(name, summary, tokenize='porter unicode61')",
    "CREATE VIRTUAL TABLE search USING fts4(name, summary, tokenize=porter)",
    "CREATE TABLE search (name TEXT, summary TEXT)",
)
"""The best first; what this SQLite was not built with is refused."""


@dataclass(frozen=True)
class Attempt:
    """One attempt of a step, as it noted itself. `outcome` is None where it was killed before it wrote."""

    module: str
    process: int
    outcome: Outcome | None


class Index:
    """The index in one file. Each call is on a connection of its own, so any thread or process may make it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self) -> None:
        """Make the tables of a new file."""
        with self._connected() as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(_TABLES)
            for statement in _SEARCH:
                try:
                    database.execute(statement)
                    return
                except sqlite3.OperationalError:
                    continue

    def note_attempt(self, module: str) -> int:
        """Note that an attempt begins; give its number."""
        with self._connected() as database:
            row = "INSERT INTO attempts (module, process) VALUES (?, ?)"
            return int(database.execute(row, (module, os.getpid())).lastrowid or 0)

    def replace(self, module: str, names: Sequence[DocumentedName], attempt: int, outcome: Outcome) -> None:
        """Have the index hold these names of the module and no others: however often it is done, with one result."""
        with self._connected() as database:
            database.execute("BEGIN IMMEDIATE")
            old = "SELECT id FROM names WHERE module = ?"
            database.execute(f"DELETE FROM search WHERE rowid IN ({old})", (module,))
            database.execute("DELETE FROM names WHERE module = ?", (module,))
            for one in names:
                row = database.execute(
                    "INSERT INTO names (module, kind, name, line, summary) VALUES (?, ?, ?, ?, ?)",
                    (module, one.kind, one.name, one.line, one.summary),
                )
                text = (row.lastrowid, one.name, one.summary)
                database.execute("INSERT INTO search (rowid, name, summary) VALUES (?, ?, ?)", text)
            database.execute("UPDATE attempts SET outcome = ? WHERE id = ?", (outcome, attempt))
            database.execute("COMMIT")

    def entries(self) -> list[Entry]:
        """Give all that a search can find, in an order of its own."""
        with self._connected() as database:
            return database.execute(
                "SELECT module, kind, search.name, line, search.summary FROM names JOIN search ON search.rowid = id"
                " ORDER BY module, line, search.name, kind, search.summary"
            ).fetchall()

    def find(self, words: str, limit: int = 3) -> list[Entry]:
        """Give the names whose own words or summaries hold all of these words, the best first where that is known."""
        columns = "SELECT module, kind, search.name, line, search.summary FROM search JOIN names ON id = search.rowid"
        with self._connected() as database:
            kind = self._kind(database)
            if kind == "like":
                each = " AND ".join("search.name || ' ' || search.summary LIKE ?" for _ in words.split())
                question, given = f"{columns} WHERE {each}", [f"%{word}%" for word in words.split()]
            else:
                best = " ORDER BY bm25(search, 4.0, 1.0), module, line" if kind == "fts5" else " ORDER BY module, line"
                question, given = f"{columns} WHERE search MATCH ?{best}", [words]
            return database.execute(f"{question} LIMIT {limit}", given).fetchall()

    def attempts(self) -> list[Attempt]:
        """Give the ledger, in the order in which the attempts began."""
        with self._connected() as database:
            rows = database.execute("SELECT module, process, outcome FROM attempts ORDER BY id").fetchall()
            return [Attempt(*row) for row in rows]

    def written(self) -> int:
        """Give for how many modules an attempt has written."""
        with self._connected() as database:
            question = "SELECT count(DISTINCT module) FROM attempts WHERE outcome IS NOT NULL"
            return int(database.execute(question).fetchone()[0])

    def _kind(self, database: sqlite3.Connection) -> str:
        made = database.execute("SELECT sql FROM sqlite_master WHERE name = 'search'").fetchone()[0]
        return next((kind for kind in ("fts5", "fts4") if kind in made), "like")

    @contextmanager
    def _connected(self) -> Generator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, timeout=30, isolation_level=None)) as database:
            # What a process has written outlives it; only against the death of the machine would the disk be asked.
            database.execute("PRAGMA synchronous = OFF")
            yield database

"""Databases for properties: empty for each example, and opened by each simulated process of it anew."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from everlog.memory import MemoryStore
from everlog.store import Store
from everlog_postgres import open_store as open_postgres
from everlog_sqlite import SqliteStore
from tests.postgres import empty, new_schema

LONG: Final = os.environ.get("EVERLOG_LONG") == "1"
Kind = Literal["memory", "sqlite", "postgres"]


class Database:
    """One database at a time. What stands on the disk of a real one is what the next process finds."""

    def __init__(self, kind: Kind) -> None:
        self.kind: Final = kind
        self._open: list[Store] = []
        self._memory: MemoryStore | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="everlog-property-") if kind == "sqlite" else None
        self._files = 0
        self._schema = new_schema() if kind == "postgres" else ""
        self._is_made = False

    def clean(self) -> None:
        """Close what is open, and begin with an empty database."""
        for store in list(self._open):
            self.close(store)
        self._memory = None
        self._files += 1
        if self._is_made:
            empty(self._schema)

    def open(self, clock: Callable[[], int]) -> Store:
        """Open it, as a process of its own does."""
        store = self._opened(clock)
        self._open.append(store)
        return store

    def close(self, store: Store) -> None:
        """Close what a process opened, as its death does. What is in memory alone stays for the others."""
        self._open.remove(store)
        if store is not self._memory:
            store.close()

    def end(self) -> None:
        """Leave nothing behind."""
        self._is_made = False
        self.clean()
        if self._folder is not None:
            self._folder.cleanup()

    def few(self, number: int) -> int:
        """Give how many examples to try of so many in memory: a database takes several times as long for each."""
        return number if self.kind == "memory" else max(2, number // (10 if LONG else 40))

    def _opened(self, clock: Callable[[], int]) -> Store:
        if self._folder is not None:
            return SqliteStore(Path(self._folder.name) / f"{self._files}.db", durability="process", clock=clock)
        if self.kind == "postgres":
            self._is_made = True
            return open_postgres(self._schema, durability="process", clock=clock)
        if self._memory is None:
            self._memory = MemoryStore(clock=clock)
        return self._memory

"""The SQLite backend: one file, no server. What it promises is written in `everlog.store`."""

from everlog_sqlite.store import SqliteStore, open_store

__all__ = ["SqliteStore", "open_store"]

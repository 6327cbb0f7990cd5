"""The SQLite store keeps the contract, in a file and in memory."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from everlog.testing import (
    DeletionConformance,
    FindingConformance,
    ForksConformance,
    MovingConformance,
    OutboxConformance,
    QueuesConformance,
    RetentionConformance,
    SchedulesConformance,
    StoreConformance,
    StreamsConformance,
    ValuesConformance,
    WaitsConformance,
)
from everlog_sqlite import SqliteStore, open_store


class TestSqliteFile(
    StoreConformance,
    ValuesConformance,
    StreamsConformance,
    WaitsConformance,
    FindingConformance,
    ForksConformance,
    MovingConformance,
    QueuesConformance,
    DeletionConformance,
    RetentionConformance,
    SchedulesConformance,
    OutboxConformance,
):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[SqliteStore]:
        store = open_store(f"sqlite:///{tmp_path}/test.db", durability="process")
        yield store
        store.close()

    @pytest.fixture
    def peer(self, store: SqliteStore, tmp_path: Path) -> Iterator[SqliteStore]:
        peer = open_store(f"sqlite:///{tmp_path}/test.db", durability="process")
        yield peer
        peer.close()

    @pytest.fixture
    def connect(self, store: SqliteStore, tmp_path: Path) -> Callable[[], sqlite3.Connection]:
        def connect() -> sqlite3.Connection:
            connection = sqlite3.connect(tmp_path / "test.db", isolation_level=None)
            connection.execute("BEGIN")
            return connection

        return connect


class TestSqliteInMemory(
    StoreConformance,
    ValuesConformance,
    StreamsConformance,
    WaitsConformance,
    FindingConformance,
    ForksConformance,
    MovingConformance,
    QueuesConformance,
    SchedulesConformance,
):
    @pytest.fixture
    def store(self) -> Iterator[SqliteStore]:
        store = open_store("sqlite:///:memory:")
        yield store
        store.close()

"""The SQLite store keeps the contract, in a file and in memory."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from everlog.testing import (
    DeletionConformance,
    FindingConformance,
    MovingConformance,
    QueuesConformance,
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
    MovingConformance,
    QueuesConformance,
    DeletionConformance,
    SchedulesConformance,
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


class TestSqliteInMemory(
    StoreConformance,
    ValuesConformance,
    StreamsConformance,
    WaitsConformance,
    FindingConformance,
    MovingConformance,
    QueuesConformance,
    SchedulesConformance,
):
    @pytest.fixture
    def store(self) -> Iterator[SqliteStore]:
        store = open_store("sqlite:///:memory:")
        yield store
        store.close()

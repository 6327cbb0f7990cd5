"""The Postgres store keeps the contract, with and without prepared statements and settings of its own."""

from collections.abc import Iterator

import pytest

from everlog.testing import DeletionConformance, StoreConformance
from everlog_postgres import open_store
from everlog_postgres.store import PostgresStore
from tests.postgres import needs_postgres, new_schema


@needs_postgres
class TestPostgres(StoreConformance, DeletionConformance):
    @pytest.fixture
    def url(self) -> str:
        return new_schema()

    @pytest.fixture
    def store(self, url: str) -> Iterator[PostgresStore]:
        store = open_store(url)
        yield store
        store.close()

    @pytest.fixture
    def peer(self, store: PostgresStore, url: str) -> Iterator[PostgresStore]:
        peer = open_store(url)
        yield peer
        peer.close()


@needs_postgres
class TestPostgresThroughAProxy(TestPostgres):
    """As for a proxy that pools transactions: nothing is prepared or set, and nobody is woken."""

    @pytest.fixture
    def url(self) -> str:
        return new_schema("prepare=off", "push=off")

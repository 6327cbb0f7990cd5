"""The Postgres store keeps the contract, also without statements and settings that stay, and behind a real pool."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
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
from everlog_postgres import open_store
from everlog_postgres.store import PostgresStore
from everlog_postgres.urls import parse
from tests.pools import needs_pool, pool_url
from tests.postgres import lent_schema, needs_postgres, server_url, with_options


class OnPostgres(
    StoreConformance,
    ValuesConformance,
    StreamsConformance,
    WaitsConformance,
    FindingConformance,
    ForksConformance,
    DeletionConformance,
    SchedulesConformance,
):
    """The contract, save that of queues, which distributed tables do not have."""

    @pytest.fixture
    def url(self) -> str:
        return lent_schema()

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
class TestPostgres(OnPostgres, QueuesConformance, OutboxConformance, MovingConformance, RetentionConformance):
    """On one server."""

    @pytest.fixture
    def connect(self, store: PostgresStore) -> Callable[[], psycopg.Connection[Any]]:
        return lambda: psycopg.connect(server_url())


@needs_postgres
class TestPostgresThroughAProxy(TestPostgres):
    """As for a proxy that pools transactions: nothing is prepared or set, and nobody is woken."""

    @pytest.fixture
    def url(self) -> str:
        return with_options(lent_schema(), "prepare=off", "push=off")


@needs_postgres
@needs_pool
@pytest.mark.long
class TestPostgresBehindPgBouncer(TestPostgres):
    """Nobody says that there is a pool: that is found out."""

    @pytest.fixture
    def url(self) -> str:
        return with_options(pool_url(), f"schema={parse(lent_schema()).schema}")

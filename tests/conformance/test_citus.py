"""The Postgres store keeps the contract with distributed tables: on Citus, and on plain Postgres as if it were."""

import pytest

from everlog_postgres.urls import parse
from tests.citus import as_if_distributed, distributed, needs_citus
from tests.conformance.test_postgres import OnPostgres
from tests.pools import needs_pool, pool_url
from tests.postgres import lent_schema, needs_postgres, with_options


@needs_postgres
class TestAsIfDistributed(OnPostgres):
    """On plain Postgres, with the statements and the optimistic claim that are for distributed tables."""

    @pytest.fixture
    def url(self) -> str:
        return lent_schema(as_if_distributed)


@needs_postgres
@pytest.mark.long
class TestAsIfDistributedThroughAProxy(OnPostgres):
    """The same, with nothing prepared or set."""

    @pytest.fixture
    def url(self) -> str:
        return with_options(lent_schema(as_if_distributed), "prepare=off", "push=off")


@needs_postgres
@needs_pool
@pytest.mark.long
class TestAsIfDistributedBehindPgBouncer(OnPostgres):
    """The same through a pool that nobody speaks of: transactions of several round trips, each with its settings."""

    @pytest.fixture
    def url(self) -> str:
        return with_options(pool_url(), f"schema={parse(lent_schema(as_if_distributed)).schema}")


@needs_postgres
@needs_citus
class TestCitus(OnPostgres):
    """On a cluster."""

    @pytest.fixture
    def url(self) -> str:
        return distributed()

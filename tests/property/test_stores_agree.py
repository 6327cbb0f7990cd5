"""All stores do the same as the memory store, operation by operation."""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping

import pytest
from hypothesis import HealthCheck, settings

from everlog.store import Store
from everlog.testing import StoreMachine
from everlog_postgres import open_store as open_postgres
from everlog_sqlite import open_store
from tests.citus import VARIABLE as CITUS
from tests.citus import as_if_distributed, distributed
from tests.postgres import needs_postgres, new_schema


class SqliteAgrees(StoreMachine):
    """SQLite, in a file that is closed and opened again, and in memory."""

    def open_stores(self, clock: Callable[[], int]) -> Mapping[str, Store]:
        self.directory = tempfile.mkdtemp()
        return {"file": self.open_file(clock), "memory": open_store("sqlite:///:memory:", clock=clock)}

    def open_file(self, clock: Callable[[], int]) -> Store:
        return open_store(f"sqlite:///{self.directory}/test.db", durability="process", clock=clock)

    def reopen(self, name: str, store: Store, clock: Callable[[], int]) -> Store:
        if name != "file":
            return store
        store.close()
        return self.open_file(clock)

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.directory, ignore_errors=True)


QUICK = settings(max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))

TestSqliteAgrees = SqliteAgrees.TestCase
TestSqliteAgrees.settings = QUICK


@pytest.mark.long
class TestSqliteAgreesForLong(SqliteAgrees.TestCase):  # type: ignore[misc,name-defined] # made by Hypothesis
    settings = settings(QUICK, max_examples=1_500, stateful_step_count=60)


class PostgresAgrees(StoreMachine):
    """Postgres, with connections that are closed and made anew."""

    def open_stores(self, clock: Callable[[], int]) -> Mapping[str, Store]:
        self.url = new_schema()
        return {"postgres": open_postgres(self.url, durability="process", clock=clock)}

    def reopen(self, name: str, store: Store, clock: Callable[[], int]) -> Store:
        store.close()
        return open_postgres(self.url, durability="process", clock=clock)


class DistributedAgrees(StoreMachine):
    """What is for distributed tables, on plain Postgres and on a cluster if there is one."""

    have_queues = False  # type: ignore[assignment] # a property, and there is nothing to ask
    have_retention = False

    def open_stores(self, clock: Callable[[], int]) -> Mapping[str, Store]:
        self.urls = {"as if": as_if_distributed()}
        if CITUS in os.environ:
            self.urls["citus"] = distributed()
        return {name: open_postgres(url, durability="process", clock=clock) for name, url in self.urls.items()}

    def reopen(self, name: str, store: Store, clock: Callable[[], int]) -> Store:
        store.close()
        return open_postgres(self.urls[name], durability="process", clock=clock)


@needs_postgres
class TestDistributedAgrees(DistributedAgrees.TestCase):  # type: ignore[misc,name-defined] # made by Hypothesis
    settings = QUICK


@needs_postgres
@pytest.mark.long
class TestDistributedAgreesForLong(DistributedAgrees.TestCase):  # type: ignore[misc,name-defined] # made by Hypothesis
    settings = settings(QUICK, max_examples=500, stateful_step_count=60)


@needs_postgres
class TestPostgresAgrees(PostgresAgrees.TestCase):  # type: ignore[misc,name-defined] # made by Hypothesis
    settings = QUICK


@needs_postgres
@pytest.mark.long
class TestPostgresAgreesForLong(PostgresAgrees.TestCase):  # type: ignore[misc,name-defined] # made by Hypothesis
    settings = settings(QUICK, max_examples=500, stateful_step_count=60)

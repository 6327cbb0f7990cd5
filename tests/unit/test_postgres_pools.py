"""Behind PgBouncer: a pool is recognised, nothing of ours stays on its connections, and all else is as without it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Event

import psycopg
import pytest

from everlog import Client, Engine, recv, workflow
from everlog.errors import StoreUnavailable
from everlog.testing.making import claim, claimed_ids, create, head, held, new
from everlog_postgres import open_store, wakeups
from everlog_postgres.connection import Question
from everlog_postgres.store import PostgresStore, PushingStore
from everlog_postgres.urls import parse
from tests.pools import needs_pool, pool_url
from tests.postgres import administrator, needs_postgres, new_schema, with_options

pytestmark = [needs_postgres, needs_pool]
NEVER = 3600.0


@workflow(name="postgres_pools.adds")
async def adds(times: int) -> int:
    total = 0
    for _ in range(times):
        total += await recv("number", type=int)
    return total


@pytest.fixture
def url() -> str:
    return new_schema()


def behind_pool(url: str, *options: str, mode: str = "transaction") -> str:
    return with_options(pool_url(mode), f"schema={parse(url).schema}", *options)


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    store = open_store(behind_pool(url))
    yield store
    store.close()


@pytest.mark.parametrize(
    ("mode", "option", "pooled"),
    [
        ("none", "push=on", False),
        ("none", "prepare=off", True),
        ("transaction", "push=on", True),
        ("session", "push=on", True),
        ("session", "prepare=on", False),
    ],
)
def test_a_pool_is_recognised_and_one_that_pools_sessions_can_be_named(
    url: str, mode: str, option: str, pooled: bool
) -> None:
    store = open_store(with_options(url, option) if mode == "none" else behind_pool(url, option, mode=mode))
    create(store, new("order"))
    assert store._connection.is_pooled is pooled
    assert claimed_ids(claim(store, "token")) == ["order"]
    store.close()


def test_nothing_of_ours_stays_on_the_connections_of_a_pool(store: PostgresStore, url: str) -> None:
    assert isinstance(store, PushingStore)
    woken = Event()
    store.subscribe(woken.set)
    assert woken.wait(timeout=10)
    held(store, "order")
    processes: set[int] = set()
    with ExitStack() as at_once:  # each transaction keeps a connection of the pool to itself
        for _ in range(4):
            anybody = at_once.enter_context(psycopg.connect(pool_url(), prepare_threshold=None))
            row = anybody.execute(
                "SELECT pg_backend_pid(), current_setting('lock_timeout'), current_setting('jit') = reset_val,"
                " (SELECT count(*) FROM pg_prepared_statements), (SELECT count(*) FROM pg_listening_channels())"
                " FROM pg_settings WHERE name = 'jit'"
            ).fetchone()
            assert row is not None
            assert row[1:] == ("0", True, 0, 0)
            processes.add(row[0])
    assert len(processes) == 4


@pytest.mark.parametrize(("durability", "is_set"), [("full", "on"), ("process", "off")])
@pytest.mark.parametrize("pooled", [True, False])
def test_what_a_commit_promises_does_not_depend_on_the_settings_of_the_user(
    url: str, durability: str, is_set: str, pooled: bool
) -> None:
    role = f"{parse(url).schema}_hasty"
    with administrator() as connection:
        connection.execute(f'CREATE ROLE "{role}" LOGIN SUPERUSER'.encode())
        connection.execute(f"ALTER ROLE \"{role}\" SET synchronous_commit = 'off'".encode())
    hasty = with_options(url, f"user={role}", *(["prepare=off"] if pooled else []))
    store = open_store(hasty, durability="full" if durability == "full" else "process")
    asked = b"SELECT current_setting('synchronous_commit'), current_setting('lock_timeout')"
    assert store._connection.write(Question(asked)) == [[(is_set, "500ms")]]
    store.close()


def test_one_who_creates_the_same_workflow_and_idles_is_not_waited_for_long(store: PostgresStore, url: str) -> None:
    with administrator() as connection, connection.transaction():
        connection.execute(
            f'INSERT INTO "{parse(url).schema}".heads (workflow_id, name, state, seq, bytes, created_at)'
            " VALUES ('order', 'other', 'queued', 1, 1, 1)".encode()
        )
        with pytest.raises(StoreUnavailable, match="another transaction, idle perhaps"):
            create(store, new("order"))
    assert head(store, "order").name == "other"


def test_writes_are_looked_for_since_no_notification_comes_through(
    store: PostgresStore, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wakeups, "LOOK_ANYWAY", NEVER)
    assert isinstance(store, PushingStore)
    woken, other = Event(), open_store(url)
    store.subscribe(woken.set)
    assert woken.wait(timeout=10)
    woken.clear()
    create(other, new("order"))
    assert woken.wait(timeout=10)
    other.close()


def test_an_engine_behind_a_pool_hears_of_a_client_and_the_other_way_round(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wakeups, "LOOK_ANYWAY", NEVER)

    async def program() -> list[int]:
        async with Engine(behind_pool(url)), Client(url) as client:
            handles = [await client.start(adds, 10) for _ in range(10)]
            for number in range(10):
                await asyncio.gather(*(handle.send("number", number) for handle in handles))
            return [await handle.result(timeout=60) for handle in handles]

    assert asyncio.run(program()) == [45] * 10


def test_a_pool_that_loses_its_connections_is_used_again(store: PostgresStore, url: str) -> None:
    """Its client's connection stays, and says that it has gone only when something is asked."""
    held(store, "order")
    with administrator() as connection:
        for _ in range(3):
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE 'everlog %'"
            )
            assert head(store, "order").seq == 1


def test_many_migrate_at_once_behind_a_pool(url: str) -> None:
    with ThreadPoolExecutor(8) as threads:
        stores = list(threads.map(open_store, [behind_pool(url)] * 8))
    for store in stores:
        store.close()

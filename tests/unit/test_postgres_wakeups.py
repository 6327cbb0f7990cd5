"""Wake-ups of the Postgres store: pushed between processes, and found by looking where nothing is pushed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from threading import Event
from typing import Any

import pytest

from everlog import Client, Engine, recv, workflow
from everlog.store import SupportsWakeups
from everlog.testing.making import create, new
from everlog_postgres import open_store, wakeups
from everlog_postgres.store import PostgresStore, PushingStore
from everlog_postgres.wakeups import Wakeups
from tests.postgres import administrator, limited_user, needs_postgres, new_schema, with_options

pytestmark = needs_postgres

NEVER = 3600.0


@workflow(name="postgres_wakeups.listens")
async def listens() -> int:
    number: int = await recv("number", type=int)
    return number


@pytest.fixture
def url() -> str:
    return new_schema()


@pytest.fixture
def limited(url: str) -> Iterator[Callable[[int], str]]:
    """Gives the URL for a user who may have so many connections."""
    with limited_user() as (name, limit):

        def limited_to(number: int) -> str:
            limit(number)
            return with_options(url, f"user={name}")

        yield limited_to


@pytest.fixture
def pair(url: str) -> Iterator[tuple[PushingStore, PushingStore]]:
    """Two stores that have subscribers, as two engines have them."""
    stores = open_store(url), open_store(url)
    assert isinstance(stores[0], PushingStore)
    assert isinstance(stores[1], PushingStore)
    yield stores[0], stores[1]
    for store in stores:
        store.close()


def subscribed(store: PushingStore) -> Event:
    """Subscribe, and wait until the thread listens."""
    woken = Event()
    store.subscribe(woken.set)
    assert woken.wait(timeout=10)
    woken.clear()
    return woken


def test_a_write_wakes_the_subscribers_of_others(
    pair: tuple[PushingStore, PushingStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wakeups, "LOOK_ANYWAY", NEVER)
    here, there = subscribed(pair[0]), subscribed(pair[1])
    for number in range(3):
        here.clear()
        create(pair[1], new(f"order-{number}"))
        assert here.wait(timeout=10)
    assert there.is_set(), "those of the same store are told at once"


def test_a_write_whose_notification_is_lost_is_found(
    pair: tuple[PushingStore, PushingStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wakeups, "LOOK_ANYWAY", 0.05)
    here = subscribed(pair[0])
    create(pair[1], new("order"))  # it has no subscriber, so no thread that would tell
    assert here.wait(timeout=10)


def test_where_no_notification_arrives_writes_are_looked_for_often(
    pair: tuple[PushingStore, PushingStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As through a proxy that pools transactions: LISTEN is done, and means nothing."""
    monkeypatch.setattr(Wakeups, "_take", lambda self, own: None)
    monkeypatch.setattr(wakeups, "_ECHO", 0.0)
    monkeypatch.setattr(wakeups, "LOOK_ANYWAY", NEVER)
    here = subscribed(pair[0])
    create(pair[1], new("order"))
    assert here.wait(timeout=10)


def test_the_thread_listens_again_after_its_connection_was_ended(
    pair: tuple[PushingStore, PushingStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wakeups, "LOOK_ANYWAY", NEVER)
    here = subscribed(pair[0])
    with administrator() as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'everlog wakeups'"
        )
    assert here.wait(timeout=10), "whatever was written meanwhile may concern its subscribers"
    here.clear()
    subscribed(pair[1])
    create(pair[1], new("order"))
    assert here.wait(timeout=10)


def test_while_the_thread_has_no_connection_subscribers_look_for_themselves(
    url: str, limited: Callable[[int], str]
) -> None:
    """The server takes no more connections, and the store has one."""
    store, other = open_store(limited(1)), open_store(url)
    assert isinstance(store, PushingStore)
    woken = Event()
    store.subscribe(woken.set)
    for number in range(2):
        woken.clear()
        create(other, new(f"order-{number}"))
        assert woken.wait(timeout=10)
    store.close()
    other.close()


def test_a_store_that_does_not_push_offers_no_subscription(url: str) -> None:
    store = open_store(with_options(url, "push=off"))
    assert not isinstance(store, SupportsWakeups)
    assert type(store) is PostgresStore
    store.close()


def test_closing_ends_the_thread_and_its_connection(url: str) -> None:
    store: Any = open_store(url)
    subscribed(store)
    thread = store._wakeups._thread
    store.close()
    assert not thread.is_alive()


def test_an_engine_hears_of_what_a_client_elsewhere_sent(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wakeups, "LOOK_ANYWAY", NEVER)

    async def program() -> int:
        async with Engine(open_store(url)), Client(open_store(url)) as client:
            handle = await client.start(listens)
            await handle.send("number", 7)
            return await handle.result(timeout=30)

    assert asyncio.run(program()) == 7

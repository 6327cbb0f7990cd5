"""Queues on Postgres beside other transactions: what others have locked is passed over, and nobody is waited for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from everlog.testing.making import (
    BEGINNING,
    admit,
    claimed_ids,
    create,
    declare,
    enqueued,
    place_of,
    take,
)
from everlog_postgres import open_store
from everlog_postgres.admissions import SOON
from everlog_postgres.store import PostgresStore
from everlog_postgres.urls import parse
from tests.postgres import administrator, needs_postgres, new_schema

pytestmark = needs_postgres


@pytest.fixture
def url() -> str:
    return new_schema("push=off")


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    store = open_store(url)
    yield store
    store.close()


@pytest.fixture
def other(url: str, store: PostgresStore) -> Iterator[psycopg.Connection[Any]]:
    """Another's transaction, which stays open until the test ends it."""
    with administrator() as connection:
        connection.execute(f'SET search_path = "{parse(url).schema}"'.encode())
        connection.execute("BEGIN")
        yield connection


def test_a_locked_queue_is_passed_over(store: PostgresStore, other: psycopg.Connection[Any]) -> None:
    declare(store, concurrency=1)
    declare(store, "free", concurrency=1)
    create(store, enqueued("order"))
    create(store, enqueued("another", "free"))
    other.execute("SELECT FROM queues WHERE name = 'mail' FOR UPDATE")
    answer = admit(store, "t", "u", queues=["mail", "free"])
    assert claimed_ids(answer) == ["another"]
    assert answer.next_due is not None
    assert answer.next_due <= store.now() + SOON
    assert take(store, "slot") == [False]
    other.execute("ROLLBACK")
    assert claimed_ids(admit(store, "v", queues=["mail", "free"])) == ["order"]


def test_a_queue_without_limits_is_never_locked(store: PostgresStore, other: psycopg.Connection[Any]) -> None:
    declare(store)
    create(store, enqueued("order"))
    other.execute("SELECT FROM queues FOR UPDATE")
    assert claimed_ids(admit(store, "t")) == ["order"]
    assert take(store, "slot") == [True]


@pytest.mark.parametrize("concurrency", [None, 5])
def test_a_locked_head_is_passed_over(
    store: PostgresStore, other: psycopg.Connection[Any], concurrency: int | None
) -> None:
    declare(store, concurrency=concurrency)
    for name in ("a", "b", "c"):
        create(store, enqueued(name))
    other.execute("SELECT FROM heads WHERE workflow_id = 'a' FOR UPDATE")
    answer = admit(store, "t", "u", "v")
    assert claimed_ids(answer) == ["b", "c"]
    assert answer.next_due is not None
    assert [one.head.token for one in answer.claimed] == ["t", "u"]
    other.execute("ROLLBACK")
    assert claimed_ids(admit(store, "w")) == ["a"]


def test_who_moved_after_it_was_chosen_is_left_alone(
    store: PostgresStore, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the choice and the taking another pauses it: then it is not as it was."""
    declare(store, concurrency=2)
    for name in ("a", "b"):
        create(store, enqueued(name))
    ask = type(store._connection)._send_all
    schema = parse(url).schema

    def send_all(self: Any, driver: Any, questions: Any) -> Any:
        if any(b"admitted AS (" in question.sql for question in questions):
            with administrator() as connection:
                connection.execute(f"UPDATE \"{schema}\".heads SET state = 'paused' WHERE workflow_id = 'a'".encode())
        return ask(self, driver, questions)

    monkeypatch.setattr(type(store._connection), "_send_all", send_all)
    assert claimed_ids(admit(store, "t", "u")) == ["b"]
    found = place_of(store, "a")
    assert found is not None
    assert not found.has_slot


def test_who_becomes_due_is_passed_over_while_its_place_is_locked(url: str, other: psycopg.Connection[Any]) -> None:
    time = BEGINNING
    store = open_store(url, clock=lambda: time)
    declare(store)
    for name in ("a", "b"):
        create(store, enqueued(name, due_at=time + 1))
    other.execute("SELECT FROM queue_places WHERE workflow_id = 'a' FOR UPDATE")
    assert claimed_ids(admit(store, "t", "u")) == []
    time += 1
    assert claimed_ids(admit(store, "t", "u")) == ["b"]
    other.execute("ROLLBACK")
    assert claimed_ids(admit(store, "v")) == ["a"]
    store.close()


def test_a_locked_place_is_passed_over(store: PostgresStore, other: psycopg.Connection[Any]) -> None:
    declare(store, concurrency=2)
    for name in ("a", "b"):
        create(store, enqueued(name))
    other.execute("SELECT FROM queue_places WHERE workflow_id = 'a' FOR UPDATE")
    assert claimed_ids(admit(store, "t", "u")) == ["b"]
    other.execute("ROLLBACK")
    assert claimed_ids(admit(store, "v")) == ["a"]

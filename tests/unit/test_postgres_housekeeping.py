"""House-keeping of the Postgres store: the server's clock, told from here, and the rows that stay for a minute."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from everlog.store import Batch, Commit, Done
from everlog.testing.making import commit, create, events, held, message, new, post
from everlog_postgres import changes, clock, open_store
from everlog_postgres.clock import ServerClock
from everlog_postgres.segments import segments
from everlog_postgres.statements import in_schema
from everlog_postgres.store import PostgresStore
from everlog_postgres.urls import parse
from tests.postgres import administrator, needs_postgres, new_schema

HOUR = 3_600_000_000


@pytest.fixture
def url() -> str:
    return new_schema("push=off")


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    store = open_store(url)
    yield store
    store.close()


def test_the_clock_is_the_servers_and_never_goes_back() -> None:
    told, here = ServerClock(), time.time_ns() // 1000
    told.measure(lambda: here + HOUR)
    first = told.now()
    assert first >= here + HOUR
    told.measure(lambda: here)
    assert told.now() >= first
    assert not told.is_due()


@needs_postgres
def test_the_clock_is_measured_again_now_and_then(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with administrator() as connection:
        asked = "SELECT (extract(EPOCH FROM clock_timestamp()) * 1000000)::bigint"
        before = connection.execute(asked).fetchone()
        told = store.now()
        after = connection.execute(asked).fetchone()
    assert before is not None
    assert after is not None
    half_a_second = 500_000  # a clock of another machine would be wrong by as much as it likes
    assert int(str(before[0])) - half_a_second <= told <= int(str(after[0])) + half_a_second
    store._clock.measure(lambda: store.now() + HOUR)
    ahead = store.now()
    monkeypatch.setattr(clock, "FRESH", 0.0)
    store.maintain()
    assert store._clock._offset + time.monotonic_ns() // 1000 < ahead - HOUR // 2


@needs_postgres
def test_what_everybody_has_seen_is_forgotten_and_nothing_is_missed(
    store: PostgresStore, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "KEPT", 0.0)
    monkeypatch.setattr(changes, "_LOOKED_TOO_LONG_AGO", 0.0)
    monkeypatch.setattr(changes, "_MARKS_APART", 0.0)
    peer = open_store(url)
    seen = {peer.changes()}
    for number in range(5):
        create(store, new(f"order-{number}"))
        store.changes()
        store.maintain()
        seen.add(peer.changes())
    assert len(seen) == 6
    peer.close()
    with administrator() as connection:
        count = connection.execute(in_schema("SELECT count(*) FROM everlog.writes", parse(url).schema).encode())
        assert count.fetchone() in [(0,), (1,)]


@needs_postgres
def test_a_store_that_has_not_looked_for_long_counts_everything_as_changed(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has not seen may have been forgotten."""
    first = store.changes()
    assert store.changes() == first
    monkeypatch.setattr(changes, "_LOOKED_TOO_LONG_AGO", -1.0)
    assert store.changes() != first


def test_a_batch_whose_parts_concern_each_other_is_several_statements() -> None:
    def sends(workflow_id: str, *to: str, **more: object) -> Commit:
        messages = [message(destination, source=workflow_id) for destination in to]
        given = {"state": "running", **more}
        return Commit(workflow_id=workflow_id, token="t", seq=1, messages=messages, **given)  # type: ignore[arg-type] # any

    def count(batch: Batch) -> int:
        return len(list(segments(batch)))

    assert count(Batch()) == 0
    assert count(Batch(creates=[new("a"), new("b")], commits=[sends("c", "d")], posts=[message("e")])) == 1
    assert count(Batch(creates=[new("a"), new("a")])) == 2
    assert count(Batch(creates=[new("a")], posts=[message("a")])) == 2
    assert count(Batch(commits=[sends("a", state="completed", events=events(2, 2)), sends("b", "a")])) == 2
    assert count(Batch(commits=[sends("a", "b"), sends("b", "a")])) == 1
    assert count(Batch(commits=[sends("a", "b"), sends("b", consumed=[1])])) == 2
    assert count(Batch(commits=[sends("b", consumed=[1]), sends("c", "b")])) == 1
    assert count(Batch(posts=[message("a", 1), message("a", 1), message("a", 2)])) == 2
    assert count(Batch(posts=[message("a", 1, key="k"), message("b", 2, key="k"), message("a", 3, key="k")])) == 2


@needs_postgres
def test_what_an_ending_workflow_leaves_unread_is_out_of_the_way_of_claims(store: PostgresStore, url: str) -> None:
    token = held(store, "order")
    post(store, message("order", 1))
    last = Commit(
        workflow_id="order",
        token=token,
        seq=1,
        state="completed",
        events=events(2, 2),
        messages=[message("order", 2)],
    )
    assert commit(store, last) == Done()
    with administrator() as connection:
        closed = connection.execute(in_schema("SELECT closed FROM everlog.inbox", parse(url).schema).encode())
        assert closed.fetchall() == [(True,), (True,)]

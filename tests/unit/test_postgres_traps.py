"""Interleavings that a store on a server must survive, each made on purpose; and that naive forms of it do not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg
import pytest

from everlog import Engine, step, workflow
from everlog.errors import StoreUnavailable
from everlog.store import Batch, Busy, Commit, Done, Duplicate, InboxRow, Store
from everlog.testing.making import (
    claim,
    claimed_ids,
    commit,
    create,
    events,
    head,
    held,
    message,
    new,
    post,
    waiting,
    worker,
)
from everlog_postgres import open_store, records
from everlog_postgres.prepared import PreparedStatement
from everlog_postgres.store import PostgresStore
from everlog_postgres.urls import parse
from tests.citus import as_if_distributed
from tests.postgres import administrator, needs_postgres, new_schema
from tests.support import PausableHost, kill, make_store, opened, simulate

pytestmark = needs_postgres
Driver = psycopg.Connection[tuple[object, ...]]


@pytest.fixture(params=["whole", "as if distributed"])
def url(request: pytest.FixtureRequest) -> str:
    make = new_schema if request.param == "whole" else as_if_distributed
    return make("push=off")


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    store = open_store(url)
    yield store
    store.close()


@pytest.fixture
def other(url: str, store: PostgresStore) -> Iterator[Driver]:
    """Another's connection, with the store's schema as its search path."""
    with administrator() as connection:
        connection.execute(f'SET search_path = "{parse(url).schema}"'.encode())
        yield connection


def advance(workflow_id: str, token: str, seq: int, **more: Any) -> Commit:
    state = more.pop("state", "running")
    rows = events(seq + 1, seq + 1)
    return Commit(workflow_id=workflow_id, token=token, seq=seq, state=state, events=rows, **more)


SEND = (
    "INSERT INTO inbox (workflow_id, source, number, topic, control, payload, arrived_at, closed)"
    " VALUES ('order', 'user', 1, 'news', false, '1', 1, false)"
)
"""A message that is sent in a transaction of the user's own."""


def late_message(store: PostgresStore, other: Driver) -> list[InboxRow]:
    """What is read after the first message, when an older transaction commits after a younger one was read."""
    held(store, "order")
    with other.transaction():
        other.execute(SEND)
        post(store, message("order", 2))
        first = store.unread("worker-1")
        assert [row.number for row in first] == [2]
    return list(store.unread("worker-1", after=first[-1].row))


class GoesByPosition(PostgresStore):
    """Takes the order in which senders began for the order in which they became visible."""

    def unread(self, worker: str, *, after: int = 0) -> Sequence[InboxRow]:
        self._seen = None
        return [row for row in super().unread(worker) if records.position_of(row.row) > after]


def test_a_message_whose_sender_commits_late_is_still_found(store: PostgresStore, other: Driver) -> None:
    late = late_message(store, other)
    assert [row.source for row in late] == ["user"]
    assert list(store.unread("worker-1", after=late[-1].row)) == []
    takes = Commit(workflow_id="order", token="token of order", seq=1, state="running", consumed=[late[-1].row])
    assert commit(store, takes) == Done()
    assert [row.number for row in store.unread("worker-1")] == [2]


def test_who_goes_by_position_loses_it(url: str, other: Driver) -> None:
    naive = GoesByPosition(parse(url))
    assert late_message(naive, other) == []
    naive.close()


def test_a_parked_workflow_is_claimed_for_a_message_whose_sender_was_idle(store: PostgresStore, other: Driver) -> None:
    """The sender saw it running, and it saw no message when it parked."""
    token = held(store, "order")
    with other.transaction():
        other.execute(SEND)
        parks = Commit(workflow_id="order", token=token, seq=1, state="waiting", topics=["news"], release=True)
        assert commit(store, parks) == Done()
        assert claimed_ids(claim(store, "second")) == []
    assert claimed_ids(claim(store, "third")) == ["order"]


def test_an_idle_sender_holds_up_nobody(store: PostgresStore, other: Driver) -> None:
    token = held(store, "order")
    with other.transaction():
        other.execute(SEND)
        assert commit(store, advance("order", token, 1)) == Done()
        assert post(store, message("order", 2)) == Done()
        assert store.retire("worker-1") == 1


def test_a_head_that_another_has_locked_makes_its_commit_busy_and_no_other(store: PostgresStore, other: Driver) -> None:
    tokens = {name: held(store, name) for name in ("a", "b", "c")}
    batch = Batch(commits=[advance(name, token, 1) for name, token in tokens.items()])
    with other.transaction():
        other.execute("SELECT FROM heads WHERE workflow_id = 'b' FOR UPDATE")
        assert store.commit(batch).commits == [Done(), Busy(), Done()]
        ends = [advance("b", tokens["b"], 1, state="completed")]
        assert store.commit(Batch(commits=ends, posts=[message("b")])).commits == [Busy()]
        assert [head(store, name).seq for name in "abc"] == [2, 1, 2]
    assert commit(store, advance("b", tokens["b"], 1)) == Done()


def test_a_destination_that_another_has_locked_takes_messages(store: PostgresStore, other: Driver) -> None:
    token = held(store, "sender")
    waiting(store, "order", topics=["news"])
    with other.transaction():
        other.execute("SELECT FROM heads WHERE workflow_id = 'order' FOR UPDATE")
        assert post(store, message("order", 1)) == Done()
        assert commit(store, advance("sender", token, 1, messages=[message("order", 2)])) == Done()
        assert claimed_ids(claim(store, "t")) == []
    assert [row.number for row in claim(store, "t").claimed[0].inbox] == [1, 2]


def test_a_head_that_another_has_locked_does_not_keep_the_rest_of_a_dead_worker_from_being_taken_over(
    store: PostgresStore, other: Driver
) -> None:
    for name in ("a", "b", "c"):
        held(store, name)
    store.register(worker("worker-1"))
    with other.transaction():
        other.execute("SELECT FROM heads WHERE workflow_id = 'b' FOR UPDATE")
        assert store.retire("worker-1") == 2
        assert sorted(claimed_ids(claim(store, "t", "u", "v", worker="worker-2"))) == ["a", "c"]
        assert not store.renew("worker-1", lease_until=1)
        assert [row.worker for row in store.workers() if row.worker == "worker-1"] == ["worker-1"], "it still holds b"
    assert store.retire("worker-1") == 1
    assert head(store, "b").takeovers == 1
    assert [row.worker for row in store.workers() if row.worker == "worker-1"] == []


def test_claims_pass_over_what_another_has_locked(store: PostgresStore, other: Driver) -> None:
    for number in range(6):
        create(store, new(f"order-{number}"))
    with other.transaction():
        other.execute("SELECT FROM heads WHERE workflow_id IN ('order-0', 'order-1') FOR UPDATE")
        assert claimed_ids(claim(store, "t", "u")) == ["order-2", "order-3"]


@pytest.mark.parametrize("url", ["whole"], indirect=True)
def test_a_commit_is_compared_with_the_newest_head_not_with_the_one_it_first_saw(
    store: PostgresStore, other: Driver
) -> None:
    """A zombie's commit meets the takeover in the moment between its snapshot and its lock."""
    token = held(store, "order")
    statement = store._sql.advance_heads.decode()
    assert "SKIP LOCKED" in statement
    # Without SKIP LOCKED it waits for the takeover, and so has an older snapshot than the head that it locks.
    waits = statement.replace("SKIP LOCKED", "").encode()
    store._sql.prepared_advance_heads = PreparedStatement(waits)  # type: ignore[misc] # on purpose
    outcomes: list[object] = []
    zombie = Thread(target=lambda: outcomes.append(commit(store, advance("order", token, 1))))
    with other.transaction():
        other.execute("UPDATE heads SET token = 'taken over', worker = 'worker-2' WHERE workflow_id = 'order'")
        zombie.start()
        _until_somebody_waits(other)
    zombie.join()
    assert [type(outcome).__name__ for outcome in outcomes] == ["Refused"]
    assert list(store.read("order")) == events(1, 1)


def _until_somebody_waits(other: Driver) -> None:
    with administrator() as looker:
        for _ in range(1_000):
            waits = looker.execute("SELECT pg_blocking_pids(pid) FROM pg_stat_activity").fetchall()
            if any(other.info.backend_pid in list(pids) for (pids,) in waits):  # type: ignore[call-overload] # an array
                return
            looker.execute("SELECT pg_sleep(0.005)")
    raise AssertionError("nobody waits")


def test_histories_of_claims_are_never_older_than_their_heads(url: str, store: PostgresStore) -> None:
    """One writes and lets go, another claims, as fast as they can: a claim reads after it has taken."""
    token = held(store, "order")
    peer = open_store(url)
    wrong: list[object] = []

    def take_turns(through: Store, worker: str, first: str) -> None:
        mine, seq = first, 1
        for number in range(60):
            if mine:
                for more in range(2):
                    last = advance("order", mine, seq + more, release=more == 1)
                    while (outcome := commit(through, last)) == Busy():
                        pass  # the other's claim is just finding out that it came too late
                    if outcome != Done():
                        wrong.append((worker, last))
            mine = ""
            for claimed in claim(through, f"{worker}-{number}", worker=worker).claimed:
                mine, seq = str(claimed.head.token), claimed.head.seq
                if [event.seq for event in claimed.history] != list(range(1, seq + 1)):
                    wrong.append((worker, claimed.head))
        if mine:
            commit(through, Commit(workflow_id="order", token=mine, seq=seq, state="running", release=True))

    threads = [
        Thread(target=take_turns, args=(store, "worker-1", token)),
        Thread(target=take_turns, args=(peer, "worker-2", "")),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    peer.close()
    assert wrong == []
    assert head(store, "order").seq == len(store.read("order"))


def test_workers_that_send_to_each_other_never_wait_for_each_other(url: str, store: PostgresStore) -> None:
    peer = open_store(url)
    tokens = {f"{side}{number}": held(store, f"{side}{number}", worker=side) for side in "ab" for number in range(10)}
    outcomes: list[object] = []

    def work(through: Store, mine: str, theirs: str) -> None:
        for seq in range(1, 31):
            sends = [
                advance(f"{mine}{n}", tokens[f"{mine}{n}"], seq, messages=[message(f"{theirs}{n}", seq, source=mine)])
                for n in range(10)
            ]
            outcomes.extend(through.commit(Batch(commits=sends)).commits)

    threads = [Thread(target=work, args=(store, "a", "b")), Thread(target=work, args=(peer, "b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    peer.close()
    assert outcomes == [Done()] * 600
    assert [row.number for row in store.unread("b") if row.destination == "b0"] == list(range(1, 31))


@contextmanager
def impatient(store: PostgresStore) -> Iterator[None]:
    """Let the store wait for others not for half a second, but for a moment."""
    store._connection.driver().execute("SET lock_timeout = '100ms'")
    yield


def test_who_creates_the_same_workflow_and_does_not_commit_is_not_waited_for_long(
    store: PostgresStore, other: Driver
) -> None:
    token = held(store, "sender")
    with other.transaction(), impatient(store):
        other.execute(
            "INSERT INTO heads (workflow_id, name, state, seq, bytes, created_at)"
            " VALUES ('order', 'checkout', 'queued', 1, 2, 1)"
        )
        with pytest.raises(StoreUnavailable) as caught:
            store.commit(Batch(creates=[new("order")], commits=[advance("sender", token, 1)]))
        assert not caught.value.unknown_outcome
        assert head(store, "sender").seq == 1
        raise psycopg.Rollback
    assert create(store, new("order")) == Done()


def test_a_commit_whose_message_another_is_sending_is_busy_and_no_other(store: PostgresStore, other: Driver) -> None:
    tokens = {name: held(store, name) for name in ("a", "b", "order")}
    sends = [message("order", 1, source="user")]
    commits = [advance("a", tokens["a"], 1), advance("b", tokens["b"], 1, messages=sends)]
    with other.transaction(), impatient(store):
        other.execute(SEND)
        assert store.commit(Batch(commits=commits)).commits == [Done(), Busy()]
    assert commit(store, commits[1]) == Done()
    assert len([row for row in store.unread("worker-1") if row.destination == "order"]) == 1


def test_one_key_from_two_senders_at_once_is_one_message(store: PostgresStore, other: Driver) -> None:
    """The key is committed by the other after this one has looked for it."""
    held(store, "order")
    outcomes: list[object] = []
    sender = Thread(target=lambda: outcomes.append(post(store, message("order", 7, key="k"))))
    with other.transaction():
        other.execute(SEND)
        other.execute("INSERT INTO message_keys (workflow_id, key) VALUES ('order', 'k')")
        sender.start()
        _until_somebody_waits(other)
    sender.join()
    assert outcomes == [Duplicate()]
    assert [row.source for row in store.unread("worker-1")] == ["user"]


@pytest.mark.parametrize(
    "remember",
    [lambda store: store.heads(["order"]), lambda store: store.workers(), lambda store: store.changes()],
    ids=["heads", "workers", "changes"],
)
def test_readers_wait_for_nobody(store: PostgresStore, other: Driver, remember: Callable[[Store], object]) -> None:
    held(store, "order")
    with other.transaction():
        other.execute("LOCK TABLE heads, inbox, workers, writes IN EXCLUSIVE MODE")
        assert remember(store) is not None


@step(name="postgres_traps.work")
async def work() -> str:
    await asyncio.sleep(1)
    return "worked"


@workflow(name="postgres_traps.works")
async def works() -> str:
    return await work()


def test_what_a_dead_worker_held_and_another_had_locked_is_taken_over_as_soon_as_it_is_free(tmp_path: Path) -> None:
    """And not a lease later, as for a holder of whom nobody knows whether it lives."""

    async def program(host: PausableHost) -> None:
        store = make_store(host, "postgres", tmp_path)
        first = await opened(Engine(store, host=host.sibling(), workflows=[works], lease=60))
        async with Engine(store, host=host.sibling(), workflows=[works], lease=60) as second:
            for name in ("locked", "free"):
                await first.start(works.options(id=name))
            await asyncio.sleep(0.5)
            kill(first)
            assert isinstance(store, PostgresStore)
            with administrator() as other:
                other.execute(f'SET search_path = "{store._target.schema}"'.encode())
                with other.transaction():
                    other.execute("SELECT FROM heads WHERE workflow_id = 'locked' FOR UPDATE")
                    assert await second.handle("free").result(timeout=121) == "worked"
                    await asyncio.sleep(5)
            assert await second.handle("locked").result(timeout=3) == "worked"

    simulate(program)


@workflow(name="postgres_traps.answers")
async def answers(number: int) -> int:
    return number


def test_one_who_has_created_the_same_workflow_and_idles_fails_no_other_creation(url: str) -> None:
    """They were to be written together; only the one in question is told that somebody is in its way."""

    async def program() -> None:
        async with Engine(url) as engine:
            with administrator() as connection, connection.transaction():
                connection.execute(
                    f'INSERT INTO "{parse(url).schema}".heads (workflow_id, name, state, seq, bytes, created_at)'
                    " VALUES ('order-3', 'other', 'queued', 1, 1, 1)".encode()
                )
                starts = [engine.run(answers.options(id=f"order-{number}"), number) for number in range(6)]
                results = await asyncio.gather(*starts, return_exceptions=True)
                assert isinstance(results.pop(3), StoreUnavailable)
                assert results == [0, 1, 2, 4, 5]

    asyncio.run(program())

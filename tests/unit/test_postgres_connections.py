"""Lost connections of the Postgres store: made anew, and honest about what became of what was being written."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from threading import Thread
from typing import Any

import psycopg
import pytest
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus

from everlog import Engine, step, workflow
from everlog.errors import CorruptLog, StoreUnavailable
from everlog.store import Commit, Done, EventRow, Refused
from everlog.testing.making import (
    admit,
    claim,
    claimed_ids,
    commit,
    create,
    declare,
    enqueued,
    events,
    head,
    held,
    message,
    new,
    post,
    worker,
)
from everlog_postgres import open_store
from everlog_postgres.store import PostgresStore
from everlog_postgres.urls import parse
from tests.postgres import VARIABLE, administrator, needs_postgres, new_schema, started_server, with_options
from tests.proxies import Proxy

pytestmark = needs_postgres


@step
async def double(number: int) -> int:
    return 2 * number


@workflow(name="postgres_connections.doubles")
async def doubles(times: int) -> int:
    number = 1
    for _ in range(times):
        number = await double(number)
    return number


@pytest.fixture
def url() -> str:
    return new_schema()


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    store = open_store(with_options(url, "push=off"))
    yield store
    store.close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    proxy = Proxy()
    yield proxy
    proxy.close()


@pytest.fixture
def far(proxy: Proxy, url: str) -> Iterator[PostgresStore]:
    """A store behind the proxy, in the schema of `store`."""
    far = open_store(with_options(proxy.url, f"schema={parse(url).schema}", "push=off"))
    yield far
    far.close()


def advance(token: str, seq: int) -> Commit:
    return Commit(workflow_id="order", token=token, seq=seq, state="running", events=events(seq + 1, seq + 1))


def end_all_others() -> None:
    with administrator() as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE application_name LIKE 'everlog %' AND pid <> pg_backend_pid()"
        )


def test_a_connection_that_was_ended_while_idle_is_made_anew_unnoticed(store: PostgresStore) -> None:
    store.register(worker("worker-1"))
    token = held(store, "order")
    for seq in (1, 2, 3):
        end_all_others()
        assert commit(store, advance(token, seq)) == Done()
        assert store.renew("worker-1", lease_until=seq)
    end_all_others()
    assert list(store.read("order")) == events(1, 4)


def test_a_commit_whose_answer_is_lost_is_of_unknown_outcome_and_was_written(far: PostgresStore, proxy: Proxy) -> None:
    token = held(far, "order")
    assert commit(far, advance(token, 1)) == Done()
    proxy.lose = "answer"
    with pytest.raises(StoreUnavailable) as caught:
        commit(far, advance(token, 2))
    assert caught.value.unknown_outcome
    assert head(far, "order").seq == 3
    assert commit(far, advance(token, 2)) == Refused()
    assert commit(far, advance(token, 3)) == Done()


def test_a_commit_that_never_arrived_is_of_unknown_outcome_and_was_not_written(
    far: PostgresStore, proxy: Proxy
) -> None:
    token = held(far, "order")
    proxy.lose = "question"
    with pytest.raises(StoreUnavailable) as caught:
        commit(far, advance(token, 1))
    assert caught.value.unknown_outcome
    assert commit(far, advance(token, 1)) == Done()


def test_a_reading_whose_answer_is_lost_is_read_again(far: PostgresStore, proxy: Proxy) -> None:
    create(far, new("order", seq=3))
    proxy.lose = "answer"
    assert list(far.read("order")) == events(1, 3)
    proxy.lose = "question"
    assert head(far, "order").seq == 3


def test_what_a_claim_took_whose_answer_was_lost_is_given_back(far: PostgresStore, proxy: Proxy) -> None:
    """Otherwise nobody would run it for as long as the worker lives."""
    create(far, new("other"))
    assert claimed_ids(claim(far, "before")) == ["other"]
    create(far, new("order"))
    proxy.lose = "answer"
    with pytest.raises(StoreUnavailable):
        claim(far, "first")
    assert head(far, "order").token == "first"
    assert claimed_ids(claim(far, "second")) == ["order"]
    assert head(far, "order").token == "second"


class DeafToCommits(Proxy):
    """Loses, when it is told to, the answer to a transaction of several round trips that ended well."""

    is_deaf = False

    def _watch(self, client: socket.socket, data: bytes) -> None:
        if self.is_deaf and b"COMMIT" in data:
            self.is_deaf = False
            self.lose = "answer"


def test_what_was_admitted_without_our_hearing_of_it_is_given_back(url: str) -> None:
    """It keeps its slot, so that the limit holds, and the next claim gives it."""
    proxy = DeafToCommits()
    far = open_store(with_options(proxy.url, f"schema={parse(url).schema}", "push=off"))
    declare(far, concurrency=1)
    for name in ("order", "other"):
        create(far, enqueued(name))
    proxy.is_deaf = True
    with pytest.raises(StoreUnavailable) as caught:
        admit(far, "first", "second")
    assert caught.value.unknown_outcome
    assert (head(far, "order").token, head(far, "order").state) == ("first", "queued")
    assert claimed_ids(admit(far, "third")) == []
    assert claimed_ids(claim(far, "fourth", "fifth")) == ["order"]
    far.close()
    proxy.close()


def test_an_unreachable_server_leaves_nothing_in_doubt() -> None:
    with pytest.raises(StoreUnavailable) as caught:
        open_store("postgresql://postgres@127.0.0.1:1/postgres")
    assert not caught.value.unknown_outcome


def test_messages_are_neither_lost_nor_given_twice_over_a_new_connection(far: PostgresStore) -> None:
    held(far, "order")
    post(far, message("order", 1))
    first = far.unread("worker-1")
    end_all_others()
    assert list(far.unread("worker-1", after=first[-1].row)) == []
    assert list(far.unread("worker-1")) == list(first)
    end_all_others()
    post(far, message("order", 2))
    assert [row.number for row in far.unread("worker-1", after=first[-1].row)] == [2]


def test_an_engine_works_on_through_disconnects(url: str) -> None:
    async def program() -> list[int]:
        async with Engine(url) as engine:
            handles = [await engine.start(doubles, 20) for _ in range(10)]
            for _ in range(5):
                await asyncio.sleep(0.05)
                await asyncio.to_thread(end_all_others)
            return [await handle.result(timeout=60) for handle in handles]

    assert asyncio.run(program()) == [2**20] * 10


def test_a_history_beyond_its_head_is_corrupt_and_not_written_to(store: PostgresStore, url: str) -> None:
    token = held(store, "order")
    with administrator() as connection:
        beyond = f"INSERT INTO \"{parse(url).schema}\".events VALUES ('order', 2, 'happened', 0, '{{}}')"
        connection.execute(beyond.encode())
    with pytest.raises(CorruptLog):
        commit(store, advance(token, 1))
    assert head(store, "order").seq == 1


def test_a_server_that_only_reads_is_unavailable(url: str) -> None:
    open_store(url).close()
    reads = open_store(with_options(url, "push=off", "options=-c%20default_transaction_read_only%3Don"))
    with pytest.raises(StoreUnavailable, match="read-only") as caught:
        create(reads, new("order"))
    assert not caught.value.unknown_outcome
    reads.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_is_refused_and_the_parent_goes_on(store: PostgresStore) -> None:
    token = held(store, "order")
    store.register(worker("worker-1"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads, which is what is tested
        child = os.fork()
    if child == 0:
        try:
            store.heads(["order"])
        except StoreUnavailable:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert commit(store, advance(token, 1)) == Done()
    assert store.renew("worker-1", lease_until=5)


@pytest.mark.skipif(VARIABLE in os.environ, reason="the server is not ours to stop")
def test_a_restart_of_the_server_is_survived() -> None:
    server = started_server()
    try:
        store = open_store(server.get_uri())
        token = held(store, "order")
        assert commit(store, advance(token, 1)) == Done()
        server.stop()
        with pytest.raises(StoreUnavailable) as caught:
            commit(store, advance(token, 2))
        assert not caught.value.unknown_outcome
        server.ensure_postgres_running()
        assert commit(store, advance(token, 2)) == Done()
        assert list(store.read("order")) == events(1, 3)
        store.close()
    finally:
        server.cleanup()


@pytest.mark.skipif(VARIABLE in os.environ, reason="the server is not ours to crash")
def test_what_was_acknowledged_survives_a_crash_of_the_server() -> None:
    server = started_server()
    try:
        store = open_store(server.get_uri())
        token = held(store, "order")
        acknowledged = [1]

        def write() -> None:
            with suppress(StoreUnavailable):
                while commit(store, advance(token, acknowledged[-1])) == Done():
                    acknowledged.append(acknowledged[-1] + 1)

        writer = Thread(target=write)
        writer.start()
        while acknowledged[-1] < 50:
            time.sleep(0.001)
        os.kill(server.get_pid(), signal.SIGQUIT)  # it stops at once, without writing what is not written
        writer.join()
        while server.get_postmaster_info().is_running():
            time.sleep(0.01)
        server.ensure_postgres_running()
        assert head(store, "order").seq in (acknowledged[-1], acknowledged[-1] + 1)
        assert list(store.read("order")) == events(1, head(store, "order").seq)
        store.close()
    finally:
        server.cleanup()


@pytest.mark.skipif(VARIABLE in os.environ, reason="the server is not ours to limit")
@pytest.mark.skipif(shutil.which("prlimit") is None, reason="limits of other processes are set with prlimit")
def test_a_server_that_may_not_write_more_is_unavailable_and_nothing_is_corrupt(store: PostgresStore, url: str) -> None:
    """A quota, unlike a full disk, has no error code of its own in Postgres: it is called an internal error."""
    token, schema, limit = held(store, "order"), parse(url).schema, 16 << 20
    with administrator() as connection:
        connection.execute(f'ALTER TABLE "{schema}".events ALTER payload SET STORAGE EXTERNAL'.encode())
        large = f"INSERT INTO \"{schema}\".events VALUES ('large', 1, 'large', 0, repeat('x', {limit + 1_000_000}))"
        connection.execute(large.encode())
        ours = "SELECT pid FROM pg_stat_activity WHERE application_name = 'everlog commits'"
        for (pid,) in connection.execute(ours).fetchall():
            of = os.stat(f"/proc/{pid}")
            subprocess.run(["prlimit", f"--pid={pid}", f"--fsize={limit}"], check=True, user=of.st_uid, group=of.st_gid)
    event = EventRow(seq=2, type="happened", recorded_at=2, payload=b'"%s"' % (b"x" * 100_000))
    change = Commit(workflow_id="order", token=token, seq=1, state="running", events=[event])
    with pytest.raises(StoreUnavailable, match="could not write a file") as caught:
        commit(store, change)
    assert not caught.value.unknown_outcome
    end_all_others()
    assert commit(store, change) == Done()


def test_an_error_of_the_drivers_own_is_a_connection_that_is_lost(store: PostgresStore) -> None:
    """It may say that the server has gone before it calls the connection closed."""
    token = held(store, "order")
    real, connection = store._connection._send, store._connection

    def lost(driver: psycopg.Connection[Any], questions: Any) -> Any:
        real(driver, questions)
        raise error_from_result(driver.pgconn.make_empty_result(ExecStatus.FATAL_ERROR))

    connection._send = lost  # type: ignore[method-assign] # as when the server dies amid an answer
    with pytest.raises(StoreUnavailable) as caught:
        commit(store, advance(token, 1))
    assert caught.value.unknown_outcome
    connection._send = real  # type: ignore[method-assign] # as it was
    assert head(store, "order").seq == 2
    assert commit(store, advance(token, 2)) == Done()


def test_one_who_is_stopped_in_the_middle_leaves_the_store_usable(store: PostgresStore, url: str) -> None:
    """An answer that comes late must not be taken for the answer to the next question."""
    token = held(store, "order")
    real, connection = store._connection._send, store._connection

    def stopped(driver: psycopg.Connection[Any], questions: Any) -> Any:
        real(driver, questions)
        raise KeyboardInterrupt

    connection._send = stopped  # type: ignore[method-assign] # as Ctrl-C between two bytecodes
    with pytest.raises(KeyboardInterrupt):
        commit(store, advance(token, 1))
    connection._send = real  # type: ignore[method-assign] # as it was
    assert head(store, "order").seq == 2
    assert commit(store, advance(token, 2)) == Done()


def test_threads_share_a_store(store: PostgresStore) -> None:
    token = held(store, "order")
    seqs: list[int] = []
    reader = Thread(target=lambda: seqs.extend(head(store, "order").seq for _ in range(50)))
    reader.start()
    for seq in range(1, 50):
        assert commit(store, advance(token, seq)) == Done()
    reader.join()
    assert seqs == sorted(seqs)
    assert len(seqs) == 50

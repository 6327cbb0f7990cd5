"""Faults of the database while workflows run: they wait, go on, and leave no connection, lock or thread behind."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

import everlog
from everlog import Engine, workflow
from everlog_postgres.urls import parse
from tests.crash import touring
from tests.crash.surviving import PATIENCE, PAUSE, ROUNDS, ledgered, sizes, survive
from tests.crash.touring import tour
from tests.pools import needs_pool, pool_url
from tests.postgres import VARIABLE, administrator, needs_postgres, new_schema, started_server, with_options
from tests.proxies import Proxy

pytestmark = needs_postgres


@pytest.fixture
def url() -> Iterator[str]:
    yield from ledgered(new_schema())


@sizes
def test_all_connections_are_ended_again_and_again(url: str, tours: int) -> None:
    ended: list[int] = []

    def end_all(number: int) -> None:
        with administrator() as connection:
            rows = connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'everlog %'"
            ).fetchall()
        ended.append(len(rows))

    survive(url, tours, end_all, times=2 * ROUNDS // 3)
    assert sum(ended) >= 2 * ROUNDS // 3, "there were connections to be ended"


@needs_pool
@sizes
def test_the_connections_of_a_pool_are_ended_again_and_again(url: str, tours: int) -> None:
    """Two engines behind it: what one of them is answered never reaches the other."""
    behind = with_options(pool_url(), f"schema={parse(url).schema}")

    def end_all() -> None:
        with administrator() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'everlog %'"
            )

    async def program() -> None:
        async with Engine(behind, workflows=[tour]), Engine(behind, workflows=[tour]) as engine:
            for _ in range(ROUNDS):
                await asyncio.sleep(PAUSE)
                await asyncio.to_thread(end_all)
            handles = [engine.handle(f"tour-{number}", tour) for number in range(tours)]
            await asyncio.gather(*(handle.result(timeout=PATIENCE) for handle in handles))

    asyncio.run(touring.begin(url, tours, ROUNDS, PAUSE))
    asyncio.run(program())
    touring.check(url, tours, ROUNDS)


@pytest.mark.parametrize("lost", ["answer", "question"])
@sizes
def test_answers_and_questions_are_lost_again_and_again(url: str, tours: int, lost: Any) -> None:
    """The answer to a commit among others: it is written, and nobody was told."""
    proxy = Proxy()

    def lose(number: int) -> None:
        proxy.lose = lost
        until = time.monotonic() + 20
        while proxy.lose == lost:
            assert time.monotonic() < until, "nothing was lost"
            time.sleep(0.005)

    try:
        survive(url, tours, lose, times=2 * ROUNDS // 3, through=f"{proxy.url}?schema={parse(url).schema}")
    finally:
        proxy.close()


@pytest.mark.skipif(VARIABLE in os.environ, reason="the server is not ours to stop")
@pytest.mark.parametrize(
    "how",
    [pytest.param("SIGINT", id="fast", marks=pytest.mark.long), pytest.param("SIGQUIT", id="immediate")],
)
@sizes
def test_the_server_restarts(tours: int, how: str) -> None:
    server = started_server()

    def restart(number: int) -> None:
        os.kill(server.get_pid(), signal.Signals[how])
        while server.get_postmaster_info().is_running():
            time.sleep(0.01)
        server.ensure_postgres_running()

    try:
        for url in ledgered(server.get_uri()):
            survive(url, tours, restart, times=2)
    finally:
        server.cleanup()


@sizes
def test_one_who_has_sent_a_message_and_idles_in_its_transaction_holds_up_nobody(url: str, tours: int) -> None:
    """Its message arrives when it commits; until then all else goes on, also what it was sent to."""

    async def program() -> None:
        async with Engine(url, workflows=[tour, tells]) as engine:
            waits = await engine.start(tells.options(id="tells"))
            with touring.connect(url) as idle, idle.transaction():
                for number in range(tours):
                    idle.execute(_SEND, [f"tour-{number}"])
                idle.execute(_SEND, ["tells"])
                handles = [engine.handle(f"tour-{number}", tour) for number in range(tours)]
                await asyncio.gather(*(handle.result(timeout=PATIENCE) for handle in handles))
                assert (await waits.status()).state != "completed"
            assert await waits.result(timeout=PATIENCE) == 1

    asyncio.run(touring.begin(url, tours, ROUNDS, PAUSE))
    asyncio.run(program())
    with touring.connect(url) as driver:
        driver.execute("DELETE FROM inbox WHERE topic = 'idle'")  # that of tours, which had ended
        for table in ("events", "heads"):
            driver.execute(f"DELETE FROM {table} WHERE workflow_id = 'tells'".encode())
    touring.check(url, tours, ROUNDS)


_SEND = (
    "INSERT INTO inbox (workflow_id, source, number, topic, control, payload, arrived_at, closed)"
    " VALUES (%s, 'user', 1, 'idle', false, '1', 1, false)"
)


@workflow(name="tells")
async def tells() -> int:
    return await everlog.recv("idle", type=int)


def test_one_who_has_locked_the_row_of_a_workflow_holds_up_no_other(url: str) -> None:
    tours = 20

    async def program() -> None:
        async with Engine(url, workflows=[tour, tells]) as engine:
            waits = await engine.start(tells.options(id="tells"))
            await waits.send("other", 1)
            with touring.connect(url) as idle, idle.transaction():
                idle.execute("SELECT FROM heads WHERE workflow_id = 'tells' FOR UPDATE")
                await waits.send("idle", 1)
                handles = [engine.handle(f"tour-{number}", tour) for number in range(tours)]
                await asyncio.gather(*(handle.result(timeout=PATIENCE) for handle in handles))
                assert (await waits.status()).state != "completed"
            assert await waits.result(timeout=PATIENCE) == 1

    asyncio.run(touring.begin(url, tours, ROUNDS, PAUSE))
    asyncio.run(program())


_RUN = {"workflow": "tour-0", "operation": "add@0", "process": 1}


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(touring.NOTE, id="a step ran again"),
        pytest.param(b"DELETE FROM ledger WHERE operation = 'add@0'", id="a step never ran"),
        pytest.param(b"DELETE FROM events WHERE workflow_id = 'tour-1' AND seq = 3", id="a gap"),
        pytest.param(
            b"INSERT INTO events SELECT workflow_id, 1 + max(seq), 'step_completed', 0, min(payload)"
            b" FILTER (WHERE type = 'step_completed') FROM events WHERE workflow_id = 'tour-1' GROUP BY workflow_id",
            id="a second result",
        ),
        pytest.param(
            b"UPDATE events SET payload = replace(payload, 'result', 'nothing') WHERE type = 'workflow_completed'",
            id="another value",
        ),
    ],
)
def test_the_check_of_these_tests_finds_what_is_wrong(url: str, wrong: bytes) -> None:
    async def program() -> None:
        async with Engine(url, workflows=[tour]) as engine:
            for number in range(2):
                await engine.handle(f"tour-{number}", tour).result(timeout=PATIENCE)

    asyncio.run(touring.begin(url, 2, 1, 0.0))
    asyncio.run(program())
    touring.check(url, 2, 1)
    with touring.connect(url) as driver:
        driver.execute(wrong, _RUN)
    with pytest.raises(AssertionError):
        touring.check(url, 2, 1)

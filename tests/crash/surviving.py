"""Surviving: runs tours through a fault of the database, checks what came of them, and counts what is left behind."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from unittest.mock import patch

import psycopg
import pytest

from everlog import Engine, host
from everlog_postgres.urls import parse
from tests.crash import touring
from tests.crash.touring import tour

ROUNDS = 8
PAUSE = 0.3
PATIENCE = 120.0

sizes = pytest.mark.parametrize(
    "tours", [pytest.param(40, id="short"), pytest.param(200, id="long", marks=pytest.mark.long)]
)


def ledgered(url: str) -> Iterator[str]:
    """Have the steps of this process note themselves in the schema of this URL."""
    touring.database = url
    yield url
    touring.close_ledger()
    touring.database = ""


def connections(url: str) -> int:
    """Give how many connections the server has from engines and clients."""
    return _count(url, "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'everlog %'")


def locks(url: str) -> int:
    """Give how many locks are held or waited for on the whole server."""
    return _count(url, "SELECT count(*) FROM pg_locks WHERE pid <> pg_backend_pid()")


def _count(url: str, query: str) -> int:
    with closing(psycopg.connect(parse(url).conninfo, autocommit=True)) as driver:
        ((count,),) = driver.execute(query.encode()).fetchall()
    return int(count)


def threads() -> set[threading.Thread]:
    """Give the threads of ours."""
    return {one for one in threading.enumerate() if one.name.startswith("everlog")}


def eventually(count: Callable[[], Any], expected: Any) -> None:
    """A server notices a moment later that a client has gone, and a pool keeps its threads for a while."""
    until = time.monotonic() + 20
    while count() != expected:
        assert time.monotonic() < until, f"left behind: found {count()}, expected {expected}"
        time.sleep(0.02)


def survive(url: str, tours: int, fault: Callable[[int], object], *, times: int, through: str = "") -> None:
    """Run tours; have `fault` happen while they run; check what came of them, and that nothing is left behind."""
    asyncio.run(touring.begin(url, tours, ROUNDS, PAUSE))
    touring.close_ledger()
    # Those that a pool of another test still has are none of ours.
    _count(url, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'everlog %'")
    eventually(lambda: connections(url), 0)
    before = threads()

    async def program() -> None:
        async with Engine(through or url, workflows=[tour]) as engine:
            for number in range(times):
                await asyncio.sleep(PAUSE)
                assert await asyncio.to_thread(touring.left, url), "it was over before the fault"
                await asyncio.to_thread(fault, number)
            handles = [engine.handle(f"tour-{number}", tour) for number in range(tours)]
            results = await asyncio.gather(*(handle.result(timeout=PATIENCE) for handle in handles))
            assert results == [touring.result_of(number, ROUNDS) for number in range(tours)]
            assert connections(url) <= 3, "three of an engine"

    # Pools do not keep their threads for long, so that it is soon seen that none is left.
    with patch.object(host, "IDLE_THREAD", 0.2):
        asyncio.run(program())
    touring.close_ledger()
    touring.check(url, tours, ROUNDS)
    eventually(lambda: connections(url), 0)
    eventually(lambda: locks(url), 0)
    eventually(lambda: threads() - before, set())

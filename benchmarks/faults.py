"""Faults of the database, and the speed after them: `python -m benchmarks.faults [--window SECONDS] [FAULT ...]`.

For each fault 200 workflows run steps on a Postgres server of its own. The durable steps are counted in some windows
before the fault and in as many after it. Printed are the medians, what the ratio of the two is, and whether something
was lost, doubled or left behind. Needs what the tests need; a disk to fill up can be had by root on Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from statistics import median
from typing import Any

import psycopg
import pytest

from benchmarks.everlog_sqlite import count
from everlog import Engine
from everlog.errors import StoreUnavailable
from tests.mounts import fill, small_file_system
from tests.postgres import started_server
from tests.proxies import Proxy

WORKFLOWS = 200
STEPS = 200
HOLDS = 10
"""Seconds that a fault lasts which has a duration."""

Fault = Callable[[], None]
Prepared = tuple[str, Fault]
"""The URL that the engine uses, and what does the fault."""


def restarted(server: Any, how: signal.Signals) -> Prepared:
    def fault() -> None:
        os.kill(server.get_pid(), how)
        while server.get_postmaster_info().is_running():
            time.sleep(0.01)
        server.ensure_postgres_running()

    return server.get_uri(), fault


@contextmanager
def nothing(server: Any) -> Iterator[Prepared]:
    """Nothing happens for a while: what a ratio is on a machine that has other things to do as well"""
    yield server.get_uri(), lambda: time.sleep(HOLDS)


@contextmanager
def restarted_fast(server: Any) -> Iterator[Prepared]:
    """The server is stopped, and started again"""
    yield restarted(server, signal.SIGINT)


@contextmanager
def restarted_at_once(server: Any) -> Iterator[Prepared]:
    """The server is stopped without farewell, and recovers"""
    yield restarted(server, signal.SIGQUIT)


@contextmanager
def ended(server: Any) -> Iterator[Prepared]:
    """All connections are ended once a second"""

    def fault() -> None:
        for _ in range(HOLDS):
            with administrator(server) as connection:
                connection.execute(f"SELECT pg_terminate_backend(pid) FROM {_OURS}".encode())
            time.sleep(1)

    yield server.get_uri(), fault


@contextmanager
def unanswered(server: Any) -> Iterator[Prepared]:
    """The answer to a commit is lost once a second"""
    proxy = Proxy(server.get_uri())

    def fault() -> None:
        for _ in range(HOLDS):
            proxy.lose = "answer"
            time.sleep(1)

    yield proxy.url, fault
    proxy.close()


@contextmanager
def limited(server: Any) -> Iterator[Prepared]:
    """No connection is to be had"""
    with administrator(server) as connection:
        connection.execute("CREATE ROLE limited LOGIN IN ROLE postgres")
        connection.execute("GRANT CREATE ON DATABASE postgres TO limited")

    def fault() -> None:
        with administrator(server) as connection:
            connection.execute("ALTER ROLE limited CONNECTION LIMIT 0")
            connection.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM {_OURS}".encode())
            time.sleep(HOLDS)
            connection.execute("ALTER ROLE limited CONNECTION LIMIT -1")

    yield f"{server.get_uri()}&user=limited", fault


@contextmanager
def idle(server: Any) -> Iterator[Prepared]:
    """One idles in a transaction that has sent a message to each workflow"""

    def fault() -> None:
        with administrator(server) as connection, connection.transaction():
            connection.execute(
                "INSERT INTO everlog.inbox (workflow_id, source, number, topic, control, payload, arrived_at, closed)"
                " SELECT workflow_id, 'user', 1, 'idle', false, '1', 1, false"
                " FROM everlog.heads WHERE ended_at IS NULL"
            )
            time.sleep(HOLDS)
            raise psycopg.Rollback

    yield server.get_uri(), fault


@contextmanager
def full(server: Any) -> Iterator[Prepared]:
    """The disk of the tables is full"""
    with small_file_system(768) as folder:
        inside = folder / "tables"
        inside.mkdir()
        owner = os.stat(server.pgdata)
        os.chown(inside, owner.st_uid, owner.st_gid)
        with administrator(server) as connection:
            connection.execute(f"CREATE TABLESPACE small LOCATION '{inside}'".encode())
            connection.execute("ALTER DATABASE postgres SET default_tablespace = 'small'")

        def fault() -> None:
            filler = fill(folder)
            time.sleep(HOLDS)
            filler.unlink()

        try:
            yield server.get_uri(), fault
        finally:
            server.stop()


_ALL = (nothing, restarted_fast, restarted_at_once, ended, unanswered, limited, idle, full)
FAULTS = {one.__name__: one for one in _ALL}
_RESULTS = "everlog.events WHERE type = 'step_completed'"
_OPERATION = "(workflow_id, payload::json ->> 'operation')"
_OURS = "pg_stat_activity WHERE application_name LIKE 'everlog %'"


def administrator(server: Any) -> psycopg.Connection[Any]:
    return psycopg.connect(server.get_uri(), autocommit=True)


class Load:
    """So many workflows at any time, one after the other, for as long as somebody measures."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._over = False
        self.runs = 0

    async def keep_up(self) -> None:
        await asyncio.gather(*(self._one_after_the_other(number) for number in range(WORKFLOWS)))

    def end(self) -> None:
        self._over = True

    async def _one_after_the_other(self, number: int) -> None:
        run = 0
        while not self._over:
            run += 1
            result = await self._run(f"count-{number}-{run}")
            if result != sum(range(STEPS)):
                raise SystemExit(f"a workflow returned {result}")
            self.runs += 1

    async def _run(self, workflow_id: str) -> int:
        while True:
            # What a user does whose call failed: it is repeated, with the same id.
            with suppress(StoreUnavailable):
                return await self._engine.run(count.options(id=workflow_id), STEPS)
            await asyncio.sleep(0.1)


def steps_so_far(server: Any) -> int:
    """Give how many steps are durable, from the heads alone."""
    with administrator(server) as connection:
        # Each history has three events that are no step's: how it was created, began and ended. Those few that only
        # say that a step has begun, of steps that were running when a fault came, are counted as well.
        row = connection.execute(
            "SELECT sum(seq - 2 - (ended_at IS NOT NULL)::integer)::bigint FROM everlog.heads WHERE seq > 2"
        ).fetchone()
    return int(row[0] or 0) if row is not None else 0


async def windows(server: Any, number: int, seconds: float) -> float:
    """Give the median rate of so many windows, in steps per second."""
    rates: list[float] = []
    before, at = await asyncio.to_thread(steps_so_far, server), time.perf_counter()
    for _ in range(number):
        await asyncio.sleep(seconds)
        after, now = await asyncio.to_thread(steps_so_far, server), time.perf_counter()
        rates.append((after - before) / (now - at))
        before, at = after, now
    return median(rates)


async def measure(server: Any, url: str, fault: Fault, number: int, seconds: float) -> tuple[float, float, int]:
    """Give the rates before and after the fault, and how many workflows have run."""
    async with Engine(url, workflows=[count]) as engine:
        load = Load(engine)
        working = asyncio.create_task(load.keep_up())
        await asyncio.sleep(2)  # the first moments are those of an empty cache
        before = await windows(server, number, seconds)
        await asyncio.to_thread(fault)
        after = await windows(server, number, seconds)
        load.end()
        await working
    return before, after, load.runs


def damage(server: Any, runs: int, threads: int) -> str:
    """Say what was lost, doubled or left behind; nothing of it is to be found."""
    with administrator(server) as connection:

        def ask(query: str) -> int:
            row = connection.execute(query.encode()).fetchone()
            return int(row[0]) if row is not None else 0

        until = time.monotonic() + 10  # a server notices a moment later that somebody has gone
        while ask(f"SELECT count(*) FROM {_OURS}") and time.monotonic() < until:
            time.sleep(0.1)
        found = {
            "connections": ask(f"SELECT count(*) FROM {_OURS}"),
            "locks": ask("SELECT count(*) FROM pg_locks WHERE pid <> pg_backend_pid()"),
            "threads": sum(one.name.startswith("everlog") for one in threading.enumerate()) - threads,
            "workflows too few": runs - ask("SELECT count(*) FROM everlog.heads WHERE state = 'completed'"),
            "workflows too many": ask("SELECT count(*) FROM everlog.heads") - runs,
            "results too few": runs * STEPS - ask(f"SELECT count(DISTINCT {_OPERATION}) FROM {_RESULTS}"),
            "results too many": ask(f"SELECT count(*) FROM {_RESULTS}") - runs * STEPS,
        }
    return ", ".join(f"{number} {what}" for what, number in found.items() if number) or "none"


def run(name: str, number: int, seconds: float) -> None:
    with ExitStack() as stack:
        server = started_server()
        stack.callback(server.cleanup)
        try:
            url, fault = stack.enter_context(FAULTS[name](server))
        except pytest.skip.Exception as missing:
            print(f"{name:20}not measured: {missing}", flush=True)
            return
        threads = sum(one.name.startswith("everlog") for one in threading.enumerate())
        before, after, runs = asyncio.run(measure(server, url, fault, number, seconds))
        left = damage(server, runs, threads)
    print(f"{name:20}{before:12,.0f}{after:12,.0f}{after / before:9.0%}   {left}", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.faults")
    arguments.add_argument("--window", type=float, default=20, help="seconds of a window")
    arguments.add_argument("--windows", type=int, default=3, help="windows before and after")
    arguments.add_argument("faults", nargs="*", metavar="FAULT", help=f"which; all by default: {', '.join(FAULTS)}")
    given = arguments.parse_args()
    logging.getLogger("everlog").setLevel(logging.ERROR)
    for name in given.faults or FAULTS:
        print(f"{name}: {FAULTS[name].__doc__}")
    print(f"\n{WORKFLOWS} workflows; medians of {given.windows} windows of {given.window:g} s, durable steps/s\n")
    print(f"{'':20}{'before':>12}{'after':>12}{'ratio':>9}   lost, doubled, left behind", flush=True)
    for name in given.faults or FAULTS:
        run(name, given.windows, given.window)


if __name__ == "__main__":
    main()

"""Workflows for tests that take their worker or their database away: `python touring.py DATABASE [LEASE]` is a worker.

Every run of a step is noted in a table of the tests' own, `ledger`, together with whether its result was recorded
already: then it should not have run. `check` reads the tables themselves, past Everlog.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Collection
from typing import Any, Final

import psycopg

import everlog
from everlog import Client, Engine, step, workflow
from everlog_postgres.urls import parse

NOTE: Final = b"""
    INSERT INTO ledger (workflow_id, operation, process, recorded)
    SELECT %(workflow)s, %(operation)s, %(process)s, EXISTS (
        SELECT FROM events
        WHERE workflow_id = %(workflow)s AND type = 'step_completed' AND payload::jsonb ->> 'operation' = %(operation)s
    )"""
"""Notes that a step runs, and whether its result was recorded already."""

_lock = threading.Lock()
_open: dict[str, psycopg.Connection[Any]] = {}
database = ""
"""Where the steps of this process note themselves."""


def connect(url: str) -> psycopg.Connection[Any]:
    """Connect past Everlog, with the schema of the URL as the search path."""
    target = parse(url)
    connection = psycopg.connect(target.conninfo, autocommit=True, application_name="ledger")
    connection.execute(f'SET search_path = "{target.schema}"'.encode())
    return connection


def note() -> None:
    """Note that a step runs: the one that this is called from."""
    now = everlog.current()
    row = {"workflow": now.workflow_id, "operation": f"{now.step}@{now.key}", "process": os.getpid()}
    for _ in range(100):
        try:
            with _lock:
                if database not in _open:
                    close_ledger()
                    _open[database] = connect(database)
                _open[database].execute(NOTE, row)
            return
        except psycopg.OperationalError:  # the server restarts; a run that is noted twice does no harm
            close_ledger()
            time.sleep(0.1)
    raise RuntimeError("the ledger could not be written for ten seconds")


def close_ledger() -> None:
    """Let go of the connection of the steps of this process; the next step makes another."""
    for url in list(_open):
        _open.pop(url).close()


@step(name="add")
def add(total: int, number: int) -> int:
    note()
    return total + number


@step(name="triple")
async def triple(number: int) -> int:
    await asyncio.to_thread(note)
    await asyncio.sleep(0.02)
    return 3 * number


@workflow(name="tour")
async def tour(total: int, rounds: int, pause: float, neighbour: str) -> int:
    """Work, sleep, and pass the number of the round on to a neighbour, round by round."""
    for number in range(rounds):
        more, product = await asyncio.gather(
            everlog.call(add.options(key=str(number)), total, 1), triple.options(key=str(number))(number)
        )
        await asyncio.sleep(pause)
        await everlog.send(neighbour, "round", number)
        total = more + product + await everlog.recv("round", type=int)
    return total


SERVING: Final = "serving"
"""What a worker prints when it may be told to end."""
STEP: Final = 0.4
"""Seconds that a step of one who dawdles takes."""


@step(name="dawdle_here")
async def dawdle_here(number: int) -> int:
    await asyncio.to_thread(note)
    await asyncio.sleep(STEP)
    return number


@step(name="dawdle_there")
def dawdle_there(number: int) -> int:
    note()
    time.sleep(STEP)
    return number


@workflow(name="dawdle")
async def dawdle(rounds: int) -> int:
    """Run two steps that take their time in each round, side by side."""
    total = 0
    for number in range(rounds):
        total += sum(
            await asyncio.gather(
                dawdle_here.options(key=str(number))(number),
                everlog.call(dawdle_there.options(key=str(number)), number),
            )
        )
    return total


def result_of(number: int, rounds: int) -> int:
    """Give what a tour returns that begins with this number."""
    return number + sum(1 + 3 * one + one for one in range(rounds))


def make_ledger(url: str) -> None:
    """Make the table in which steps note themselves."""
    with connect(url) as driver:
        driver.execute("CREATE TABLE ledger (workflow_id text, operation text, process integer, recorded boolean)")


async def begin(url: str, tours: int, rounds: int, pause: float) -> None:
    """Make the schema and the ledger, and create the tours: a ring in which each passes on to the next."""
    async with Client(url) as client:
        await client.workflows()
        make_ledger(url)
        starts = [
            client.start(tour.options(id=f"tour-{number}"), number, rounds, pause, f"tour-{(number + 1) % tours}")
            for number in range(tours)
        ]
        await asyncio.gather(*starts)


def left(url: str) -> int:
    """Give how many tours have not ended."""
    with connect(url) as driver:
        ((count,),) = driver.execute("SELECT count(*) FROM heads WHERE ended_at IS NULL").fetchall()
    return int(count)


def check(url: str, tours: int, rounds: int, *, zombies: Collection[int] = ()) -> None:
    """Check that every tour ended well, once; steps of `zombies`, processes that stood still, may run late."""
    with connect(url) as driver:
        driver.execute("SET jit = off")
        everyone = sorted(f"tour-{number}" for number in range(tours))
        heads = driver.execute("SELECT workflow_id, state, token, worker, seq FROM heads").fetchall()
        assert sorted((row[0], *row[1:4]) for row in heads) == [(one, "completed", None, None) for one in everyone]
        histories = driver.execute(
            "SELECT workflow_id, count(*), min(seq), max(seq), max(seq) FILTER (WHERE type = 'workflow_completed')"
            " FROM events GROUP BY workflow_id"
        ).fetchall()
        # No gap, and the end is the last: nobody wrote after it.
        assert sorted(histories) == sorted((row[0], row[4], 1, row[4], row[4]) for row in heads)
        ends = driver.execute(
            "SELECT workflow_id, (payload::jsonb ->> 'result')::bigint FROM events WHERE type = 'workflow_completed'"
        ).fetchall()
        assert sorted(ends) == sorted((f"tour-{one}", result_of(one, rounds)) for one in range(tours))
        results = driver.execute(
            "SELECT workflow_id, payload::jsonb ->> 'operation', count(*) FROM events WHERE type = 'step_completed'"
            " GROUP BY 1, 2"
        ).fetchall()
        operations = [f"{name}@{number}" for name in ("add", "triple") for number in range(rounds)]
        assert sorted(results) == sorted((one, operation, 1) for one in everyone for operation in operations)
        runs = driver.execute("SELECT DISTINCT workflow_id, operation FROM ledger").fetchall()
        assert sorted(runs) == sorted(row[:2] for row in results), "each ran that has a result, and no other"
        again = driver.execute("SELECT DISTINCT process FROM ledger WHERE recorded").fetchall()
        assert {row[0] for row in again} <= set(zombies), "a step ran though its result was recorded"
        unread = driver.execute("SELECT count(*) FROM inbox WHERE NOT closed").fetchall()
        assert unread == [(0,)]


def _end_with_parent() -> None:
    """Wait for the end of what the parent holds open, so that no worker outlives the tests."""
    sys.stdin.read()
    os._exit(1)


async def _main() -> None:
    logging.basicConfig(level=logging.INFO)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    settings = {"lease": float(sys.argv[2])} if len(sys.argv) > 2 else {}
    async with Engine(database, workflows=[tour, dawdle], **settings) as engine:
        asyncio.get_running_loop().call_soon(print, SERVING)  # by then serve() listens for signals
        await engine.serve()


if __name__ == "__main__":
    database = sys.argv[1]
    asyncio.run(_main())

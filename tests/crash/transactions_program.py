"""A program that kills itself at each boundary of a step's transaction in turn, and then looks what was done.

    python -m tests.crash.transactions_program URL PLACE WAY KIND

For each boundary a child starts a workflow and dies there, and another finishes it. It prints what both tables hold.
PLACE is the database for drivers.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg

import everlog
from everlog import Engine, step, workflow
from everlog.runtime import transactions
from everlog.runtime.backends import open_store
from everlog.runtime.transactions import TABLE, Transactions

MOST = 100
INSERT = "INSERT INTO ledger (workflow_id) VALUES ('{}')"

left = -1
"""How many boundaries it lives through; -1: all."""


def boundary() -> None:
    """Die here, if it is the turn of this boundary."""
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1


class Watched:
    """A connection of the user's, and each of our statements on it, with boundaries around."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.is_blocking = inner.is_blocking
        self.dialect = inner.dialect

    def execute(self, sql: str, parameters: Any) -> Any:
        boundary()
        rows = self._inner.execute(sql, parameters)
        if self.is_blocking:
            boundary()
        return rows

    def is_in_transaction(self) -> bool:
        return bool(self._inner.is_in_transaction())


def watch() -> None:
    """Have boundaries in this process."""
    inner = transactions.borrowed
    transactions.borrowed = lambda connection: Watched(inner(connection))  # type: ignore[attr-defined, assignment]
    opened, opened_blocking = Transactions._opened, Transactions._opened_blocking

    class Around:
        def __init__(self, block: Any) -> None:
            self.block = block

        async def __aenter__(self) -> Any:
            boundary()
            return await self.block.__aenter__()

        async def __aexit__(self, *error: Any) -> Any:
            boundary()
            outcome = await self.block.__aexit__(*error)
            boundary()
            return outcome

        def __enter__(self) -> Any:
            boundary()
            return self.block.__enter__()

        def __exit__(self, *error: Any) -> Any:
            boundary()
            outcome = self.block.__exit__(*error)
            boundary()
            return outcome

    async def around(self: Transactions, given: Any) -> Any:
        return Around(await opened(self, given))

    Transactions._opened = around  # type: ignore[method-assign]
    Transactions._opened_blocking = lambda self, given: Around(opened_blocking(self, given))  # type: ignore[method-assign, assignment, return-value]


def own_database(_: str) -> tuple[Any, Any]:
    """Steps in the engine's own database."""

    @step(name="crash.pays", transaction=True)
    async def pays(workflow_id: str) -> str:
        connection = everlog.connection()
        boundary()
        executed = connection.execute(INSERT.format(workflow_id))
        if not isinstance(connection, sqlite3.Connection):
            await executed
        boundary()
        return workflow_id

    @step(name="crash.pays plainly", transaction=True)
    def pays_plainly(workflow_id: str) -> str:
        boundary()
        everlog.connection().execute(INSERT.format(workflow_id))
        boundary()
        return workflow_id

    return pays, pays_plainly


def by_sqlalchemy(place: str) -> tuple[Any, Any]:
    """Steps in sessions of SQLAlchemy."""
    from sqlalchemy import create_engine, text
    from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
    from sqlalchemy.orm import sessionmaker

    there = place.replace("postgresql://", "postgresql+psycopg://")
    sessions = sessionmaker(create_engine(there))
    blocking: Callable[[], Any] = sessions.begin
    source: Callable[[], Any] = (
        async_sessionmaker(create_async_engine(there)).begin if there.startswith("postgresql") else blocking
    )

    @step(name="crash.pays", transaction=source)
    async def pays(workflow_id: str) -> str:
        boundary()
        executed = everlog.connection().execute(text(INSERT.format(workflow_id)))
        if source is not blocking:
            await executed
        boundary()
        return workflow_id

    @step(name="crash.pays plainly", transaction=blocking)
    def pays_plainly(workflow_id: str) -> str:
        boundary()
        everlog.connection().execute(text(INSERT.format(workflow_id)))
        boundary()
        return workflow_id

    return pays, pays_plainly


WAYS = {"own": own_database, "sqlalchemy": by_sqlalchemy}


def live(url: str, place: str, way: str, workflow_id: str, plain: bool, boundaries: int) -> None:
    """Run the workflow to its end, or to the boundary."""
    global left
    left = -1
    watch()
    pays, pays_plainly = WAYS[way](place)

    @workflow(name="crash.pays twice")
    async def pays_twice() -> list[str]:
        if plain:
            return [await everlog.call(pays_plainly, workflow_id) for _ in range(2)]
        return [await pays(workflow_id) for _ in range(2)]

    async def main() -> None:
        async with Engine(url, lease=2) as engine:
            global left
            left = boundaries
            handle = await engine.start(pays_twice.options(id=workflow_id))
            assert await handle.result() == [workflow_id] * 2

    asyncio.run(main())


def in_child(*given: Any) -> bool:
    """Run `live` in a child; give whether it came to its end."""
    child = os.fork()
    if child == 0:
        try:
            live(*given)
        except BaseException as error:
            print(f"{given}: {error!r}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return False
    assert os.waitstatus_to_exitcode(status) == 0
    return True


def connected(place: str) -> Any:
    """Connect to the database of the user's tables."""
    if place.startswith("sqlite"):
        return sqlite3.connect(place.removeprefix("sqlite:///"), isolation_level=None)
    return psycopg.connect(place, autocommit=True)


def main() -> None:
    """See above."""
    url, place, way, plain = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4] == "plain"
    open_store(url).close()
    with closing(connected(place)) as connection:
        for table in ("ledger", TABLE):
            connection.execute(f"DROP TABLE IF EXISTS {table}")
        connection.execute("CREATE TABLE ledger (workflow_id TEXT)")
    deaths = 0
    for number in range(MOST):
        if in_child(url, place, way, f"order-{number}", plain, number):
            break
        deaths += 1
        assert in_child(url, place, way, f"order-{number}", plain, -1)
    with closing(connected(place)) as connection:
        question = "SELECT workflow_id, count(*) FROM {} GROUP BY 1"
        paid = dict(connection.execute(question.format("ledger")).fetchall())
        kept = dict(connection.execute(question.format(TABLE)).fetchall())
        for table in ("ledger", TABLE):
            connection.execute(f"DROP TABLE {table}")
    print(json.dumps({"deaths": deaths, "paid": paid, "kept": kept}))


if __name__ == "__main__":
    main()

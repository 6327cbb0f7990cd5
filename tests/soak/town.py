"""The program of the soak: workflows that use all primitives at once, and say in a ledger what their steps do.

`python -m tests.soak.town URL FOLDER` is a worker of it.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import everlog
from everlog import Engine, Queue, RetryPolicy, Schedule, step, workflow
from everlog.errors import StoreUnavailable
from tests.soak.ledger import Ledger

NARROW = 3
"""So many pieces are in the hands of all workers at once."""
PROVIDED = 2
"""So many questions does the provider answer at once."""
EVERY = 2
"""Seconds between two ticks."""
LEASE = 3
"""Seconds after which a worker that gives no sign of life is taken for dead."""
SENDERS = 2
LETTERS = 4
"""Of each sender."""

narrow = Queue("narrow", concurrency=NARROW, worker_concurrency=2)
provider = Queue("provider", concurrency=PROVIDED)
again = RetryPolicy(max_attempts=None, first_delay=0.1, max_delay=2)

_ledgers: list[Ledger] = []


def say(what: str, *said: object) -> None:
    """Write into the ledger of this process."""
    if not _ledgers:
        _ledgers.append(Ledger(Path(sys.argv[2])))
    _ledgers[0].write(what, *said)


@step(name="soak.visit", retry=again)
async def visit(who: str, number: int) -> int:
    """Fail at first, now and then."""
    current = everlog.current()
    say("visit", who, number, current.attempt)
    await asyncio.sleep(number % 5 / 50)
    if number % 3 == 0 and current.attempt == 1:
        raise ConnectionError("nobody at home")
    return number


@step(name="soak.count plainly")
def count_plainly(number: int) -> int:
    """Work on a thread."""
    return sum(range(number))


@step(name="soak.ask", limit=provider, retry=again)
async def ask(who: str, number: int) -> int:
    """Ask the provider."""
    say("begins", "provider", f"{who}/{number}")
    await asyncio.sleep(0.02)
    say("ends", "provider", f"{who}/{number}")
    return number


@step(name="soak.pay", transaction=True, retry=again)
async def pay(who: str, amount: int) -> int:
    """Write a row of the application, together with the result."""
    connection: Any = everlog.connection()
    if isinstance(connection, sqlite3.Connection):
        connection.execute("INSERT INTO soak_payments VALUES (?, ?)", [who, amount])
    else:
        await connection.execute("INSERT INTO soak_payments VALUES (%s, %s)", [who, amount])
    return amount


@step(name="soak.undo", retry=again)
async def undo(who: str) -> None:
    """Take something back."""
    say("undone", who)


@step(name="soak.handle", retry=again)
async def handle(who: str) -> None:
    """Have a piece in one's hands."""
    say("begins", "narrow", who)
    await asyncio.sleep(0.03)
    say("ends", "narrow", who)


@workflow(name="soak.piece")
async def piece(number: int) -> int:
    """Stand in a narrow queue."""
    await handle(everlog.current().workflow_id)
    return number


@workflow(name="soak.order")
async def order(who: str, number: int) -> int:
    """Do a bit of everything; give ten times the number, and six. A fork does it under the name of its origin."""
    visits = await asyncio.gather(*(visit(who, number + one) for one in range(3)))
    await everlog.emit("progress", "visited")
    assert sorted(visits) == [number, number + 1, number + 2]
    await asyncio.sleep(number % 4 / 2)
    pieces = [await everlog.start(piece.options(queue=narrow), number) for _ in range(2)]
    asked = await asyncio.gather(ask(who, number), ask(who, number + 1))
    counted = await everlog.call(count_plainly, 4)
    await everlog.emit("progress", "asked")
    paid = await pay(who, number)
    done = sum([await one.result() for one in pieces])
    await everlog.emit("progress", "done")
    return sum(visits) + sum(asked) + counted + paid + done + 2 * number - 4


@workflow(name="soak.mailbox")
async def mailbox(count: int) -> list[list[Any]]:
    """Read so many letters."""
    return [await everlog.recv("letters", type=list[Any]) for _ in range(count)]


@workflow(name="soak.patient")
async def patient() -> None:
    """Wait until somebody gives it up; then take back what was done."""
    async with everlog.compensations() as undoes:
        undoes.add(undo, everlog.current().workflow_id)
        await everlog.recv("never")


@workflow(name="soak.rounds")
async def rounds(left: int, total: int) -> int:
    """Go on as new, so many times."""
    total += await visit(everlog.current().workflow_id, left)
    await everlog.sleep(0.2)
    if left:
        everlog.continue_as_new(rounds, left - 1, total)
    return total


@workflow(name="soak.tick", schedule=Schedule(every=EVERY, catch_up="all"))
async def tick() -> str:
    """Run at each tick."""
    planned = everlog.current().tick
    assert planned is not None
    return planned.isoformat()


async def main() -> None:
    """Be a worker until told to end; where the database is away at first, come again, as a supervisor would have it."""
    while True:
        with suppress(StoreUnavailable):
            async with Engine(sys.argv[1], queues=[narrow, provider], lease=LEASE, grace=5) as engine:
                await engine.serve()
                return
        await asyncio.sleep(0.2)


if __name__ == "__main__":
    asyncio.run(main())

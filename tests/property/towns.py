"""A town: workflows that do a little of everything with each other, for simulated fleets to run."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

import everlog
from everlog import Queue, RateLimit, Request, RetryPolicy, WorkflowCancelled, step, sync, workflow
from everlog.store import WorkflowQuery
from everlog.testing import Simulation

ROUNDS = 3
TELLERS = 3
LETTERS = 4
PATIENCE = 600
"""Seconds within which all of them end, whatever happens; and as many as clocks go back, by which timers are late."""
NARROW = Queue("towns.narrow", concurrency=2)
SLOW = Queue("towns.slow", rate_limit=RateLimit(2, per=3))
BENCH = Queue("towns.bench", concurrency=1)


@step(name="towns.works", retry=RetryPolicy(max_attempts=None, first_delay=0.5, jitter=0.5))
async def works(number: int) -> int:
    await asyncio.sleep(number % 3)
    if number % 4 == 0 and everlog.current().attempt == 1:
        raise ConnectionError("the first time")
    return number


@step(name="towns.draws")
def draws(number: int) -> int:
    return 2 * number


@step(name="towns.saws", limit=BENCH)
async def saws(number: int) -> int:
    await asyncio.sleep(0.4)
    return number


@workflow(name="towns.tells")
async def tells(name: str) -> int:
    total = 0
    for number in range(ROUNDS):
        try:
            async with asyncio.timeout(1.5):
                total += await works(number)
        except TimeoutError:
            total += number
        await asyncio.gather(
            everlog.send("collector", "news", [name, 2 * number]),
            everlog.send("collector", "news", [name, 2 * number + 1]),
        )
        await everlog.set_value("round", number)
        await everlog.emit("rounds", number)
        await everlog.sleep(everlog.random().random())
    return total


@workflow(name="towns.collects")
async def collects(count: int, seen: list[Any]) -> list[Any]:
    for _ in range(4):
        if len(seen) < count:
            seen.append(await everlog.recv("news"))
    if len(seen) < count:
        everlog.continue_as_new(collects, count, seen)
    return seen


@workflow(name="towns.mailbox")
async def mailbox(count: int) -> list[int]:
    return [await everlog.recv("letter", type=int) for _ in range(count)]


@workflow(name="towns.apprentice")
async def apprentice(number: int) -> int:
    a, b = await asyncio.gather(saws(number), everlog.call(draws, number))
    await asyncio.sleep(0.5)
    return a + b


@workflow(name="towns.master")
async def master(count: int) -> int:
    some = [await NARROW.enqueue(apprentice, number) for number in range(count)]
    others = [await SLOW.enqueue(apprentice, number) for number in range(count)]
    return sum([await one.result() for one in (*some, *others)])


@workflow(name="towns.clerk")
async def clerk(count: int) -> int:
    for _ in range(count):
        request = await everlog.recv("question", type=Request[int])
        await request.reply(await works(request.value) + 1)
    return count


@workflow(name="towns.asks")
async def asks(count: int) -> int:
    return sum([await everlog.ask("clerk", "question", number, type=int, timeout=100_000) for number in range(count)])


@workflow(name="towns.counts")
def counts(count: int) -> int:
    return sum(sync.map(draws, list(range(count)), limit=2)) + sync.call(works, 1)


@step(name="towns.gives_back")
async def gives_back(number: int) -> None:
    await asyncio.sleep(0.1)


@workflow(name="towns.regrets")
async def regrets() -> None:
    async with everlog.compensations() as undo:
        await works(1)
        undo.add(gives_back, 1)
        await everlog.recv("never")


@workflow(name="towns.sleeper")
async def sleeper(seconds: float) -> int:
    await asyncio.sleep(seconds)
    return draws_inline(1)


def draws_inline(number: int) -> int:
    return number


WORKFLOWS = [tells, collects, apprentice, master, clerk, asks, counts, regrets, sleeper, mailbox]


PARTS = ("tellers", "asks", "master", "counts", "mailbox", "regrets")


async def town(world: Simulation) -> None:
    """Have two parts of the town run, which the seed chooses."""
    await run_parts(world, Random(f"parts of {world.seed}").sample(PARTS, 2))


async def whole_town(world: Simulation) -> None:
    """Have all of it run."""
    await run_parts(world, PARTS)


async def run_parts(world: Simulation, parts: Sequence[str]) -> None:
    """Have these parts run, in any order, and insist on what comes of them."""
    client, chance = world.client, Random(world.seed)
    names = [f"teller-{number}" for number in range(TELLERS)]
    starts: list[Any] = []
    ends: dict[str, Any] = {}
    if "tellers" in parts:
        await world.insist(lambda: client.start(collects.options(id="collector"), 2 * TELLERS * ROUNDS, []))
        starts += [lambda name=name: client.start(tells.options(id=name), name) for name in names]
        ends |= dict.fromkeys(names, sum(range(ROUNDS)))
    if "asks" in parts:
        await world.insist(lambda: client.start(clerk.options(id="clerk"), 3))
        starts.append(lambda: client.start(asks.options(id="asks"), 3))
        ends |= {"clerk": 3, "asks": 6}
    if "master" in parts:
        starts.append(lambda: client.start(master.options(id="master"), 4))
        ends["master"] = 36
    if "counts" in parts:
        starts.append(lambda: client.start(counts.options(id="counts"), 4))
        ends["counts"] = 13
    if "mailbox" in parts:
        await world.insist(lambda: client.start(mailbox.options(id="mailbox"), LETTERS))
        ends["mailbox"] = [*range(LETTERS)]
    if "regrets" in parts:
        starts.append(lambda: client.start(regrets.options(id="regrets")))
        ends["regrets"] = "cancelled"
    chance.shuffle(starts)
    for start in starts:
        await world.insist(start)
        await asyncio.sleep(chance.choice([0, 0, 0.5]) * chance.random())
    await disturb(world, parts, chance)
    patience = PATIENCE + sum(abs(one.seconds) for one in world.mishaps if one.kind.endswith("clock"))
    reviving = asyncio.ensure_future(revive(world))
    for name, expected in ends.items():
        try:
            found = await world.insist(client.handle(name).result, patience=patience)
        except WorkflowCancelled:
            found = "cancelled"
        assert found == expected, f"{name} ended as {found}"
    if "tellers" in parts:
        received = await world.insist(client.handle("collector").result, patience=patience)
        numbers = range(2 * ROUNDS)
        assert Counter(map(tuple, received)) == Counter((name, number) for name in names for number in numbers)
        for name in names:
            assert [number for sender, number in received if sender == name] == [*numbers], "overtaken"
    reviving.cancel()


async def revive(world: Simulation) -> None:
    """Have those go on that are stuck since so many workers died that held them: it is no fault of theirs."""
    while True:
        await asyncio.sleep(20)
        for head in world.store.workflows(WorkflowQuery(limit=100)):
            if head.state == "stuck" and "died" in (head.why or ""):
                await world.insist(world.client.handle(head.workflow_id).retry)


async def disturb(world: Simulation, parts: Sequence[str], chance: Random) -> None:
    """Write to them from outside."""
    client = world.client
    for number in range(LETTERS if "mailbox" in parts else 0):
        await asyncio.sleep(chance.choice([0, 0.3, 3]) * chance.random())
        await world.insist(lambda number=number: client.send("mailbox", "letter", number, key=f"letter {number}"))  # type: ignore[misc]
    if "master" in parts:
        await world.insist(client.handle("master").pause)
    if "regrets" in parts:
        await asyncio.sleep(2 * chance.random())
        await world.insist(client.handle("regrets").cancel)
    if "master" in parts:
        await asyncio.sleep(2 * chance.random())
        await world.insist(client.handle("master").resume)

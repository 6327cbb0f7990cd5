"""Two engines on one store that pause, die, lose answers and lose the store: nothing is doubled, nothing is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import everlog
from everlog import Engine, Handle, RetryPolicy, step, workflow
from everlog.errors import StoreError
from everlog.host import Host
from tests.property.databases import LONG, Database
from tests.property.recording import MEMORY
from tests.support import FlakyStore, PausableHost, kill, opened, projections_fit, simulate

SENDERS = 4
ROUNDS = 5
COLLECTOR = "collector"


@step(retry=RetryPolicy(max_attempts=None, first_delay=1, jitter=0.5))
async def works(number: int) -> int:
    await asyncio.sleep(number % 3)
    if number % 4 == 0 and everlog.current().attempt == 1:
        raise ConnectionError("the first time")
    return number


@workflow
async def tells(name: str) -> int:
    total = 0
    for number in range(ROUNDS):
        try:
            async with asyncio.timeout(4):
                total += await works(number)
        except TimeoutError:
            total += number
        await everlog.send(COLLECTOR, "news", [name, number])
    return total


@workflow
async def collects(count: int) -> list[Any]:
    return [await everlog.recv("news") for _ in range(count)]


@workflow
async def collects_in_lives(count: int, seen: list[Any]) -> list[Any]:
    for _ in range(3):
        if len(seen) < count:
            seen.append(await everlog.recv("news"))
    if len(seen) < count:
        everlog.continue_as_new(collects_in_lives, count, seen)
    return seen


class Fleet:
    """Two engines on one store, and what can happen to them."""

    def __init__(self, host: PausableHost, database: Database) -> None:
        self.host = host
        self.database = database
        database.clean()
        self.shared = database.open(host.wall)
        self.engines: dict[int, Engine] = {}
        self.stores: dict[int, FlakyStore] = {}
        self.hosts: dict[int, PausableHost] = {}

    async def open(self, number: int) -> Engine:
        self.hosts[number] = self.host.sibling()
        self.stores[number] = FlakyStore(self.database.open(self.host.wall))
        host: Host = self.hosts[number]
        engine = Engine(self.stores[number], host=host, workflows=[tells, collects, collects_in_lives], lease=3)
        self.engines[number] = await opened(engine)
        return self.engines[number]

    async def suffer(self, number: int, what: str) -> None:
        host, store = self.hosts[number], self.stores[number]
        match what:
            case "pause":
                host.pause()
            case "resume":
                host.resume()
            case "kill":
                kill(self.engines[number])
                self.database.close(self.stores[number].store)
                await self.open(number)
            case "close":
                host.resume()
                store.down = False
                await self.engines[number].__aexit__(None, None, None)
                await self.open(number)
            case "down":
                store.down = True
            case "up":
                store.down = False
            case "lose":
                store.lose_answers += 1
            case _:
                raise AssertionError(what)


MISHAPS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from(["pause", "resume", "kill", "close", "down", "up", "lose", "lose"]),
        st.floats(0, 5),
    ),
    max_size=12,
)


@given(seed=st.integers(0, 2**32), mishaps=MISHAPS)
def test_whatever_happens_to_two_engines_each_message_is_received_once(
    seed: int, mishaps: list[tuple[int, str, float]]
) -> None:
    two_engines(MEMORY, seed, mishaps)


@settings(max_examples=600 if LONG else 4)
@given(seed=st.integers(0, 2**32), mishaps=MISHAPS)
def test_the_same_in_a_database_on_disk(
    database_on_disk: Database, seed: int, mishaps: list[tuple[int, str, float]]
) -> None:
    two_engines(database_on_disk, seed, mishaps)


def two_engines(database: Database, seed: int, mishaps: list[tuple[int, str, float]]) -> None:
    """Have them run workflows that tell each other things, and check what came of it."""

    async def program(host: PausableHost) -> None:
        fleet = Fleet(host, database)
        for number in (0, 1):
            await fleet.open(number)
        names = [f"teller-{number}" for number in range(SENDERS)]
        if seed % 2:
            await fleet.engines[0].start(collects.options(id=COLLECTOR), SENDERS * ROUNDS)
        else:
            await fleet.engines[0].start(collects_in_lives.options(id=COLLECTOR), SENDERS * ROUNDS, [])
        for name in names:
            await fleet.engines[Random(name).randrange(2)].start(tells.options(id=name), name)
        for number, what, pause in mishaps:
            await asyncio.sleep(pause)
            with suppress(StoreError):
                await asyncio.wait_for(fleet.suffer(number, what), 60)
        for number in (0, 1):
            fleet.stores[number].down = False
            fleet.hosts[number].resume()
        handles: list[Handle[Any]] = [fleet.engines[0].handle(name) for name in names]
        for handle in handles:
            assert await handle.result(timeout=300) == sum(range(ROUNDS)), "lost, or ended wrongly"
        received = await fleet.engines[1].handle(COLLECTOR).result(timeout=300)
        assert Counter(map(tuple, received)) == Counter((name, number) for name in names for number in range(ROUNDS))
        for name in names:
            assert [number for sender, number in received if sender == name] == list(range(ROUNDS))
        for workflow_id in (*names, COLLECTOR):
            projections_fit(fleet.shared, workflow_id)
        await asyncio.sleep(10)
        for number in (0, 1):
            await fleet.engines[number].__aexit__(None, None, None)
        assert fleet.shared.workers() == []

    simulate(program, seed=seed)

"""What an engine asks of a Postgres server, counted on the wire: round trips, statements and commits, all of them.

Everything that the engine's three connections send is counted once they are open: commits, claims, readings, leases,
and what the thread for wake-ups sends. The commits among them are counted by what they left in the database as well.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from random import Random

import pytest

from everlog import Engine, step, workflow
from everlog_postgres.statements import in_schema
from everlog_postgres.urls import parse
from tests.counting import CountingProxy
from tests.postgres import administrator, needs_postgres, new_schema, server_url, with_options

pytestmark = needs_postgres

CONCURRENT = 100
STEPS = 10
LONG_LEASE = 3600
"""Seconds: a slow machine would renew a shorter one during the test, and its commits would be counted."""


@step
async def add(total: int, number: int, seconds: float) -> int:
    await asyncio.sleep(seconds)
    return total + number


@step
def add_in_a_thread(total: int, number: int) -> int:
    return total + number


@workflow(name="postgres_counts.sums")
async def sums(steps: int, longest: float) -> int:
    chance = Random(steps)
    total = 0
    for number in range(steps):
        total = await add(total, number, chance.random() * longest)
    return total


@workflow(name="postgres_counts.sums_blocking")
def sums_blocking(steps: int) -> int:
    total = 0
    for number in range(steps):
        total = add_in_a_thread(total, number)
    return total


@pytest.fixture
def proxy() -> Iterator[CountingProxy]:
    proxy = CountingProxy()
    yield proxy
    proxy.close()


@pytest.fixture
def url(proxy: CountingProxy) -> str:
    direct = new_schema()
    return with_options(proxy.url, direct[len(server_url()) + 1 :])


def commits(url: str) -> int:
    """Give how many transactions wrote the events that are there. Each is a round trip, and is counted as one too."""
    with administrator() as connection:
        question = in_schema("SELECT count(DISTINCT xmin::text) FROM everlog.events", parse(url).schema)
        row = connection.execute(question.encode()).fetchone()
    assert row is not None
    return int(str(row[0]))


@pytest.mark.parametrize("longest", [0.0, 0.01], ids=["steps that do nothing", "steps of up to 10 ms"])
def test_100_concurrent_workflows_share_round_trips_and_commits(proxy: CountingProxy, url: str, longest: float) -> None:
    async def program() -> None:
        async with Engine(url, workflows=[sums], lease=LONG_LEASE) as engine:
            await engine.run(sums, 1, 0.0)
            proxy.reset()
            before = commits(url)
            results = await asyncio.gather(*(engine.run(sums, STEPS, longest) for _ in range(CONCURRENT)))
            assert results == [sum(range(STEPS))] * CONCURRENT
            steps = CONCURRENT * STEPS
            assert 0 < commits(url) - before <= 0.1 * steps
            assert 0 < proxy.round_trips().total() <= 0.2 * steps, proxy.round_trips()

    asyncio.run(program())


@pytest.mark.parametrize("blocking", [False, True], ids=["async", "blocking"])
def test_a_lone_sequential_workflow_takes_one_round_trip_and_one_commit_per_step(
    proxy: CountingProxy, url: str, blocking: bool
) -> None:
    steps = 300
    around = 10
    """Its creation and its end, statements that are prepared, and what is looked for because of all that."""

    async def program() -> None:
        async with Engine(url, workflows=[sums, sums_blocking], lease=LONG_LEASE) as engine:
            await engine.run(sums, 1, 0.0)
            await asyncio.sleep(0.1)  # what is looked for because of that
            proxy.reset()
            before, began = commits(url), time.monotonic()
            if blocking:
                assert await engine.run(sums_blocking, steps) == sum(range(steps))
            else:
                assert await engine.run(sums, steps, 0.0) == sum(range(steps))
            elapsed = time.monotonic() - began
            assert steps <= commits(url) - before <= steps + around
            round_trips = proxy.round_trips()
            assert steps <= round_trips["everlog commits"] <= steps + around, round_trips
            others = round_trips.total() - round_trips["everlog commits"]
            assert others <= around + 2 * elapsed, "no more than an engine that does nothing sends"

    asyncio.run(program())


@pytest.mark.parametrize("engines", [1, 3])
def test_a_worker_with_nothing_to_do_sends_at_most_two_statements_a_second(
    proxy: CountingProxy, url: str, engines: int
) -> None:
    """However long the seconds are here: a slow machine sends less."""

    async def program() -> None:
        async with AsyncExitStack() as stack:
            for _ in range(engines):
                await stack.enter_async_context(Engine(url, workflows=[sums]))
            await asyncio.sleep(2.5)  # until all have heard of each other, and of their own echoes
            proxy.reset()
            began = time.monotonic()
            await asyncio.sleep(5)
            sent, elapsed = proxy.statements(), time.monotonic() - began
        assert 0 < sent.total() <= 2 * engines * elapsed, sent

    asyncio.run(program())

"""What users of Temporal look for here and no other test shows on all three stores.

Each is a row of docs/coming-from-temporal.md.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import everlog
from everlog import Engine, Request, RetryPolicy, WorkflowFailed, step, workflow
from everlog.testing.simulation import SimulatedHost
from tests.support import events_of, kill, make_store, on_both_stores, opened, run, simulate

CALLS: list[Any] = []


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    CALLS.clear()


@step
async def fails() -> None:
    CALLS.append(everlog.current().attempt)
    raise ConnectionError("nobody answers")


@step(retry=RetryPolicy(max_attempts=None, first_delay=1, max_delay=5))
async def fails_for_long() -> int:
    CALLS.append(everlog.current().attempt)
    if len(CALLS) < 8:
        raise ConnectionError("nobody answers")
    return everlog.current().attempt


@workflow
async def tries_once() -> None:
    await fails()


@workflow
async def tries_for_ever() -> int:
    return await fails_for_long()


@on_both_stores
def test_a_step_is_tried_once_or_for_ever(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        with pytest.raises(WorkflowFailed, match="nobody answers"):
            await engine.run(tries_once)
        assert CALLS == [1]
        CALLS.clear()
        assert await engine.run(tries_for_ever) == 8

    run(program, kind=kind, folder=tmp_path, workflows=[tries_once, tries_for_ever])


@step(retry=RetryPolicy(max_attempts=None, first_delay=4, backoff=1, jitter=0))
async def never_succeeds() -> None:
    CALLS.append(everlog.current().attempt)
    raise ConnectionError("nobody answers")


@workflow
async def gives_up() -> str:
    try:
        async with asyncio.timeout(10):
            await never_succeeds()
    except TimeoutError:
        return "in the time that there was"
    return "at last"


@on_both_stores
def test_a_deadline_may_span_all_attempts(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        assert await engine.run(gives_up) == "in the time that there was"
        assert CALLS == [1, 2, 3]

    run(program, kind=kind, folder=tmp_path, workflows=[gives_up])


@workflow
async def draws() -> list[str]:
    drawn = [str(everlog.uuid4()), str(everlog.random().random()), everlog.now().isoformat()]
    CALLS.append(drawn)
    await asyncio.sleep(30)
    return drawn


@on_both_stores
def test_time_chance_and_ids_are_the_same_in_every_replay(kind: str, tmp_path: Path) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        engine = await opened(Engine(store, host=host.sibling(), workflows=[draws]))
        await engine.start(draws.options(id="draws"))
        await asyncio.sleep(5)
        kill(engine)
        async with Engine(store, host=host.sibling(), workflows=[draws]) as engine:
            assert await engine.handle("draws").result() == CALLS[0]
        assert len(CALLS) >= 2, "the code was run again"
        assert all(drawn == CALLS[0] for drawn in CALLS)

    simulate(program)


@workflow
async def cart(owner: str) -> str:
    items: list[str] = []

    async def additions() -> None:
        while True:
            items.append(await everlog.recv("add", type=str))

    async def questions() -> None:
        while True:
            request = await everlog.recv("how many", type=Request[None])
            await request.reply(len(items))

    handlers = [asyncio.create_task(additions()), asyncio.create_task(questions())]
    await everlog.recv("check out")
    for handler in handlers:
        handler.cancel()
    return f"{owner}: {', '.join(items)}"


@on_both_stores
def test_handlers_run_beside_the_main_flow(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(cart, "ann")
        await handle.send("add", "cup")
        await handle.send("add", "pot")
        assert await handle.ask("how many", None, type=int, timeout=60) == 2
        await asyncio.sleep(10)  # it is parked
        await handle.send("add", "tea")
        assert await handle.ask("how many", None, type=int, timeout=60) == 3
        await handle.send("check out", None)
        assert await handle.result() == "ann: cup, pot, tea"
        received = await events_of(engine, handle.id, "message_received")
        assert len(received) == 6

    run(program, kind=kind, folder=tmp_path, workflows=[cart])


@workflow
async def as_they_come() -> list[int]:
    async def one(number: int) -> int:
        await asyncio.sleep(everlog.random().uniform(1, 20))
        return number

    order = [await ended for ended in asyncio.as_completed([one(number) for number in range(5)])]
    tasks = {asyncio.create_task(one(number)) for number in range(5, 10)}
    while tasks:
        done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        order += [task.result() for task in done]
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(5):
                group.create_task(one(number))
            group.create_task(fails())
    except* ConnectionError:
        order.append(-1)
    CALLS.append(order)
    await asyncio.sleep(10)
    return order


@on_both_stores
def test_wait_as_completed_and_task_groups_are_those_of_asyncio(kind: str, tmp_path: Path) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        async with Engine(store, host=host.sibling(), workflows=[as_they_come]) as engine:
            order = await engine.run(as_they_come)
        orders = [one for one in CALLS if isinstance(one, list)]
        assert len(orders) >= 2, "it was parked, and its code run again"
        assert orders == [order] * len(orders)
        assert sorted(order) == [-1, *range(10)]

    simulate(program)

"""Parking with everything else: blocking code, methods, unrecorded and large inputs, cancellation, retries, guards."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import everlog
from everlog import Engine, RetryPolicy, WorkflowCancelled, step, sync, workflow
from everlog.core.durations import SECOND
from everlog.replay import quarantine
from everlog.runtime.parking import PARK_AFTER
from tests.property.test_parking import parking_at_every_wait
from tests.support import run

CALLS: list[Any] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    CALLS.clear()
    everlog.register(EU, name="eu")  # other tests forget what is registered


@step
def note(what: Any) -> Any:
    CALLS.append(what)
    return what


@step
async def slow(what: Any, seconds: float) -> Any:
    await asyncio.sleep(seconds)
    CALLS.append(what)
    return what


@step(retry=RetryPolicy(max_attempts=4, first_delay=5, jitter=0, backoff=1))
def third_time(what: Any) -> int:
    CALLS.append((what, everlog.current().attempt))
    if everlog.current().attempt < 3:
        raise ConnectionError(what)
    return everlog.current().attempt


class Box:
    pass


BOX = Box()


@step(unrecorded=["box"])
def boxed(n: int, box: Box) -> int:
    assert box is BOX
    CALLS.append(n)
    return n


class Shop:
    def __init__(self, name: str) -> None:
        self.name = name

    @workflow
    def sells(self, n: int) -> list[Any]:
        got = [self.name, note(n)]
        got.append(sync.recv("go", type=int))
        got.append(note(got[-1]))
        return got

    @workflow
    async def buys(self, n: int) -> list[Any]:
        got = [self.name, await everlog.call(note, n)]
        got.append(await everlog.recv("go", type=int))
        got.append(await everlog.call(note, got[-1]))
        return got


@dataclass
class Order:
    item: str

    @workflow
    def ships(self, n: int) -> list[Any]:
        got = [self.item, note(n)]
        got.append(sync.recv("go", type=int))
        got.append(note(got[-1]))
        return got


EU = Shop("eu")


@workflow(unrecorded=["box"])
def takes_a_box(n: int, box: Box = BOX) -> int:
    first = boxed(n, box)
    sync.sleep(100)
    return first + boxed(n + 1, box=box)


@workflow
def large() -> int:
    text = "x" * 200_000
    n = len(note(text))
    sync.sleep(100)
    n += len(sync.call(slow, text, 1))
    sync.sleep(100)
    return n + len(note(text))


@workflow
def branches_with_finally() -> list[Any]:
    lock = threading.RLock()

    def branch(n: int) -> Any:
        try:
            with lock if n == 0 else nullcontext(), sync.timeout(1000):
                sync.sleep(10 * (n + 1))
            return note(n)
        finally:
            if not everlog.current().parking:
                note(f"finally {n}")
            else:
                with suppress(BaseException):
                    note("never")

    return sync.map(branch, [0, 1, 2])


@workflow
def retries() -> int:
    first = sync.submit(third_time, "a")
    second = third_time("b")
    return first.result() + second


@workflow
def cleans_up() -> None:
    try:
        sync.recv("never")
    finally:
        if not everlog.current().parking:
            note("clean")
            sync.sleep(50)
            note("cleaner")


@workflow
def reads_clocks() -> list[str]:
    refused: list[str] = []

    def reads(read: Callable[[], float]) -> None:
        try:
            read()
        except everlog.WrongContext as error:
            refused.append(type(error).__name__)

    for _ in range(3):
        reads(time.time)
        sync.map(reads, [random.random])
        everlog.current().logger.warning("said")
        sync.sleep(50)
    return refused


FLOWS = [EU.sells, EU.buys, Order.ships, takes_a_box, large, branches_with_finally, retries, cleans_up, reads_clocks]


@workflow
def swallows() -> int:
    heard = 0
    while True:
        with suppress(BaseException):
            while sync.recv("go", type=int) != 0:
                heard += 1
            return heard


async def result_of(engine: Engine, flow: Any, *args: Any) -> Any:
    handle = await engine.start(flow, *args)
    await asyncio.sleep(20)
    await handle.send("go", 7)
    return await handle.result()


async def methods(engine: Engine) -> None:
    for flow in (EU.sells, EU.buys, Order("pen").ships):
        result = await result_of(engine, flow, 1)
        assert result == [result[0], 1, 7, 7]
        assert CALLS == [1, 7]
        CALLS.clear()


async def defaults(engine: Engine) -> None:
    assert await engine.run(takes_a_box, 1) == 3
    assert CALLS == [1, 2]


async def large_inputs(engine: Engine) -> None:
    assert await engine.run(large) == 600_000
    assert len(CALLS) == 3


async def finally_blocks(engine: Engine) -> None:
    assert await engine.run(branches_with_finally) == [0, 1, 2]
    assert CALLS == [0, "finally 0", 1, "finally 1", 2, "finally 2"]


async def attempts(engine: Engine) -> None:
    assert await engine.run(retries) == 6
    assert sorted(CALLS) == [(what, attempt) for what in "ab" for attempt in (1, 2, 3)]


async def cancellation(engine: Engine) -> None:
    handle = await engine.start(cleans_up)
    await asyncio.sleep(5)
    await handle.cancel()
    with pytest.raises(WorkflowCancelled):
        await handle.result()
    assert CALLS == ["clean", "cleaner"]


async def guards(engine: Engine) -> None:
    assert await engine.run(reads_clocks) == ["WrongContext"] * 6
    assert CALLS == ["said"] * 3, "nothing is said twice"


PROGRAMS = [methods, defaults, large_inputs, finally_blocks, attempts, cancellation, guards]


@pytest.mark.parametrize("forced", [False, True], ids=["after a second", "at every wait"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_it_goes_on_as_if_it_had_never_left(
    program: Callable[[Engine], Coroutine[Any, Any, None]], forced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("everlog.workflow"), "handle", lambda record: CALLS.append(record.msg))
    before = quarantine.kept_aside()
    with parking_at_every_wait() if forced else nullcontext([]) as parked:
        run(program, workflows=FLOWS, guards="raise")
    assert bool(parked) is forced
    assert quarantine.kept_aside() == before


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_cancel_that_comes_at_the_moment_of_parking_is_heard_once(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        for number in range(20):
            handle = await engine.start(cleans_up)
            await asyncio.sleep(PARK_AFTER / SECOND - 0.05 + number * 0.01)
            await handle.cancel()
            with pytest.raises(WorkflowCancelled):
                await handle.result()
            assert CALLS == ["clean", "cleaner"]
            CALLS.clear()

    run(program, kind=kind, folder=tmp_path, workflows=FLOWS)


def test_what_would_not_let_go_once_is_not_parked_again() -> None:
    before, threads = quarantine.kept_aside(), threading.active_count()

    async def program(engine: Engine) -> None:
        handle = await engine.start(swallows)
        for more in (1, 1, 1, 1, 1, 0):
            await asyncio.sleep(5)
            await handle.send("go", more)
        assert await handle.result() == 5

    run(program, workflows=[swallows])
    assert quarantine.kept_aside() == before + 1
    assert threading.active_count() <= threads + 2

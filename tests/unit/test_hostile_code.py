"""Hostile code: whatever one workflow does, the others finish, the engine closes, and nothing wrong is written."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import queue
import re
import sys
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import suppress
from typing import Any

import anyio
import pytest
from msgspec import Struct

import everlog
from everlog import Engine, WorkflowFailed, step, workflow
from everlog.memory import MemoryStore
from everlog.replay import quarantine
from everlog.replay.collector import is_collecting
from everlog.testing.simulation import SimulatedHost
from tests.support import in_state, kinds, make_store, projections_fit, run, simulate, until

CALLS: list[Any] = []
KEPT: list[Any] = []
"""What hostile code leaves lying about."""
KEPT_BEFORE: list[int] = []


@pytest.fixture(autouse=True)
def nothing_left(monkeypatch: pytest.MonkeyPatch) -> None:
    CALLS.clear()
    KEPT.clear()
    KEPT_BEFORE[:] = [quarantine.kept_aside()]
    monkeypatch.setattr(quarantine, "NAMED", 10**6)


def kept_aside() -> int:
    """Give how many workflows this test has had kept aside; they stay for ever, as must be."""
    return quarantine.kept_aside() - KEPT_BEFORE[0]


@step
async def work(n: Any) -> Any:
    CALLS.append(n)
    await asyncio.sleep(0.1)
    return n


@step
def plain(n: Any) -> Any:
    CALLS.append(n)
    return n


@workflow
async def decent(n: int) -> list[int]:
    return [await work(100 * n + i) for i in range(3)]


# -- code that does not let go


@workflow
async def swallows_around_a_step() -> None:
    while True:
        try:
            await work("again")
        except BaseException:
            CALLS.append("swallowed")


@workflow
async def swallows_around_a_wait() -> None:
    while True:
        with suppress(BaseException):
            await everlog.recv("never")


@workflow
async def swallows_around_a_sleep() -> None:
    while True:
        with suppress(BaseException):
            await asyncio.sleep(1000)


@workflow
async def swallows_around_an_event() -> None:
    event = asyncio.Event()
    while True:
        with suppress(BaseException):
            await event.wait()


@workflow
async def swallows_in_a_child() -> None:
    async def child() -> None:
        while True:
            with suppress(BaseException):
                await everlog.recv("never")

    KEPT.append(asyncio.create_task(child()))
    await everlog.recv("never")


@workflow
async def swallows_around_a_timeout() -> None:
    while True:
        with suppress(BaseException):
            async with asyncio.timeout(5000):
                await asyncio.get_running_loop().create_future()


async def never_closes() -> AsyncGenerator[int, None]:
    while True:
        with suppress(BaseException):
            yield 1
        with suppress(BaseException):
            await everlog.recv("never")


@workflow
async def has_a_generator_that_never_closes() -> None:
    generator = never_closes()
    KEPT.append(generator)
    await anext(generator)
    await everlog.recv("never")


@workflow
async def polls() -> None:
    while not KEPT:  # noqa: ASYNC110 - what the test is about
        await asyncio.sleep(0)
    await everlog.recv("never")


HOLDING: list[Any] = [
    swallows_around_a_step,
    swallows_around_a_wait,
    swallows_around_a_sleep,
    swallows_around_an_event,
    swallows_in_a_child,
    swallows_around_a_timeout,
    has_a_generator_that_never_closes,
    polls,
]


@pytest.mark.parametrize("flow", HOLDING)
@pytest.mark.parametrize("cancelled", [False, True])
def test_code_that_does_not_let_go_holds_up_nobody(
    flow: Any, cancelled: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        async with Engine(store, host=host.sibling(), workflows=[flow, decent], grace=1) as engine:
            hostile = await engine.start(flow.options(id="hostile"))
            others = [await engine.start(decent, n) for n in range(3)]
            await asyncio.sleep(0.05)
            if cancelled:
                await hostile.cancel()
            for n, other in enumerate(others):
                assert await other.result() == [100 * n + i for i in range(3)]
            closing = host.monotonic()
        assert host.monotonic() - closing < 2, "it closes within its grace time"
        (head,) = store.heads(["hostile"])
        assert head is not None
        assert head.token is None, "handed back"
        written = store.read("hostile")
        gc.collect()
        await asyncio.sleep(100)
        gc.collect()
        assert store.read("hostile") == written
        assert [row.seq for row in written] == list(range(1, len(written) + 1))
        assert store.workers() == []

    simulate(program)
    warned = [record.getMessage() for record in caplog.records if "kept aside" in record.getMessage()]
    assert len(warned) == kept_aside() <= 1
    if warned:
        assert "'hostile'" in warned[0]
    if flow in (swallows_around_a_wait, swallows_around_a_sleep, swallows_in_a_child):
        assert warned


def test_swallowing_goes_on_where_the_other_engine_takes_over() -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        for _ in range(5):
            async with Engine(store, host=host.sibling(), workflows=[swallows_around_a_step], grace=1) as engine:
                await engine.start(swallows_around_a_step.options(id="hostile"))
                await asyncio.sleep(1)
            assert kept_aside() > 0
        projections_fit(store, "hostile")

    simulate(program)


def test_of_very_many_only_some_are_named(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    before = quarantine.kept_aside()
    monkeypatch.setattr(quarantine, "NAMED", before + 10)

    async def program(engine: Engine) -> None:
        for _ in range(200):
            await engine.start(swallows_around_a_wait)
        await asyncio.sleep(1)

    run(program, workflows=[swallows_around_a_wait], grace=0)
    assert kept_aside() == 200
    warned = [record.getMessage() for record in caplog.records if "kept aside" in record.getMessage()]
    assert len(warned) == 10 + sum(number % 100 == 0 for number in range(before + 11, before + 201))
    assert re.search(r"\(\d+00 such are kept", warned[-1])


# -- finally


@workflow
async def cleans_up_with_steps() -> None:
    try:
        await everlog.recv("never")
    finally:
        CALLS.append("begins to clean up")
        await work("cleaned up")
        CALLS.append("went on")


def test_finally_runs_its_steps_at_a_cancel_and_none_at_a_teardown() -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        async with Engine(store, host=host.sibling(), workflows=[cleans_up_with_steps]) as engine:
            handle = await engine.start(cleans_up_with_steps.options(id="flow"))
            await in_state(handle, "waiting")
        assert CALLS == ["begins to clean up"], "the step raised TornDown"
        before = store.read("flow")
        async with Engine(store, host=host.sibling(), workflows=[cleans_up_with_steps]) as engine:
            handle = engine.handle("flow")
            assert store.read("flow")[: len(before)] == before
            assert not {"step_started", "step_completed"} & set(await kinds(handle))
            await handle.cancel()
            with pytest.raises(everlog.WorkflowCancelled):
                await handle.result()
            assert CALLS == ["begins to clean up", "begins to clean up", "cleaned up", "went on"]
            assert (await kinds(handle)).count("step_completed") == 1

    simulate(program)


@workflow
async def cleans_up_under_anyio() -> str:
    with anyio.move_on_after(0.5):  # too soon to be parked, when clean-up begins as well
        async with asyncio.TaskGroup() as group:
            group.create_task(cleans_up_with_steps.fn())
    return "moved on"


def test_anyio_around_a_task_group_whose_clean_up_calls_a_step() -> None:
    async def program(engine: Engine) -> str:
        return await engine.run(cleans_up_under_anyio)

    assert run(program, workflows=[cleans_up_under_anyio]) == "moved on"
    assert CALLS[:2] == ["begins to clean up", "cleaned up"]


# -- the collector


class CallsAStep:
    def __init__(self, how: str) -> None:
        self.how = how
        self.me: Any = None

    def __del__(self) -> None:
        CALLS.append("finalised")
        if self.how == "plain":
            plain("from a finaliser")
        elif self.how == "random":
            everlog.random().random()
        else:
            coroutine = work("from a finaliser")
            KEPT.append(coroutine)


@workflow
async def leaves_a_cycle(how: str) -> None:
    thing = CallsAStep(how)
    thing.me = thing
    del thing
    await asyncio.sleep(1)


@workflow
async def collects(how: str) -> Any:
    await asyncio.sleep(2)
    gc.collect()
    return await work(how)


def step_in_a_finally() -> Generator[int]:
    try:
        yield 1
    finally:
        CALLS.append("finalised")
        plain("from a finaliser")


@workflow
async def leaves_a_generator(how: str) -> None:
    generator: Any = step_in_a_finally()
    next(generator)
    cycle: list[Any] = [generator]
    cycle.append(cycle)
    await asyncio.sleep(1)


@pytest.mark.parametrize(
    ("flow", "how"),
    [(leaves_a_cycle, "plain"), (leaves_a_cycle, "random"), (leaves_a_cycle, "async"), (leaves_a_generator, "plain")],
)
def test_a_finaliser_that_the_collector_runs_is_nobodys_code(
    flow: Any, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs while another workflow works: neither does its step run, nor is it taken for that workflow's."""
    refused: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", refused.append)

    async def program(engine: Engine) -> list[str]:
        other = await engine.start(collects.options(id="other"), "mine")
        await engine.start(flow.options(id="hostile"), how)
        assert await other.result() == "mine"
        return await kinds(other)

    gc.collect()
    gc.disable()
    try:
        seen = run(program, workflows=[flow, collects])
    finally:
        gc.enable()
    assert CALLS == ["finalised", "mine"]
    assert seen.count("step_completed") == 1
    assert len(refused) == 1
    assert isinstance(refused[0].exc_value, everlog.WrongContext)


def test_the_collector_is_watched_without_a_line_of_python() -> None:
    """Python code lets other threads run, amid code in C that does not expect it."""
    (watch,) = [one for one in gc.callbacks if isinstance(one, functools.partial)]
    called: list[str] = []

    def profile(frame: Any, event: str, argument: Any) -> None:
        if event == "call":
            called.append(frame.f_code.co_name)

    sys.setprofile(profile)
    watch("start", {})
    during = is_collecting()
    watch("stop", {})
    after = is_collecting()
    sys.setprofile(None)
    assert (during, after) == (True, False)
    assert called == ["is_collecting", "is_collecting"]


def test_what_was_suspended_is_never_left_to_the_collector() -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        async with Engine(store, host=host.sibling(), workflows=HOLDING, grace=0) as engine:
            for flow in HOLDING:
                await engine.start(flow)
            await asyncio.sleep(1)

    simulate(program)
    seen: list[Any] = []
    before = sys.unraisablehook
    sys.unraisablehook = seen.append
    try:
        KEPT.clear()
        CALLS.clear()
        gc.collect()
        gc.collect()
    finally:
        sys.unraisablehook = before
    assert seen == []
    assert CALLS == []


# -- code that ends otherwise than by returning


@workflow
async def ends_by(how: str) -> None:
    await work("begun")
    match how:
        case "sys.exit":
            sys.exit(3)
        case "KeyboardInterrupt":
            raise KeyboardInterrupt
        case "GeneratorExit":
            raise GeneratorExit
        case "StopIteration":
            raise StopIteration
        case "CancelledError":
            raise asyncio.CancelledError
        case "recursion":
            await dives(0)
        case "close":
            asyncio.get_running_loop().close()
        case "stop":
            asyncio.get_running_loop().stop()
        case "run":
            asyncio.get_running_loop().run_forever()
        case "set":
            asyncio.set_event_loop(None)
            asyncio.events._set_running_loop(None)
            await work("with another loop")
        case "memory":
            raise MemoryError
        case _:
            raise AssertionError


async def dives(depth: int) -> None:
    await dives(depth + 1)


ENDS = {
    "sys.exit": "failed",
    "KeyboardInterrupt": "failed",
    "GeneratorExit": "failed",
    "StopIteration": "failed",
    "CancelledError": "cancelled",
    "recursion": "stuck",
    "memory": "stuck",
    "close": "failed",
    "stop": "failed",
    "run": "failed",
    "set": "completed",
}


@pytest.mark.parametrize(("how", "state"), ENDS.items())
def test_however_a_workflow_ends_the_others_finish(how: str, state: str) -> None:
    async def main() -> None:
        async with Engine(MemoryStore(), workflows=[ends_by, decent], grace=1) as engine:
            handle = await engine.start(ends_by.options(id="hostile"), how)
            others = [await engine.start(decent, n) for n in range(3)]
            for n, other in enumerate(others):
                assert await other.result(timeout=20) == [100 * n + i for i in range(3)]
            await in_state(handle, state)
            if state == "failed":
                with pytest.raises(WorkflowFailed):
                    await handle.result()
            assert await engine.run(decent, 7) == [700, 701, 702]

    asyncio.run(main())
    assert CALLS.count("begun") == 1


# -- threads


class Toucher:
    """A thread that was there before, and does what it is told."""

    def __init__(self) -> None:
        self._told: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[None] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def run(self, function: Any) -> None:
        self._told.put(function)
        self._done.get()

    def end(self) -> None:
        self._told.put(None)

    def _work(self) -> None:
        while (function := self._told.get()) is not None:
            function()
            self._done.put(None)


@workflow
async def is_touched_by_a_thread(how: str) -> str:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[str] = loop.create_future()
    said: list[str] = []

    def touch() -> None:
        try:
            match how:
                case "future":
                    future.set_result("from a thread")
                case "loop":
                    loop.call_soon_threadsafe(future.set_result, "from a thread")
                case "task":
                    task: Any = asyncio.run_coroutine_threadsafe(work("from a thread"), loop)
                    task.result(0.01)
                case _:
                    raise AssertionError
        except BaseException as error:
            said.append(type(error).__name__)

    KEPT.append(said)
    future.add_done_callback(lambda done: CALLS.append("was woken"))
    toucher: Toucher = KEPT[0]
    toucher.run(touch)
    await work("mine")
    return await future


@pytest.mark.parametrize("how", ["future", "loop", "task"])
@pytest.mark.filterwarnings("ignore:coroutine 'work' was never awaited:RuntimeWarning")
def test_a_thread_that_touches_a_workflow_makes_it_stuck_and_says_why(how: str) -> None:
    async def main() -> None:
        async with Engine(MemoryStore(), workflows=[is_touched_by_a_thread, decent], guards="off", grace=1) as engine:
            hostile = await engine.start(is_touched_by_a_thread, how)
            assert await engine.run(decent, 1) == [100, 101, 102]
            await in_state(hostile, "stuck")
            assert "not in its log" in (await hostile.status()).why

    toucher = Toucher()
    KEPT.append(toucher)
    asyncio.run(main())
    toucher.end()
    assert KEPT[1] == ["WrongContext"]
    assert "was woken" not in CALLS
    assert "from a thread" not in CALLS


# -- very much of something


@workflow
async def makes_very_many_tasks(count: int) -> int:
    async def one(n: int) -> int:
        await asyncio.sleep(0)
        return n

    return sum(await asyncio.gather(*(one(n) for n in range(count))))


def test_very_many_tasks() -> None:
    async def main() -> None:
        async with Engine(MemoryStore(), workflows=[makes_very_many_tasks, decent], grace=1, lease=60) as engine:
            hostile = await engine.start(makes_very_many_tasks, 100_000)
            assert await engine.run(decent, 1) == [100, 101, 102]
            assert await hostile.result() == sum(range(100_000))

    asyncio.run(main())


# -- steps that never return


RELEASE: list[Any] = []


@step
async def ignores_its_cancel() -> None:
    CALLS.append("begun")
    while not RELEASE[0].is_set():
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0.01)
    CALLS.append("released")


@step
def blocks_its_thread() -> None:
    CALLS.append("begun")
    RELEASE[0].wait(60)
    CALLS.append("released")


@workflow
async def calls_what_never_returns(how: str) -> None:
    if how == "async":
        await ignores_its_cancel()
    else:
        await everlog.call(blocks_its_thread)


@pytest.mark.parametrize("how", ["async", "thread"])
def test_an_engine_closes_without_a_step_that_never_returns(how: str) -> None:
    RELEASE[:] = [threading.Event()]

    async def main() -> None:
        store = MemoryStore()
        async with Engine(store, workflows=[calls_what_never_returns, decent], grace=0.1) as engine:
            await engine.start(calls_what_never_returns.options(id="hostile"), how)
            assert await engine.run(decent, 1) == [100, 101, 102]
        assert "released" not in CALLS, "the engine closed first"
        (head,) = store.heads(["hostile"])
        assert head is not None
        assert head.token is None
        written = store.read("hostile")
        RELEASE[0].set()
        await until(lambda: "released" in CALLS)
        assert store.read("hostile") == written, "its end is nobody's"

    asyncio.run(main())


# -- arguments


class Picky(Struct):
    n: int

    def __post_init__(self) -> None:
        if KEPT:
            raise ZeroDivisionError(f"no {self.n} any more")


@workflow
async def takes_a_picky_one(picky: Picky) -> int:
    await everlog.recv("go")
    return picky.n


def test_a_workflow_whose_arguments_cannot_be_made_is_stuck_and_the_others_finish() -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        async with Engine(store, host=host.sibling(), workflows=[takes_a_picky_one]) as engine:
            await in_state(await engine.start(takes_a_picky_one.options(id="hostile"), Picky(3)), "waiting")
        KEPT.append("now it raises")
        async with Engine(store, host=host.sibling(), workflows=[takes_a_picky_one, decent]) as engine:
            await engine.send("hostile", "go", 1)
            assert await engine.run(decent, 1) == [100, 101, 102]
            await in_state(engine.handle("hostile"), "stuck")
            assert "no 3 any more" in (await engine.handle("hostile").status()).why

    simulate(program)


def test_logging_of_this_module_is_quiet_where_all_is_well(caplog: pytest.LogCaptureFixture) -> None:
    async def program(engine: Engine) -> None:
        assert await engine.run(decent, 1) == [100, 101, 102]

    run(program, workflows=[decent])
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []

"""Strands: what hostile or careless blocking code does to its threads, to other workflows, and to itself: nothing."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

import everlog
from everlog import Engine, SyncWorkflow, Workflow, WorkflowFailed, step, sync, workflow
from everlog.host import IDLE_THREAD, Job, SystemHost, ThreadPool
from everlog.memory import MemoryStore
from everlog.replay import quarantine
from everlog.replay.execution import Execution
from everlog.testing.simulation import SimulatedHost
from tests.support import in_state, kinds, simulate

LOG: list[Any] = []


@pytest.fixture(autouse=True)
def all_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "NAMED", 10**6)


@pytest.fixture(autouse=True)
def no_log() -> None:
    LOG.clear()


@step
def note(what: str) -> str:
    LOG.append(what)
    return what


Anything = Workflow[..., Any] | SyncWorkflow[..., Any]


def executions_of(engine: Engine) -> list[Execution]:
    shell: Any = engine._shell
    return [resident.execution for resident in shell.worker.residents.values()]


def dropped_and_resumed(flow: Anything, then: Callable[[Engine], Awaitable[Any]], *more: Anything) -> Any:
    """Run a workflow until it waits, drop it by closing its engine, and go on with another engine."""

    async def main(host: SimulatedHost) -> Any:
        store = MemoryStore(clock=host.wall)
        async with Engine(store, host=host, workflows=[flow, *more], grace=0) as engine:
            await in_state(await engine.start(flow.options(id="one")), "waiting")
            (execution,) = executions_of(engine)
        LOG.append("resumed")
        async with Engine(store, host=host, workflows=[flow, *more], grace=0) as engine:
            result = await then(engine)
        return execution, result

    return simulate(main)


async def wake(engine: Engine) -> Any:
    handle = engine.handle("one")
    await handle.send("go on", "message")
    return await handle.result()


# -- being dropped from memory -----------------------------------------------------------------------------------------


def test_finally_blocks_run_when_it_is_dropped_and_their_steps_do_nothing() -> None:
    @workflow(name="finally")
    def flow() -> str:
        try:
            try:
                with sync.timeout(1000):
                    return str(sync.recv("go on"))
            finally:
                LOG.append("inner")
                note("inner step")
        finally:
            LOG.append("outer")
            note("outer step")

    execution, result = dropped_and_resumed(flow, wake)
    assert result == "message"
    assert LOG == ["inner", "outer", "resumed", "inner", "inner step", "outer", "outer step"]
    assert not execution.strands


def test_all_branches_give_their_threads_back_when_it_is_dropped() -> None:
    @workflow(name="branches")
    def flow() -> list[str]:
        def branch(number: int) -> str:
            try:
                return f"{number} {sync.recv(f'{number}', timeout=1000, default='nothing')}"
            finally:
                note("step")

        sync.submit(branch, 7)
        return sync.map(branch, range(5))

    held: list[int] = []

    async def main(host: SimulatedHost) -> None:
        async with Engine(MemoryStore(clock=host.wall), host=host, workflows=[flow], grace=0) as engine:
            await in_state(await engine.start(flow), "waiting")
            (execution,) = executions_of(engine)
            held.append(len(execution.strands))
            assert all(strand.thread in {one.ident for one in threading.enumerate()} for strand in execution.strands)
            assert execution.running is None
        held.append(len(execution.strands))

    kept = quarantine.kept_aside()
    simulate(main)
    assert held == [7, 0], "one thread for the workflow, one for each branch"
    assert LOG == []
    assert quarantine.kept_aside() == kept


def test_being_dropped_is_no_cancellation() -> None:
    @workflow(name="waits for a branch")
    def flow() -> str:
        future = sync.submit(lambda: str(sync.recv("go on")))
        try:
            return future.result()
        except asyncio.CancelledError:
            LOG.append("cancelled")
            raise

    assert dropped_and_resumed(flow, wake)[1] == "message"
    assert LOG == ["resumed"]


def swallow(ask: Callable[[], object]) -> str:
    """Swallow whatever is raised, again and again, until there is an answer."""
    while True:
        try:
            return str(ask())
        except BaseException as error:
            LOG.append(type(error).__name__)


@workflow(name="swallows")
def swallows() -> str:
    return swallow(lambda: sync.recv("go on"))


@workflow(name="swallows, async")
async def swallows_async() -> str:
    while True:
        try:
            return str(await everlog.recv("go on"))
        except BaseException as error:
            LOG.append(type(error).__name__)


@workflow(name="swallows timers, async")
async def swallows_timers_async() -> str:
    while True:
        try:
            return str(await asyncio.wait_for(everlog.recv("go on"), 1000))
        except BaseException as error:
            LOG.append(type(error).__name__)


@workflow(name="swallows in branches")
def swallows_in_branches() -> str:
    def branch(_: int) -> str:
        return swallow(lambda: sync.recv("go on", timeout=1000))

    sync.submit(branch, 0)
    return swallow(lambda: sync.map(branch, [0]))


@workflow(name="bystander")
def bystander() -> str:
    return note("bystander")


@pytest.mark.parametrize(
    "flow", [swallows, swallows_async, swallows_timers_async, swallows_in_branches], ids=lambda flow: flow.name
)
def test_code_that_swallows_its_teardown_is_left_behind_and_harms_nobody(
    flow: Anything, caplog: pytest.LogCaptureFixture
) -> None:
    kept = quarantine.kept_aside()

    async def both(engine: Engine) -> list[Any]:
        return [await engine.run(bystander), flow is swallows_in_branches or await wake(engine)]

    with caplog.at_level(logging.WARNING, "everlog"):
        execution, result = dropped_and_resumed(flow, both, bystander)
    assert result[0] == "bystander"
    assert result[1] in ("message", True)
    assert quarantine.kept_aside() == kept + 1
    assert quarantine._kept[kept] is execution
    assert "swallowed its teardown 3 times; its code is kept aside in memory" in caplog.text
    if isinstance(flow, SyncWorkflow):
        assert f", with {len(execution.strands)} threads," in caplog.text
    ends = LOG[: LOG.index("resumed")]
    assert {"TornDown"} <= set(ends) <= {"TornDown", "CancelledError", "BaseExceptionGroup"}
    assert len(ends) < 1000


def test_what_was_left_to_swallow_at_the_end_of_a_workflow_does_not_hold_it_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @workflow(name="leaves one behind")
    def flow() -> str:
        sync.submit(swallow, lambda: note("never"))
        sync.submit(swallow, lambda: sync.recv("go on"))
        return note("result")

    async def main(host: SimulatedHost) -> list[str]:
        async with Engine(MemoryStore(clock=host.wall), host=host, workflows=[flow]) as engine:
            handle = await engine.start(flow)
            assert await handle.result() == "result"
            return await kinds(handle)

    assert simulate(main)[-1] == "workflow_completed"
    assert "swallowed its teardown" in caplog.text


class ManyErrors(Exception):
    exceptions = 7
    """Not what a group of exceptions has."""


class OddGroup(ExceptionGroup[Exception]):
    @property
    def exceptions(self) -> Any:  # type: ignore[override] # that is the test
        raise RuntimeError("as the test asked")


@pytest.mark.parametrize("error", [ManyErrors("many"), OddGroup("odd", [ValueError()])], ids=["attribute", "group"])
def test_whatever_an_exception_is_the_workflow_fails_with_it(error: Exception) -> None:
    @workflow(name="raises")
    def flow() -> None:
        note("raises")
        raise error

    async def main(host: SimulatedHost) -> None:
        async with Engine(MemoryStore(clock=host.wall), host=host, workflows=[flow]) as engine:
            with pytest.raises(WorkflowFailed, match=type(error).__name__):
                await engine.run(flow)

    simulate(main)


# -- generators --------------------------------------------------------------------------------------------------------


def numbers() -> Generator[int]:
    try:
        yield 1
        yield 2
    finally:
        note("closed")


def record(flow: Anything, *more: Anything) -> list[str]:
    """Run workflows to their ends; give the names of the operations of the first."""

    async def main(host: SimulatedHost) -> list[str]:
        async with Engine(MemoryStore(clock=host.wall), host=host, workflows=[flow, *more]) as engine:
            handle = await engine.start(flow)
            for one in more:
                await engine.run(one)
            await handle.result()
            return [event.data["operation"] for event in await handle.history() if "operation" in event.data]

    return simulate(main)


def test_a_generator_that_is_not_closed_ends_with_the_function_that_had_it() -> None:
    @workflow(name="forgets a generator")
    def flow() -> int:
        iterator = numbers()
        return next(iterator)

    assert record(flow) == ["note"]
    assert LOG == ["closed"]


class LateHost(SimulatedHost):
    """A host whose threads let go of what they ran some time after it has ended."""

    def run_aside(self, function: Job) -> None:
        def late() -> Callable[[], None]:
            last = function()
            return partial(hand_back, last, function)

        def hand_back(last: Callable[[], object] | None, _: Job) -> None:
            if last is not None:
                last()
            time.sleep(0.05)

        super().run_aside(late)


@pytest.mark.parametrize("fails", [False, True])
def test_a_generator_that_was_an_argument_ends_with_its_branch_and_in_it(fails: bool) -> None:
    @workflow(name="hands over a generator")
    def flow() -> int:
        def consume(iterator: Generator[int]) -> int:
            return next(iterator) // (0 if fails else 1)

        with suppress(ZeroDivisionError):
            sync.submit(consume, numbers()).result()
        return len(LOG)

    async def main(host: SimulatedHost) -> list[str]:
        late = LateHost(0, loop=host.loop)
        async with Engine(MemoryStore(clock=host.wall), host=late, workflows=[flow]) as engine:
            handle = await engine.start(flow)
            assert await handle.result() == 1
            return [event.data["operation"] for event in await handle.history() if "operation" in event.data]

    assert simulate(main) == ["consume/note"]
    assert LOG == ["closed"]


def test_a_generator_that_is_not_closed_ends_with_the_failure_of_the_function_that_had_it() -> None:
    @workflow(name="fails with a generator")
    def flow() -> int:
        iterator = numbers()
        try:
            return 1 // (next(iterator) - 1)
        except ZeroDivisionError as error:
            raise ValueError("no") from error

    async def main(host: SimulatedHost) -> list[str]:
        async with Engine(MemoryStore(clock=host.wall), host=host, workflows=[flow]) as engine:
            handle = await engine.start(flow)
            with pytest.raises(everlog.WorkflowFailed, match="no"):
                await handle.result()
            return await kinds(handle)

    assert simulate(main)[-2:] == ["step_completed", "workflow_failed"]
    assert LOG == ["closed"]


def test_a_generator_that_is_open_when_the_workflow_is_dropped_ends_in_silence() -> None:
    @workflow(name="is dropped with a generator")
    def flow() -> str:
        iterator = numbers()
        next(iterator)
        return str(sync.recv("go on"))

    assert dropped_and_resumed(flow, wake)[1] == "message"
    assert LOG == ["resumed", "closed"]


# -- threads -----------------------------------------------------------------------------------------------------------


def test_where_the_machine_has_no_thread_the_workflow_is_stuck_and_the_history_untouched() -> None:
    @workflow(name="needs a thread")
    def flow() -> str:
        return note("ran")

    class Exhausted(SimulatedHost):
        def run_aside(self, function: Callable[[], None]) -> None:
            raise RuntimeError("can't start new thread")

    host = Exhausted(0)

    async def main() -> tuple[str, list[str]]:
        async with Engine(MemoryStore(clock=host.wall), host=host, workflows=[flow]) as engine:
            handle = await engine.start(flow)
            await in_state(handle, "stuck")
            return (await handle.status()).why, await kinds(handle)

    why, events = host.run(main())
    assert "needs a thread for its blocking code, and there is none: can't start new thread" in why
    assert events == ["workflow_created", "workflow_began"]


def test_the_garbage_collector_is_left_alone() -> None:
    """A Python function among its callbacks lets threads switch in the midst of C code that does not expect it: under
    3.11 `ast.parse` in two threads at once then fails with SystemError, in whatever step it is."""
    program = (
        "import gc, everlog.sync, everlog.testing, sys; sys.exit(any(hasattr(one, '__code__') for one in gc.callbacks))"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=30, check=False).returncode == 0


def test_threads_are_used_again() -> None:
    pool = ThreadPool("tried", limit=None)
    ran: list[int] = []
    done = threading.Event()

    def work() -> None:
        ran.append(threading.get_ident())
        done.set()

    for _ in range(20):
        done.clear()
        pool.submit(work)
        assert done.wait(10)
        while not pool._idle:  # it has said so, and is about to
            threading.Event().wait(0.001)
    assert len(set(ran)) == 1


def test_idle_threads_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert IDLE_THREAD > 1
    monkeypatch.setattr("everlog.host.IDLE_THREAD", 0.01)
    pool = ThreadPool("tried", limit=None)
    both = threading.Barrier(2)
    threads: list[threading.Thread] = []

    def work() -> None:
        threads.append(threading.current_thread())
        both.wait(10)

    for _ in range(2):
        pool.submit(work)
    while len(threads) < 2:
        threading.Event().wait(0.001)
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    assert pool._threads == 0


def test_a_pool_without_a_limit_raises_where_no_thread_can_be_made_and_one_with_a_limit_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran, go_on = threading.Event(), threading.Event()
    limited = ThreadPool("tried", limit=5)

    def waits() -> None:
        assert go_on.wait(10)

    limited.submit(waits)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            ThreadPool("tried", limit=None).submit(ran.set)
        with pytest.raises(RuntimeError, match="can't start"):
            ThreadPool("tried", limit=5).submit(ran.set)
        limited.submit(ran.set)
    assert not ran.is_set()
    go_on.set()
    assert ran.wait(10)


def test_the_threads_of_a_real_engine_are_daemons() -> None:
    seen: list[threading.Thread] = []
    done = threading.Event()

    def work() -> None:
        seen.append(threading.current_thread())
        done.set()

    SystemHost().run_aside(work)
    assert done.wait(10)
    assert seen[0].daemon, "they never hold up the exit"

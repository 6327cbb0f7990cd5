"""Shutdown: what an engine does with its work when it is closed, interrupted, or used where it cannot be."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import everlog
from everlog import Client, Engine, StoreUnavailable, UsageError, WrongContext, step, workflow
from everlog.memory import MemoryStore
from everlog.testing.simulation import SimulatedHost
from tests.support import FlakyStore, in_state, kinds, make_store, on_both_stores, run, simulate, until

PROGRAM = Path(__file__).parents[1] / "crash" / "retrying.py"
CALLS: list[Any] = []


@pytest.fixture(autouse=True)
def no_calls() -> None:
    CALLS.clear()


@step
async def takes(seconds: float) -> float:
    CALLS.append("began")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        CALLS.append("cut short")
        raise
    CALLS.append("ended")
    return seconds


@step(at_most_once=True)
async def once() -> str:
    CALLS.append("once")
    return "ran"


@workflow
async def two_steps(seconds: float) -> list[Any]:
    return [await takes(seconds), await once()]


@workflow
async def sleeps_long() -> str:
    await asyncio.sleep(1000)
    return "slept"


@workflow
async def waits() -> Any:
    return await everlog.recv("go")


FLOWS: list[Any] = [two_steps, sleeps_long, waits]


# -- closing


@on_both_stores
def test_closing_waits_for_running_steps_and_hands_back_what_waits(kind: str, tmp_path: Any) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        async with Engine(store, host=host.sibling(), workflows=FLOWS, grace=30) as first:
            for flow, args in ((two_steps, (10,)), (sleeps_long, ()), (waits, ())):
                await first.start(flow.options(id=flow.name), *args)
            await until(lambda: CALLS == ["began"])
            closing = host.monotonic()
        assert 9 < host.monotonic() - closing < 11
        assert CALLS == ["began", "ended"]
        async with Client(store, host=host.sibling()) as client:
            for status in await client.workflows():
                assert status.worker is None
                assert status.state == ("running" if status.name == "two_steps" else "waiting")
            assert "step_completed" in await kinds(client.handle("two_steps"))
        reopened = host.monotonic()
        async with Engine(store, host=host.sibling(), workflows=FLOWS) as second:
            assert await second.handle("two_steps").result() == [10, "ran"], "it was not begun, so not interrupted"
            assert host.monotonic() - reopened < 0.5, "handed back, so nobody waits for a lease"
            await second.send("waits", "go", 1)
            assert await second.handle("waits").result() == 1
            await second.cancel("sleeps_long")

    simulate(program)


def test_what_does_not_end_in_the_grace_time_is_cut_short_and_runs_again() -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        async with Engine(store, host=host.sibling(), workflows=FLOWS, grace=2) as first:
            await first.start(two_steps.options(id="flow"), 10)
            await asyncio.sleep(1)
            closing = host.monotonic()
        assert 2 <= host.monotonic() - closing < 3
        await asyncio.sleep(0.01)
        assert CALLS == ["began", "cut short"]
        async with Engine(store, host=host.sibling(), workflows=FLOWS) as second:
            assert await second.handle("flow").result() == [10, "ran"]
            assert "step_failed" not in await kinds(second.handle("flow"))
        assert CALLS == ["began", "cut short", "began", "ended", "once"]

    simulate(program)


def test_without_grace_work_is_handed_back_at_once() -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        async with Engine(store, host=host.sibling(), workflows=FLOWS, grace=0) as first:
            await first.start(two_steps.options(id="flow"), 10)
            await asyncio.sleep(1)
            closing = host.monotonic()
        assert host.monotonic() - closing < 0.2
        async with Engine(store, host=host.sibling(), workflows=FLOWS) as second:
            assert await second.handle("flow").result() == [10, "ran"]

    simulate(program)


def test_closing_while_the_store_is_down_ends_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    host = SimulatedHost(0)

    async def program() -> None:
        shared = make_store(host)
        store = FlakyStore(shared)
        async with Engine(store, host=host.sibling(), workflows=FLOWS, grace=1) as first:
            await first.start(two_steps.options(id="flow"), 3)
            await asyncio.sleep(0.5)
            store.down = True
            closing = host.monotonic()
        assert host.monotonic() - closing < 10
        await asyncio.sleep(20)
        async with Engine(shared, host=host.sibling(), workflows=FLOWS) as second:
            assert await second.handle("flow").result() == [3, "ran"]

    host.run(program())


def test_who_waits_for_a_result_when_the_engine_closes_is_told() -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        async with Engine(store, host=host.sibling(), workflows=FLOWS) as first:
            handle = await first.start(waits.options(id="flow"))
            waiting = asyncio.ensure_future(handle.result())
            await asyncio.sleep(1)
        with pytest.raises(StoreUnavailable, match="closed"):
            await asyncio.wait_for(waiting, 5)

    simulate(program)


def test_calls_in_flight_when_the_engine_closes_end() -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        engine = Engine(store, host=host.sibling(), workflows=FLOWS)
        async with engine:
            calls = [asyncio.ensure_future(engine.start(waits)) for _ in range(20)]
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            ends = await asyncio.gather(*calls, return_exceptions=True)
        started = [end for end in ends if not isinstance(end, BaseException)]
        assert all(isinstance(end, (everlog.Handle, StoreUnavailable, UsageError)) for end in ends)
        async with Client(store, host=host.sibling()) as client:
            assert len(await client.workflows()) >= len(started)
            assert all(status.worker is None for status in await client.workflows())

    simulate(program)


def test_who_asks_for_a_result_while_the_engine_closes_is_told_as_well() -> None:
    async def main() -> None:
        store = MemoryStore()
        async with Engine(store, workflows=FLOWS, grace=0) as engine:
            await engine.start(waits.options(id="flow"))
            client = await Client(store).__aenter__()
            gate = threading.Event()
            client._open_shell().submit(lambda: gate.wait() and None)
            closing = asyncio.ensure_future(client.__aexit__(None, None, None))
            await asyncio.sleep(0)
            asking = asyncio.ensure_future(client.handle("flow").result())
            await asyncio.sleep(0)  # it comes to the thread of the client after the order to close
            gate.set()
            await closing
            with pytest.raises(StoreUnavailable, match="closed"):
                await asyncio.wait_for(asking, 5)

    asyncio.run(main())


@pytest.mark.parametrize("url", ["memory://", "sqlite:///{}/everlog.db"])
def test_opening_and_closing_says_nothing_and_leaves_no_threads_of_the_engine(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        for _ in range(3):
            async with Engine(url.format(tmp_path), workflows=FLOWS) as engine:
                await engine.start(sleeps_long)
                assert await engine.run(two_steps, 0.01) == [0.01, "ran"]

    gc.collect()  # what other tests left to die
    caplog.clear()
    before = set(threading.enumerate())
    asyncio.run(main())
    for _ in range(1_000):
        left = {thread for thread in set(threading.enumerate()) - before if "step" not in thread.name}
        if not left:
            break
        time.sleep(0.01)
    assert left == set()
    gc.collect()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_no_worker_is_left_registered(tmp_path: Path) -> None:
    async def main() -> None:
        for _ in range(5):
            async with Engine(f"sqlite:///{tmp_path}/everlog.db", workflows=FLOWS, lease=0.05) as engine:
                await asyncio.sleep(0.06)
                await engine.start(sleeps_long)
        async with Client(f"sqlite:///{tmp_path}/everlog.db") as client:

            def read() -> int:
                return len(client.store.workers())

            assert await client.on_thread(read) == 0

    asyncio.run(main())
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".lock")] == []


# -- the end of asyncio.run


def test_the_end_of_asyncio_run_is_no_outcome_of_a_step(tmp_path: Path) -> None:
    """The engine lives in a task that is cancelled together with its steps."""
    url = f"sqlite:///{tmp_path}/everlog.db"

    async def first() -> None:
        async def serve() -> None:
            async with Engine(url, workflows=FLOWS, grace=1) as engine:
                await engine.start(two_steps.options(id="flow"), 0.3)
                opened.set()
                await asyncio.sleep(100)

        opened = asyncio.Event()
        task = asyncio.ensure_future(serve())
        await opened.wait()
        await until(lambda: bool(CALLS))
        assert not task.done()

    asyncio.run(first())
    assert CALLS == ["began", "cut short"]

    async def second() -> Any:
        async with Engine(url, workflows=FLOWS) as engine:
            result = await engine.handle("flow").result(timeout=20)
            assert "step_failed" not in await kinds(engine.handle("flow"))
            return result

    assert asyncio.run(second()) == [0.3, "ran"]


@step
async def turns_a_cancel_into_an_error() -> str:
    CALLS.append("began")
    try:
        await asyncio.sleep(0.2 if CALLS.count("began") > 1 else 100)
    except asyncio.CancelledError as error:
        raise RuntimeError("connection lost") from error
    return "done"


@workflow
async def is_deployed_over() -> str:
    return await turns_a_cancel_into_an_error()


def test_an_error_that_the_end_of_asyncio_run_causes_is_no_outcome_either(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/everlog.db"

    async def first() -> None:
        async def serve() -> None:
            async with Engine(url, workflows=[is_deployed_over], grace=1) as engine:
                await engine.start(is_deployed_over.options(id="flow"))
                await asyncio.sleep(100)

        task = asyncio.ensure_future(serve())
        await until(lambda: bool(CALLS))
        assert not task.done()

    asyncio.run(first())

    async def second() -> str:
        async with Engine(url, workflows=[is_deployed_over]) as engine:
            found: str = await engine.handle("flow").result(timeout=20)
            return found

    assert asyncio.run(second()) == "done"


# -- Ctrl-C in real processes


class Child:
    def __init__(self, folder: Path, flow: str, grace: float) -> None:
        self.notes = folder / "notes"
        self.notes.touch()
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(folder / "everlog.db"), str(self.notes), flow, str(grace)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def interrupt(self) -> None:
        """Press Ctrl-C, once the program is at rest: just before it waits, Python itself can miss a signal."""
        time.sleep(0.2)
        self.process.send_signal(signal.SIGINT)

    def wait_for(self, text: str) -> None:
        until = time.monotonic() + 20
        while text not in self.notes.read_text():
            assert time.monotonic() < until, self.notes.read_text()
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.005)

    def end(self, *, within: float) -> tuple[int, str]:
        _, error = self.process.communicate(timeout=within)
        return self.process.returncode, error


@pytest.fixture
def children() -> Iterator[list[Child]]:
    made: list[Child] = []
    yield made
    for child in made:
        child.process.kill()
        child.process.communicate()


def only_keyboard_interrupt(error: str) -> None:
    assert error.strip().splitlines()[-1] == "KeyboardInterrupt"
    for noise in ("Exception ignored", "never awaited", "never retrieved", "was destroyed", "everlog:", "defect"):
        assert noise not in error, error


def test_ctrl_c_once_lets_a_step_end_in_the_grace_time(tmp_path: Path, children: list[Child]) -> None:
    child = Child(tmp_path, "short", 20)
    children.append(child)
    child.wait_for("sleeps")
    child.interrupt()
    code, error = child.end(within=10)
    assert code == -signal.SIGINT or code == 130
    only_keyboard_interrupt(error)
    assert "slept" in child.notes.read_text()


@pytest.mark.parametrize("flow", ["waits", "thread"])
def test_ctrl_c_once_ends_within_the_grace_time(flow: str, tmp_path: Path, children: list[Child]) -> None:
    child = Child(tmp_path, flow, 0.5)
    children.append(child)
    child.wait_for("sleeps")
    interrupted = time.monotonic()
    child.interrupt()
    code, error = child.end(within=10)
    assert time.monotonic() - interrupted < 4
    assert code == -signal.SIGINT or code == 130
    only_keyboard_interrupt(error)


@pytest.mark.parametrize("flow", ["waits", "thread"])
def test_ctrl_c_twice_ends_at_once(flow: str, tmp_path: Path, children: list[Child]) -> None:
    child = Child(tmp_path, flow, 60)
    children.append(child)
    child.wait_for("sleeps")
    child.interrupt()
    child.wait_for("leaving")
    interrupted = time.monotonic()
    child.interrupt()
    code, error = child.end(within=10)
    assert time.monotonic() - interrupted < 4
    assert code == -signal.SIGINT or code == 130
    only_keyboard_interrupt(error)

    async def look() -> list[str]:
        async with Client(f"sqlite:///{tmp_path}/everlog.db") as client:
            return await kinds(client.handle(flow))

    assert "step_failed" not in asyncio.run(look())
    # And the next engine goes on with it at once.
    again = Child(tmp_path, flow, 0)
    children.append(again)
    until_again = time.monotonic() + 10
    while again.notes.read_text().count("sleeps") < 2:
        assert time.monotonic() < until_again
        time.sleep(0.01)
    again.process.kill()


# -- an engine where it cannot be used


def test_an_engine_that_is_not_open_says_so() -> None:
    async def main() -> None:
        engine = Engine("memory://", workflows=FLOWS)
        for call in (
            lambda: engine.start(waits),
            lambda: engine.run(waits),
            lambda: engine.send("a", "b", 1),
            lambda: engine.cancel("a"),
            lambda: engine.handle("a").result(),
            lambda: engine.handle("a").status(),
            lambda: engine.handle("a").history(),
            lambda: engine.workflows(),
            lambda: engine.__aexit__(None, None, None),
        ):
            with pytest.raises(UsageError, match="not open"):
                await call()
        async with engine:
            handle = await engine.start(waits)
        for call in (lambda: engine.start(waits), handle.result, handle.status, lambda: handle.send("go", 1)):
            with pytest.raises(UsageError, match="not open"):
                await call()

    asyncio.run(main())


def test_an_engine_is_opened_once_at_a_time_and_may_be_opened_again() -> None:
    async def main() -> None:
        engine = Engine("memory://", workflows=FLOWS)
        async with engine:
            with pytest.raises(UsageError, match="open already"):
                await engine.__aenter__()
            assert await engine.run(two_steps, 0) == [0, "ran"]
        async with engine:
            assert await engine.run(two_steps, 0) == [0, "ran"]

    asyncio.run(main())


def test_an_engine_may_be_used_from_another_loop_than_the_one_that_opened_it() -> None:
    async def main() -> None:
        async with Engine("memory://", workflows=FLOWS) as engine:
            elsewhere = asyncio.get_running_loop().run_in_executor(None, lambda: asyncio.run(use(engine)))
            assert await elsewhere == [0, "ran"]

    async def use(engine: Engine) -> Any:
        return await engine.run(two_steps, 0)

    asyncio.run(main())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_child_is_told_that_the_engine_is_its_parents(tmp_path: Path) -> None:
    async def main() -> str:
        async with Engine(f"sqlite:///{tmp_path}/everlog.db", workflows=FLOWS) as engine:
            reading, writing = os.pipe()
            child = os.fork()
            if child == 0:
                said = "nothing"
                try:
                    engine.start(waits).send(None)
                except BaseException as error:
                    said = f"{type(error).__name__}: {error}"
                os.write(writing, said.encode())
                os._exit(0)
            os.close(writing)
            with os.fdopen(reading) as pipe:
                said = pipe.read()
            os.waitpid(child, 0)  # noqa: ASYNC222 - it has ended: it has closed its end of the pipe
            assert await engine.run(two_steps, 0) == [0, "ran"], "the parent goes on"
            return said

    said = asyncio.run(main())
    assert said.startswith("UsageError")
    assert "fork" in said


HELD: list[Engine] = []


@workflow
async def uses_its_engine(what: str) -> str:
    engine = HELD[0]
    try:
        match what:
            case "start":
                await engine.start(waits)
            case "send":
                await engine.send("x", "y", 1)
            case "result":
                await engine.handle("x").result()
            case "cancel":
                await engine.cancel("x")
            case "list":
                await engine.workflows()
            case "open":
                async with Engine("memory://", workflows=FLOWS):
                    pass
            case "run":
                running = takes.fn(0)
                try:
                    asyncio.run(running)
                finally:
                    running.close()
            case _:
                raise AssertionError
    except WrongContext as error:
        return str(error)
    except RuntimeError as error:
        return f"runtime: {error}"
    return "it worked"


@pytest.mark.parametrize("what", ["start", "send", "result", "cancel", "list", "open", "run"])
def test_an_engine_used_in_workflow_code_is_refused_with_the_right_form(what: str) -> None:
    async def program(engine: Engine) -> str:
        HELD[:] = [engine]
        return await engine.run(uses_its_engine, what)

    said = run(program, workflows=[uses_its_engine])
    if what == "run":
        assert "await the coroutine" in said
    else:
        assert "everlog.send" in said or "step" in said


@step
async def starts_another(engine_number: int) -> Any:
    engine = HELD[engine_number]
    await engine.send("flow", "go", "from a step")
    return (await engine.start(two_steps, 0)).id


@workflow
async def starts_in_a_step() -> Any:
    started = await starts_another(0)
    return [bool(started), await everlog.recv("go")]


def test_an_engine_may_be_used_in_a_step() -> None:
    async def program(engine: Engine) -> Any:
        HELD[:] = [engine]
        handle = await engine.start(starts_in_a_step.options(id="flow"))
        return await handle.result()

    assert run(program, workflows=[starts_in_a_step, two_steps]) == [True, "from a step"]


def test_leaving_the_block_by_an_exception_raises_that_exception() -> None:
    async def program(host: SimulatedHost) -> None:
        async def fail() -> None:
            async with Engine(make_store(host), host=host, workflows=FLOWS) as engine:
                await in_state(await engine.start(waits), "waiting")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()

    simulate(program)

"""Budgets: a drain that does not end is reported, then interrupted, and nothing but its own code is ever struck."""

from __future__ import annotations

import asyncio
import gc
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import everlog
from everlog import Engine, StoreUnavailable, sync, workflow
from everlog.memory import MemoryStore
from everlog.replay.budgets import Interrupted, drains, interrupt
from everlog.replay.loop import TimerHandle, WorkflowLoop
from everlog.runtime.watching import DrainWatcher
from tests.support import in_state, until

ROOT = Path(__file__).parents[2]
LEASE = 0.8
"""Seconds: small, so that the tests are quick. Nothing is asserted of the time, only of the order."""


class Owner:
    """Takes down what a loop tells its workflow."""

    def __init__(self) -> None:
        self.workflow_id = "w"
        self.told: list[str] = []
        self.pause = 0.0

    def awaits_facts(self) -> bool:
        return False

    def set_timer(self, due_at: int, handle: TimerHandle) -> None:
        raise AssertionError

    def call_in_thread(self, function: Callable[..., object], args: tuple[Any, ...]) -> Coroutine[Any, Any, Any]:
        raise AssertionError

    def was_touched(self, why: str) -> None:
        self.told.append(why)
        time.sleep(self.pause)  # between the look at the drain and the sending: the drain may end just now

    def report(self, context: dict[str, Any]) -> None:
        pass


def make_loop() -> tuple[WorkflowLoop, Owner]:
    owner = Owner()
    return WorkflowLoop(owner), owner  # type: ignore[abstract]


def computes(rounds: int) -> int:
    """Compute with many calls and jumps back: a late exception would strike here."""
    total = 0
    for n in range(rounds):
        total += len(str(n))
    return total


# -- the protocol of interrupting


def test_an_interrupted_drain_ends_and_its_workflow_is_told() -> None:
    loop, owner = make_loop()
    struck: list[type[BaseException]] = []
    begun = threading.Event()

    def endless() -> None:
        begun.set()
        try:
            while True:
                computes(10)
        except BaseException as error:
            struck.append(type(error))
            raise

    thread = threading.Thread(target=lambda: loop.drain(endless))
    thread.start()
    assert begun.wait(10)
    assert thread.ident is not None
    assert interrupt(loop, thread.ident, loop.drain_number, "why")
    thread.join(10)
    assert not thread.is_alive()
    assert struck == [Interrupted]
    assert owner.told == ["why"]
    assert drains[thread.ident] is None


def test_what_was_ready_is_not_run_after_an_interruption() -> None:
    loop, _ = make_loop()
    ran: list[str] = []
    begun = threading.Event()

    def first() -> None:
        loop.call_soon(endless)
        loop.call_soon(lambda: loop.call_soon(ran.append, "in another round"))

    def endless() -> None:
        begun.set()
        while True:
            computes(10)

    thread = threading.Thread(target=lambda: loop.drain(first))
    thread.start()
    assert begun.wait(10)
    assert thread.ident is not None
    assert interrupt(loop, thread.ident, loop.drain_number, "why")
    thread.join(10)
    assert ran == []


def test_a_drain_that_is_over_is_not_interrupted() -> None:
    loop, owner = make_loop()
    loop.drain(lambda: None)
    thread = threading.get_ident()
    assert not interrupt(loop, thread, loop.drain_number, "late")
    assert not interrupt(loop, thread, loop.drain_number + 1, "early")
    computes(1000)
    assert owner.told == []
    assert not loop.interrupted


def waits(rounds: int) -> None:
    """Let other threads run, so that what is sent meanwhile strikes late."""
    for _ in range(rounds // 10):
        time.sleep(0)


def swallows(rounds: int) -> None:
    """Compute, and swallow whatever strikes."""
    for _ in range(rounds):
        with suppress(BaseException):
            computes(5)


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("code", [computes, waits, swallows])
def test_whenever_it_is_sent_only_the_drain_is_struck(code: Callable[[int], Any]) -> None:
    """Thousands of drains, each interrupted at a random moment, mostly near its end; one that is hit outside fails."""
    drained = 3000
    chance = random.Random(1)
    current: list[tuple[WorkflowLoop, int] | None] = [None]
    outside: list[BaseException] = []
    interrupted: list[WorkflowLoop] = []
    over = threading.Event()

    def engine() -> None:
        try:
            until = time.monotonic() + 20
            for number in count():
                if number >= drained and (interrupted or time.monotonic() > until):
                    break
                loop, owner = make_loop()
                owner.pause = chance.choice([0, 0, 0.0001])
                current[0] = (loop, loop.drain_number + 1)
                loop.drain(lambda: code(chance.randrange(30)))
                computes(chance.randrange(20))
                if loop.interrupted:
                    interrupted.append(loop)
        except BaseException as error:
            outside.append(error)
        finally:
            over.set()

    thread = threading.Thread(target=engine)
    thread.start()
    sent = 0
    timing = random.Random(2)
    while not over.is_set():
        at = current[0]
        if at is not None and thread.ident is not None:
            computes(timing.randrange(30))
            for _ in range(timing.randrange(1, 4)):
                sent += interrupt(at[0], thread.ident, at[1], "why")
        if timing.random() < 0.3:
            time.sleep(timing.random() * 0.0005)
    thread.join(10)
    assert outside == []
    assert sent > 0
    assert interrupted, "none was struck, so nothing was shown"


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What strikes amid a collection is only printed, and tried again."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def switches_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.00002)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("no_collector", "switches_often")
@pytest.mark.parametrize("code", [computes, waits, swallows])
def test_the_same_where_threads_change_all_the_time(code: Callable[[int], Any]) -> None:
    test_whenever_it_is_sent_only_the_drain_is_struck(code)


AFTER_AN_INTERRUPTION = """
import sys, threading
from everlog.replay.budgets import interrupt
from tests.unit.test_budgets import computes, make_loop

def swallow():
    begun.set()
    try:
        while True:
            computes(5)
    except BaseException:
        pass

def drain():
    global loop
    for loop in loops:
        loop.drain(swallow)

loops = [make_loop()[0] for _ in range(20)]
loop = loops[0]
begun = threading.Event()
thread = threading.Thread(target=drain, daemon=True)
thread.start()
begun.wait(10)
while thread.is_alive():
    interrupt(loop, thread.ident, loop.drain_number, "why")
seen = []
sys.setprofile(lambda frame, event, argument: seen.append(event))
computes(5)
sys.setprofile(None)
assert "call" in seen
print("ended")
"""


def test_the_interpreter_is_as_before_after_an_interruption() -> None:
    """It would stand still in 3.11, where it believes that another exception is to be raised."""
    ended = subprocess.run(
        [sys.executable, "-c", AFTER_AN_INTERRUPTION], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stdout == "ended\n", ended.stderr


# -- the watcher, in made-up time


class Watched:
    """A watcher whose clock and thread are the test's."""

    def __init__(self, *, lease: float = 8) -> None:
        self.at = 100.0
        self.busy_since: float | None = None
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.loop, self.owner = make_loop()
        self.begun = threading.Event()
        self.over = False
        self.watcher = DrainWatcher(
            monotonic=lambda: self.at,
            lease=int(lease * 1_000_000),
            thread=lambda: self.thread.ident or 0,
            silence=lambda: 0.0 if self.busy_since is None else self.at - self.busy_since,
        )

    def _work(self) -> None:
        def busy() -> None:
            self.begun.set()
            while not self.over:  # all in this file: nothing is interrupted amid the standard library
                computes(10)

        self.loop.drain(busy)

    def begin(self) -> None:
        self.busy_since = self.at
        self.thread.start()
        assert self.begun.wait(10)

    def look_for(self, seconds: float) -> None:
        """Come by as often as is wanted."""
        until = self.at + seconds
        while self.at < until:
            rest = self.watcher.pump()
            assert rest is not None
            self.at += rest

    def end(self) -> None:
        self.over = True
        self.thread.join(10)
        assert not self.thread.is_alive()


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "everlog"]


def test_a_long_drain_is_reported_once_and_interrupted_after_half_a_lease(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched(lease=8)
    watched.begin()
    watched.look_for(1.9)
    assert said(caplog) == []
    watched.look_for(1.5)
    (report,) = said(caplog)
    assert "'w' has been computing for more than 2 s" in report
    assert f"{__file__}:" in report
    assert "in busy" in report, "the stack"
    assert "drain" not in report.replace("drain_within", "drain"), "the stack of the workflow's code, not of ours"
    assert watched.owner.told == []
    watched.look_for(1)
    (why, *_) = watched.owner.told
    assert re.search(rf"'w' was interrupted at {re.escape(__file__)}:\d+: .*half the lease \(4 s\)", why)
    watched.end()
    assert len(said(caplog)) == 1
    assert not watched.loop.has_ready()


def test_many_short_drains_are_no_long_one(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    watched.begin()
    for _ in range(100):
        watched.watcher.pump()
        watched.at += 1
        watched.loop.drain_number += 1
    watched.end()
    assert said(caplog) == []
    assert watched.owner.told == []


def test_a_process_that_stood_still_has_not_computed(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched(lease=8)
    watched.begin()
    watched.watcher.pump()
    watched.at += 3600
    watched.watcher.pump()
    (said_once,) = said(caplog)
    assert "stood still" in said_once
    assert watched.owner.told == []
    watched.look_for(2)
    assert watched.owner.told, "and now it computes"
    watched.end()


def test_what_must_not_be_interrupted_is_only_reported(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    watched.loop.interruptible = False
    watched.begin()
    watched.look_for(100)
    assert len(said(caplog)) == 1
    assert watched.owner.told == []
    watched.end()


def test_nobody_watches_his_own_thread() -> None:
    def silence() -> float:
        return 0.0

    watcher = DrainWatcher(monotonic=time.monotonic, lease=1, thread=threading.get_ident, silence=silence)
    assert watcher.pump() is None


# -- engines


FLAGS: dict[str, Any] = {}


@workflow
async def quick(n: int) -> int:
    await asyncio.sleep(0.01)
    return n


@workflow
async def waits_for_word() -> Any:
    return await everlog.recv("word")


@workflow
async def computes_for_ever() -> None:
    while True:
        sum(range(100))


@workflow
async def swallows_everything() -> None:
    while True:
        try:
            sum(range(100))
        except BaseException:
            FLAGS["swallowed"] = FLAGS.get("swallowed", 0) + 1


@workflow
async def has_others_compute() -> None:
    async def computes() -> None:
        while True:
            sum(range(100))

    async def cleans_up() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            FLAGS["cleaned"] = True

    async with asyncio.TaskGroup() as group:
        group.create_task(cleans_up())
        group.create_task(computes())


@workflow
async def computes_until_it_is_reported() -> str:
    while not any("has been computing" in line for line in FLAGS["log"]()):
        sum(range(100))
    return "done"


@workflow
def computes_past_the_lease() -> list[str]:
    def compute(n: int) -> str:
        while n and (not any("has been computing" in line for line in FLAGS["log"]()) or FLAGS["holds"]()):
            sum(range(100))
        return "done"

    return sync.map(compute, [0, 1])


@workflow
async def blocks_once() -> str:
    if not FLAGS.get("blocked"):
        FLAGS["blocked"] = True
        FLAGS["gate"].acquire()  # code in C, which nothing interrupts
    await asyncio.sleep(0.01)
    return "done"


@workflow
async def computes_when_it_is_dropped() -> None:
    try:
        await everlog.recv("never")
    finally:
        FLAGS["begun"] = True
        while FLAGS.get("hostile"):
            sum(range(100))


@workflow
async def swallows_when_it_is_dropped() -> None:
    try:
        await everlog.recv("never")
    finally:
        while FLAGS.get("hostile"):
            with suppress(BaseException):
                sum(range(100))
        await everlog.recv("never")


ALL: list[Any] = [quick, waits_for_word, computes_for_ever, swallows_everything, has_others_compute]
ALL += [computes_until_it_is_reported, computes_past_the_lease, blocks_once]
ALL += [computes_when_it_is_dropped, swallows_when_it_is_dropped]


@pytest.fixture(autouse=True)
def no_flags() -> None:
    FLAGS.clear()
    FLAGS["gate"] = threading.Lock()
    FLAGS["gate"].acquire()


@pytest.mark.parametrize("flow", [computes_for_ever, swallows_everything, has_others_compute])
def test_endless_code_is_stuck_with_its_line_and_the_others_finish(flow: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with Engine(MemoryStore(), workflows=ALL, lease=LEASE, guards="off", grace=1) as engine:
            others = [await engine.start(quick, n) for n in range(5)]
            handle = await engine.start(flow.options(id="flow"))
            others += [await engine.start(quick, n) for n in range(5, 10)]
            assert [await other.result(timeout=30) for other in others] == list(range(10))
            await in_state(handle, "stuck")
            status = await handle.status()
            lines = flow.fn.__code__.co_firstlineno, flow.fn.__code__.co_firstlineno + 10
            found = re.search(rf"was interrupted at {re.escape(__file__)}:(\d+)", status.why)
            assert found, status.why
            assert lines[0] < int(found[1]) < lines[1]
            assert "step" in status.why, "what to do"
            assert await engine.run(quick, 1) == 1

    asyncio.run(main())
    told = [line for line in said(caplog) if "'flow'" in line]
    (reported,) = [at for at, line in enumerate(told) if "has been computing for more than" in line]
    (stuck,) = [at for at, line in enumerate(told) if "is stuck" in line]
    assert reported < stuck
    if flow is has_others_compute:
        assert FLAGS["cleaned"], "what was suspended is torn down as always"


def test_a_long_computation_is_reported_and_ends(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("everlog.runtime.watching.BUDGET", 0.1)
    FLAGS["log"] = lambda: said(caplog)

    async def main() -> None:
        async with Engine(MemoryStore(), workflows=ALL, lease=60, guards="off") as engine:
            assert await engine.run(computes_until_it_is_reported) == "done"

    asyncio.run(main())
    assert len(said(caplog)) == 1


def test_blocking_code_that_computes_past_the_lease_is_only_reported(caplog: pytest.LogCaptureFixture) -> None:
    FLAGS["log"] = lambda: said(caplog)

    async def main() -> None:
        async with Engine(MemoryStore(), workflows=ALL, lease=LEASE, guards="off", grace=1) as engine:
            keeper: Any = engine._keeper
            FLAGS["holds"] = keeper.holds
            assert await engine.run(computes_past_the_lease) == ["done", "done"]
            assert await engine.run(quick, 1) == 1

    asyncio.run(main())
    (reported,) = [told for told in said(caplog) if "has been computing" in told]
    line = computes_past_the_lease.fn.__code__.co_firstlineno + 4
    seen = rf'File "{re.escape(__file__)}", line ({line - 1}|{line}), in compute'  # in it, or in what it calls
    assert re.search(seen, reported), reported
    assert not any("interrupted" in told for told in said(caplog))


@pytest.mark.parametrize("flow", [computes_when_it_is_dropped, swallows_when_it_is_dropped])
def test_endless_code_that_runs_at_the_teardown_is_interrupted_as_well(
    flow: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("everlog.runtime.engine.CLOSING", 60)
    FLAGS["hostile"] = True

    async def main() -> None:
        store = MemoryStore()
        async with Engine(store, workflows=ALL, lease=LEASE, guards="off", grace=0) as engine:
            await in_state(await engine.start(flow.options(id="flow")), "waiting")
        assert store.workers() == []
        FLAGS["hostile"] = False
        async with Engine(store, workflows=ALL, lease=60, guards="off", grace=0) as engine:
            assert await engine.run(quick, 1) == 1
            await in_state(engine.handle("flow"), "waiting")

    asyncio.run(main())
    assert any("has been computing for more than" in line for line in said(caplog))


def test_where_it_cannot_be_interrupted_the_lease_runs_out_and_a_peer_goes_on() -> None:
    async def main() -> None:
        store = MemoryStore()
        first = Engine(store, workflows=ALL, lease=LEASE, guards="off", grace=1)
        async with first:
            bystander = await first.start(waits_for_word.options(id="bystander"))
            starting = asyncio.ensure_future(first.start(blocks_once.options(id="flow")))
            await until(lambda: FLAGS.get("blocked", False))
            (stalled,) = [row.worker for row in store.workers()]
            async with Engine(store, workflows=ALL, lease=LEASE, guards="off", grace=1) as second:
                assert await second.handle("flow").result(timeout=30) == "done"
                await second.send("bystander", "word", 7)
                assert await second.handle("bystander").result(timeout=30) == 7
                assert stalled not in [row.worker for row in store.workers()], "it was declared dead"
                # And it comes back, as a new worker that works.
                FLAGS["gate"].release()
                handle = await starting
                assert await first.run(quick, 3) == 3
                assert (await handle.status()).state == "completed"
                assert await handle.result() == "done"
                assert await bystander.result() == 7

    asyncio.run(main())


def test_an_engine_closes_while_its_thread_does_not_come_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("everlog.runtime.engine.CLOSING", 0.3)

    async def main() -> None:
        store = MemoryStore()
        async with Engine(store, workflows=ALL, lease=LEASE, guards="off", grace=0) as engine:
            waiting = asyncio.ensure_future(engine.run(blocks_once.options(id="flow")))
            await until(lambda: FLAGS.get("blocked", False))
            closing = engine._shell
        assert closing is not None
        assert not closing.closed, "its thread is still away"
        assert store.workers() == []
        with pytest.raises(StoreUnavailable, match="closed"):
            await asyncio.wait_for(waiting, 10)
        assert any("without its thread" in line and f"'flow' at {__file__}:" in line for line in said(caplog))
        async with Engine(store, workflows=ALL, lease=LEASE, guards="off") as second:
            assert await second.handle("flow").result(timeout=30) == "done", "it was free at once"
        FLAGS["gate"].release()
        await until(lambda: closing.closed)
        assert store.workers() == []

    asyncio.run(main())

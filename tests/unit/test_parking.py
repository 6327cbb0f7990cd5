"""Parking: what only waits costs no memory and no thread, and goes on when what it waits for is there."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Awaitable
from pathlib import Path
from time import sleep, time_ns
from typing import Any
from warnings import catch_warnings, simplefilter

import pytest

import everlog
from everlog import Engine, Handle, RetryPolicy, step, sync, workflow
from everlog.runtime.alarms import Alarms
from everlog.runtime.parking import PARK_AFTER
from everlog.runtime.residents import NEVER, Resident
from everlog.runtime.strand_room import IDLE_STRANDS
from everlog_sqlite import SqliteStore
from tests.support import events_of, in_state, kinds, on_both_stores, run

LEFT: list[str] = []
PARKED = "SELECT count(*) FROM heads WHERE state = 'waiting' AND token IS NULL"


@step
async def count(number: int) -> int:
    return number + 1


@step(retry=RetryPolicy(max_attempts=2, first_delay=30, jitter=0))
async def fails_once() -> int:
    if everlog.current().attempt == 1:
        raise ConnectionError("as the test asked")
    return everlog.current().attempt


@workflow
async def sleeps(number: int) -> int:
    await asyncio.sleep(60)
    return await count(number)


@workflow
async def naps(number: int, seconds: float) -> int:
    await asyncio.sleep(seconds)
    return number


@workflow
async def naps_a_day(number: int) -> int:
    await asyncio.sleep(86400)
    return number


@workflow
async def listens() -> int:
    total = 0
    while (heard := await everlog.recv("number", type=int)) >= 0:
        total += heard
    return total


@workflow
async def backs_off() -> int:
    return await fails_once()


@workflow
async def tidies() -> None:
    try:
        await asyncio.sleep(3600)
    finally:
        LEFT.append("finally")


async def amends() -> None:
    await count(1)


@workflow
async def tidies_in_time() -> None:
    try:
        await asyncio.sleep(3600)
    finally:
        await asyncio.wait_for(amends(), 5)


@workflow
async def ticks(times: int) -> int:
    for _ in range(times):
        await asyncio.sleep(0.01)
    return times


def held(engine: Engine) -> Awaitable[list[str]]:
    """Give the ids of the workflows in the engine's memory."""
    return engine.on_thread(lambda: list(worker_of(engine).residents))


def worker_of(engine: Engine) -> Any:
    shell: Any = engine._open_shell()
    return shell.worker


@on_both_stores
@pytest.mark.parametrize("flow", [sleeps, naps, listens, backs_off, tidies])
def test_what_waits_long_is_parked_and_held_by_nobody(flow: Any, kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        handle: Handle[Any] = await engine.start(flow, *{sleeps: [1], naps: [1, 100.0]}.get(flow, []))
        await asyncio.sleep(0.5)
        assert await held(engine) == [handle.id]
        await asyncio.sleep(5)
        assert await held(engine) == []
        status = await handle.status()
        assert (status.state, status.worker) == ("waiting", None)
        await handle.cancel()
        with pytest.raises(everlog.WorkflowCancelled):
            await handle.result()

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_what_is_parked_goes_on_at_its_time(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        assert await engine.run(sleeps, 1) == 2
        assert 60 <= loop.time() - begun < 61
        assert await engine.run(backs_off) == 2
        assert 90 <= loop.time() - begun < 92

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_messages_reach_what_is_parked_each_once_and_in_order(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(listens)
        for number in range(20):
            await asyncio.sleep(5 * (number % 2))
            await handle.send("number", 2**number)
        await handle.send("number", -1)
        assert await handle.result() == 2**20 - 1
        received = await events_of(engine, handle.id, "message_received")
        assert [event.data["message"] for event in received] == [*(2**number for number in range(20)), -1]

    run(program, kind=kind, folder=tmp_path)


def test_clean_up_runs_when_a_workflow_is_parked_and_nothing_of_it_is_written() -> None:
    async def program(engine: Engine) -> None:
        LEFT.clear()
        handle = await engine.start(tidies)
        await asyncio.sleep(10)
        assert LEFT == ["finally"]
        assert await kinds(handle) == ["workflow_created", "workflow_began", "timer_set"]
        await handle.result()
        assert LEFT == ["finally", "finally"]

    run(program)


def test_clean_up_that_is_given_some_time_leaves_no_coroutine_behind() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(tidies_in_time)
        await asyncio.sleep(10)
        assert await held(engine) == []
        gc.collect()
        await handle.result()
        assert (await kinds(handle)).count("step_completed") == 1

    with catch_warnings(record=True) as remarks:
        simplefilter("always")
        run(program)
    assert [str(remark.message) for remark in remarks if remark.category is RuntimeWarning] == []


def test_what_is_due_before_ten_replays_is_kept() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(ticks, 300)
        while (await handle.status()).state != "completed":
            await asyncio.sleep(0.05)
            assert await held(engine) in ([handle.id], [])
        assert [event.type for event in await handle.history()].count("timer_set") <= 300
        assert await handle.result() == 300

    run(program)


def test_a_full_engine_parks_at_once_what_waits() -> None:
    async def program(engine: Engine) -> None:
        handles = [await engine.start(sleeps, number) for number in range(50)]
        await asyncio.sleep(PARK_AFTER / 2_000_000)
        assert {(await handle.status()).state for handle in handles} == {"waiting"}
        assert await asyncio.gather(*(handle.result() for handle in handles)) == list(range(1, 51))

    run(program, concurrency=5)


def test_alarms_forget_what_left() -> None:
    class Gone:
        lost, alarm_at = False, NEVER

    alarms = Alarms()
    for number in range(10_000):
        one: Any = Gone()
        alarms.set(one, number)
        alarms.set(one, number + 1)  # later than the one that counts
        one.lost = number != 9_999
    assert len(alarms) < 200
    assert alarms.next() == 9_999
    assert list(alarms.ring(9_998)) == []
    assert len(list(alarms.ring(9_999))) == 1
    assert alarms.next() == NEVER


async def sleep_together(directory: Path, flow: Any, number: int) -> tuple[int, float]:
    """Have so many workflows asleep at once, then let a day pass and wait for all; give threads and megabytes."""
    passed = [0]
    store = SqliteStore(directory / "asleep.db", durability="process", clock=lambda: time_ns() // 1000 + passed[0])
    async with Engine(store) as engine:
        handles: list[Handle[int]] = []
        for first in range(0, number, 1000):
            some = [engine.start(flow, one) for one in range(first, min(first + 1000, number))]
            handles.extend(await asyncio.gather(*some))
        asleep = 0
        while asleep < number:
            await asyncio.sleep(0.1)
            asleep = await engine.on_thread(lambda: store._connection.value(PARKED))
        threads, memory = threading.active_count(), resident_megabytes()
        assert await held(engine) == []
        passed[0] = 86400 * 1_000_000
        engine._open_shell().wake()
        assert await asyncio.gather(*(handle.result() for handle in handles)) == list(range(number))
    store.close()
    return threads, memory


def resident_megabytes() -> float:
    status = Path("/proc/self/status").read_text() if os.path.exists("/proc/self/status") else "VmRSS: 0 kB"
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


@pytest.mark.parametrize(
    ("flow", "number"),
    [
        ("naps", 4_000),
        ("dozes", 2_000),
        pytest.param("naps", 100_000, marks=pytest.mark.long),
        pytest.param("dozes", 10_000, marks=pytest.mark.long),
    ],
)
def test_thousands_sleep_in_one_process(flow: str, number: int, tmp_path: Path) -> None:
    before, others = resident_megabytes(), threading.active_count()
    sleepers: dict[str, Any] = {"naps": naps_a_day, "dozes": dozes}
    threads, memory = asyncio.run(sleep_together(tmp_path, sleepers[flow], number))
    assert threads - others < 50, "but for those that other tests have left idle"
    assert memory - before < 250


@workflow
def dozes(number: int) -> int:
    sync.sleep(86400)
    return number


@workflow
def works_long(number: int) -> int:
    return works(number)


@step
def works(number: int) -> int:
    LEFT.append("working")
    while len(LEFT) < 40:
        sleep(0.001)
    return number


def test_blocking_workflows_that_wait_hold_few_threads() -> None:
    async def program(engine: Engine) -> None:
        worker, counts = worker_of(engine), [0]
        begin_round = worker.begin_round

        def counting(now: int) -> None:
            residents: dict[str, Resident] = worker.residents
            counts.append(sum(len(one.execution.strands) for one in residents.values()))
            begin_round(now)

        worker.begin_round = counting
        handles = await asyncio.gather(*(engine.start(dozes, number) for number in range(200)))
        for handle in handles:
            await in_state(handle, "waiting")
        assert 1 < max(counts) <= IDLE_STRANDS
        await asyncio.sleep(10)
        assert await held(engine) == []
        await engine.cancel(*(handle.id for handle in handles))

    run(program, workflows=[dozes])


@pytest.mark.parametrize("url", ["memory://", "sqlite:///{}/busy.db"])
def test_blocking_workflows_whose_steps_run_hold_as_many_threads_as_they_need(url: str, tmp_path: Path) -> None:
    async def main() -> None:
        LEFT.clear()
        async with Engine(url.format(tmp_path), workflows=[works_long], step_threads=64) as engine:
            handles = [await engine.start(works_long, number) for number in range(40)]  # more than may stand idle
            assert await asyncio.gather(*(handle.result(timeout=60) for handle in handles)) == list(range(40))

    asyncio.run(main())

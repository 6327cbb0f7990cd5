"""Timers: they outlast engines and processes, and ring at the right time of the log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

import everlog
from everlog import Engine, workflow
from everlog.testing.simulation import SimulatedHost
from tests.support import FlakyStore, events_of, in_state, kill, kinds, make_store, on_both_stores, opened, run

LONG = 100
DUE = LONG * 1_000_000


async def sleeps() -> None:
    await asyncio.sleep(LONG)


async def sleeps_by_everlog() -> None:
    await everlog.sleep(timedelta(seconds=LONG))


async def sleeps_until() -> None:
    await everlog.sleep_until(everlog.now() + timedelta(seconds=LONG))


async def times_out() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(LONG):
            await asyncio.Event().wait()


async def times_out_at() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout_at(asyncio.get_running_loop().time() + LONG):
            await everlog.recv("nothing")


async def waits_for() -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), LONG)


async def calls_later() -> None:
    rung = asyncio.Event()
    asyncio.get_running_loop().call_later(LONG, rung.set)
    await rung.wait()


async def receives_with_a_timeout() -> None:
    assert await everlog.recv("nothing", timeout=LONG, default="none") == "none"


async def waits_with_a_timeout() -> None:
    done, pending = await asyncio.wait([asyncio.create_task(everlog.recv("nothing"))], timeout=LONG)
    assert (len(done), len(pending)) == (0, 1)


WAYS: dict[str, Callable[[], Awaitable[None]]] = {
    way.__name__: way
    for way in (
        sleeps,
        sleeps_by_everlog,
        sleeps_until,
        times_out,
        times_out_at,
        waits_for,
        calls_later,
        receives_with_a_timeout,
        waits_with_a_timeout,
    )
}


@workflow(name="timers.waits")
async def waits(way: str) -> list[datetime]:
    before = everlog.now()
    await WAYS[way]()
    return [before, everlog.now()]


def elapsed(times: list[datetime]) -> float:
    return (times[1] - times[0]).total_seconds()


# SQLite is asked fifty times a virtual second for what others wrote, so not every way is tried on it.
on_every_way = pytest.mark.parametrize(
    ("way", "kind"), [*((way, "memory") for way in WAYS), ("sleeps", "sqlite"), ("receives_with_a_timeout", "sqlite")]
)


# -- restarts


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_wait_ends_at_its_time(way: str) -> None:
    async def program(engine: Engine) -> None:
        assert LONG <= elapsed(await engine.run(waits, way)) < LONG + 0.2

    run(program, workflows=[waits])


@on_every_way
@pytest.mark.parametrize("crashes", [False, True], ids=["closed", "crashed"])
@pytest.mark.parametrize("at", [0.05, 40.0])
def test_every_way_to_wait_outlasts_its_engine(way: str, kind: str, crashes: bool, at: float, tmp_path: Any) -> None:
    host = SimulatedHost(1)

    async def main() -> None:
        store = make_store(host, kind, tmp_path)
        first = await opened(Engine(store, host=host.sibling(), workflows=[waits]))
        await first.start(waits.options(id="w"), way)
        await asyncio.sleep(at)
        if crashes:
            kill(first)
        else:
            await first.__aexit__()
        await asyncio.sleep(10)
        async with Engine(store, host=host.sibling(), workflows=[waits]) as second:
            assert LONG <= elapsed(await second.handle("w", waits).result()) < LONG + 0.2

    host.run(main())


@on_every_way
def test_what_was_due_while_no_engine_ran_rings_when_one_opens(way: str, kind: str, tmp_path: Any) -> None:
    host = SimulatedHost(1)

    async def main() -> None:
        store = make_store(host, kind, tmp_path)
        async with Engine(store, host=host.sibling(), workflows=[waits]) as first:
            handle = await first.start(waits.options(id="w"), way)
            await in_state(handle, "waiting")
        await asyncio.sleep(3 * LONG)
        async with Engine(store, host=host.sibling(), workflows=[waits]) as second:
            assert 3 * LONG <= elapsed(await second.handle("w", waits).result()) < 3 * LONG + 5
            history = await second.handle("w").history()
            began = next(event.recorded_at for event in history if event.type == "workflow_began")
            (due,) = {event.data["due_at"] for event in history if "due_at" in event.data}
            assert due == round(began.timestamp() * 1_000_000) + DUE

    host.run(main())


@workflow(name="timers.sleeps_for_ever")
async def sleeps_for_ever(seconds: float) -> None:
    await asyncio.sleep(seconds)


@pytest.mark.parametrize("seconds", [86400.0, 300 * 365 * 86400.0])
def test_a_far_sleep_costs_nothing(seconds: float) -> None:
    host = SimulatedHost(1)

    async def main() -> None:
        store = FlakyStore(make_store(host))
        async with Engine(store, host=host, workflows=[sleeps_for_ever]) as engine:
            handle = await engine.start(sleeps_for_ever, seconds)
            await in_state(handle, "waiting")
            await asyncio.sleep(10)  # by then it is parked
            commits = store.commits
            await asyncio.sleep(600)
            assert store.commits == commits
            assert await kinds(handle) == ["workflow_created", "workflow_began", "timer_set"]
            (head,) = store.heads([handle.id])
            assert head is not None
            assert head.wake_at == head.created_at + round(seconds * 1_000_000)

    host.run(main())


@workflow(name="timers.waits_without_end")
async def waits_without_end() -> None:
    await asyncio.sleep(float("inf"))


def test_a_sleep_without_end_waits_for_a_cancel() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(waits_without_end)
        await asyncio.sleep(600)
        await handle.cancel()
        with pytest.raises(everlog.WorkflowCancelled):
            await handle.result()

    run(program, workflows=[waits_without_end])


# -- several at once


@workflow(name="timers.nested")
async def nested(outer: float, inner: float) -> list[str]:
    said: list[str] = []
    try:
        async with asyncio.timeout(outer):
            try:
                async with asyncio.timeout(inner):
                    await asyncio.sleep(100)
            except TimeoutError:
                said.append("inner")
            await asyncio.sleep(100)
    except TimeoutError:
        said.append("outer")
    return said


@pytest.mark.parametrize(
    ("outer", "inner", "said", "late"),
    [
        (20, 10, ["inner", "outer"], ["inner", "outer"]),
        (10, 20, ["outer"], ["outer"]),
        (300, 200, [], ["outer"]),
        (160, 50, ["inner"], ["inner", "outer"]),
        (30, 30, ["outer"], ["outer"]),
    ],
)
@pytest.mark.parametrize("away", [0.0, 15.0, 500.0])
def test_nested_timeouts_expire_in_their_order(
    outer: float, inner: float, said: list[str], late: list[str], away: float
) -> None:
    host = SimulatedHost(3)

    async def main() -> None:
        store = make_store(host)
        async with Engine(store, host=host.sibling(), workflows=[nested]) as engine:
            handle = await engine.start(nested.options(id="n"), outer, inner)
            await asyncio.sleep(1)
            if not away:
                assert await handle.result() == said
                return
        await asyncio.sleep(away)
        async with Engine(store, host=host.sibling(), workflows=[nested]) as engine:
            assert await engine.handle("n", nested).result() == (late if away == 500 else said)

    host.run(main())


@workflow(name="timers.at_one_time")
async def at_one_time() -> list[int]:
    rung: list[int] = []
    loop = asyncio.get_running_loop()
    for number in range(10):
        loop.call_later(5, rung.append, number)
    cancelled = loop.call_later(5, rung.append, 99)
    cancelled.cancel()
    await asyncio.sleep(5)
    return rung


def test_timers_of_one_time_ring_in_the_order_of_their_creation() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(at_one_time)
        assert await handle.result() == list(range(10))
        assert len(await events_of(engine, handle.id, "timer_fired")) == 11

    run(program, workflows=[at_one_time])


@workflow(name="timers.takes_turns")
async def takes_turns(rounds: int) -> list[str]:
    said: list[str] = []

    async def speaker(name: str) -> None:
        for _ in range(rounds):
            said.append(name)
            await asyncio.sleep(0)

    await asyncio.gather(speaker("a"), speaker("b"))
    return said


def test_sleep_of_nothing_lets_others_run_and_writes_nothing() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(takes_turns, 500)
        assert await handle.result() == ["a", "b"] * 500
        assert await kinds(handle) == ["workflow_created", "workflow_began", "workflow_completed"]

    run(program, workflows=[takes_turns])


@workflow(name="timers.short_sleeps")
async def short_sleeps() -> list[float]:
    began = everlog.now()
    times: list[float] = []
    for duration in (0.0, 1e-9, 0.000_001, 0.001, -5.0):
        await asyncio.sleep(duration)
        times.append((everlog.now() - began).total_seconds())
    return times


def test_the_time_of_the_log_never_goes_back() -> None:
    async def program(engine: Engine) -> None:
        times = await engine.run(short_sleeps)
        assert times == sorted(times)
        assert times[3] >= 0.001

    run(program, workflows=[short_sleeps])


@workflow(name="timers.beaten")
async def beaten() -> str:
    try:
        async with asyncio.timeout(50):
            return str(await everlog.recv("news"))
    finally:
        await asyncio.sleep(10)


def test_a_timer_that_was_not_needed_is_closed_in_the_history() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(beaten)
        await asyncio.sleep(1)
        await handle.send("news", "hello")
        assert await handle.result() == "hello"
        assert await kinds(handle) == [
            "workflow_created",
            "workflow_began",
            "timer_set",
            "wait_started",
            "message_received",
            "timer_set",
            "timer_cancelled",
            "timer_fired",
            "workflow_completed",
        ]

    run(program, workflows=[beaten])


@workflow(name="timers.bad_durations")
async def bad_durations() -> list[str]:
    refused: list[str] = []
    for bad in (-1, float("nan"), float("inf"), timedelta(days=-1), "1", None, 1e300, True):
        try:
            await everlog.sleep(bad)  # type: ignore[arg-type]
        except everlog.UsageError as error:
            refused.append(str(error))
        try:
            await everlog.recv("topic", timeout=bad if bad is not None else "x")  # type: ignore[call-overload]
        except everlog.UsageError as error:
            refused.append(str(error))
    for moment in (datetime(2030, 1, 1), 3, "2030-01-01"):
        try:
            await everlog.sleep_until(moment)  # type: ignore[arg-type]
        except everlog.UsageError as error:
            refused.append(str(error))
    return refused


def test_durations_that_make_no_sense_are_refused_in_a_workflow() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(bad_durations)
        refused = await handle.result(timeout=60)
        assert len(refused) == 19
        assert all("sleep" in text or "recv" in text for text in refused)
        assert await kinds(handle) == ["workflow_created", "workflow_began", "workflow_completed"]

    run(program, workflows=[bad_durations])


@workflow(name="timers.bad_asyncio_sleep")
async def bad_asyncio_sleep() -> str:
    try:
        await asyncio.sleep(float("nan"))
    except ValueError as error:
        return type(error).__name__
    return "slept"


def test_asyncio_sleep_of_no_number_is_an_error_of_the_workflow() -> None:
    async def program(engine: Engine) -> str:
        return await engine.run(bad_asyncio_sleep)

    assert run(program, workflows=[bad_asyncio_sleep]) == "ValueError"


@on_both_stores
@pytest.mark.parametrize("seconds", [1e11, 1e15, 1e300, 1e305])
def test_a_sleep_of_more_than_four_hundred_years_waits_without_end(kind: str, seconds: float, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(sleeps_for_ever, seconds)
        await asyncio.sleep(5)
        assert (await handle.status()).state == "waiting"
        await handle.cancel()
        with pytest.raises(everlog.WorkflowCancelled):
            await handle.result(timeout=10)

    run(program, kind=kind, folder=tmp_path, workflows=[sleeps_for_ever])

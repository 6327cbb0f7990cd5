"""Streams: what workflows and steps emit, and readers who come late, go, and come back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

import everlog
from everlog import (
    Client,
    Engine,
    NotFound,
    RetryPolicy,
    StepInterrupted,
    StreamItem,
    StreamReset,
    UsageError,
    Workflow,
    WorkflowFailed,
    step,
    sync,
    workflow,
)
from everlog.memory import MemoryStore
from everlog.runtime import outlets, streams
from everlog.store import StreamQuestion
from everlog.testing.simulation import SimulatedHost
from tests.support import FlakyStore, events_of, in_state, kill, make_store, on_both_stores, opened, run, simulate

Told = list[tuple[Any, ...]]


async def told(stream: Any) -> Told:
    """All that a reader is told: places, values, steps and attempts; a reset has no value."""
    found: Told = []
    async for item in stream.items():
        assert stream.offset == item.offset + 1
        if isinstance(item, StreamItem):
            found.append((item.offset, item.value, item.step, item.attempt))
        else:
            assert isinstance(item, StreamReset)
            found.append((item.offset, item.step, item.attempt))
    return found


@workflow(name="streams.log")
async def log(entries: int) -> None:
    for number in range(entries):
        await everlog.emit("log", number, [number])
        await asyncio.sleep(1)
    await everlog.close_stream("log")
    await everlog.close_stream("log")
    await everlog.emit("log")
    await asyncio.sleep(100)


@workflow(name="streams.log_blocking")
def log_blocking(entries: int) -> None:
    for number in range(entries):
        sync.emit("log", number, [number])
        sync.sleep(1)
    sync.close_stream("log")
    sync.close_stream("log")
    sync.sleep(100)


@on_both_stores
@pytest.mark.parametrize("flow", [log, log_blocking])
def test_items_come_as_they_are_emitted_until_the_stream_is_closed(kind: str, flow: Any, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(flow.options(id="s"), 3)
        loop = asyncio.get_running_loop()
        came = [(item, int(loop.time())) async for item in handle.stream("log")]
        assert came == [(0, 0), ([0], 0), (1, 1), ([1], 1), (2, 2), ([2], 2)]
        assert [item async for item in handle.stream("log")] == [0, [0], 1, [1], 2, [2]]
        emitted = await events_of(engine, "s", "items_emitted")
        assert [event.data["offset"] for event in emitted] == [0, 2, 4]
        assert len(await events_of(engine, "s", "stream_closed")) == 1
        await handle.cancel()

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_a_reader_goes_on_by_offset_in_any_process(kind: str, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        await engine.start(log.options(id="s"), 4)
        other = engine.store if kind == "memory" else make_store(engine.host, kind, tmp_path)  # type: ignore[arg-type] # simulated
        async with Client(other, host=engine.host) as client:
            seen: list[Any] = []
            offset = 0
            for handle in [engine.handle("s"), client.handle("s")] * 4:
                stream = handle.stream("log", type=int | list[int], start=offset)
                async for item in stream:  # one each
                    seen.append(item)
                    break
                offset = stream.offset
            assert seen == [0, [0], 1, [1], 2, [2], 3, [3]]
            assert [item async for item in client.handle("s").stream("log", start=offset)] == []
            assert [item async for item in client.handle("s").stream("log", start=7)] == [[3]]
        if other is not engine.store:
            other.close()

    run(program, kind=kind, folder=tmp_path)


def test_the_end_of_the_workflow_ends_its_streams_for_all_readers() -> None:
    @workflow(name="streams.ends")
    async def ends() -> None:
        await everlog.emit("log", 1)
        await asyncio.sleep(5)
        raise ValueError

    async def program(engine: Engine) -> None:
        handle = await engine.start(ends.options(id="s"))
        readers = [asyncio.create_task(told(handle.stream(name))) for name in ["log", "never"] * 20]
        assert await asyncio.gather(*readers) == [[(0, 1, None, 0)], []] * 20
        shell: Any = engine._shell
        assert not shell.readers._waiting

    run(program)


def test_wrong_readers_are_told_so() -> None:
    async def program(engine: Engine) -> None:
        with pytest.raises(NotFound, match="there is no workflow 'nobody'"):
            await anext(aiter(engine.handle("nobody").stream("log")))
        for start in (-1, True, "0"):
            wrong: Any = start
            with pytest.raises(UsageError, match="start of a stream must be a whole number from 0 on"):
                engine.handle("s").stream("log", start=wrong)
        with pytest.raises(UsageError, match="the name of a stream must not be empty"):
            engine.handle("s").stream("")

    run(program)


def test_a_reader_who_gives_up_is_forgotten() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(log.options(id="s"), 1)
        reader = asyncio.create_task(told(handle.stream("never")))
        value = asyncio.create_task(handle.get_value("never"))
        await asyncio.sleep(1)
        reader.cancel()
        value.cancel()
        await asyncio.sleep(1)
        shell: Any = engine._shell
        assert not shell.readers._waiting
        await handle.cancel()

    run(program)


# -- steps


@step(retry=RetryPolicy(max_attempts=3, first_delay=1, jitter=0))
async def talks(failures: int) -> int:
    attempt = everlog.current().attempt
    await everlog.emit("words", f"{attempt}a", f"{attempt}b")
    if attempt <= failures:
        raise ConnectionError
    await everlog.emit("words", f"{attempt}c")
    return attempt


@step(retry=RetryPolicy(max_attempts=3, first_delay=1, jitter=0), name="talks")
def talks_plainly(failures: int) -> int:
    attempt = everlog.current().attempt
    sync.emit("words", f"{attempt}a", f"{attempt}b")
    if attempt <= failures:
        raise ConnectionError
    sync.emit("words", f"{attempt}c")
    return attempt


@workflow(name="streams.talk")
async def talk(plainly: bool, failures: int) -> int:
    return await (everlog.call(talks_plainly, failures) if plainly else talks(failures))


@on_both_stores
@pytest.mark.parametrize("plainly", [False, True])
def test_a_repeated_attempt_is_marked_by_a_reset(kind: str, plainly: bool, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(talk.options(id="s"), plainly, 2)
        seen = await told(handle.stream("words", type=str))
        assert seen == [
            (0, "1a", "talks", 1),
            (1, "1b", "talks", 1),
            (2, "talks", 2),
            (3, "2a", "talks", 2),
            (4, "2b", "talks", 2),
            (5, "talks", 3),
            (6, "3a", "talks", 3),
            (7, "3b", "talks", 3),
            (8, "3c", "talks", 3),
        ]
        assert [word async for word in handle.stream("words")] == ["1a", "1b", "2a", "2b", "3a", "3b", "3c"]
        assert await handle.result() == 3
        assert await events_of(engine, "s", "items_emitted") == []

    run(program, kind=kind, folder=tmp_path)


@step
async def emits_much(items: int) -> int:
    for number in range(items):
        await everlog.emit("much", number)
    return items


@workflow(name="streams.much")
async def much(items: int) -> int:
    await everlog.emit("much", *range(items))
    return await emits_much(items)


@on_both_stores
def test_many_items_are_few_rows_and_all_in_order(kind: str, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(much.options(id="s"), 3500)
        assert [item async for item in handle.stream("much")] == [*range(3500), *range(3500)]
        store: Any = engine.store
        (page,) = store.read_streams([StreamQuestion(workflow_id="s", stream="much", start=0)], limit=1000)
        counts = [row.count for row in page.rows]
        assert max(counts) <= streams.MOST_ITEMS
        assert len(counts) < 30

    run(program, kind=kind, folder=tmp_path)


def test_a_large_item_has_a_row_of_its_own() -> None:
    @workflow(name="streams.large")
    async def large() -> None:
        await everlog.emit("large", "a" * 100_000, "b" * 300_000, "c", "d" * 300_000)

    async def program(engine: Engine) -> None:
        handle = await engine.start(large.options(id="s"))
        assert [item[0] async for item in handle.stream("large")] == ["a", "b", "c", "d"]
        store: Any = engine.store
        (page,) = store.read_streams([StreamQuestion(workflow_id="s", stream="large", start=0)], limit=1000)
        assert [row.count for row in page.rows] == [1, 1, 1, 1]
        (event,) = await events_of(engine, "s", "items_emitted")
        assert event.data["large_items"]["size"] > 700_000
        assert "items" not in event.data

    run(program)


def test_nothing_can_be_emitted_to_a_closed_stream() -> None:
    release = asyncio.Event()

    @step(name="late")
    async def late() -> str:
        await everlog.emit("log", 1)
        await release.wait()
        try:
            await everlog.emit("log", 2)
        except UsageError as error:
            return str(error)
        return "it was taken"

    @workflow(name="streams.closed")
    async def closes() -> tuple[str, str]:
        slow = asyncio.create_task(late())
        await asyncio.sleep(1)
        await everlog.close_stream("log")
        await asyncio.sleep(1)
        try:
            await everlog.emit("log", 3)
        except UsageError as error:
            return str(error), await slow
        return "it was taken", ""

    async def program(engine: Engine) -> None:
        handle = await engine.start(closes.options(id="s"))
        assert await told(handle.stream("log")) == [(0, 1, "late", 1)]
        await asyncio.sleep(2)
        release.set()
        said = "stream 'log' was closed, so nothing can be emitted to it any more"
        assert await handle.result() == (said, said)

    run(program)


def test_an_attempt_that_is_over_emits_nothing_more() -> None:
    ended: list[str] = []
    go_on, gone = threading.Event(), threading.Event()

    @step(timeout=0.2)
    def hangs() -> None:
        sync.emit("log", 1)
        go_on.wait(10)
        try:
            sync.emit("log", 2)
        except StepInterrupted as error:
            ended.append(str(error))
        gone.set()

    @workflow(name="streams.over")
    async def waits() -> None:
        await everlog.call(hangs)

    async def main() -> None:
        async with Engine(MemoryStore()) as engine:
            handle = await engine.start(waits.options(id="s"))
            with pytest.raises(WorkflowFailed):
                await handle.result(timeout=10)
            go_on.set()
            assert [item async for item in handle.stream("log")] == [1]

    asyncio.run(main())
    gone.wait(10)
    assert [line.partition("hangs' ")[2].partition(",")[0] for line in ended] == ["is over"]


def test_who_emits_faster_than_the_database_takes_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlets, "MOST_WAITING", 1000)
    emitted = 0

    @step
    async def floods() -> int:
        nonlocal emitted
        for number in range(2000):
            await everlog.emit("flood", number)
            emitted += 1
        return emitted

    @workflow(name="streams.flood")
    async def flood() -> int:
        await asyncio.sleep(5)
        return await floods()

    async def program(host: Any) -> None:
        store = FlakyStore(make_store(host))
        async with Engine(store, host=host.sibling(), workflows=[flood]) as engine:
            handle = await engine.start(flood.options(id="s"))
            await asyncio.sleep(5.5)
            assert emitted in range(1, 2000)
            store.down = True
            await asyncio.sleep(10)
            stood = emitted
            await asyncio.sleep(20)
            assert emitted == stood < 2000
            store.down = False
            assert await handle.result() == 2000
            assert [item async for item in handle.stream("flood")] == [*range(2000)]

    simulate(program)


# -- divergence


def emitting(*items: Any, closes: bool = False) -> Workflow[[], int]:
    @workflow(name="streams.emitting")
    async def flow() -> int:
        for item in items:
            await everlog.emit("log", *item)
        if closes:
            await everlog.close_stream("log")
        await asyncio.sleep(60)
        return len(items)

    return flow


@pytest.mark.parametrize(
    ("after", "why"),
    [
        ([[1, 2], [4]], "emit('log', 4)"),
        ([[1], [2, 3]], "emit('log', 1)"),
        ([[1, 2]], "published nothing called 'emit#2' here"),
        ([[1, 2], [3], [5]], "emit('log', 5)"),
        ([], "published nothing called 'emit' here"),
    ],
)
def test_other_items_than_the_history_has_are_a_divergence(after: Sequence[Any], why: str) -> None:
    async def program(host: Any) -> None:
        store = make_store(host)
        before = emitting([1, 2], [3])
        engine = await opened(Engine(store, host=host.sibling(), workflows=[before]))
        await engine.start(before.options(id="s"))
        await asyncio.sleep(10)
        kill(engine)
        async with Engine(store, host=host.sibling(), workflows=[emitting(*after)], lease=2) as engine:
            handle = engine.handle("s")
            await in_state(handle, "stuck")
            assert why in (await handle.status()).why

    simulate(program)


def test_a_close_that_the_history_does_not_have_is_a_divergence() -> None:
    async def program(host: Any) -> None:
        store = make_store(host)
        engine = await opened(Engine(store, host=host.sibling(), workflows=[emitting([1])]))
        await engine.start(emitting([1]).options(id="s"))
        await asyncio.sleep(10)
        kill(engine)
        async with Engine(store, host=host.sibling(), workflows=[emitting([1], closes=True)], lease=2) as engine:
            handle = engine.handle("s")
            await in_state(handle, "stuck")
            assert "close_stream('log')" in (await handle.status()).why

    simulate(program)


# -- blocking readers


def test_blocking_readers_have_the_same() -> None:
    with sync.Engine("memory://") as engine:
        handle = engine.start(talk.options(id="s"), False, 0)
        stream = handle.stream("words", type=str)
        assert list(stream) == ["1a", "1b", "1c"]
        assert stream.offset == 3
        assert [(item.offset, item.attempt) for item in handle.stream("words", start=1).items()] == [(1, 1), (2, 1)]
        assert handle.values() == {}
        with pytest.raises(NotFound):
            handle.get_value("state")
        assert handle.get_value("state", default=None) is None
        assert repr(stream) == "<Stream 'words' at 3>"


def test_a_simulated_host_reads_its_streams() -> None:
    host = SimulatedHost(3)

    async def main() -> list[Any]:
        async with Engine(MemoryStore(clock=host.wall), host=host) as engine:
            handle = await engine.start(talk, True, 1)
            return [word async for word in handle.stream("words")]

    assert host.run(main()) == ["1a", "1b", "2a", "2b", "2c"]

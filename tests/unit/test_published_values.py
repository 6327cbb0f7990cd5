"""Values that workflows publish: written once, read from anywhere, found again by replays."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import re
from typing import Any

import pytest

import everlog
from everlog import Client, Engine, NotFound, UsageError, Workflow, WrongContext, step, sync, workflow
from everlog.memory import MemoryStore
from everlog.store import SupportsStreams, SupportsValues
from everlog.testing.simulation import SimulatedHost
from tests.support import events_of, in_state, kill, make_store, on_both_stores, opened, run, simulate


@dataclasses.dataclass
class Running:
    done: int


@dataclasses.dataclass
class Done:
    done: int


@workflow(name="values.progress")
async def progress() -> int:
    await everlog.set_value("state", Running(1))
    await asyncio.sleep(10)
    await everlog.set_value("state", Done(2))
    await everlog.set_value("extra", [1, 2])
    await asyncio.sleep(10)
    return 1


@workflow(name="values.progress_blocking")
def progress_blocking() -> int:
    sync.set_value("state", Running(1))
    sync.sleep(10)
    sync.set_value("state", Done(2))
    sync.set_value("extra", [1, 2])
    sync.sleep(10)
    return 1


@on_both_stores
@pytest.mark.parametrize("flow", [progress, progress_blocking])
def test_the_last_value_counts_and_all_are_in_the_history(kind: str, flow: Any, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(flow.options(id="v"))
        kinds: Any = Running | Done
        assert await handle.get_value("state", type=kinds) == Running(1)
        assert await handle.get_value("extra") == [1, 2]
        assert await handle.get_value("state", type=kinds) == Done(2)
        assert list(await handle.values()) == ["extra", "state"]
        await handle.result()
        assert await handle.get_value("state", type=kinds, timeout=0) == Done(2)
        said = await events_of(engine, "v", "value_set")
        assert [event.data["name"] for event in said] == ["state", "state", "extra"]

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_a_reader_in_another_process_is_woken(kind: str, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        other = engine.store if kind == "memory" else make_store(engine.host, kind, tmp_path)  # type: ignore[arg-type] # simulated
        async with Client(other, host=engine.host) as client:
            handle = await engine.start(progress.options(id="v"))
            assert await client.handle("v").get_value("extra", timeout=11) == [1, 2]
            assert await handle.result() == 1
        if other is not engine.store:
            other.close()

    run(program, kind=kind, folder=tmp_path)


def test_who_waits_in_vain_is_told_why() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(progress.options(id="v"))
        with pytest.raises(TimeoutError, match=r"'v' has not set the value 'nope' within 2 s; it goes on"):
            await handle.get_value("nope", timeout=2)
        with pytest.raises(TimeoutError, match="within 0 s"):
            await handle.get_value("nope", timeout=0)
        assert await handle.get_value("nope", timeout=0, default=7) == 7
        waiter = asyncio.create_task(handle.get_value("nope"))
        beside = asyncio.create_task(handle.get_value("nope", default="none"))
        with pytest.raises(NotFound, match=r"'v' has ended \(completed\) and never set the value 'nope'"):
            await waiter
        assert await beside == "none"
        for name, ask in {
            "get_value": engine.handle("w").get_value("x"),
            "values": engine.handle("w").values(),
        }.items():
            with pytest.raises(NotFound, match="there is no workflow 'w'"):
                await ask
            assert name
        with pytest.raises(UsageError, match="the name of a value must not be empty"):
            await handle.get_value("")
        assert await handle.values() == {"extra": [1, 2], "state": {"$type": "Done", "$value": {"done": 2}}}

    run(program)


@step
async def tells(values: int) -> int:
    for number in range(values):
        await everlog.set_value("progress", number)
    return values


@step(name="tells_plainly")
def tells_plainly(values: int) -> int:
    for number in range(values):
        sync.set_value("progress", number)
    return values


@workflow(name="values.of_steps")
async def of_steps() -> None:
    await tells(5)
    await everlog.call(tells_plainly, 7)


@on_both_stores
def test_a_step_sets_values_before_its_outcome_and_only_the_last_of_many(kind: str, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(of_steps.options(id="v"))
        await handle.result()
        events = [event for event in await handle.history() if event.type in ("value_set", "step_completed")]
        assert [event.type for event in events][-1] == "step_completed"
        told = [(event.data["operation"], event.data["value"], event.data["attempt"]) for event in events[:-1:2]]
        assert told == [("tells", 4, 1), ("tells_plainly", 6, 1)]
        assert await handle.get_value("progress") == 6

    run(program, kind=kind, folder=tmp_path)


# -- divergence


def order(*said: tuple[str, Any], tail: bool = True) -> Workflow[[], int]:
    @workflow(name="values.order")
    async def flow() -> int:
        await tells(1)
        for name, value in said:
            await everlog.set_value(name, value)
        if tail:
            await asyncio.sleep(60)
            await everlog.set_value("end", 1)
        return len(said)

    return flow


ORIGINAL: list[tuple[str, Any]] = [("a", 1), ("b", Running(2))]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ([("a", 2), ("b", Running(2))], r"code +set_value\('a', 2\)"),
        ([("b", Running(2)), ("a", 1)], r"code +set_value\('b',"),
        ([("a", 1)], "published nothing called 'set_value#2' here"),
        ([], "published nothing called 'set_value' here"),
        ([*ORIGINAL, ("c", 3)], r"code +set_value\('c', 3\)"),
        ([("a", 1), ("b", Running(3))], r"code +set_value\('b',"),
    ],
)
def test_another_publication_than_the_history_has_is_a_divergence(said: Any, why: str) -> None:
    async def program(host: Any) -> None:
        store = make_store(host)
        engine = await opened(Engine(store, host=host.sibling(), workflows=[order(*ORIGINAL)]))
        await engine.start(order(*ORIGINAL).options(id="v"))
        await asyncio.sleep(10)
        kill(engine)
        after = await opened(Engine(store, host=host.sibling(), workflows=[order(*said)], lease=2))
        handle = after.handle("v")
        await in_state(handle, "stuck")
        told = (await handle.status()).why
        assert re.search(why, told), told
        await after.__aexit__(None, None, None)

    simulate(program)


def test_an_additive_change_of_a_type_is_no_divergence() -> None:
    async def program(host: Any) -> None:
        store = make_store(host)
        engine = await opened(Engine(store, host=host.sibling(), workflows=[order(*ORIGINAL)]))
        await engine.start(order(*ORIGINAL).options(id="v"))
        await asyncio.sleep(10)
        kill(engine)
        grown: Any = dataclasses.make_dataclass("Running", [("done", int), ("of", int, dataclasses.field(default=9))])
        newer = order(("a", 1), ("b", grown(2)))
        after = await opened(Engine(store, host=host.sibling(), workflows=[newer], lease=2))
        assert await after.handle("v", newer).result() == 2
        await after.__aexit__(None, None, None)

    simulate(program)


# -- where it may be called


@workflow(name="values.misused")
async def misused() -> list[str]:
    told: list[str] = []
    for wrong in (lambda: sync.set_value("a", 1), lambda: sync.emit("a", 1), lambda: sync.close_stream("a")):
        try:
            wrong()
        except WrongContext as error:
            told.append(str(error))
    everlog.set_value("forgotten", 1)  # type: ignore[unused-coroutine] # that is the defect
    return told


@workflow(name="values.misused_blocking")
def misused_blocking() -> list[str]:
    told: list[str] = []
    for wrong in (everlog.set_value, everlog.emit):
        try:
            wrong("a", 1)  # type: ignore[unused-coroutine] # refused at the call
        except WrongContext as error:
            told.append(str(error))
    return told


@step
async def misuses() -> list[str]:
    told: list[str] = []
    for wrong in (lambda: sync.set_value("a", 1), lambda: everlog.close_stream("a")):
        try:
            wrong()  # type: ignore[no-untyped-call] # both colours
        except WrongContext as error:
            told.append(str(error))
    return told


@workflow(name="values.misuses")
async def misuses_in_a_step() -> list[str]:
    return await misuses()


def test_what_cannot_be_called_here_is_refused_with_the_right_form(caplog: pytest.LogCaptureFixture) -> None:
    async def program(engine: Engine) -> None:
        told = await engine.run(misused)
        assert [line.partition("; ")[2] for line in told] == [
            'here write "await everlog.set_value(...)"',
            'here write "await everlog.emit(...)"',
            'here write "await everlog.close_stream(...)"',
        ]
        told = await engine.run(misused_blocking)
        assert ["sync.set_value(...)" in told[0], "sync.emit(...)" in told[1]] == [True, True]
        told = await engine.run(misuses_in_a_step)
        assert 'write "await everlog.set_value(...)"' in told[0]
        assert "leave it to the workflow" in told[1]
        for wrong in (lambda: everlog.set_value("a", 1), lambda: everlog.emit("a"), lambda: sync.emit("a")):
            with pytest.raises(WrongContext, match="works in a"):
                wrong()  # type: ignore[no-untyped-call] # both colours

    with caplog.at_level(logging.WARNING, "everlog"):
        run(program)
    assert "called set_value('forgotten', 1)" in caplog.text
    assert "never awaited" in caplog.text


class Plain:
    """A store without the optional powers."""

    def __init__(self, store: MemoryStore) -> None:
        for name in ("now", "commit", "claim", "read", "heads", "workflows", "unread", "changes", "register", "renew"):
            setattr(self, name, getattr(store, name))
        for name in ("workers", "retire", "close"):
            setattr(self, name, getattr(store, name))


@workflow(name="values.emits")
async def emits() -> None:
    await everlog.emit("a", 1)


def test_a_store_without_them_says_so() -> None:
    host = SimulatedHost(0)
    store: Any = Plain(MemoryStore(clock=host.wall))
    assert not isinstance(store, SupportsValues)
    assert not isinstance(store, SupportsStreams)

    async def main() -> None:
        async with Engine(store, host=host) as engine:
            handle = await engine.start(progress.options(id="v"))
            with pytest.raises(UsageError, match="Plain keeps no values"):
                await handle.get_value("state")
            with pytest.raises(UsageError, match="Plain keeps no streams"):
                await anext(aiter(handle.stream("log")))
            assert await handle.result() == 1
            handle = await engine.start(emits.options(id="e"))
            await in_state(handle, "stuck")
            assert "Plain keeps no streams" in (await handle.status()).why

    host.run(main())

"""Compensations: run in reverse, once each, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import anyio
import pytest

import everlog
from everlog import (
    Engine,
    NotEncodable,
    RetryPolicy,
    WorkflowCancelled,
    WorkflowFailed,
    WrongContext,
    step,
    sync,
    workflow,
)
from everlog.testing.simulation import SimulatedHost
from tests.support import FlakyStore, kill, make_store, on_both_stores, opened, run, simulate, until

CALLS: list[str] = []
FAILING: set[str] = set()


@pytest.fixture(autouse=True)
def nothing_happened() -> None:
    CALLS.clear()
    FAILING.clear()


@step(name="compensations.does")
async def does(what: str, seconds: float = 0) -> str:
    await asyncio.sleep(seconds)
    CALLS.append(what)
    if what in FAILING:
        raise ValueError(f"{what} failed")
    return what


@step(name="compensations.undoes")
async def undoes(what: str, seconds: float = 0) -> None:
    CALLS.append(f"begins -{what}")
    await asyncio.sleep(seconds)
    CALLS.append(f"-{what}")
    if f"-{what}" in FAILING:
        raise ValueError(f"-{what} failed")


@step(name="compensations.undoes_plainly")
def undoes_plainly(what: str, seconds: float = 0) -> None:
    CALLS.append(f"-{what}")


@workflow(name="compensations.trip")
async def trip(last: float = 0, undo_seconds: float = 0) -> str:
    async with everlog.compensations() as undo:
        for what in ("car", "hotel", "flight"):
            undo.add(undoes, await does(what), seconds=undo_seconds)
        undo.add(undoes_plainly, await does("insurance"))
        await does("payment", last)
    return "booked"


@workflow(name="compensations.trip_blocking")
def trip_blocking(last: float = 0, undo_seconds: float = 0) -> str:
    with sync.compensations() as undo:
        for what in ("car", "hotel", "flight"):
            undo.add(undoes, sync.call(does, what), seconds=undo_seconds)
        undo.add(undoes_plainly, sync.call(does, "insurance"))
        sync.call(does, "payment", last)
    return "booked"


@workflow(name="compensations.trip_in_scope")
async def trip_in_scope(last: float = 0, undo_seconds: float = 0) -> str:
    with anyio.CancelScope() as scope:  # cancels again and again what waits in it
        asyncio.get_running_loop().call_later(2, scope.cancel)
        return await trip.fn(last, undo_seconds)
    return "given up"


TRIPS = [trip, trip_blocking]
both = pytest.mark.parametrize("flow", TRIPS, ids=lambda flow: flow.name)
UNDONE = ["-insurance", "-flight", "-hotel", "-car"]


def undone() -> list[str]:
    return [call for call in CALLS if call.startswith("-")]


@both
def test_nothing_is_undone_where_the_block_returns(flow: Any) -> None:
    assert run(lambda engine: engine.run(flow), workflows=TRIPS) == "booked"
    assert undone() == []


@on_both_stores
@both
def test_all_is_undone_in_reverse_where_the_block_raises(flow: Any, kind: str, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        FAILING.add("payment")
        with pytest.raises(WorkflowFailed, match="payment failed"):
            await engine.run(flow)
        assert undone() == UNDONE

    run(program, kind=kind, folder=tmp_path, workflows=TRIPS)


@both
def test_only_what_was_added_is_undone(flow: Any) -> None:
    async def program(engine: Engine) -> None:
        FAILING.add("flight")
        with pytest.raises(WorkflowFailed, match="flight failed"):
            await engine.run(flow)
        assert undone() == ["-hotel", "-car"]

    run(program, workflows=TRIPS)


@both
@pytest.mark.parametrize("how", ["cancelled", "timeout"])
def test_all_is_undone_where_the_workflow_is_cancelled_and_no_further_cancellation_stops_it(
    flow: Any, how: str
) -> None:
    async def program(engine: Engine) -> None:
        timeout = 5 if how == "timeout" else None
        handle = await engine.start(flow.options(timeout=timeout), 100, 3)
        if how == "cancelled":
            await asyncio.sleep(1)
            await handle.cancel()
        await until(lambda: "begins -flight" in CALLS)
        for _ in range(3):
            await handle.cancel()
            await asyncio.sleep(1)
        with pytest.raises(WorkflowCancelled):
            await handle.result()
        assert undone() == UNDONE
        assert CALLS.count("begins -flight") == 1

    run(program, workflows=TRIPS)


def test_a_scope_that_cancels_again_and_again_does_not_stop_it() -> None:
    async def program(engine: Engine) -> None:
        assert await engine.run(trip_in_scope, 100, 3) == "given up"
        assert undone() == UNDONE

    run(program, workflows=[trip_in_scope])


@both
def test_a_cancellation_that_comes_while_a_failure_is_undone_is_raised_after(flow: Any) -> None:
    async def program(engine: Engine) -> None:
        FAILING.add("payment")
        handle = await engine.start(flow, 1, 10)
        await until(lambda: "begins -flight" in CALLS)
        await handle.cancel(reason="meanwhile")
        with pytest.raises(WorkflowCancelled, match="meanwhile"):
            await handle.result()
        assert undone() == UNDONE

    run(program, workflows=TRIPS)


@both
def test_one_that_fails_does_not_hold_up_the_others(flow: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def program(engine: Engine) -> None:
        FAILING.update(["payment", "-hotel"])
        with pytest.raises(WorkflowFailed, match="payment failed") as caught:
            await engine.run(flow.options(id="flow"))
        assert undone() == UNDONE
        notes: list[str] = getattr(caught.value.__cause__, "__notes__", [])
        assert any("compensations.undoes failed: ValueError: -hotel failed" in note for note in notes)

    with caplog.at_level(logging.ERROR, "everlog"):
        run(program, workflows=TRIPS)
    assert [record.getMessage() for record in caplog.records] == [
        "workflow 'flow': the compensation compensations.undoes failed: ValueError: -hotel failed"
    ]


@both
def test_a_process_that_dies_in_the_middle_leaves_the_rest_to_another(flow: Any) -> None:
    async def program(host: SimulatedHost) -> None:
        FAILING.add("payment")
        store = make_store(host)
        engine = await opened(Engine(FlakyStore(store), host=host.sibling(), workflows=TRIPS))
        await engine.start(flow.options(id="flow"), 0, 2)
        await until(lambda: "begins -hotel" in CALLS)
        kill(engine)
        worker = engine._open_shell().worker
        assert worker is not None
        worker.let_all_go()
        async with Engine(store, host=host.sibling(), workflows=TRIPS) as engine:
            with pytest.raises(WorkflowFailed, match="payment failed"):
                await engine.handle("flow").result()
        assert undone() == UNDONE
        assert CALLS.count("begins -hotel") == 2

    simulate(program)


@both
def test_a_retry_does_again_what_was_undone(flow: Any) -> None:
    async def program(engine: Engine) -> None:
        FAILING.add("payment")
        handle = await engine.start(flow)
        with pytest.raises(WorkflowFailed):
            await handle.result()
        FAILING.clear()
        CALLS.clear()
        await handle.retry()
        assert await handle.result() == "booked"
        assert CALLS == ["car", "hotel", "flight", "insurance", "payment"]

    run(program, workflows=TRIPS)


@workflow(name="compensations.after_a_block")
async def after_a_block() -> str:
    await does("before")
    try:
        async with everlog.compensations() as undo:
            undo.add(undoes, await does("a"))
            await does("b")
    except ValueError:
        await does("c")
    return await does("d")


def test_a_block_that_was_got_over_stays_got_over() -> None:
    async def program(engine: Engine) -> None:
        FAILING.update("bd")
        handle = await engine.start(after_a_block)
        with pytest.raises(WorkflowFailed, match="d failed"):
            await handle.result()
        FAILING.clear()
        await handle.retry()
        assert await handle.result() == "d"
        assert [call for call in CALLS if "begins" not in call] == ["before", "a", "b", "-a", "c", "d", "d"]

    run(program, workflows=[after_a_block])


@workflow(name="compensations.raises_another")
async def raises_another() -> str:
    done = await does("before")
    try:
        async with everlog.compensations() as undo:
            undo.add(undoes, await does("a"))
            await does("b")
    except ValueError as error:
        raise LookupError(f"{done}, then no booking") from error
    return "booked"


def test_a_retry_goes_back_before_the_block_also_where_another_error_was_raised() -> None:
    async def program(engine: Engine) -> None:
        FAILING.add("b")
        handle = await engine.start(raises_another)
        with pytest.raises(WorkflowFailed, match="no booking"):
            await handle.result()
        FAILING.clear()
        await handle.retry()
        assert await handle.result() == "booked"
        assert [call for call in CALLS if "begins" not in call] == ["before", "a", "b", "-a", "a", "b"]

    run(program, workflows=[raises_another])


@workflow(name="compensations.nested")
async def nested() -> None:
    async with everlog.compensations() as outer:
        outer.add(undoes, await does("outer"))
        async with everlog.compensations() as inner:
            inner.add(undoes.options(retry=RetryPolicy(max_attempts=2, first_delay=1)), await does("inner"))
            outer.add(undoes, await does("outer again"))
            raise ValueError("enough")


def test_blocks_nest() -> None:
    async def program(engine: Engine) -> None:
        with pytest.raises(WorkflowFailed, match="enough"):
            await engine.run(nested)
        assert undone() == ["-inner", "-outer again", "-outer"]

    run(program, workflows=[nested])


@workflow(name="compensations.wrong")
async def wrong(how: str) -> None:
    block = everlog.compensations()
    async with block as undo:
        try:
            if how == "lambda":
                undo.add(lambda: None)  # type: ignore[arg-type, misc] # what is refused
            if how == "value":
                undo.add(does, object())  # type: ignore[arg-type] # what is refused
            if how == "missing":
                undo.add(does)  # type: ignore[call-arg] # what is refused
        except Exception as error:
            CALLS.append(type(error).__name__)
            raise
    if how == "late":
        undo.add(does, "x")
    if how == "again":
        async with block:
            pass


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("lambda", "takes a step"),
        ("value", "input of "),
        ("missing", "what"),
        ("late", "inside the block"),
        ("again", "has had its block"),
    ],
)
def test_what_could_not_be_called_is_refused_where_it_is_added(how: str, why: str) -> None:
    async def program(engine: Engine) -> None:
        with pytest.raises(WorkflowFailed, match=why) as caught:
            await engine.run(wrong, how)
        assert isinstance(caught.value.__cause__, WrongContext | NotEncodable | TypeError)

    run(program, workflows=[wrong])


def test_it_is_for_workflows_only() -> None:
    with pytest.raises(WrongContext, match="AsyncExitStack"):
        everlog.compensations()
    with pytest.raises(WrongContext, match="ExitStack"):
        sync.compensations()


@workflow(name="compensations.leaves_a_task")
async def leaves_a_task() -> str:
    async def books() -> None:
        async with everlog.compensations() as undo:
            undo.add(undoes, await does("a"))
            await does("b", 100)

    left = asyncio.create_task(books())
    await asyncio.sleep(1)
    return "left" if not left.done() else "done"


def test_what_a_task_had_done_that_nobody_waited_for_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "everlog"):
        assert run(lambda engine: engine.run(leaves_a_task), workflows=[leaves_a_task]) == "left"
    assert undone() == []
    assert "await that task before the end" in caplog.text

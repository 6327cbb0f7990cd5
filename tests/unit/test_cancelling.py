"""Cancelling across engines, crashes and threads; who may cancel what, and the reasons that they give."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import everlog
from everlog import Client, Engine, Handle, NotFound, UsageError, WorkflowCancelled, WrongContext, step, workflow
from everlog.testing import FaultyStore
from everlog.testing.faults import Fault
from everlog.testing.simulation import SimulatedHost
from tests.support import events_of, kill, kinds, make_store, on_both_stores, opened, run

CALLS: list[str] = []
ENGINES: list[Engine] = []


@pytest.fixture(autouse=True)
def no_calls() -> None:
    CALLS.clear()


@step(name="cancelling.works")
async def works(seconds: float) -> str:
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        CALLS.append("step cancelled")
        raise
    CALLS.append("step ended")
    return "worked"


@step(name="cancelling.cleans_up")
async def cleans_up(what: str) -> None:
    await asyncio.sleep(1)
    CALLS.append(f"cleaned {what}")


@workflow(name="cancelling.runs_a_step")
async def runs_a_step() -> str:
    return await works(1000)


@workflow(name="cancelling.sleeps")
async def sleeps() -> None:
    await asyncio.sleep(1_000_000)


@workflow(name="cancelling.receives")
async def receives() -> Any:
    return await everlog.recv("news")


@workflow(name="cancelling.returns")
async def returns() -> int:
    return 1


@workflow(name="cancelling.with_clean_up")
async def with_clean_up() -> None:
    try:
        await asyncio.sleep(1_000_000)
    except asyncio.CancelledError:
        await cleans_up("in except")
        raise
    finally:
        await cleans_up("in finally")


FLOWS = [runs_a_step, sleeps, receives, returns, with_clean_up]


async def is_cancelled(handle: Handle[Any], reason: str = "") -> None:
    with pytest.raises(WorkflowCancelled, match=f"was cancelled: {reason}" if reason else "was cancelled"):
        await handle.result(timeout=100)
    status = await handle.status()
    assert status.state == "cancelled"
    assert reason in status.why
    assert status.ended_at is not None
    assert status.worker is None


def end(engine: Engine) -> None:
    """Kill an engine, and have what its workflows hold on to dropped now rather than by the garbage collector."""
    kill(engine)
    shell: Any = engine._shell
    shell.worker.let_all_go()


# -- wherever it is


@on_both_stores
@pytest.mark.parametrize("flow", [runs_a_step, sleeps, receives], ids=lambda flow: str(flow.name))
@pytest.mark.parametrize("after", [0.0, 0.01, 5.0])
def test_what_a_cancel_leaves_open_is_closed_in_the_history(flow: Any, after: float, kind: str, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(flow)
        await asyncio.sleep(after)
        await handle.cancel(reason="no longer wanted")
        await is_cancelled(handle, "no longer wanted")
        history = await kinds(handle)
        assert history[-1] == "workflow_cancelled"
        assert history.count("workflow_cancelled") == 1
        begun = sum(name in ("step_started", "timer_set", "wait_started") for name in history)
        closed = sum(name in ("step_cancelled", "timer_cancelled", "wait_cancelled") for name in history)
        assert begun == closed

    run(program, kind=kind, folder=tmp_path, workflows=FLOWS)


@on_both_stores
def test_a_workflow_that_waits_for_room_is_cancelled_at_once(kind: str, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        first = await engine.start(runs_a_step)
        second = await engine.start(with_clean_up)
        assert (await second.status()).state == "queued"
        waiting = asyncio.create_task(second.result())
        await asyncio.sleep(1)
        await second.cancel()
        with pytest.raises(WorkflowCancelled):
            await waiting
        await is_cancelled(second)
        assert await kinds(second) == ["workflow_created", "workflow_cancelled"]
        await first.cancel()
        await is_cancelled(first)

    run(program, kind=kind, folder=tmp_path, workflows=FLOWS, concurrency=1)


@on_both_stores
def test_a_workflow_that_another_engine_holds_is_cancelled_by_a_client(kind: str, tmp_path: Any) -> None:
    host = SimulatedHost(1)

    async def main() -> None:
        store = make_store(host, kind, tmp_path)
        async with (
            Engine(store, host=host.sibling(), workflows=FLOWS) as engine,
            Client(store, host=host.sibling()) as client,
        ):
            handle = await engine.start(with_clean_up)
            await asyncio.sleep(1)
            assert await client.cancel(handle.id) == [handle.id]
            await is_cancelled(client.handle(handle.id))
            assert CALLS == ["cleaned in except", "cleaned in finally"]

    host.run(main())


@on_both_stores
@pytest.mark.parametrize("crashes", [False, True], ids=["closed", "crashed"])
def test_a_workflow_that_nobody_runs_any_more_cleans_up_when_an_engine_opens(
    kind: str, crashes: bool, tmp_path: Any
) -> None:
    host = SimulatedHost(1)

    async def main() -> None:
        store = make_store(host, kind, tmp_path)
        first = await opened(Engine(store, host=host.sibling(), workflows=FLOWS))
        await first.start(with_clean_up.options(id="w"))
        await asyncio.sleep(1)
        if crashes:
            end(first)
        else:
            await first.__aexit__()
        async with Client(store, host=host.sibling()) as client:
            assert await client.cancel("w") == ["w"]
            assert (await client.handle("w").status()).state != "cancelled"  # its clean-up has to run
        assert CALLS == []
        async with Engine(store, host=host.sibling(), workflows=FLOWS) as engine:
            await is_cancelled(engine.handle("w"))
        assert CALLS == ["cleaned in except", "cleaned in finally"]

    host.run(main())


@on_both_stores
def test_an_ended_workflow_is_left_as_it_is(kind: str, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        completed, cancelled = await engine.start(returns), await engine.start(sleeps)
        await completed.result()
        await cancelled.cancel()
        await is_cancelled(cancelled)
        histories = [await completed.history(), await cancelled.history()]
        for handle in (completed, cancelled):
            assert await engine.cancel(handle.id) == []
            await handle.cancel(reason="again")
        assert [await completed.history(), await cancelled.history()] == histories
        assert await completed.result() == 1

    run(program, kind=kind, folder=tmp_path, workflows=FLOWS)


@on_both_stores
def test_an_unknown_id_is_not_found_and_what_is_no_id_is_refused(kind: str, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        with pytest.raises(NotFound, match="'nobody'"):
            await engine.cancel("nobody")
        with pytest.raises(NotFound, match="'nobody'"):
            await engine.handle("nobody").cancel()
        bad: Any
        for bad in ("", "a\0", "\ud800", 7):
            with pytest.raises(UsageError, match="workflow id"):
                await engine.cancel(bad)

    run(program, kind=kind, folder=tmp_path, workflows=FLOWS)


@on_both_stores
def test_many_are_cancelled_with_one_call(kind: str, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        handles = [await engine.start(sleeps.options(id=f"w{number}")) for number in range(20)]
        await engine.run(returns.options(id="done"))
        assert await engine.cancel("w1", "done", "w2") == ["w1", "w2"]
        assert await engine.cancel() == []
        rest = [handle.id for handle in handles if handle.id not in ("w1", "w2")]
        assert await engine.cancel(*rest) == rest
        for handle in handles:
            await is_cancelled(handle)

    run(program, kind=kind, folder=tmp_path, workflows=FLOWS)


# -- clean-up


@pytest.mark.parametrize("when", ["before", "after"])
def test_clean_up_runs_durably_whatever_commit_the_process_dies_at(when: Any) -> None:
    for commit in range(2, 9):
        CALLS.clear()
        dying(Fault(commit=commit, when=when, kind="crash"))
        assert set(CALLS) == {"cleaned in except", "cleaned in finally"}, (commit, CALLS)
        assert len(CALLS) <= 3, (commit, CALLS)  # one step may have run twice


def dying(fault: Fault) -> None:
    host = SimulatedHost(1)

    async def main() -> None:
        plain = make_store(host)
        store = FaultyStore(plain, fault)
        async with Client(plain, host=host.sibling()) as client:
            handle = await client.start(with_clean_up.options(id="w"))
            first = await opened(Engine(store, host=host.sibling(), workflows=FLOWS))
            await asyncio.sleep(1)
            await handle.cancel()
            await asyncio.sleep(10)
            end(first)
            async with Engine(plain, host=host.sibling(), workflows=FLOWS):
                await is_cancelled(handle)
                assert len(await events_of(client, "w", "cancel_requested")) == 1

    host.run(main())


@workflow(name="cancelling.raises_instead")
async def raises_instead() -> None:
    try:
        await asyncio.sleep(1_000_000)
    except asyncio.CancelledError:
        raise ValueError("instead") from None


def test_a_workflow_that_raises_something_else_when_cancelled_has_failed() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(raises_instead)
        await asyncio.sleep(1)
        await handle.cancel()
        with pytest.raises(everlog.WorkflowFailed, match="instead"):
            await handle.result()

    run(program, workflows=[raises_instead])


@workflow(name="cancelling.cancels_itself")
async def cancels_itself() -> None:
    raise asyncio.CancelledError


def test_a_workflow_that_cancels_itself_is_cancelled() -> None:
    async def program(engine: Engine) -> None:
        await is_cancelled(await engine.start(cancels_itself))

    run(program, workflows=[cancels_itself])


@workflow(name="cancelling.shielded")
async def shielded() -> None:
    working = asyncio.ensure_future(works(5))
    try:
        await asyncio.shield(working)
    except asyncio.CancelledError:
        await working
        raise


def test_what_is_shielded_goes_on() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(shielded)
        await asyncio.sleep(1)
        await handle.cancel()
        await is_cancelled(handle)
        assert CALLS == ["step ended"]

    run(program, workflows=[shielded])


# -- steps in threads


def test_a_thread_runs_on_and_its_outcome_is_dropped() -> None:
    # Real threads: only a real one can still be running when its step is cancelled.
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    @step(name="cancelling.blocks")
    def blocks() -> bool:
        begun.set()
        may_end.wait(10)
        CALLS.append(f"cancelled: {everlog.current().cancelled}")
        ended.set()
        return True

    @workflow(name="cancelling.blocking")
    async def blocking() -> bool:
        return await everlog.call(blocks)

    async def main() -> None:
        async with Engine("memory://", workflows=[blocking]) as engine:
            handle = await engine.start(blocking)
            assert await asyncio.to_thread(begun.wait, 5)
            await handle.cancel(reason="too slow")
            with pytest.raises(WorkflowCancelled, match="too slow"):
                await handle.result(timeout=5)
            assert not ended.is_set()
            may_end.set()
            assert await asyncio.to_thread(ended.wait, 5)
            await asyncio.sleep(0.05)
            assert CALLS == ["cancelled: True"]
            assert "step_completed" not in await kinds(handle)

    asyncio.run(main())


# -- by whom, and why


@pytest.mark.parametrize("reason", ["\ud800", b"bytes", 5, None], ids=repr)
def test_a_reason_that_is_no_text_is_refused_and_nothing_is_cancelled(reason: Any) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(receives)
        with pytest.raises(UsageError, match="reason"):
            await handle.cancel(reason=reason)
        await handle.send("news", "still there")
        assert await handle.result() == "still there"

    run(program, workflows=FLOWS)


@on_both_stores
@pytest.mark.parametrize("reason", ["ünïcödé ☃", "a\0b", 'quoted "and" \n lines', "x" * 5000], ids=len)
def test_any_text_is_a_reason(kind: str, reason: str, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        held, queued = await engine.start(sleeps), await engine.start(sleeps)
        for handle in (queued, held):
            await handle.cancel(reason=reason)
            with pytest.raises(WorkflowCancelled) as caught:
                await handle.result(timeout=10)
            assert str(caught.value) == f"workflow {handle.id!r} was cancelled: {reason}"

    run(program, kind=kind, folder=tmp_path, workflows=FLOWS, concurrency=1)


@workflow(name="cancelling.tries_the_engine")
async def tries_the_engine() -> str:
    try:
        await ENGINES[0].cancel("somebody")
    except WrongContext as error:
        return str(error)
    return "cancelled"


def test_the_engine_is_not_for_workflow_code() -> None:
    async def program(engine: Engine) -> None:
        ENGINES[:] = [engine]
        try:
            assert "cancel() of an engine or handle is not for workflow code" in await engine.run(tries_the_engine)
        finally:
            ENGINES.clear()

    run(program, workflows=[tries_the_engine])

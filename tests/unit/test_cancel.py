"""Cancelling: in every state that a workflow can be in, once and more than once."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from typing import Any

import pytest

import everlog
from everlog import Client, Engine, NotFound, WorkflowCancelled, step, workflow
from everlog.runtime.status import folded_history
from everlog.testing.simulation import SimulatedHost
from tests.support import FlakyStore, in_state, kill, kinds, make_store, on_both_stores, opened, run, simulate, until

CALLS: list[Any] = []


@pytest.fixture(autouse=True)
def no_calls() -> None:
    CALLS.clear()


@step
async def works(seconds: float) -> None:
    CALLS.append("began")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        CALLS.append("cancelled")
        raise
    CALLS.append("ended")


@step
async def cleans_up(what: str) -> str:
    CALLS.append(what)
    return what


@workflow
async def runs_a_step() -> None:
    await works(100)


@workflow
async def sleeps() -> None:
    await asyncio.sleep(1000)


@workflow
async def listens() -> None:
    await everlog.recv("never")


@workflow
async def computes() -> str:
    return "done"


async def must_be_cancelled(engine: Client, workflow_id: str, reason: str = "") -> None:
    handle = engine.handle(workflow_id)
    with pytest.raises(WorkflowCancelled) as caught:
        await handle.result(timeout=60)
    assert workflow_id in str(caught.value)
    assert reason in str(caught.value)
    status = await handle.status()
    assert status.state == "cancelled"
    assert reason in status.why
    rows = await engine.on_thread(lambda: engine.store.read(workflow_id))
    folded = folded_history(rows)
    assert folded.status == "cancelled"
    assert folded.open == {}, "every row that opens an operation is closed by one"


@on_both_stores
@pytest.mark.parametrize("flow", [runs_a_step, sleeps, listens], ids=lambda flow: flow.name)
def test_a_workflow_that_runs_or_waits_is_cancelled(flow: Any, kind: str, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(flow.options(id="flow"))
        await asyncio.sleep(1)
        assert await engine.cancel("flow") == ["flow"]
        cancelled = asyncio.get_running_loop().time()
        await must_be_cancelled(engine, "flow")
        assert asyncio.get_running_loop().time() - cancelled < 0.1
        assert await engine.cancel("flow") == []
        await handle.cancel()

    run(program, kind=kind, folder=tmp_path, workflows=[flow])
    assert CALLS in ([], ["began", "cancelled"])


def test_the_reason_is_kept() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(sleeps.options(id="flow"))
        await handle.cancel(reason="the customer called")
        await must_be_cancelled(engine, "flow", "the customer called")

    run(program, workflows=[sleeps])


@on_both_stores
def test_a_client_cancels_at_once_what_is_queued_and_nobody_runs(kind: str, tmp_path: Any) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        async with Client(store, host=host.sibling()) as client:
            await client.start(sleeps.options(id="flow"))
            waiting = asyncio.ensure_future(client.handle("flow").result())
            await asyncio.sleep(1)
            assert await client.cancel("flow") == ["flow"]
            await must_be_cancelled(client, "flow")
            with pytest.raises(WorkflowCancelled):
                await waiting
            assert await kinds(client.handle("flow")) == ["workflow_created", "workflow_cancelled"]
            assert await client.on_thread(client.store.workers) == []
        async with Engine(store, host=host.sibling(), workflows=[sleeps]) as engine:
            await must_be_cancelled(engine, "flow")

    simulate(program)


def test_many_queued_workflows_are_cancelled_at_once_by_several_clients() -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        ids = [f"flow-{number}" for number in range(20)]
        async with Client(store, host=host.sibling()) as one, Client(store, host=host.sibling()) as two:
            for workflow_id in ids:
                await one.start(sleeps.options(id=workflow_id))
            await asyncio.gather(*(client.cancel(*ids) for client in (one, two, one, two)))
            async with Engine(store, host=host.sibling(), workflows=[sleeps]):
                for workflow_id in ids:
                    await must_be_cancelled(two, workflow_id)

    simulate(program)


def test_a_client_that_dies_while_it_cancels_leaves_the_workflow_to_others() -> None:
    async def program(host: SimulatedHost) -> None:
        shared = make_store(host)
        store = FlakyStore(shared)
        client = Client(store, host=host.sibling())
        await client.__aenter__()
        await client.start(computes.options(id="flow"))
        store.on_commit = lambda batch: setattr(store, "down", True)
        cancelling = asyncio.ensure_future(client.cancel("flow"))
        await asyncio.sleep(1)
        cancelling.cancel()
        client.host.crash()  # type: ignore[attr-defined]
        async with Engine(shared, host=host.sibling(), workflows=[computes]) as engine:
            assert await engine.handle("flow").result(timeout=60) == "done"

    simulate(program)


def test_a_waiting_workflow_that_nobody_holds_is_cancelled_by_the_next_engine() -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        async with Engine(store, host=host.sibling(), workflows=[sleeps]) as first:
            await in_state(await first.start(sleeps.options(id="flow")), "waiting")
        async with Client(store, host=host.sibling()) as client:
            assert await client.cancel("flow") == ["flow"]
            async with Engine(store, host=host.sibling(), workflows=[sleeps]):
                await must_be_cancelled(client, "flow")
            assert "timer_cancelled" in await kinds(client.handle("flow"))

    simulate(program)


def test_a_stuck_workflow_is_cancelled_without_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    @workflow(name="changes")
    async def before() -> None:
        await cleans_up("before")
        await asyncio.gather(works(1000), everlog.recv("never"), asyncio.sleep(500))

    @workflow(name="changes")
    async def after() -> None:
        await cleans_up("after")

    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        monkeypatch.setenv("EVERLOG_BUILD", "one")
        first = await opened(Engine(store, host=host.sibling(), workflows=[before]))
        await first.start(before.options(id="flow"))
        await asyncio.sleep(1)
        kill(first)
        await asyncio.sleep(15)
        monkeypatch.setenv("EVERLOG_BUILD", "two")
        async with Engine(store, host=host.sibling(), workflows=[after]) as second:
            await in_state(second.handle("flow"), "stuck")
            assert await second.cancel("flow") == ["flow"]
            await must_be_cancelled(second, "flow")

    simulate(program)


def test_what_is_unknown_cannot_be_cancelled_and_what_has_ended_stays_as_it_was() -> None:
    async def program(engine: Engine) -> None:
        with pytest.raises(NotFound, match="'nobody'"):
            await engine.cancel("nobody")
        handle = await engine.start(computes.options(id="flow"))
        assert await handle.result() == "done"
        assert await engine.cancel("flow") == []
        await handle.cancel()
        assert (await handle.status()).state == "completed"

    run(program, workflows=[computes])


def test_a_cancel_that_comes_while_a_workflow_ends_harms_nobody() -> None:
    for seed in range(30):

        async def program(host: SimulatedHost) -> None:
            async with Engine(make_store(host), host=host, workflows=[computes]) as engine:
                handles = [await engine.start(computes) for _ in range(5)]
                await asyncio.gather(*(handle.cancel() for handle in handles))
                for handle in handles:
                    with suppress(WorkflowCancelled):
                        assert await handle.result(timeout=10) == "done"

        simulate(program, seed=seed)


# -- clean-up


@workflow
async def cleans() -> str:
    try:
        await asyncio.sleep(1000)
    except asyncio.CancelledError:
        await cleans_up("except")
        raise
    finally:
        await cleans_up("finally")
        await asyncio.sleep(5)
        await cleans_up("after a sleep")
    return "done"


@pytest.mark.parametrize("killed", [False, True])
def test_clean_up_runs_durably_and_then_the_workflow_is_cancelled(killed: bool) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        first = await opened(Engine(store, host=host.sibling(), workflows=[cleans]))
        handle = await first.start(cleans.options(id="flow"))
        await asyncio.sleep(1)
        await handle.cancel()
        await asyncio.sleep(2)
        assert CALLS == ["except", "finally"]
        assert "asked to stop" in (await handle.status()).why
        second = first
        if killed:
            kill(first)
            await asyncio.sleep(15)
            second = await opened(Engine(store, host=host.sibling(), workflows=[cleans]))
        await must_be_cancelled(second, "flow")
        assert CALLS == ["except", "finally", "after a sleep"]
        await second.__aexit__(None, None, None)

    simulate(program)


def test_a_second_cancel_interrupts_the_clean_up() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(cleans.options(id="flow"))
        await asyncio.sleep(1)
        await handle.cancel()
        await asyncio.sleep(2)
        await handle.cancel()
        await must_be_cancelled(engine, "flow")
        assert CALLS == ["except", "finally"]
        assert (await kinds(handle)).count("cancel_requested") == 2

    run(program, workflows=[cleans])


@workflow
async def does_not_want_to_stop() -> str:
    refused = 0
    while refused < 2:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            refused += 1
    return f"refused {refused} times"


def test_a_workflow_may_handle_a_cancel_and_go_on() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(does_not_want_to_stop)
        for _ in range(2):
            await asyncio.sleep(1)
            await handle.cancel()
        assert await handle.result() == "refused 2 times"

    run(program, workflows=[does_not_want_to_stop])


@workflow
async def fails_in_its_clean_up() -> None:
    try:
        await asyncio.sleep(1000)
    finally:
        raise ValueError("the clean-up failed")


def test_a_clean_up_that_fails_fails_the_workflow() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(fails_in_its_clean_up)
        await asyncio.sleep(1)
        await handle.cancel()
        with pytest.raises(everlog.WorkflowFailed, match="the clean-up failed"):
            await handle.result()

    run(program, workflows=[fails_in_its_clean_up])


# -- what is cancelled with it


@workflow
async def fans_out() -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(works(100))
        group.create_task(everlog.recv("never"))
        group.create_task(asyncio.sleep(100))


def test_a_cancel_reaches_all_that_runs_at_once() -> None:
    async def program(engine: Engine) -> None:
        await engine.start(fans_out.options(id="flow"))
        await asyncio.sleep(1)
        await engine.cancel("flow")
        await must_be_cancelled(engine, "flow")
        await asyncio.sleep(1)
        assert CALLS == ["began"] * 3 + ["cancelled"] * 3

    run(program, workflows=[fans_out])


SEEN: list[str] = []


@step
def works_in_a_thread() -> None:
    SEEN.append("began")
    while not everlog.current().cancelled:
        time.sleep(0.002)
    SEEN.append("saw it")


@workflow
async def runs_a_thread() -> None:
    await everlog.call(works_in_a_thread)


def test_a_step_in_a_thread_can_see_that_it_was_cancelled() -> None:
    async def main() -> None:
        async with Engine("memory://", workflows=[runs_a_thread]) as engine:
            await engine.start(runs_a_thread.options(id="flow"))
            await until(lambda: bool(SEEN))
            await engine.cancel("flow")
            await must_be_cancelled(engine, "flow")
            await until(lambda: len(SEEN) == 2)

    SEEN.clear()
    before = threading.active_count()  # threads of engines that other tests closed are idle for ten seconds more
    asyncio.run(main())
    assert SEEN == ["began", "saw it"]
    assert threading.active_count() < before + 20


@step
async def will_not_be_cancelled() -> str:
    for _ in range(10):
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            CALLS.append("swallowed")
    CALLS.append("ended")
    return "late"


@workflow
async def runs_a_stubborn_step() -> str:
    try:
        return await will_not_be_cancelled()
    except asyncio.CancelledError:
        await cleans_up("clean")
        raise


def test_a_step_that_swallows_its_cancel_ends_later_and_its_end_is_of_no_effect() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(runs_a_stubborn_step.options(id="flow"))
        await asyncio.sleep(1.5)
        await handle.cancel()
        await must_be_cancelled(engine, "flow")
        before = await kinds(handle)
        await until(lambda: "ended" in CALLS)
        await asyncio.sleep(1)
        assert await kinds(handle) == before
        assert "step_completed" in before  # that of the clean-up

    run(program, workflows=[runs_a_stubborn_step])


def test_cancelling_the_task_that_waits_for_a_result_cancels_no_workflow() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(sleeps)
        with pytest.raises(TimeoutError):
            await handle.result(timeout=1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await handle.result()
        waiting = asyncio.ensure_future(handle.result())
        await asyncio.sleep(1)
        waiting.cancel()
        await asyncio.sleep(1)
        assert (await handle.status()).state == "waiting"

    run(program, workflows=[sleeps])


def test_a_cancelled_workflow_is_an_ordinary_exception_for_who_waits() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(sleeps)
        ends = asyncio.gather(handle.result(), asyncio.sleep(2, "the other"), return_exceptions=True)
        await asyncio.sleep(1)
        await handle.cancel()
        cancelled, other = await ends
        assert isinstance(cancelled, WorkflowCancelled)
        assert isinstance(cancelled, Exception)
        assert other == "the other"

    run(program, workflows=[sleeps])

"""Ending a workflow, holding it up, and having it go on: terminate, pause, timeouts, retry, delete."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

import everlog
from everlog import (
    Client,
    Engine,
    Handle,
    InvalidDefinition,
    NotFound,
    RetryPolicy,
    UsageError,
    WorkflowCancelled,
    WorkflowFailed,
    step,
    sync,
    workflow,
)
from everlog.testing.simulation import SimulatedHost
from tests.support import (
    events_of,
    in_state,
    kill,
    kinds,
    make_store,
    on_both_stores,
    opened,
    projections_fit,
    run,
    simulate,
    until,
)

CALLS: list[Any] = []
FAILING: set[str] = set()
"""Steps that fail now, by name."""


@pytest.fixture(autouse=True)
def nothing_happened() -> None:
    CALLS.clear()
    FAILING.clear()


def die(engine: Engine) -> None:
    """End the process of an engine, and do not leave its code to the garbage collector."""
    kill(engine)
    worker = engine._open_shell().worker
    assert worker is not None
    worker.let_all_go()
    CALLS.clear()


def now() -> float:
    return asyncio.get_running_loop().time()


@step(name="ending.works")
async def works(what: str, seconds: float = 0) -> str:
    CALLS.append(what)
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        CALLS.append(f"{what} cancelled")
        raise
    if what in FAILING:
        raise ValueError(f"{what} failed")
    CALLS.append(f"{what} ended")
    return what


@workflow(name="ending.runs_a_step")
async def runs_a_step(seconds: float = 100) -> str:
    try:
        first = await works("first", seconds)
        return f"{first}, {await works('second')}"
    finally:
        CALLS.append("code ran on")


@workflow(name="ending.runs_a_step_blocking")
def runs_a_step_blocking(seconds: float = 100) -> str:
    try:
        first = sync.call(works, "first", seconds)
        return f"{first}, {sync.call(works, 'second')}"
    finally:
        CALLS.append("code ran on")


@workflow(name="ending.sleeps")
async def sleeps(seconds: float = 1000) -> str:
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        await works("cleans up", 1)
        raise
    return "slept"


@workflow(name="ending.listens")
async def listens(count: int = 2) -> list[Any]:
    return [await everlog.recv("news") for _ in range(count)]


@workflow(name="ending.three_parts")
async def three_parts() -> list[str]:
    return [await works("a"), await works("b"), await works("c")]


FLOWS = [runs_a_step, runs_a_step_blocking, sleeps, listens, three_parts]


async def is_cancelled(handle: Handle[Any], reason: str = "") -> None:
    with pytest.raises(WorkflowCancelled) as caught:
        await handle.result(timeout=1000)
    assert reason in caught.value.reason
    assert caught.value.workflow_id == handle.id
    assert (await handle.status()).state == "cancelled"


async def fits(engine: Client, *ids: str) -> None:
    """Check that heads say what the histories say."""
    for one in ids:
        await engine.on_thread(lambda one=one: projections_fit(engine.store, one))


# -- terminate ---------------------------------------------------------------------------------------------------------


@on_both_stores
@pytest.mark.parametrize("flow", [runs_a_step, runs_a_step_blocking, sleeps, listens], ids=lambda flow: flow.name)
def test_a_terminated_workflow_ends_at_once_and_its_code_gets_no_turn(flow: Any, kind: str, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(flow.options(id="flow"))
        await asyncio.sleep(1)
        CALLS.clear()
        asked = now()
        await handle.terminate(reason="enough")
        await is_cancelled(handle, "enough")
        assert now() - asked < 0.1
        await asyncio.sleep(5)
        await handle.terminate()
        assert "cleans up" not in CALLS
        assert ("first cancelled" in CALLS) == (flow in (runs_a_step, runs_a_step_blocking))
        asked_for, *_, last = (await kinds(handle))[-3:]
        assert asked_for == "terminate_requested" or (await kinds(handle))[-2] == "terminate_requested"
        assert last == "workflow_cancelled"
        assert "terminated: enough" in (await handle.status()).why
        await fits(engine, "flow")

    run(program, kind=kind, folder=tmp_path, workflows=FLOWS)


@on_both_stores
def test_what_nobody_runs_is_terminated_here_and_now(kind: str, tmp_path: Any) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        async with Engine(store, host=host.sibling(), workflows=[listens]) as engine:
            await engine.start(listens.options(id="parked"))
            await asyncio.sleep(5)
        async with Client(store, host=host.sibling()) as client:
            await client.start(sleeps.options(id="queued"))
            for one in ("parked", "queued"):
                await client.handle(one).terminate(reason="nobody runs it")
                await is_cancelled(client.handle(one), "nobody runs it")
            await fits(client, "parked", "queued")

    simulate(program)


def test_the_workflow_of_a_dead_worker_is_terminated_without_waiting_for_another(tmp_path: Any) -> None:
    async def program(host: SimulatedHost) -> None:
        store, dead = make_store(host), host.sibling()
        engine = await opened(Engine(store, host=dead, workflows=[sleeps], lease=10))
        await engine.start(sleeps.options(id="flow"))
        await asyncio.sleep(0.5)
        die(engine)
        await asyncio.sleep(30)
        async with Client(store, host=host.sibling()) as client:
            await client.handle("flow").terminate()
            await is_cancelled(client.handle("flow"))

    simulate(program)


# -- pause and resume --------------------------------------------------------------------------------------------------


@on_both_stores
@pytest.mark.parametrize("flow", [runs_a_step, runs_a_step_blocking], ids=lambda flow: flow.name)
def test_a_paused_workflow_begins_nothing_and_keeps_what_still_ran(flow: Any, kind: str, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(flow.options(id="flow"), 10)
        await asyncio.sleep(1)
        await handle.pause()
        await in_state(handle, "paused")
        await asyncio.sleep(100)
        assert CALLS == ["first", "first ended"] or CALLS == ["first", "first ended", "code ran on"]
        assert (await kinds(handle))[-2:] == ["workflow_paused", "step_completed"]
        status = await handle.status()
        assert (status.state, status.worker) == ("paused", None)
        assert "paused" in status.why
        assert [one.id for one in await engine.workflows(state="paused")] == ["flow"]
        await fits(engine, "flow")
        await handle.resume()
        assert await handle.result(timeout=1) == "first, second"
        assert [call for call in CALLS if "first" in call] == ["first", "first ended"]

    run(program, kind=kind, folder=tmp_path, workflows=FLOWS)


@on_both_stores
def test_timers_and_messages_wait_for_the_resumption(kind: str, tmp_path: Any) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        async with Engine(store, host=host.sibling(), workflows=FLOWS) as engine:
            await engine.start(sleeps.options(id="sleeps"), 10)
            await engine.start(listens.options(id="listens"))
            await asyncio.sleep(1)
            assert await engine.pause("sleeps", "listens") == ["sleeps", "listens"]
            for one in ("sleeps", "listens"):
                await in_state(engine.handle(one), "paused")
        async with Engine(store, host=host.sibling(), workflows=FLOWS) as engine:  # it survives a restart
            for number in (1, 2):
                await engine.send("listens", "news", number)
            await asyncio.sleep(100)
            assert {one.id for one in await engine.workflows(state="paused")} == {"sleeps", "listens"}
            await fits(engine, "sleeps", "listens")
            assert await engine.resume("sleeps", "listens") == ["sleeps", "listens"]
            assert await engine.handle("sleeps").result(timeout=1) == "slept"
            assert await engine.handle("listens").result(timeout=1) == [1, 2]
            assert await engine.pause("sleeps") == await engine.resume("sleeps") == []

    simulate(program)


def test_what_is_queued_can_be_paused_before_it_begins() -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        async with Client(store, host=host.sibling()) as client:
            for one in ("goes on", "is cancelled"):
                await client.start(three_parts.options(id=one))
                await client.pause(one)
            async with Engine(store, host=host.sibling(), workflows=FLOWS):
                await asyncio.sleep(10)
                assert CALLS == []
                await client.cancel("is cancelled")
                await is_cancelled(client.handle("is cancelled"))
                await client.resume("goes on")
                assert await client.handle("goes on").result(timeout=10) == ["a", "b", "c"]
                assert (await kinds(client.handle("goes on")))[:4] == [
                    "workflow_created",
                    "workflow_paused",
                    "workflow_resumed",
                    "workflow_began",
                ]

    simulate(program)


@on_both_stores
def test_a_paused_workflow_can_be_cancelled_with_its_clean_up_and_terminated(kind: str, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        for one in ("cancel", "terminate"):
            handle = await engine.start(sleeps.options(id=one))
            await asyncio.sleep(1)
            await handle.pause()
            await in_state(handle, "paused")
        await engine.handle("cancel").cancel(reason="no longer wanted")
        await is_cancelled(engine.handle("cancel"), "no longer wanted")
        assert CALLS == ["cleans up", "cleans up ended"]
        await engine.handle("terminate").terminate()
        await is_cancelled(engine.handle("terminate"))
        assert CALLS == ["cleans up", "cleans up ended"]
        await fits(engine, "cancel", "terminate")

    run(program, kind=kind, folder=tmp_path, workflows=FLOWS)


@pytest.mark.parametrize("last", ["pause", "resume"])
def test_of_many_orders_the_last_counts(last: str) -> None:
    async def program(engine: Engine) -> None:
        for number in range(20):
            handle = await engine.start(listens.options(id=f"flow-{number}"))
            await asyncio.sleep(number / 10)  # at rest, parked, or neither
            for order in ["pause", "resume"] * (number % 3) + ["pause", "resume", last]:
                await getattr(handle, order)()
        await asyncio.sleep(5)
        states = {one.state for one in await engine.workflows()}
        assert states == {"paused" if last == "pause" else "waiting"}

    run(program, workflows=FLOWS)


# -- timeouts ----------------------------------------------------------------------------------------------------------


@workflow(name="ending.hurries", timeout=5)
async def hurries(how: str) -> Any:
    try:
        if how == "sleeps":
            await asyncio.sleep(100)
        if how == "runs":
            await works("long", 100)
        if how == "listens":
            await everlog.recv("news")
        return everlog.current().deadline
    finally:
        if how != "returns":
            await works("cleans up", 1)


@workflow(name="ending.hurries_blocking", timeout=timedelta(seconds=5))
def hurries_blocking(how: str) -> Any:
    try:
        if how == "sleeps":
            sync.sleep(100)
        if how == "runs":
            sync.call(works, "long", 100)
        if how == "listens":
            sync.recv("news")
        return sync.current().deadline
    finally:
        if how != "returns":
            sync.call(works, "cleans up", 1)


@on_both_stores
@pytest.mark.parametrize("how", ["sleeps", "runs", "listens"])
@pytest.mark.parametrize("flow", [hurries, hurries_blocking], ids=lambda flow: flow.name)
def test_a_workflow_that_takes_too_long_is_cancelled(flow: Any, how: str, kind: str, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        began = now()
        handle = await engine.start(flow.options(id="flow"), how)
        await asyncio.sleep(4)
        await fits(engine, "flow")
        await is_cancelled(handle, "timeout")
        assert 5.9 < now() - began < 6.5
        assert CALLS[-1] == "cleans up ended"
        (request,) = await events_of(engine, "flow", "cancel_requested")
        began_at = (await events_of(engine, "flow", "workflow_began"))[0].recorded_at
        assert request.data["due_at"] == int(began_at.timestamp() * 1_000_000) + 5_000_000
        await fits(engine, "flow")

    run(program, kind=kind, folder=tmp_path, workflows=[hurries, hurries_blocking])


@pytest.mark.parametrize("flow", [hurries, hurries_blocking], ids=lambda flow: flow.name)
def test_the_deadline_is_known_in_the_code(flow: Any) -> None:
    async def program(engine: Engine) -> None:
        deadline = await engine.run(flow.options(id="five"), "returns")
        assert deadline == (await events_of(engine, "five", "workflow_began"))[0].recorded_at + timedelta(seconds=5)
        assert await engine.run(flow.options(timeout=None), "returns") is None

    run(program, workflows=[hurries, hurries_blocking])


def test_an_option_wins_over_the_decorator_and_a_timeout_counts_from_the_beginning() -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        async with Client(store, host=host.sibling()) as client:
            handle = await client.start(hurries.options(id="flow", timeout=20), "sleeps")
            await asyncio.sleep(100)  # nobody runs it
            began = now()
            async with Engine(store, host=host.sibling(), workflows=[hurries]):
                await is_cancelled(handle, "timeout")
                assert 20 < now() - began < 22

    simulate(program)


def test_a_timeout_outlives_the_process() -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        engine = await opened(Engine(store, host=host.sibling(), workflows=[hurries]))
        await engine.start(hurries.options(id="flow"), "sleeps")
        await asyncio.sleep(0.5)
        die(engine)
        await asyncio.sleep(60)
        async with Engine(store, host=host.sibling(), workflows=[hurries]) as engine:
            began = now()
            await is_cancelled(engine.handle("flow"), "timeout")
            assert now() - began < 30
            assert CALLS == ["cleans up", "cleans up ended"]

    simulate(program)


@pytest.mark.parametrize("wrong", [-1, "soon", True])
def test_a_timeout_is_a_duration(wrong: Any) -> None:
    with pytest.raises((InvalidDefinition, UsageError), match="timeout"):
        workflow(timeout=wrong)(listens.fn)
    with pytest.raises((InvalidDefinition, UsageError), match="timeout"):
        listens.options(timeout=wrong)


# -- delete ------------------------------------------------------------------------------------------------------------


@on_both_stores
def test_what_has_ended_can_be_deleted_and_its_id_used_anew(kind: str, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(listens.options(id="flow"), 1)
        with pytest.raises(UsageError, match="has not ended"):
            await handle.delete()
        assert await engine.delete("flow") == []
        await engine.send("flow", "news", 1, key="once")
        assert await handle.result() == [1]
        assert await engine.delete("flow") == ["flow"]
        for call in (handle.status, handle.delete, handle.cancel, handle.retry, handle.terminate, handle.pause):
            with pytest.raises(NotFound):
                await call()
        assert await engine.workflows() == []
        again = await engine.start(listens.options(id="flow"), 1)
        await engine.send("flow", "news", 2, key="once")
        assert await again.result() == [2]

    run(program, kind=kind, folder=tmp_path, workflows=FLOWS)


# -- retry -------------------------------------------------------------------------------------------------------------


async def fails(handle: Handle[Any], why: str = "") -> None:
    with pytest.raises(WorkflowFailed, match=why or None):
        await handle.result(timeout=1000)


@on_both_stores
def test_a_failed_workflow_goes_on_before_the_step_that_failed(kind: str, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        FAILING.update("bc")
        handle = await engine.start(three_parts.options(id="flow"))
        for _ in range(3):
            await fails(handle, "b failed")
            assert await engine.retry("flow") == ["flow"]
        await fails(handle, "b failed")
        FAILING.remove("b")
        await handle.retry()
        await fails(handle, "c failed")
        FAILING.clear()
        await handle.retry()
        waiting = asyncio.ensure_future(handle.result())
        assert await waiting == ["a", "b", "c"]
        assert CALLS == ["a", "a ended", "b", "b", "b", "b", "b", "b ended", "c", "c", "c ended"]
        assert await engine.retry("flow") == []
        status = await handle.status()
        assert (status.state, status.error) == ("completed", None)
        await fits(engine, "flow")

    run(program, kind=kind, folder=tmp_path, workflows=FLOWS)


@workflow(name="ending.tries_often")
async def tries_often() -> str:
    return await works.options(retry=RetryPolicy(max_attempts=3, first_delay=1))("a")


def test_a_step_has_all_its_attempts_anew() -> None:
    async def program(engine: Engine) -> None:
        FAILING.add("a")
        handle = await engine.start(tries_often.options(id="flow"))
        await fails(handle)
        assert CALLS == ["a"] * 3
        await handle.retry()
        await fails(handle)
        assert CALLS == ["a"] * 6
        await handle.retry()
        await until(lambda: len(CALLS) == 8)
        FAILING.clear()
        assert await handle.result() == "a"

    run(program, workflows=[tries_often])


@workflow(name="ending.in_parallel")
async def in_parallel() -> list[str]:
    async def patient(what: str, seconds: float) -> str:
        try:
            return await works(what, seconds)
        finally:
            CALLS.append(f"{what} is over")

    made = [asyncio.create_task(patient("slow", 5)), asyncio.create_task(patient("quick", 1))]
    await asyncio.wait(made)
    return [task.result() for task in reversed(made)]


def test_what_ended_after_the_failure_is_not_done_again() -> None:
    async def program(engine: Engine) -> None:
        FAILING.add("quick")
        handle = await engine.start(in_parallel.options(id="flow"))
        await fails(handle, "quick failed")
        FAILING.clear()
        await handle.retry()
        assert await handle.result() == ["quick", "slow"]
        assert [CALLS.count(call) for call in ("slow", "slow ended", "quick", "quick ended")] == [1, 1, 2, 1]
        await fits(engine, "flow")

    run(program, workflows=[in_parallel])


@workflow(name="ending.forwards")
async def forwards(to: str) -> list[Any]:
    got = [await everlog.recv("news"), await everlog.recv("news")]
    await asyncio.gather(works("a", 1), everlog.send(to, "news", got))
    return got


def test_messages_that_came_after_the_point_of_return_are_received_again_and_sent_ones_are_not_sent_again() -> None:
    async def program(engine: Engine) -> None:
        FAILING.add("a")
        sink = await engine.start(listens.options(id="sink"), 2)
        handle = await engine.start(forwards.options(id="flow"), "sink")
        for number in (1, 2, 3):
            await handle.send("news", number)
        await fails(handle)
        FAILING.clear()
        await handle.retry()
        assert await handle.result() == [1, 2]
        await sink.send("news", "last")
        assert await sink.result() == [[1, 2], "last"]

    run(program, workflows=[forwards, listens])


@workflow(name="ending.receives_then_is_cancelled")
async def receives_then_is_cancelled() -> list[Any]:
    try:
        return [await everlog.recv("news"), await everlog.recv("news")]
    except asyncio.CancelledError:
        CALLS.append(await everlog.recv("news"))
        raise


def test_a_cancelled_workflow_goes_on_before_the_request() -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        async with Engine(store, host=host.sibling(), workflows=[receives_then_is_cancelled]) as engine:
            handle = await engine.start(receives_then_is_cancelled.options(id="flow"))
            await handle.send("news", 1)
            await asyncio.sleep(1)
            await handle.cancel()
            await handle.cancel()  # interrupts the clean-up
            await is_cancelled(handle)
            await handle.retry()
            await asyncio.sleep(1)
            await handle.cancel()
            await asyncio.sleep(1)
            await handle.send("news", 2)  # received by the clean-up, and again after the retry
            await is_cancelled(handle)
            assert CALLS == [2]
            await handle.retry()
        async with Engine(store, host=host.sibling(), workflows=[receives_then_is_cancelled]) as engine:
            assert await engine.handle("flow").result(timeout=10) == [1, 2]
            await fits(engine, "flow")

    simulate(program)


def test_a_workflow_that_was_cancelled_before_it_began_begins_after_all() -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        async with Client(store, host=host.sibling()) as client:
            handle = await client.start(three_parts.options(id="flow"))
            await handle.cancel()
            await is_cancelled(handle)
            assert await client.retry("flow") == ["flow"]
            assert (await handle.status()).state == "queued"
            async with Engine(store, host=host.sibling(), workflows=FLOWS):
                assert await handle.result(timeout=10) == ["a", "b", "c"]
            await fits(client, "flow")

    simulate(program)


def test_a_terminated_workflow_goes_on_where_it_was() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(runs_a_step.options(id="flow"), 10)
        await asyncio.sleep(1)
        for _ in range(3):
            await handle.terminate()
            await is_cancelled(handle)
            await handle.retry()
            await asyncio.sleep(1)
        assert await handle.result() == "first, second"
        assert CALLS.count("first ended") == 1
        await fits(engine, "flow")

    run(program, workflows=FLOWS)


def test_a_retry_gives_the_timeout_anew() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(hurries.options(id="flow"), "listens")
        await is_cancelled(handle, "timeout")
        await handle.retry()
        await asyncio.sleep(4)
        assert (await handle.status()).state == "waiting"
        await is_cancelled(handle, "timeout")
        await handle.retry()
        await handle.send("news", 1)
        (rewound, _) = await events_of(engine, "flow", "workflow_rewound")
        assert rewound.data["deadline"] == int(rewound.recorded_at.timestamp() * 1_000_000) + 5_000_000
        assert await handle.result() is not None

    run(program, workflows=[hurries])


def test_orders_that_were_meant_for_what_had_ended_do_not_reach_what_goes_on() -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        async with Client(store, host=host.sibling()) as client:
            engine = await opened(Engine(store, host=host.sibling(), workflows=FLOWS))
            handle = await engine.start(listens.options(id="flow"), 1)
            await asyncio.sleep(1)
            die(engine)
            await client.cancel("flow")
            await client.send("flow", "news", 7)
            await asyncio.sleep(60)
            await client.handle("flow").terminate()
            await client.retry("flow")
            async with Engine(store, host=host.sibling(), workflows=FLOWS):
                assert await client.handle("flow").result(timeout=60) == [7]
            del handle

    simulate(program)


BUGS: list[str] = []


@workflow(name="ending.has_a_bug")
async def has_a_bug() -> str:
    done = await works("a")
    if BUGS:
        raise KeyError(BUGS[0])
    return f"{done}, {await works('b')}"


def test_a_workflow_with_a_defect_goes_on_with_mended_code() -> None:
    async def program(engine: Engine) -> None:
        BUGS.append("a defect")
        handle = await engine.start(has_a_bug.options(id="flow"))
        await fails(handle, "a defect")
        await handle.retry()
        await fails(handle, "a defect")
        BUGS.clear()
        await handle.retry()
        assert await handle.result() == "a, b"
        assert CALLS == ["a", "a ended", "b", "b ended"]

    run(program, workflows=[has_a_bug])


@workflow(name="ending.parts_from_its_history")
async def parts_from_its_history() -> str:
    return await works("first" if not BUGS else "another", 3)


def test_a_stuck_workflow_goes_on_at_once_when_it_is_retried() -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        BUGS.clear()
        engine = await opened(Engine(store, host=host.sibling(), workflows=[parts_from_its_history]))
        await engine.start(parts_from_its_history.options(id="flow"))
        await asyncio.sleep(1)
        die(engine)
        BUGS.append("changed")
        async with Engine(store, host=host.sibling(), workflows=[parts_from_its_history]) as engine:
            handle = engine.handle("flow")
            await in_state(handle, "stuck")
            BUGS.clear()
            await asyncio.sleep(60)
            assert (await handle.status()).state == "stuck"
            await handle.retry()
            assert await handle.result(timeout=10) == "first"
            await fits(engine, "flow")

    simulate(program)

"""Children, values, streams, pauses, ends and retries together: what each of them does to the others."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import everlog
from everlog import Client, Engine, Handle, WorkflowCancelled, WorkflowFailed, WrongContext, step, sync, workflow
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


@step(name="interplay.works")
async def works(what: str, seconds: float = 0) -> str:
    await asyncio.sleep(seconds)
    CALLS.append(what)
    if what in FAILING:
        raise ValueError(f"{what} failed")
    return what


@workflow(name="interplay.child")
async def child(what: str, seconds: float = 10) -> str:
    first = await works(f"{what} begins")
    await asyncio.sleep(seconds)
    return f"{first}, {await works(f'{what} ends')}"


@workflow(name="interplay.middle")
async def middle(what: str, seconds: float = 10) -> str:
    return await child(what, seconds)


def die(engine: Engine) -> None:
    """End the process of an engine, and do not leave its code to the garbage collector."""
    kill(engine)
    worker = engine._open_shell().worker
    assert worker is not None
    worker.let_all_go()


async def failed(handle: Handle[Any]) -> None:
    with pytest.raises((WorkflowFailed, WorkflowCancelled)):
        await handle.result()


# -- a parent that is retried ------------------------------------------------------------------------------------------


@workflow(name="interplay.gathers")
async def gathers(which: str) -> list[str]:
    flow = {"child": child, "middle": middle, "terminate": child.options(when_parent_ends="terminate")}[which]
    return list(await asyncio.gather(flow("a"), works("b", 5)))


@workflow(name="interplay.gathers_blocking")
def gathers_blocking(which: str) -> list[str]:
    flow = {"child": child, "middle": middle, "terminate": child.options(when_parent_ends="terminate")}[which]
    one, other = sync.submit(sync.call, flow, "a"), sync.submit(sync.call, works, "b", 5)
    return [one.result(), other.result()] if other.result() else []


ALL = [gathers, gathers_blocking, child, middle]


@pytest.mark.parametrize("which", ["child", "middle", "terminate"])
@pytest.mark.parametrize("flow", [gathers, gathers_blocking], ids=["async", "blocking"])
@on_both_stores
def test_what_its_end_has_stopped_goes_on_with_it(kind: str, tmp_path: Any, flow: Any, which: str) -> None:
    async def program(engine: Engine) -> None:
        FAILING.add("b")
        handle = await engine.start(flow.options(id="parent"), which)
        await failed(handle)
        name = "interplay.middle" if which == "middle" else "interplay.child"
        await asyncio.sleep(1)
        (one,) = await engine.workflows(name=name)
        assert one.state == "cancelled"
        FAILING.clear()
        await handle.retry()
        assert await handle.result() == ["a begins, a ends", "b"]
        assert sorted(CALLS) == ["a begins", "a ends", "b", "b"]
        for each in await engine.workflows():
            assert each.state == "completed", each
            await engine.on_thread(lambda each=each: projections_fit(engine.store, each.id))

    run(program, workflows=ALL, kind=kind, folder=tmp_path)


@on_both_stores
def test_also_where_its_process_dies_before_they_have_heard(kind: str, tmp_path: Any) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        FAILING.add("b")
        engine = await opened(Engine(store, host=host.sibling(), workflows=[gathers], lease=2))
        other = await opened(Engine(store, host=host.sibling(), workflows=[child], lease=2))
        handle = await engine.start(gathers.options(id="parent"), "child")
        await failed(handle)
        die(other)
        FAILING.clear()
        await handle.retry()
        die(engine)
        async with Engine(store, host=host.sibling(), workflows=ALL, lease=2) as last:
            assert await last.handle("parent").result() == ["a begins, a ends", "b"]
            assert CALLS.count("a begins") == 1

    simulate(program)


@workflow(name="interplay.calls")
async def calls(what: str, seconds: float = 10) -> str:
    return await child(what, seconds)


def test_a_child_that_failed_is_retried_with_its_parent() -> None:
    async def program(engine: Engine) -> None:
        FAILING.add("a ends")
        handle = await engine.start(calls.options(id="parent"), "a")
        await failed(handle)
        await handle.retry()
        await failed(handle)
        FAILING.clear()
        await handle.retry()
        assert await handle.result() == "a begins, a ends"
        assert CALLS == ["a begins", "a ends", "a ends", "a ends"]
        assert len(await events_of(engine, "parent/interplay.child", "workflow_rewound")) == 2

    run(program, workflows=[calls, child])


@workflow(name="interplay.leaves")
async def leaves() -> str:
    handle = await everlog.start(child.options(when_parent_ends="leave"), "a")
    await works("b")
    result: str = await handle.result()
    return result


@pytest.mark.parametrize("late", [False, True])
def test_a_child_that_ended_while_nobody_listened_is_heard_of(late: bool) -> None:
    async def program(engine: Engine) -> None:
        FAILING.add("b")
        handle = await engine.start(leaves.options(id="parent"))
        await failed(handle)
        await asyncio.sleep(100 if late else 0)
        FAILING.clear()
        await handle.retry()
        assert await handle.result() == "a begins, a ends"
        assert CALLS.count("a ends") == 1

    run(program, workflows=[leaves, child])


def test_the_end_of_one_that_was_deleted_meanwhile_is_told_too() -> None:
    async def program(engine: Engine) -> None:
        FAILING.add("b")
        handle = await engine.start(leaves.options(id="parent"))
        await failed(handle)
        await asyncio.sleep(100)
        await engine.delete("parent/interplay.child")
        FAILING.clear()
        await handle.retry()
        with pytest.raises(WorkflowFailed, match="deleted"):
            await handle.result()

    run(program, workflows=[leaves, child])


@workflow(name="interplay.books")
async def books(name: str | None) -> str:
    async with everlog.compensations() as undo:
        room = await everlog.call(child.options(id=name) if name else child, "room", 0)
        undo.add(child, "undo", 1)
        await works("pay")
    return room


@pytest.mark.parametrize("name", [None, "chosen"])
def test_what_was_undone_is_done_again_by_another_child(name: str | None) -> None:
    async def program(engine: Engine) -> None:
        FAILING.add("pay")
        handle = await engine.start(books.options(id="parent"), name)
        await failed(handle)
        assert CALLS == ["room begins", "room ends", "pay", "undo begins", "undo ends"]
        CALLS.clear()
        await handle.retry()
        await failed(handle)
        FAILING.clear()
        await handle.retry()
        assert await handle.result() == "room begins, room ends"
        again = ["room begins", "room ends"] if name is None else []
        assert [*again, "pay", "undo begins", "undo ends", *again, "pay"] == CALLS
        projections_fit(engine.store, "parent")

    run(program, workflows=[books, child])


def test_compensations_that_are_children_survive_every_crash() -> None:
    async def program(host: SimulatedHost) -> None:
        for seconds in (0.0, 0.2, 0.9, 1.0, 1.1, 1.5):
            CALLS.clear()
            store = make_store(host)
            FAILING.add("pay")
            engine = await opened(Engine(store, host=host.sibling(), workflows=[books, child], lease=2))
            await engine.start(books.options(id="parent"), None)
            await asyncio.sleep(seconds)
            die(engine)
            async with Engine(store, host=host.sibling(), workflows=[books, child], lease=2) as last:
                await failed(last.handle("parent"))
                assert len(await events_of(last, "parent", "child_started")) == 2
                ends = await events_of(last, "parent", "child_ended")
                assert [end.data["outcome"]["type"] for end in ends] == ["workflow_completed"] * 2

    simulate(program)


@workflow(name="interplay.cleans", timeout=5)
async def cleans() -> None:
    try:
        async with everlog.compensations() as undo:
            undo.add(child, "undo", 100)
            await child("a", 1000)
    finally:
        CALLS.append(await child("late", 50))


def test_the_deadline_does_not_cut_short_what_cleans_up() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(cleans.options(id="parent"))
        with pytest.raises(WorkflowCancelled, match="timeout"):
            await handle.result()
        assert [one for one in CALLS if "ends" in one] == ["undo ends", "late ends", "late begins, late ends"]

    run(program, workflows=[cleans, child])


@workflow(name="interplay.has_time")
async def has_time(which: str) -> str:
    if which == "middle":
        return await middle("a", 100)
    return await everlog.call(child.options(when_parent_ends="leave"), "a")


def test_a_deadline_reaches_children_of_children_and_says_whose_it_is() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(has_time.options(id="top", timeout=5), "middle")
        with pytest.raises(WorkflowCancelled, match="timeout: its deadline"):
            await handle.result()
        for name, parent in (("interplay.middle", "top"), ("interplay.child", "top/interplay.middle")):
            (one,) = await engine.workflows(name=name)
            with pytest.raises(WorkflowCancelled, match=f"timeout: the deadline of its parent '{parent}'"):
                await engine.handle(one.id).result()
        await handle.retry()
        began = (await events_of(engine, "top", "workflow_rewound"))[0].data["deadline"]
        await asyncio.sleep(0.1)
        for name in ("interplay.middle", "interplay.child"):
            (one,) = await engine.workflows(name=name)
            (rewound,) = await events_of(engine, one.id, "workflow_rewound")
            assert rewound.data["deadline"] == began
        with pytest.raises(WorkflowCancelled, match="timeout"):
            await handle.result()
        assert CALLS == ["a begins"]

    run(program, workflows=[has_time, middle, child])


def test_a_child_that_is_left_has_no_part_in_it() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(has_time.options(id="top", timeout=5), "leave")
        with pytest.raises(WorkflowCancelled, match="timeout"):
            await handle.result()
        assert await engine.handle("top/interplay.child").result() == "a begins, a ends"

    run(program, workflows=[has_time, child])


# -- what is published, and rewinding ------------------------------------------------------------------------------


@workflow(name="interplay.publishes")
async def publishes() -> None:
    async with everlog.compensations() as undo:
        undo.add(works, "undo")
        await everlog.emit("log", "one", "two")
        await everlog.set_value("state", "begun")
        await works("a")
        if "else" in FAILING:
            await everlog.emit("log", "something else")
        else:
            await everlog.emit("log", "three")
        await everlog.close_stream("other")
        await works("b")
        await everlog.emit("log", "four")


async def items_of(handle: Handle[Any], stream: str) -> list[Any]:
    return [item async for item in handle.stream(stream)]


@on_both_stores
def test_what_is_emitted_again_after_a_rewinding_is_in_its_stream_once(kind: str, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        FAILING.add("b")
        handle = await engine.start(publishes.options(id="parent"))
        await failed(handle)
        await handle.retry()
        await failed(handle)
        assert await items_of(handle, "log") == ["one", "two", "three"]
        emitted = await events_of(engine, "parent", "items_emitted")
        assert [(one.data["offset"], one.data["count"]) for one in emitted] == [(0, 2), (2, 1)] * 2
        closed = await events_of(engine, "parent", "stream_closed")
        assert [one.data["offset"] for one in closed] == [0, 0]
        FAILING.add("else")
        await handle.retry()
        await failed(handle)
        FAILING.clear()
        await handle.retry()
        await handle.result()
        assert await items_of(handle, "log") == ["one", "two", "three", "something else", "four"]
        assert await handle.get_value("state") == "begun"
        await engine.on_thread(lambda: projections_fit(engine.store, "parent"))

    run(program, workflows=[publishes], kind=kind, folder=tmp_path)


@step(name="interplay.talks")
async def talks(what: str) -> str:
    for number in range(3):
        await everlog.emit("talk", f"{what} {number}")
        await everlog.set_value("said", number)
        await asyncio.sleep(1)
    if what in FAILING:
        raise ValueError(what)
    return what


@workflow(name="interplay.talks_twice")
async def talks_twice() -> str:
    async with everlog.compensations() as undo:
        undo.add(works, "undo")
        await talks("a")
        await works("b")
        return "said"


def test_a_step_that_runs_again_after_a_rewinding_says_so_in_its_streams() -> None:
    async def program(engine: Engine) -> None:
        FAILING.add("b")
        handle = await engine.start(talks_twice.options(id="parent"))
        await failed(handle)
        FAILING.clear()
        await handle.retry()
        await handle.result()
        shown = [type(item).__name__ async for item in handle.stream("talk").items()]
        assert shown == ["StreamItem"] * 3 + ["StreamReset"] + ["StreamItem"] * 3

    run(program, workflows=[talks_twice])


@workflow(name="interplay.tells")
async def tells() -> str:
    await everlog.emit("log", "begins")
    said = await asyncio.gather(talks("a"), works("b", 1))
    await everlog.emit("log", "goes on")
    await everlog.set_value("state", said)
    await works("c")
    await everlog.emit("log", "ends")
    return "told"


@on_both_stores
def test_what_is_published_in_a_pause_is_written_and_replayed(kind: str, tmp_path: Any) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        engine = await opened(Engine(store, host=host.sibling(), workflows=[tells], lease=2))
        handle = await engine.start(tells.options(id="parent"))
        await asyncio.sleep(1.5)
        await handle.pause()
        await asyncio.sleep(3)
        assert await handle.get_value("state", timeout=0) == ["a", "b"]
        die(engine)
        async with Engine(store, host=host.sibling(), workflows=[tells], lease=2) as last:
            handle = last.handle("parent")
            await asyncio.sleep(5)
            assert (await handle.status()).state == "paused"
            assert "c" not in CALLS
            await handle.resume()
            assert await handle.result() == "told"
            assert await items_of(handle, "log") == ["begins", "goes on", "ends"]
            said = [item async for item in handle.stream("talk")]
            assert said == ["a 0", "a 1", "a 2"]
            await last.on_thread(lambda: projections_fit(store, "parent"))

    simulate(program)


@workflow(name="interplay.counts")
async def counts() -> None:
    for number in range(100):
        await everlog.emit("log", number)
        await works("x")


@pytest.mark.parametrize("order", ["pause", "terminate", "cancel"])
@on_both_stores
def test_orders_come_between_any_two_publications(
    kind: str, tmp_path: Any, order: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        engine = await opened(Engine(store, host=host.sibling(), workflows=[counts], lease=2))
        await engine.start(counts.options(id="parent"))
        async with Client(store, host=host.sibling()) as client:
            for _ in range(5):
                await asyncio.sleep(0.01)
                for who in (client, engine):
                    await getattr(who.handle("parent"), order)()
                    await who.handle("parent").resume()
                    await who.handle("parent").retry()
        die(engine)
        async with Engine(store, host=host.sibling(), workflows=[counts], lease=2) as last:
            await last.handle("parent").retry()
            await last.handle("parent").result()
            assert await items_of(last.handle("parent"), "log") == [*range(100)]
            await last.on_thread(lambda: projections_fit(store, "parent"))

    simulate(program)
    assert "is stuck" not in caplog.text


# -- termination -------------------------------------------------------------------------------------------------------


@workflow(name="interplay.top")
async def top(which: str) -> str:
    flow = middle_of.options(id="middle", when_parent_ends="leave")
    try:
        return await everlog.call(flow, which)
    except WorkflowCancelled as error:
        return f"told: {error}"


@workflow(name="interplay.middle_of")
async def middle_of(which: str) -> str:
    if which == "stuck":
        await everlog.recv("news", type=int)
    flow = {"leave": child.options(when_parent_ends="leave"), "terminate": child.options(when_parent_ends="terminate")}
    await everlog.start(flow.get(which, child).options(id="low"), "a", 100)
    if which == "stuck":
        await everlog.recv("news", type=int)
    await asyncio.sleep(1000)
    return "slept"


@pytest.mark.parametrize("order", ["terminate", "cancel"])
@pytest.mark.parametrize("which", ["cancel", "leave", "terminate"])
@pytest.mark.parametrize("how", ["held", "parked", "paused", "dead"])
@on_both_stores
def test_whoever_is_ended_from_outside_takes_leave(kind: str, tmp_path: Any, how: str, which: str, order: str) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        engine = await opened(Engine(store, host=host.sibling(), workflows=[top, child], lease=2))
        other = await opened(Engine(store, host=host.sibling(), workflows=[middle_of], lease=2))
        asked = await engine.start(top.options(id="top"), which)
        await asyncio.sleep(30 if how == "parked" else 0.5)
        if how == "paused":
            await engine.handle("middle").pause()
            await asyncio.sleep(0.5)
        if how == "dead":
            die(other)
            await asyncio.sleep(10)
            if order == "cancel":
                other = await opened(Engine(store, host=host.sibling(), workflows=[middle_of], lease=2))
        await getattr(engine.handle("middle"), order)(reason="enough")
        assert "enough" in await asked.result()
        low = engine.handle("low")
        if which == "leave":
            assert await low.result() == "a begins, a ends"
        else:
            with pytest.raises(WorkflowCancelled, match="terminated" if which == "terminate" else "its parent"):
                await low.result()
        for one in ("top", "middle", "low"):
            projections_fit(store, one)
        await engine.__aexit__(None, None, None)
        if how != "dead" or order == "cancel":
            await other.__aexit__(None, None, None)

    simulate(program)


@pytest.mark.parametrize("order", ["terminate", "cancel"])
def test_the_parent_of_what_was_queued_or_stuck_is_told(order: str) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        async with Engine(store, host=host.sibling(), workflows=[top, child]) as engine:
            asked = await engine.start(top.options(id="top"), "cancel")
            await in_state(engine.handle("middle"), "queued")
            await getattr(engine.handle("middle"), order)(reason="enough")
            assert "enough" in await asked.result()
        store = make_store(host)
        async with Engine(store, host=host.sibling(), workflows=[top, child, middle_of]) as engine:
            asked = await engine.start(top.options(id="top"), "stuck")
            await asyncio.sleep(1)
            await engine.send("middle", "news", 1)
            await asyncio.sleep(1)
            await engine.send("middle", "news", "no number")
            await in_state(engine.handle("middle"), "stuck")
            await getattr(engine.handle("middle"), order)(reason="enough")
            assert "enough" in await asked.result()
            with pytest.raises(WorkflowCancelled, match="its parent"):
                await engine.handle("low").result()

    simulate(program)


# -- handles in workflow code ------------------------------------------------------------------------------------------


@workflow(name="interplay.wrong")
async def wrong(name: str) -> str:
    handle: Any = everlog.handle("other", child)
    try:
        await getattr(handle, name)()
    except WrongContext as error:
        return str(error)
    return "nothing"


@pytest.mark.parametrize("name", ["terminate", "pause", "resume", "retry", "delete", "history", "values"])
def test_what_no_replay_could_repeat_is_refused_in_workflow_code(name: str) -> None:
    async def program(engine: Engine) -> None:
        told = await engine.run(wrong, name)
        assert name in told
        assert "step" in told

    run(program, workflows=[wrong, child])


# -- corners -----------------------------------------------------------------------------------------------------------


@workflow(name="interplay.cleans_up")
async def cleans_up() -> str:
    try:
        await works("a")
        await everlog.recv("go", type=int)
        await everlog.emit("log", "went")
        return await works("b", 5)
    except asyncio.CancelledError:
        await everlog.emit("log", "cleaned up")
        await everlog.close_stream("log")
        raise


def test_what_was_emitted_before_several_rewindings_is_not_emitted_again() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(cleans_up.options(id="parent"))
        for _ in range(3):
            await asyncio.sleep(1)
            await handle.cancel()
            await failed(handle)
            await handle.terminate()
            await handle.retry()
        await handle.send("go", 1)
        for _ in range(2):
            await asyncio.sleep(1)
            await handle.terminate()
            await failed(handle)
            await handle.retry()
        await asyncio.sleep(1)
        await handle.cancel()
        await failed(handle)
        assert await items_of(handle, "log") == ["cleaned up", "went", "cleaned up"]
        await handle.retry()
        assert await handle.result() == "b"
        emitted = await events_of(engine, "parent", "items_emitted")
        assert {(one.data["operation"], one.data["offset"]) for one in emitted} == {
            ("emit", 0),
            ("emit", 2),
            ("emit#2", 3),
        }
        projections_fit(engine.store, "parent")

    run(program, workflows=[cleans_up])


@workflow(name="interplay.rewinds_twice")
async def rewinds_twice() -> str:
    async with everlog.compensations() as undo:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            await everlog.emit("log", "void in what is void")
            raise
        undo.add(works, "undo")
        return await works("b")


def test_what_is_void_in_what_is_void_is_known_too() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(rewinds_twice.options(id="parent"))
        await asyncio.sleep(1)
        await handle.cancel()
        await failed(handle)
        FAILING.add("b")
        await handle.retry()
        await failed(handle)
        await handle.retry()
        await asyncio.sleep(1)
        await handle.cancel()
        await failed(handle)
        FAILING.clear()
        await handle.retry()
        assert await handle.result() == "b"
        assert await items_of(handle, "log") == ["void in what is void"]
        projections_fit(engine.store, "parent")

    run(program, workflows=[rewinds_twice])


@workflow(name="interplay.shows")
async def shows() -> None:
    for number in range(3):
        await everlog.set_value("state", number)
        await everlog.emit("log", number)
        await works("x", 1)


@on_both_stores
def test_a_termination_comes_before_what_was_published_last(kind: str, tmp_path: Any) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        for number in range(40):
            one = f"parent-{number}"
            async with Engine(store, host=host.sibling(), workflows=[shows]) as engine:
                handle = await engine.start(shows.options(id=one))
                asked = [asyncio.create_task(asyncio.sleep(1 + number / 4000)) for _ in range(1)]
                await asyncio.wait(asked)
                await handle.terminate()
                await failed(handle)
                assert (await handle.status()).state == "cancelled"
                await handle.retry()
                await handle.result()
                assert await items_of(handle, "log") == [0, 1, 2]
                projections_fit(store, one)

    simulate(program)


@workflow(name="interplay.asks_late")
async def asks_late() -> str:
    handle = await everlog.start(child, "a", 1)
    await works("b", 5)
    result: str = await handle.result()
    return result


@pytest.mark.parametrize("how", ["fails", "is cancelled"])
def test_a_child_whose_failure_was_asked_for_late_is_retried_too(how: str) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(asks_late.options(id="parent"))
        if how == "fails":
            FAILING.add("a ends")
        else:
            await asyncio.sleep(0.5)
            await engine.cancel("parent/interplay.child")
        await failed(handle)
        FAILING.clear()
        await handle.retry()
        assert await handle.result() == "a begins, a ends"

    run(program, workflows=[asks_late, child])


def test_a_paused_parent_goes_on_with_its_children_when_it_is_resumed() -> None:
    async def program(engine: Engine) -> None:
        FAILING.add("b")
        handle = await engine.start(gathers.options(id="parent"), "child")
        await failed(handle)
        await asyncio.sleep(1)
        FAILING.clear()
        await asyncio.gather(handle.retry(), handle.pause())
        await handle.pause()
        await asyncio.sleep(100)
        assert (await handle.status()).state == "paused"
        await handle.resume()
        assert await handle.result() == ["a begins, a ends", "b"]

    run(program, workflows=ALL)


def test_a_child_that_somebody_cancelled_is_retried_with_its_parent_too_and_one_that_was_given_up_is_not() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(calls.options(id="parent"), "a")
        await asyncio.sleep(1)
        await engine.cancel("parent/interplay.child")
        await failed(handle)
        await handle.retry()
        assert await handle.result() == "a begins, a ends"
        gives_up = await engine.start(gives_up_and_fails.options(id="other"))
        FAILING.add("b")
        await failed(gives_up)
        FAILING.clear()
        await gives_up.retry()
        assert await gives_up.result() == "b"
        assert (await engine.handle("other/interplay.child").status()).state == "cancelled"

    run(program, workflows=[calls, child, gives_up_and_fails])


@workflow(name="interplay.gives_up_and_fails")
async def gives_up_and_fails() -> str:
    try:
        await asyncio.wait_for(child("a", 100), 5)
    except TimeoutError:
        return await works("b")
    return "in time"


@workflow(name="interplay.starts_late")
async def starts_late(seconds: float) -> list[str]:
    async def late() -> str:
        await asyncio.sleep(seconds)
        return await child("a", 1)

    return list(await asyncio.gather(late(), works("b", 5)))


@pytest.mark.parametrize("seconds", [4.9, 4.999, 5.0, 5.0001, 5.001])
def test_a_start_at_the_moment_of_the_failure_is_not_lost(seconds: float) -> None:
    async def program(engine: Engine) -> None:
        FAILING.add("b")
        handle = await engine.start(starts_late.options(id="parent"), seconds)
        await failed(handle)
        FAILING.clear()
        await handle.retry()
        assert await handle.result() == ["a begins, a ends", "b"]
        assert CALLS.count("a ends") == 1
        projections_fit(engine.store, "parent")

    run(program, workflows=[starts_late, child])


def test_a_stuck_parent_that_is_retried_hears_of_its_child_and_leaves_it_as_it_is() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(waits_beside.options(id="parent"))
        FAILING.add("a ends")
        await asyncio.sleep(1)
        await handle.send("news", "no number")
        await in_state(handle, "stuck")
        await until(lambda: "a ends" in CALLS)
        await handle.retry()
        await in_state(handle, "stuck")
        assert await events_of(engine, "parent/interplay.child", "workflow_rewound") == []

    run(program, workflows=[waits_beside, child])


@workflow(name="interplay.waits_beside")
async def waits_beside() -> Any:
    return await asyncio.gather(child("a"), everlog.recv("news", type=int))


def test_a_status_speaks_of_the_children_of_the_part_that_counts() -> None:
    async def program(engine: Engine) -> None:
        FAILING.add("b")
        handle = await engine.start(gathers.options(id="parent"), "child")
        await failed(handle)
        await asyncio.sleep(1)
        FAILING.clear()
        await handle.retry()
        await asyncio.sleep(1)
        assert "has had a child, 'parent/interplay.child'" in (await handle.status()).why
        assert (await kinds(handle)).count("child_started") == 1

    run(program, workflows=ALL)


@workflow(name="interplay.closes_early")
async def closes_early() -> str:
    talking = asyncio.create_task(talks("a"))
    await asyncio.sleep(1.5)
    await everlog.close_stream("talk")
    return await talking


@pytest.mark.parametrize("dies", [False, True])
def test_what_a_step_emits_to_a_stream_that_was_closed_is_refused_also_after_a_crash(dies: bool) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        engine = await opened(Engine(store, host=host.sibling(), workflows=[closes_early], lease=2))
        await engine.start(closes_early.options(id="parent"))
        await asyncio.sleep(1.8)
        if dies:
            die(engine)
        async with Engine(store, host=host.sibling(), workflows=[closes_early], lease=2) as last:
            handle = last.handle("parent")
            with pytest.raises(WorkflowFailed, match="was closed"):
                await handle.result()
            assert await items_of(handle, "talk") == ["a 0", "a 1"]
            (talk,) = [one for one in store.streams("parent") if one.stream == "talk"]
            assert (talk.closed, talk.length) == (True, 3)
        if not dies:
            await engine.__aexit__(None, None, None)

    simulate(program)

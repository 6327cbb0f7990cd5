"""Children: workflows that workflows start and call, what becomes of their ends, and of them when the parent ends."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import everlog
from everlog import (
    Client,
    Engine,
    Handle,
    IdInUse,
    NotFound,
    StepFailed,
    UsageError,
    WorkflowCancelled,
    WorkflowFailed,
    WrongContext,
    step,
    sync,
    workflow,
)
from everlog.core.event_codec import decode_event
from everlog.core.events import ChildEnded, ChildStarted, MessageSent, StartFailed
from everlog.store import Batch, ClaimRequest, Commit, Store
from everlog.testing.simulation import SimulatedHost
from tests.support import kill, make_store, on_both_stores, opened, run, simulate, until

RAN: list[Any] = []


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    RAN.clear()


class Broken(Exception):
    """What a child raises."""


@step
async def double(value: int) -> int:
    RAN.append(value)
    return 2 * value


@workflow
async def doubled(value: int) -> int:
    return await double(value)


@workflow
def doubled_plainly(value: int) -> int:
    return sync.call(double, value)


@workflow
async def breaks(why: str) -> int:
    raise Broken(why)


@workflow
async def sleeps(seconds: float) -> str:
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        RAN.append("cancelled")
        raise
    return "slept"


@workflow
async def listens() -> str:
    return await everlog.recv("word", type=str)


def kinds_of(store: Store, workflow_id: str) -> list[str]:
    return [row.type for row in store.read(workflow_id)]


# -- starting and calling ----------------------------------------------------------------------------------------------


@workflow
async def calls(value: int) -> list[int]:
    handle = await everlog.start(doubled, value + 1)
    return [await doubled(value), await everlog.call(doubled_plainly, value + 2), await handle.result()]


@workflow
def calls_plainly(value: int) -> list[Any]:
    handle = sync.start(doubled, value + 1)
    later = sync.submit(doubled, value + 3)
    return [
        sync.call(doubled, value),
        doubled_plainly(value + 2),
        handle.result(),
        later.result(),
        sync.map(doubled_plainly, [1, 2, 3], limit=2),
    ]


@on_both_stores
def test_a_child_gives_what_it_returned(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> list[int]:
        return await engine.run(calls, 10)

    assert run(program, kind=kind, folder=tmp_path) == [20, 24, 22]


@on_both_stores
def test_blocking_code_has_children_as_well(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> list[Any]:
        return await engine.run(calls_plainly, 10)

    assert run(program, kind=kind, folder=tmp_path) == [20, 24, 22, 26, [2, 4, 6]]


def test_a_call_is_two_rows_and_the_child_knows_its_parent() -> None:
    @workflow(name="flow")
    async def flow() -> int:
        return await doubled(1)

    async def program(engine: Engine) -> tuple[list[str], dict[str, Any], dict[str, Any]]:
        await engine.run(flow.options(id="order"))
        (first, *_) = await engine.handle("order/doubled").history()
        history = await engine.handle("order").history()
        return [one.type for one in history], first.data, history[2].data

    types, created, started = run(program, workflows=[flow, doubled])
    assert types == ["workflow_created", "workflow_began", "child_started", "child_ended", "workflow_completed"]
    assert (created["parent"], created["parent_operation"]) == ("order", "doubled")
    assert started == {"operation": "doubled", "child": "order/doubled", "name": "doubled", "input": {"value": 1}}


def test_what_a_child_returns_is_rebuilt_as_it_is_declared() -> None:
    @workflow(name="pair")
    async def pair() -> tuple[int, bytes]:
        return 1, b"x"

    @workflow(name="flow")
    async def flow() -> bool:
        handle = everlog.handle((await everlog.start(pair)).id, pair)
        return [await pair(), await handle.result()] == [(1, b"x")] * 2

    assert run(lambda engine: engine.run(flow), workflows=[flow, pair]) is True


def test_a_call_raises_what_the_child_raised_and_a_result_says_that_it_failed() -> None:
    class Hidden(Exception): ...

    @workflow(name="hides")
    async def hides() -> None:
        raise Hidden("where nobody can import it")

    @workflow(name="flow")
    async def flow() -> list[str]:
        seen: list[str] = []
        try:
            await breaks("called")
        except Broken as error:
            seen.append(str(error))
        try:
            await (await everlog.start(breaks, "started")).result()
        except WorkflowFailed as error:
            seen.append(f"{error.workflow_id} {error.error and error.error.message} {error.__cause__!r}")
        try:
            await hides()
        except StepFailed as error:
            seen.append(error.error.type.rpartition(".")[2] if error.error else "")
        return seen

    async def program(engine: Engine) -> list[str]:
        return await engine.run(flow.options(id="f"))

    assert run(program, workflows=[flow, breaks, hides]) == ["called", "f/breaks#2 started Broken('started')", "Hidden"]


def test_what_is_not_caught_fails_the_parent_with_the_childs_error() -> None:
    @workflow(name="flow")
    async def flow() -> None:
        await breaks("no")

    async def program(engine: Engine) -> None:
        with pytest.raises(WorkflowFailed) as failed:
            await engine.run(flow)
        assert isinstance(failed.value.__cause__, Broken)

    run(program, workflows=[flow, breaks])


@pytest.mark.parametrize("is_call", [True, False])
def test_a_child_that_was_cancelled_by_others_is_an_ordinary_error_of_its_parent(is_call: bool) -> None:
    @workflow(name="flow")
    async def flow() -> str:
        try:
            if is_call:
                await sleeps.options(id="c")(1000)
            else:
                await (await everlog.start(sleeps.options(id="c"), 1000)).result()
        except WorkflowCancelled as error:
            return str(error)
        return "not cancelled"

    async def program(engine: Engine) -> str:
        handle = await engine.start(flow)
        await asyncio.sleep(5)
        await engine.handle("c").cancel(reason="by a person")
        return await handle.result()

    assert run(program, workflows=[flow, sleeps]) == "workflow 'c' was cancelled: by a person"


def test_an_end_is_kept_until_it_is_asked_for_and_can_be_asked_for_often() -> None:
    @workflow(name="flow")
    async def flow() -> list[Any]:
        handle = await everlog.start(doubled, 4)
        await asyncio.sleep(100)
        return [await handle.result(), await handle.result(), await asyncio.gather(handle.result(), handle.result())]

    async def program(engine: Engine) -> list[Any]:
        return await engine.run(flow)

    assert run(program, workflows=[flow, doubled]) == [8, 8, [8, 8]]


def test_a_result_can_be_waited_for_with_a_limit() -> None:
    @workflow(name="flow")
    async def flow() -> list[str]:
        handle = await everlog.start(sleeps, 100)
        seen: list[str] = []
        for limit in (0, 10, 200):
            try:
                seen.append(await handle.result(timeout=limit))
            except TimeoutError as error:
                seen.append(str(error))
        return [*seen, await handle.result(timeout=0)]

    async def program(engine: Engine) -> list[str]:
        return await engine.run(flow.options(id="f"))

    late = "workflow 'f/sleeps' has not ended within {} s, and goes on"
    assert run(program, workflows=[flow, sleeps]) == [late.format(0), late.format(10), "slept", "slept"]


def test_children_have_children() -> None:
    @workflow(name="tower")
    async def tower(height: int) -> int:
        return 1 + sum(await asyncio.gather(*[tower(height - 1) for _ in range(2)])) if height else 1

    async def program(engine: Engine) -> tuple[int, int]:
        return await engine.run(tower.options(id="t"), 5), len(await engine.workflows())

    assert run(program, workflows=[tower]) == (63, 63)


def test_ids_stay_within_their_limit_however_deep_the_children_are() -> None:
    @workflow(name="a workflow with a rather long name, so that it does not take too long")
    async def deep(left: int) -> int:
        return 1 + await deep(left - 1) if left else 0

    async def program(engine: Engine) -> tuple[int, list[int]]:
        result = await engine.run(deep.options(id="d"), 20)
        return result, [len(one.id) for one in await engine.workflows()]

    result, lengths = run(program, workflows=[deep])
    assert (result, len(lengths)) == (20, 21)
    assert 300 < max(lengths) <= 512


@on_both_stores
def test_2000_children_of_one_parent_give_their_results(kind: str, tmp_path: Path) -> None:
    @workflow(name="many")
    async def many(count: int) -> int:
        return sum(await asyncio.gather(*[doubled(number) for number in range(count)]))

    async def program(engine: Engine) -> int:
        return await engine.run(many, 2000)

    assert run(program, workflows=[many, doubled], kind=kind, folder=tmp_path) == 3998000
    assert Counter(RAN) == Counter(range(2000))


def test_no_more_are_held_than_there_is_room_for() -> None:
    most: list[int] = []

    @workflow(name="many")
    async def many(count: int) -> int:
        return sum(await asyncio.gather(*[doubled(number) for number in range(count)]))

    async def program(engine: Engine) -> int:
        shell: Any = engine._shell
        worker = shell.worker
        adopt = worker.adopt

        def adopted(*args: Any) -> None:
            adopt(*args)
            most.append(len(worker.residents))

        worker.adopt = adopted
        return await engine.run(many, 50)

    assert run(program, workflows=[many, doubled], concurrency=5) == 2450
    assert 1 < max(most) <= 5


# -- ids ---------------------------------------------------------------------------------------------------------------


@on_both_stores
def test_an_id_starts_once_also_among_children(kind: str, tmp_path: Path) -> None:
    @workflow(name="flow")
    async def flow() -> list[Any]:
        same = doubled.options(id="one")
        first = await everlog.start(same, 3)
        again, at_once = await asyncio.gather(everlog.start(same, 3), same(3))
        return [first.id, again.id, at_once, await again.result(), await same(3)]

    async def program(engine: Engine) -> tuple[list[Any], int]:
        return await engine.run(flow), len(await engine.workflows())

    assert run(program, workflows=[flow, doubled], kind=kind, folder=tmp_path) == (["one", "one", 6, 6, 6], 2)
    assert RAN == [3]


@on_both_stores
def test_another_input_or_function_under_an_id_is_recorded_as_a_failure(kind: str, tmp_path: Path) -> None:
    @workflow(name="flow")
    async def flow() -> list[str]:
        seen: list[str] = []
        for start in (
            lambda: everlog.start(doubled.options(id="taken"), 4),
            lambda: doubled_plainly.options(id="taken") and everlog.call(doubled_plainly.options(id="taken"), 3),
            lambda: doubled.options(id="me")(1),
        ):
            try:
                await start()
            except IdInUse as error:
                seen.append(str(error))
        return [*seen, str(await doubled.options(id="taken")(3))]

    async def program(engine: Engine) -> tuple[list[str], list[type]]:
        await engine.run(doubled.options(id="taken"), 3)
        result = await engine.run(flow.options(id="me"))
        shell: Any = engine._shell
        rows = await engine.on_thread(lambda: shell.store.read("me"))
        return result, [type(decode_event(row.payload)) for row in rows]

    result, rows = run(program, workflows=[flow, doubled, doubled_plainly], kind=kind, folder=tmp_path)
    assert result == [
        "'taken' is a workflow 'doubled' started with another input: recorded {\"value\":3}, now {\"value\":4}",
        "'taken' is a workflow 'doubled', not 'doubled_plainly'; choose another id",
        "'me' is the id of this workflow itself; choose another for its child",
        "6",
    ]
    assert rows.count(StartFailed) == 2
    assert rows.count(ChildStarted) == 1


def test_a_failed_start_does_not_hold_what_was_asked_for_beside_it() -> None:
    @workflow(name="flow")
    async def flow() -> list[str]:
        starts = [doubled.options(id=name)(7) for name in ("a", "taken", "b", "taken")]
        sends = [everlog.send(name, "topic", 1) for name in ("nobody", "taken")]
        found = await asyncio.gather(*starts, *sends, return_exceptions=True)
        return [type(one).__name__ for one in found]

    async def program(engine: Engine) -> list[str]:
        await engine.start(listens.options(id="taken"))
        return await engine.run(flow)

    names = run(program, workflows=[flow, doubled, listens])
    assert names == ["int", "IdInUse", "int", "IdInUse", "NotFound", "NoneType"]


def test_a_key_names_a_child_wherever_it_is_started() -> None:
    @workflow(name="flow")
    async def flow() -> str:
        async def branch() -> str:
            return (await everlog.start(doubled.options(key="x"), 1)).id

        return await asyncio.create_task(branch(), name="b")

    async def program(engine: Engine) -> str:
        with pytest.raises(WrongContext, match="key"):
            await engine.start(doubled.options(key="x"), 1)
        return await engine.run(flow.options(id="f"))

    assert run(program, workflows=[flow, doubled]) == "f/doubled@x"


# -- what becomes of children ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", ["returns", "fails", "is cancelled"])
@pytest.mark.parametrize("becomes", ["cancel", "leave"])
@on_both_stores
def test_when_the_parent_ends(kind: str, tmp_path: Path, ends: str, becomes: Any) -> None:
    @workflow(name="flow")
    async def flow() -> None:
        await everlog.start(sleeps.options(id="child", when_parent_ends=becomes), 30)
        await everlog.start(doubled.options(id="over"), 1)
        await asyncio.sleep(10)
        if ends == "is cancelled":
            await asyncio.sleep(1000)
        if ends == "fails":
            raise Broken

    async def program(engine: Engine) -> list[Any]:
        handle = await engine.start(flow.options(id="parent"))
        await asyncio.sleep(11)
        if ends == "is cancelled":
            await handle.cancel()
        try:
            await handle.result()
        except (WorkflowFailed, WorkflowCancelled):
            assert ends != "returns"
        child = engine.handle("child")
        if becomes == "leave":
            return [await child.result(), (await engine.handle("over").status()).state]
        with pytest.raises(WorkflowCancelled, match="its parent 'parent' has ended"):
            await child.result()
        return ["cancelled", (await engine.handle("over").status()).state]

    expected = ["slept" if becomes == "leave" else "cancelled", "completed"]
    assert run(program, workflows=[flow, sleeps, doubled], kind=kind, folder=tmp_path) == expected


def test_a_parent_that_is_ended_without_being_run_cancels_its_children() -> None:
    @workflow(name="flow")
    async def flow(wrong: bool) -> None:
        await everlog.start(sleeps.options(id="child"), 1000)
        await asyncio.sleep(10)

    async def program(host: SimulatedHost) -> str:
        store = make_store(host)
        first = await opened(Engine(store, host=host, workflows=[flow]))
        await first.start(flow.options(id="parent"), True)
        await asyncio.sleep(1)
        kill(first)
        async with Client(store, host=host.sibling()) as client:
            await asyncio.sleep(20)
            shell: Any = client._shell
            for worker in shell.store.workers():
                shell.store.retire(worker.worker)
            await stuck(client, "parent")
            assert await client.cancel("parent") == ["parent"]
            async with Engine(store, host=host.sibling(), workflows=[sleeps]) as engine:
                with pytest.raises(WorkflowCancelled, match="its parent"):
                    await engine.handle("child").result(timeout=100)
                return (await engine.handle("parent").status()).state

    assert simulate(program) == "cancelled"


async def stuck(client: Client, workflow_id: str) -> None:
    """Have a workflow as one that no build here can go on with."""
    shell: Any = client._shell
    claimed = shell.store.claim(ClaimRequest(worker="w", tokens=["t"], build="", only=workflow_id)).claimed[0]
    seq = claimed.head.seq
    one = Commit(workflow_id=workflow_id, token="t", seq=seq, state="stuck", build="x", release=True)
    shell.store.commit(Batch(commits=[one]))


def test_who_gives_up_a_call_gives_up_the_child_and_asks_it_once() -> None:
    @workflow(name="flow")
    async def flow() -> str:
        try:
            await asyncio.wait_for(sleeps.options(id="child")(1000), 5)
        except TimeoutError:
            await asyncio.sleep(5)
            return "gave up"
        return "had it"

    async def program(engine: Engine) -> tuple[str, str, list[Any]]:
        result = await engine.run(flow.options(id="f"))
        with pytest.raises(WorkflowCancelled, match="its call in 'f' was given up"):
            await engine.handle("child").result()
        shell: Any = engine._shell
        rows = await engine.on_thread(lambda: [decode_event(row.payload) for row in shell.store.read("f")])
        cancels = await engine.on_thread(lambda: kinds_of(shell.store, "child").count("cancel_requested"))
        return result, str(cancels), [type(row) for row in rows if isinstance(row, MessageSent | ChildEnded)]

    assert run(program, workflows=[flow, sleeps]) == ("gave up", "1", [MessageSent, ChildEnded])


def test_a_call_whose_child_is_to_be_left_leaves_it() -> None:
    @workflow(name="flow")
    async def flow() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(sleeps.options(id="child", when_parent_ends="leave")(100), 5)

    async def program(engine: Engine) -> str:
        await engine.run(flow)
        result: str = await engine.handle("child").result()
        return result

    assert run(program, workflows=[flow, sleeps]) == "slept"


def test_who_stops_waiting_for_a_result_leaves_the_child() -> None:
    @workflow(name="flow")
    async def flow() -> str:
        handle = await everlog.start(sleeps, 100)
        waiting = asyncio.create_task(handle.result())
        await asyncio.sleep(1)
        waiting.cancel()
        return await handle.result()

    assert run(lambda engine: engine.run(flow), workflows=[flow, sleeps]) == "slept"


def test_a_child_that_has_not_begun_to_exist_is_not_created() -> None:
    @workflow(name="flow")
    async def flow() -> int:
        task = asyncio.create_task(doubled(1))
        await asyncio.sleep(0)
        task.cancel()
        return await double(2)

    async def program(engine: Engine) -> tuple[int, int]:
        return await engine.run(flow), len(await engine.workflows())

    assert run(program, workflows=[flow, doubled]) == (4, 1)


# -- handles in workflow code ------------------------------------------------------------------------------------------


@on_both_stores
def test_what_a_handle_in_a_workflow_can_do(kind: str, tmp_path: Path) -> None:
    @workflow(name="flow")
    async def flow() -> list[Any]:
        child = await everlog.start(listens)
        await child.send("word", "hello")
        other = everlog.handle("stranger", listens)
        await other.send("word", "you")
        state = (await everlog.handle("over").status()).state
        gone = everlog.handle("nobody")
        seen: list[Any] = [await child.result(), await other.result(), state, await everlog.handle("over").result()]
        for ask in (gone.result, gone.status, gone.cancel, lambda: gone.send("a", 1)):
            with pytest.raises(NotFound, match="nobody"):
                await ask()
        with pytest.raises(WrongContext, match="not for workflow code"):
            child.history()
        await everlog.handle("sleeper").cancel(reason="enough")
        await other.cancel()
        try:
            await everlog.handle("sleeper").result()
        except WorkflowCancelled as error:
            seen.append(str(error))
        return seen

    async def program(engine: Engine) -> list[Any]:
        await engine.start(listens.options(id="stranger"))
        await engine.start(sleeps.options(id="sleeper"), 1000)
        await engine.run(doubled.options(id="over"), 1)
        return await engine.run(flow)

    result = run(program, workflows=[flow, listens, doubled, sleeps], kind=kind, folder=tmp_path)
    assert result == ["hello", "you", "completed", 2, "workflow 'sleeper' was cancelled: enough"]


def test_what_a_handle_in_blocking_code_can_do() -> None:
    @workflow(name="flow")
    def flow() -> list[Any]:
        child = sync.start(listens)
        child.send("word", "hello")
        other = sync.handle("stranger", listens)
        with pytest.raises(TimeoutError):
            other.result(timeout=5)
        other.send("word", "you")
        seen = [child.result(), other.result(), other.status().state]
        with pytest.raises(WrongContext, match="not for workflow code"):
            child.history()
        sleeper = sync.start(sleeps, 1000)
        sleeper.cancel()
        with pytest.raises(WorkflowCancelled):
            sleeper.result()
        return seen

    async def program(engine: Engine) -> list[Any]:
        await engine.start(listens.options(id="stranger"))
        return await engine.run(flow)

    assert run(program, workflows=[flow, listens, sleeps]) == ["hello", "you", "completed"]


def test_a_handle_belongs_to_its_workflow() -> None:
    kept: list[Handle[int]] = []

    @workflow(name="flow")
    async def flow() -> None:
        kept.append(await everlog.start(doubled.options(when_parent_ends="leave"), 1))

    async def program(engine: Engine) -> None:
        await engine.run(flow.options(id="f"))
        assert isinstance(kept[0], Handle)
        with pytest.raises(WrongContext, match="belongs to workflow 'f'"):
            await kept[0].result()
        assert await engine.handle(kept[0].id).result() == 2

    run(program, workflows=[flow, doubled])


def test_what_cannot_be_a_child_is_refused_at_the_call() -> None:
    @workflow(name="flow")
    async def flow() -> None:
        wrong: Any = double
        with pytest.raises(UsageError, match="only a workflow or a step can be started"):
            everlog.start(wrong.fn, 1)
        with pytest.raises(WrongContext, match="takes a step or a workflow"):
            everlog.call(wrong.fn, 1)
        with pytest.raises(TypeError, match="value"):
            doubled()  # type: ignore[call-arg]
        with pytest.raises(UsageError, match="Everlog's own"):
            everlog.recv("everlog:child ended")

    run(lambda engine: engine.run(flow), workflows=[flow])


def test_a_step_may_start_workflows_which_are_nobodys_children() -> None:
    @step
    async def starts() -> int:
        handle = await everlog.start(doubled.options(id="alone"), 4)
        return await handle.result() + await everlog.handle("alone", doubled).result()

    @step
    def cannot() -> None:
        with pytest.raises(WrongContext, match="make the step an async def"):
            everlog.start(doubled, 1)

    @workflow(name="flow")
    async def flow() -> int:
        await everlog.call(cannot)
        return await starts()

    async def program(engine: Engine) -> tuple[int, Any]:
        result = await engine.run(flow)
        return result, (await engine.handle("alone").history())[0].data.get("parent")

    assert run(program, workflows=[flow, doubled]) == (16, None)


# -- more than one process ---------------------------------------------------------------------------------------------


@on_both_stores
def test_parent_and_child_run_on_different_workers(kind: str, tmp_path: Path) -> None:
    @workflow(name="flow")
    async def flow() -> list[int]:
        return [await doubled(1), *await asyncio.gather(doubled(2), doubled(3))]

    async def program(host: SimulatedHost) -> list[int]:
        store = make_store(host, kind, tmp_path)
        other = make_store(host, kind, tmp_path) if kind != "memory" else store
        async with Engine(store, host=host, workflows=[flow]) as parents:
            handle = await parents.start(flow)
            await asyncio.sleep(10)
            assert (await handle.status()).state == "waiting"
            async with Engine(other, host=host.sibling(), workflows=[doubled]):
                return await handle.result(timeout=100)

    assert simulate(program) == [2, 4, 6]


@on_both_stores
def test_a_parent_that_dies_while_its_child_runs_has_the_result_afterwards(kind: str, tmp_path: Path) -> None:
    @workflow(name="flow")
    async def flow() -> str:
        handle = await everlog.start(sleeps.options(id="child"), 50)
        return await handle.result()

    async def program(host: SimulatedHost) -> tuple[str, int]:
        store = make_store(host, kind, tmp_path)
        other = make_store(host, kind, tmp_path) if kind != "memory" else store
        first = await opened(Engine(store, host=host, workflows=[flow]))
        async with Engine(other, host=host.sibling(), workflows=[sleeps, flow], lease=5) as second:
            await second.start(sleeps.options(id="warm"), 0)
            await first.start(flow.options(id="parent"))
            await until(lambda: any(row.type == "child_started" for row in store.read("parent")))
            kill(first)
            result = await second.handle("parent").result(timeout=1000)
            return result, kinds_of(other, "parent").count("child_started")

    assert simulate(program) == ("slept", 1)


def test_a_parent_that_waits_for_children_is_parked_and_woken_by_their_ends_alone() -> None:
    @workflow(name="flow")
    async def flow() -> str:
        handle = await everlog.start(sleeps.options(id="child"), 500)
        await everlog.start(sleeps.options(id="other"), 100)
        return await handle.result()

    async def program(engine: Engine) -> tuple[list[Any], str]:
        handle = await engine.start(flow.options(id="f"))
        await asyncio.sleep(50)
        shell: Any = engine._shell
        status = await handle.status()
        seen = ["f" in shell.worker.residents, status.state, status.why]
        return seen, await handle.result()

    seen, result = run(program, workflows=[flow, sleeps])
    assert seen[:2] == [False, "waiting"]
    assert seen[2] == "It has 2 children that go on, the first for 50 s: 'child', 'other'."
    assert result == "slept"


def test_an_end_that_nobody_waits_for_does_not_wake_a_parked_parent() -> None:
    replays: list[int] = []

    @workflow(name="flow")
    async def flow() -> None:
        replays.append(1)
        for number in range(20):
            await everlog.start(sleeps.options(id=f"c{number}"), 10 * number)
        await asyncio.sleep(1000)

    async def program(engine: Engine) -> None:
        handle = await engine.start(flow)
        await handle.result()
        shell: Any = engine._shell
        assert await engine.on_thread(lambda: kinds_of(shell.store, handle.id).count("child_ended")) == 20

    run(program, workflows=[flow, sleeps])
    assert len(replays) == 2


def test_a_child_that_is_cancelled_before_it_began_never_runs() -> None:
    @workflow(name="flow")
    async def flow() -> None:
        await everlog.start(doubled.options(id="child"), 1)
        await asyncio.sleep(1)

    async def program(host: SimulatedHost) -> list[str]:
        store = make_store(host)
        async with Engine(store, host=host, workflows=[flow]) as parents:
            await parents.run(flow)
        async with Engine(store, host=host.sibling(), workflows=[doubled]) as children:
            with pytest.raises(WorkflowCancelled):
                await children.handle("child").result()
        return kinds_of(store, "child")

    assert simulate(program) == ["workflow_created", "workflow_cancelled"]
    assert RAN == []


def test_who_waits_for_a_stranger_does_not_hold_up_the_end_of_its_engine() -> None:
    @workflow(name="flow")
    async def flow() -> str:
        return await everlog.handle("stranger", sleeps).result()

    async def program(host: SimulatedHost) -> tuple[float, str]:
        store = make_store(host)
        async with Client(store, host=host) as client:
            await client.start(sleeps.options(id="stranger"), 1)
        async with Engine(store, host=host.sibling(), workflows=[flow], grace=1000) as engine:
            await engine.start(flow.options(id="f"))
            await asyncio.sleep(5)
            began = host.monotonic()
        lasted = host.monotonic() - began
        async with Engine(store, host=host.sibling()) as engine:
            return lasted, await engine.handle("f").result()

    lasted, result = simulate(program)
    assert result == "slept"
    assert lasted < 10

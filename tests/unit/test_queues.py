"""Queues: who is admitted when, what stands and obeys, duplicates, delays, and what is refused."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

import everlog
from everlog import (
    Client,
    Duplicate,
    Engine,
    Handle,
    InvalidDefinition,
    NotFound,
    Queue,
    RateLimit,
    StepFailed,
    UsageError,
    WorkflowCancelled,
    WorkflowFailed,
    WrongContext,
    named,
    step,
    sync,
    workflow,
)
from everlog.memory import MemoryStore
from everlog.store import AdmitRequest, ClaimAnswer, QueueRow
from everlog.testing.simulation import SimulatedHost
from tests.support import (
    events_of,
    in_state,
    kill,
    kinds,
    make_store,
    on_both_stores,
    projections_fit,
    run,
    simulate,
    until,
)

narrow = Queue("narrow", concurrency=1)
pair = Queue("pair", concurrency=2)
open_to_all = Queue("open")

begun: list[str] = []
"""What has begun, in order; each test begins with none."""
running: Counter[str] = Counter()
most: Counter[str] = Counter()
"""How many ran at once, by queue."""


@pytest.fixture(autouse=True)
def nothing_has_begun() -> None:
    begun.clear()
    running.clear()
    most.clear()


@step
async def work(name: str, seconds: float) -> str:
    queue = everlog.current().queue or ""
    begun.append(name)
    running[queue] += 1
    most[queue] = max(most[queue], running[queue])
    try:
        await asyncio.sleep(seconds)
    finally:
        running[queue] -= 1
    return name


@step
async def work_of_part(name: str) -> str:
    running[name[0]] += 1
    most[name[0]] = max(most[name[0]], running[name[0]])
    await asyncio.sleep(1)
    running[name[0]] -= 1
    return name


@workflow
async def errand_of_part(name: str) -> str:
    return await work_of_part(name)


@workflow
async def errand(name: str, seconds: float = 1) -> str:
    return await work(name, seconds)


@workflow
def plain_errand(name: str) -> str:
    return sync.call(work, name, 0.5)


@workflow(queue=pair)
async def of_pair(name: str) -> str | None:
    await work(name, 1)
    return everlog.current().queue


@workflow
async def failing(name: str) -> str:
    begun.append(name)
    if begun.count(name) == 1:
        raise ValueError(name)
    return name


@workflow
async def fan_out(count: int) -> list[str]:
    handles = await asyncio.gather(*(pair.enqueue(errand, str(one)) for one in range(count)))
    return list(await asyncio.gather(*(handle.result() for handle in handles)))


@workflow
def plain_fan_out(count: int) -> list[str]:
    handles = [sync.start(errand.options(queue=pair), str(one)) for one in range(count)]
    return [handle.result() for handle in handles]


async def all_of(handles: list[Handle[Any]]) -> list[Any]:
    return list(await asyncio.gather(*(handle.result() for handle in handles)))


# -- admission ---------------------------------------------------------------------------------------------------------


@on_both_stores
@pytest.mark.parametrize("parent", [fan_out, plain_fan_out], ids=["async", "blocking"])
def test_no_more_are_admitted_than_the_queue_has_slots(kind: str, parent: Any, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        assert await engine.run(parent, 9) == [str(one) for one in range(9)]
        assert most == {"pair": 2}
        assert sorted(begun) == sorted(str(one) for one in range(9))

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_they_are_admitted_by_priority_and_then_in_the_order_they_came(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        first = await engine.start(errand.options(queue=narrow), "first")
        await until(lambda: begun == ["first"])
        wanted = [("b", 5), ("c", 5), ("a", -1), ("d", 7), ("zero", None)]
        handles = [first]
        for name, priority in wanted:
            options = errand.options(queue=narrow)
            handles.append(
                await engine.start(options if priority is None else options.options(priority=priority), name)
            )
        await all_of(handles)
        assert begun == ["first", "a", "zero", "b", "c", "d"]

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_a_workflow_that_waits_keeps_its_slot_and_goes_on_at_once(kind: str, tmp_path: Path) -> None:
    @workflow(name="sleeper")
    async def sleeper(name: str) -> None:
        begun.append(name)
        await everlog.sleep(100)
        begun.append(f"{name} again")

    async def program(engine: Engine) -> None:
        handles = [await engine.queue(narrow).enqueue(sleeper, name) for name in ("one", "two")]
        await asyncio.sleep(50)
        assert begun == ["one"]
        assert (await handles[0].status()).state == "waiting"
        assert (await handles[1].status()).state == "queued"
        await all_of(handles)
        assert list(dict.fromkeys(begun)) == ["one", "one again", "two", "two again"]

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_a_worker_holds_no_more_of_a_queue_than_it_may(kind: str, tmp_path: Path) -> None:
    each = Queue("each", worker_concurrency=3)

    async def program(engine: Engine) -> None:
        handles = [await engine.queue(each).enqueue(errand, str(one)) for one in range(10)]
        await all_of(handles)
        assert most == {"each": 3}

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_a_worker_holds_no_more_of_a_partition_than_it_may(kind: str, tmp_path: Path) -> None:
    each = Queue("of_each", partition_worker_concurrency=1)

    async def program(engine: Engine) -> None:
        async def enqueued() -> list[Handle[str]]:
            names = [f"{partition}{number}" for partition in "ab" for number in range(3)]
            options = [errand_of_part.options(queue=each, partition=name[0]) for name in names]
            return [await engine.start(one, name) for one, name in zip(options, names, strict=True)]

        await all_of(await enqueued())
        assert most == {"a": 1, "b": 1}
        await engine.queue(each).update(partition_worker_concurrency=2)
        assert (await engine.queue(each).status()).partition_worker_concurrency == 2
        await all_of(await enqueued())
        assert most == {"a": 2, "b": 2}

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_a_rate_limits_admissions_in_every_window(kind: str, tmp_path: Path) -> None:
    paced = Queue("paced", rate_limit=RateLimit(3, per=10))

    async def program(engine: Engine) -> None:
        handles = [await engine.queue(paced).enqueue(errand, str(one), seconds=0) for one in range(8)]
        await all_of(handles)
        began = [(await events_of(engine, handle.id, "workflow_began"))[0].recorded_at for handle in handles]
        for at in began:
            # what begins is written a moment after it was admitted
            assert sum(0 <= (other - at).total_seconds() < 9.9 for other in began) <= 3
        assert (max(began) - min(began)).total_seconds() < 25

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_partitions_are_limited_apart_and_take_turns(kind: str, tmp_path: Path) -> None:
    fair = Queue("fair", concurrency=3, partition_concurrency=1)

    async def program(engine: Engine) -> None:
        names = [f"{partition}{number}" for partition in "abcd" for number in range(3)]
        of_fair = errand.options(queue=fair)
        handles = [await engine.start(of_fair.options(partition=name[0]), name) for name in names]
        await all_of(handles)
        assert most == {"fair": 3}
        for partition in "abcd":
            assert [name for name in begun if name[0] == partition] == [f"{partition}{number}" for number in range(3)]
        assert {name[0] for name in begun[:4]} == set("abcd")

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_several_engines_share_the_limits_of_a_queue(kind: str, tmp_path: Path) -> None:
    async def program(host: Any) -> None:
        store = make_store(host, kind, tmp_path)
        async with Engine(store, host=host), Engine(store, host=host.sibling()), Client(store, host=host) as client:
            handles = [await client.start(errand.options(queue=pair), str(one)) for one in range(8)]
            await all_of(handles)
            workers = {(await events_of(client, one.id, "workflow_began"))[0].data["worker"] for one in handles}
        assert most == {"pair": 2}
        assert len(workers) >= 1

    simulate(program)


def test_an_engine_takes_only_from_its_queues(tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        served = await engine.start(errand.options(queue=narrow), "served")
        other = await engine.start(errand.options(queue=open_to_all), "other")
        none = await engine.start(errand, "none")
        await all_of([served, none])
        await asyncio.sleep(100)
        assert (await other.status()).state == "queued"

    run(program, queues=[narrow])


def test_a_queue_admits_without_being_asked_again_and_again() -> None:
    """Whoever has no queues asks the store nothing about them; one with queues asks when something may have changed."""
    asked: list[str] = []

    class Counting(MemoryStore):
        def admit(self, request: AdmitRequest) -> ClaimAnswer:
            asked.append("admit")
            return super().admit(request)

        def queues(self) -> list[QueueRow]:
            asked.append("queues")
            return list(super().queues())

    async def program(engine: Engine) -> None:
        await engine.run(errand, "one")
        await asyncio.sleep(500)
        assert "admit" not in asked
        handle = await engine.start(errand.options(queue=narrow, delay=100), "two")
        await asyncio.sleep(50)
        before = asked.count("admit")
        await asyncio.sleep(40)
        assert asked.count("admit") == before
        await handle.result()

    run(program, store=lambda store: Counting(clock=store.now), workflows=[errand])


@on_both_stores
def test_what_is_enqueued_here_begins_at_once(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        await engine.run(errand.options(queue=pair), "zero", seconds=0)
        at = asyncio.get_running_loop().time()
        await engine.run(errand.options(queue=pair), "one", seconds=0)
        assert asyncio.get_running_loop().time() - at < 0.015, "without waiting for a look around"

    run(program, kind=kind, folder=tmp_path)


# -- delays ------------------------------------------------------------------------------------------------------------


@on_both_stores
@pytest.mark.parametrize("queue", [None, narrow], ids=["in no queue", "in a queue"])
def test_a_delayed_workflow_begins_when_its_time_has_come(kind: str, queue: Queue | None, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(errand.options(queue=queue, delay=60), "late")
        await asyncio.sleep(59)
        status = await handle.status()
        assert (status.state, begun) == ("delayed", [])
        assert status.why.startswith("It is delayed until 2023-11-14 22:14:2")
        assert [one.id for one in await engine.workflows(state="delayed")] == [handle.id]
        assert not await engine.workflows(state="waiting")
        assert not await engine.workflows(state="queued")
        await handle.result()
        began = (await events_of(engine, handle.id, "workflow_began"))[0].recorded_at
        assert 60 <= (began - (await handle.status()).created_at).total_seconds() < 60.1

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
@pytest.mark.parametrize("queue", [None, narrow], ids=["in no queue", "in a queue"])
def test_the_timeout_of_a_workflow_counts_from_its_beginning(kind: str, queue: Queue | None, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        late = errand.options(queue=queue, delay=60, timeout=10)
        assert await engine.run(late, "in time", seconds=5) == "in time"
        with pytest.raises(WorkflowCancelled, match="timeout"):
            await engine.run(late, "too long", seconds=11)

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_a_paused_delay_is_not_over_when_it_is_resumed(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(errand.options(delay=60), "late")
        await handle.pause()
        assert (await handle.status()).state == "paused"
        await handle.resume()
        assert (await handle.status()).state == "delayed"
        await asyncio.sleep(50)
        assert begun == []
        await handle.pause()
        await asyncio.sleep(20)
        await handle.resume()
        assert await handle.result() == "late"

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_children_are_delayed_as_well(kind: str, tmp_path: Path) -> None:
    @workflow(name="delays")
    async def delays() -> list[str]:
        late = errand.options(delay=60)
        queued = await narrow.enqueue(late, "queued")
        return [await late("called"), await queued.result()]

    async def program(engine: Engine) -> None:
        handle = await engine.start(delays)
        await asyncio.sleep(59)
        assert [len(await engine.workflows(state="delayed")), begun] == [2, []]
        assert await handle.result() == ["called", "queued"]

    run(program, kind=kind, folder=tmp_path)


# -- what stands obeys -------------------------------------------------------------------------------------------------


async def behind_another(engine: Engine, *names: str) -> tuple[Handle[str], list[Handle[str]]]:
    """Fill the narrow queue, and have these stand in it."""
    first = await engine.start(errand.options(queue=narrow), "first", seconds=20)
    await until(lambda: begun == ["first"])
    return first, [await engine.start(errand.options(queue=narrow), name) for name in names]


@on_both_stores
@pytest.mark.parametrize("how", ["cancel", "terminate"])
def test_what_stands_is_ended_without_having_begun(kind: str, how: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        first, (ended, other) = await behind_another(engine, "ended", "other")
        await (ended.cancel(reason="no more") if how == "cancel" else ended.terminate(reason="no more"))
        with pytest.raises(WorkflowCancelled, match="no more"):
            await ended.result()
        await all_of([first, other])
        assert begun == ["first", "other"]
        projections_fit(engine.store, ended.id)

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_what_stands_keeps_its_place_through_a_pause(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        first, (paused, other) = await behind_another(engine, "paused", "other")
        await paused.pause()
        assert (await paused.status()).state == "paused"
        await paused.resume()
        assert (await paused.status()).state == "queued"
        await all_of([first, paused, other])
        assert begun == ["first", "paused", "other"]

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_what_is_paused_in_a_queue_lets_others_go_first(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        first, (paused, other) = await behind_another(engine, "paused", "other")
        await paused.pause()
        await all_of([first, other])
        await asyncio.sleep(10)
        assert begun == ["first", "other"]
        await paused.resume()
        assert await paused.result() == "paused"

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
@pytest.mark.parametrize("orders", [("pause", "cancel"), ("pause", "resume"), ("pause", "pause"), ("terminate",)])
def test_orders_by_message_are_obeyed_where_it_stands(kind: str, orders: tuple[str, ...], tmp_path: Path) -> None:
    """A workflow claimed for its orders obeys them, and does not begin by that."""

    async def program(engine: Engine) -> None:
        first, (ordered, other) = await behind_another(engine, "ordered", "other")
        for order in orders:
            await engine.post_control(ordered.id, order, b'""')
            await asyncio.sleep(1)
        state = {"cancel": "cancelled", "terminate": "cancelled", "pause": "paused", "resume": "queued"}[orders[-1]]
        await in_state(ordered, state)
        assert begun == ["first"]
        projections_fit(engine.store, ordered.id)
        await ordered.resume()
        if state == "cancelled":
            with pytest.raises(WorkflowCancelled):
                await ordered.result()
        await all_of([first, other])
        if state != "cancelled":
            await ordered.result()
            assert begun.index("ordered") < begun.index("other"), "it kept its place"

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_children_that_stand_end_with_their_parent(kind: str, tmp_path: Path) -> None:
    @workflow(name="leaves")
    async def leaves() -> list[str]:
        return [(await narrow.enqueue(errand, str(one), 10)).id for one in range(3)]

    async def program(engine: Engine) -> None:
        children = await engine.run(leaves)
        for child in children:
            with pytest.raises(WorkflowCancelled, match="its parent"):
                await engine.handle(child).result()
        assert (await engine.queue(narrow).counts()).queued == 0
        assert len(begun) <= 1

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_a_retried_workflow_stands_in_its_queue_again(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        failed = await engine.start(failing.options(queue=narrow), "failing")
        with pytest.raises(WorkflowFailed):
            await failed.result()
        first, _ = await behind_first(engine)
        await failed.retry()
        assert (await failed.status()).state == "queued"
        await asyncio.sleep(5)
        assert begun.count("failing") == 1, "the only slot is taken"
        await first.result()
        assert await failed.result() == "failing"
        projections_fit(engine.store, failed.id)

    async def behind_first(engine: Engine) -> tuple[Handle[str], None]:
        first = await engine.start(errand.options(queue=narrow), "first", seconds=20)
        await until(lambda: "first" in begun)
        return first, None

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_a_retried_workflow_can_be_cancelled_where_it_stands(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        failed = await engine.start(failing.options(queue=narrow), "failing")
        with pytest.raises(WorkflowFailed):
            await failed.result()
        await engine.queue(narrow).pause()
        await failed.retry()
        await failed.pause()
        await failed.resume()
        assert (await failed.status()).state == "queued"
        await failed.cancel()
        assert (await failed.status()).state == "cancelled"
        await failed.retry()
        await engine.queue(narrow).resume()
        assert await failed.result() == "failing"

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_the_children_of_a_retried_parent_stand_in_their_queues_again(kind: str, tmp_path: Path) -> None:
    @workflow(name="parent_of_failing")
    async def parent_of_failing() -> str:
        return await failing.options(queue=narrow)("child")

    async def program(engine: Engine) -> None:
        parent = await engine.start(parent_of_failing)
        with pytest.raises(WorkflowFailed):
            await parent.result()
        await parent.retry()
        assert await parent.result(timeout=60) == "child"
        (child,) = await engine.workflows(name="failing")
        assert child.queue == "narrow"
        projections_fit(engine.store, child.id)

    run(program, kind=kind, folder=tmp_path)


# -- update ------------------------------------------------------------------------------------------------------------


@on_both_stores
def test_what_stands_can_be_moved(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        first, (a, b, c) = await behind_another(engine, "a", "b", "c")
        await c.update(priority=-1)
        await a.update(delay=100)
        await b.update(queue=open_to_all)
        assert (await a.status()).state == "delayed"
        assert await b.result() == "b"
        assert (await b.status()).queue == "open"
        await all_of([first, c, a])
        assert begun == ["first", "b", "c", "a"]
        assert await kinds(c) == [
            "workflow_created",
            "workflow_placed",
            "workflow_began",
            "step_started",
            "step_completed",
            "workflow_completed",
        ]
        with pytest.raises(UsageError, match="has ended"):
            await c.update(priority=1)

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_what_is_delayed_in_no_queue_can_be_moved_as_well(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        sooner, queued = [await engine.start(errand.options(delay=1000), name) for name in ("sooner", "queued")]
        with pytest.raises(UsageError, match="has no priority; give it queue="):
            await sooner.update(priority=1)
        await sooner.update(delay=5)
        await queued.update(queue=narrow, delay=0)
        assert await queued.result() == "queued"
        assert await sooner.result() == "sooner"
        with pytest.raises(NotFound, match="no queue 'nowhere'"):
            await sooner.update(queue="nowhere")
        with pytest.raises(UsageError, match="nothing to change"):
            await sooner.update()

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_what_has_begun_cannot_be_moved(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        first, _ = await behind_another(engine)
        with pytest.raises(UsageError, match="has begun"):
            await first.update(priority=1)
        parked = await engine.start(errand.options(queue=open_to_all), "parked", seconds=100)
        await in_state(parked, "running")
        with pytest.raises(UsageError, match="has begun"):
            await parked.update(delay=5)

    run(program, kind=kind, folder=tmp_path)


# -- duplicates --------------------------------------------------------------------------------------------------------


@on_both_stores
def test_a_duplicate_is_the_workflow_that_has_the_key(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        unique = errand.options(queue=narrow, dedup_key="k")
        first = await engine.start(unique, "first")
        assert (await engine.start(unique, "second")).id == first.id
        with pytest.raises(Duplicate, match=f"dedup_key 'k' of queue 'narrow' is that of workflow '{first.id}'") as why:
            await engine.start(unique.options(if_duplicate="raise"), "third")
        assert why.value.workflow_id == first.id
        with pytest.raises(Duplicate, match="which is a 'errand' and not a 'failing'"):
            await engine.start(failing.options(queue=narrow, dedup_key="k"), "fourth")
        elsewhere = await engine.start(unique.options(queue=open_to_all), "elsewhere")
        assert elsewhere.id != first.id
        assert await first.result() == "first"
        again = await engine.start(unique.options(if_duplicate="raise"), "fifth")
        assert again.id != first.id
        await all_of([again, elsewhere])

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_replacing_gives_another_input_and_puts_off(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        settled = errand.options(queue=narrow, dedup_key="k", delay=10, if_duplicate="replace")
        first = await engine.start(settled, "a")
        await asyncio.sleep(8)
        assert (await engine.start(settled, "b")).id == first.id
        await asyncio.sleep(8)
        assert begun == []
        await first.pause()
        assert (await engine.start(settled, "c")).id == first.id
        assert (await first.status()).state == "paused"
        await first.resume()
        await asyncio.sleep(8)
        assert begun == []
        await until(lambda: begun == ["c"])
        another = await engine.start(settled, "d")
        assert another.id != first.id, "what was admitted is not replaced"
        assert (await engine.start(settled, "e")).id == another.id, "and has lost the key"
        assert await first.result() == "c"
        assert await another.result() == "e"
        assert (await kinds(another))[:3] == ["workflow_created", "input_replaced", "workflow_began"]

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_replacing_puts_off_no_longer_than_it_may(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        settled = errand.options(queue=narrow, dedup_key="k", delay=10, max_delay=25, if_duplicate="replace")
        first = await engine.start(settled, "0")
        for number in range(1, 4):
            await asyncio.sleep(8)
            assert (await engine.start(settled, str(number))).id == first.id
        await asyncio.sleep(1.5)
        assert begun == ["3"]
        await first.result()

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_duplicates_of_children_are_recorded_and_replayed(kind: str, tmp_path: Path) -> None:
    @workflow(name="repeats")
    async def repeats() -> list[str]:
        unique = errand.options(queue=narrow, dedup_key="k")
        first, second = await asyncio.gather(everlog.start(unique, "first"), everlog.start(unique, "second"))
        chosen = await everlog.start(unique.options(id="chosen"), "third")
        told: list[str] = [str(first.id == second.id == chosen.id)]
        for options in (unique.options(if_duplicate="raise"), errand.options(queue="nowhere")):
            try:
                await everlog.start(options, "fourth")
            except UsageError as error:
                told.append(type(error).__name__)
        told += [await first.result(), await second.result(), await unique("fifth")]
        await everlog.recv("go")
        return told

    expected = ["True", "Duplicate", "NotFound", "first", "first", "fifth"]

    async def program(host: Any) -> None:
        store = make_store(host, kind, tmp_path)
        async with Engine(store, host=host) as engine:
            handle = await engine.start(repeats.options(id="parent"))
            await in_state(handle, "waiting")
        async with Engine(store, host=host.sibling()) as engine:
            await engine.send("parent", "go", None)
            assert await engine.handle("parent").result() == expected
        assert begun == ["first", "fifth"]

    simulate(program)


@on_both_stores
def test_a_child_can_replace_what_another_started(kind: str, tmp_path: Path) -> None:
    settled = errand.options(queue=narrow, dedup_key="k", delay=10, if_duplicate="replace")

    @workflow(name="replacing")
    async def replacing(name: str) -> str:
        return (await everlog.start(settled, name)).id

    async def program(engine: Engine) -> None:
        first = await engine.start(settled, "a")
        assert await engine.run(replacing, "b") == first.id
        assert await first.result() == "b"
        (replaced,) = await events_of(engine, first.id, "input_replaced")
        assert replaced.data["operation"] == "errand"

    run(program, kind=kind, folder=tmp_path)


def test_the_input_that_counts_for_an_id_is_the_last() -> None:
    async def program(engine: Engine) -> None:
        settled = errand.options(queue=narrow, dedup_key="k", delay=10, if_duplicate="replace")
        await engine.start(settled.options(id="one"), "a")
        await engine.start(settled, "b")
        assert (await engine.start(settled.options(id="one"), "b")).id == "one"
        with pytest.raises(everlog.IdInUse):
            await engine.start(settled.options(id="one"), "a")

    run(program)


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"priority": 1}, "without a queue; give it queue="),
        ({"partition": "a"}, "without a queue"),
        ({"dedup_key": "a"}, "without a queue"),
        ({"queue": narrow, "if_duplicate": "raise"}, "without a dedup_key"),
        ({"queue": narrow, "dedup_key": "a", "if_duplicate": "replace"}, "without a delay"),
        ({"queue": narrow, "max_delay": 5}, "give it both, or neither"),
        (
            {"queue": narrow, "dedup_key": "a", "if_duplicate": "replace", "delay": 9, "max_delay": 5},
            "shorter than its delay",
        ),
        ({"queue": 5}, "must be a Queue, or the name of one"),
        ({"queue": narrow, "priority": 1.5}, "priority must be a whole number"),
        ({"queue": narrow, "priority": 10**10}, "priority must be a whole number"),
        ({"delay": -1}, "delay must be between"),
        ({"queue": narrow, "partition": ""}, "must not be empty"),
        ({"queue": narrow, "dedup_key": "a", "if_duplicate": "ignore"}, "'return', 'raise' or 'replace'"),
        ({"queue": "nowhere"}, "there is no queue 'nowhere' in this store: give the Queue itself"),
    ],
)
def test_options_that_do_not_fit_are_refused_at_the_start(options: dict[str, Any], why: str) -> None:
    @workflow(name="starts")
    async def starts() -> str:
        try:
            await everlog.start(errand.options(**options), "x")
        except UsageError as error:
            return str(error)
        return ""

    async def program(engine: Engine) -> None:
        with pytest.raises(UsageError, match=why):
            await engine.start(errand.options(**options), "x")
        with pytest.raises(AssertionError) as found:
            assert why not in await engine.run(starts)
        assert why in str(found.value)
        assert not begun

    run(program)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: Queue(""), "must not be empty"),
        (lambda: Queue("q", concurrency=0), "concurrency of a queue must be a whole number of at least 1"),
        (lambda: Queue("q", worker_concurrency=1.5), "worker_concurrency of a queue"),  # type: ignore[arg-type]
        (lambda: Queue("q", rate_limit=5), "must be a RateLimit"),  # type: ignore[arg-type]
        (lambda: RateLimit(0, per=1), "at least 1"),
        (lambda: RateLimit(1, per=0), "more than 0"),
        (lambda: step(limit=5, name="x")(print), "limit of a step must be a Queue"),
        (lambda: Engine("memory://", queues=narrow), "takes a list of queues"),  # type: ignore[arg-type]
        (lambda: Engine("memory://", queues=[5]), "must be a Queue"),  # type: ignore[list-item]
    ],
)
def test_queues_that_make_no_sense_are_refused(make: Callable[[], object], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        make()


def test_an_option_of_another_word_is_refused() -> None:
    with pytest.raises(InvalidDefinition, match="has no option 'prio'"):
        errand.options(prio=1)  # type: ignore[call-arg]


def test_enqueue_outside_says_what_to_write() -> None:
    with pytest.raises(WrongContext, match=r"queue\.enqueue works in a workflow.*engine\.queue\(queue\)\.enqueue"):
        narrow.enqueue(errand, "x").close()  # type: ignore[attr-defined]

    @workflow(name="blocking")
    def blocking() -> str:
        try:
            narrow.enqueue(errand, "x").close()  # type: ignore[attr-defined]
        except WrongContext as error:
            return str(error)
        return ""

    async def program(engine: Engine) -> None:
        assert "write sync.start(fn.options(queue=queue), ...) here" in await engine.run(blocking)

    run(program)


# -- waiting for what cannot come --------------------------------------------------------------------------------------


@workflow
async def calls_its_own_queue() -> str:
    return await errand.options(queue=narrow)("child")


@workflow
async def waits_for_its_own_queue() -> str:
    handle = await narrow.enqueue(errand, "child")
    return await handle.result()


@workflow
async def between() -> str:
    return await errand.options(queue=narrow)("grandchild")


@workflow
async def above() -> str:
    return await between()


@step(limit=narrow)
async def limited_by_narrow() -> None: ...


@workflow
async def steps_into_its_own_queue() -> None:
    await limited_by_narrow()


@on_both_stores
@pytest.mark.parametrize("fn", [calls_its_own_queue, waits_for_its_own_queue, above, steps_into_its_own_queue])
def test_waiting_for_ones_own_queue_is_an_error_at_once(kind: str, fn: Any, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.queue(narrow).enqueue(fn)
        with pytest.raises(WorkflowFailed, match="keeps a slot of queue 'narrow' until it ends") as failed:
            await handle.result(timeout=60)
        assert isinstance(failed.value.__cause__, UsageError | StepFailed)
        again = await engine.queue(open_to_all).enqueue(fn)
        await again.result()

    run(program, kind=kind, folder=tmp_path)


def test_a_queue_without_limits_can_be_waited_for_from_within() -> None:
    @workflow(name="from_within")
    async def from_within() -> str:
        return await errand.options(queue=open_to_all)("child")

    async def program(engine: Engine) -> None:
        assert await engine.queue(open_to_all).enqueue(from_within)
        assert await engine.run(from_within.options(queue=open_to_all)) == "child"

    run(program)


# -- limits of steps ---------------------------------------------------------------------------------------------------

provider = Queue("provider", concurrency=2)


@step(limit=provider)
async def ask_provider(name: str, seconds: float) -> str:
    running["provider"] += 1
    most["provider"] = max(most["provider"], running["provider"])
    begun.append(name)
    try:
        await asyncio.sleep(seconds)
    finally:
        running["provider"] -= 1
    return name


@step(limit=provider, at_most_once=True, timeout=5)
async def ask_once(name: str) -> str:
    begun.append(name)
    await asyncio.sleep(4)
    return name


@workflow
async def asks(count: int, seconds: float = 1) -> list[str]:
    return list(await asyncio.gather(*(ask_provider(str(one), seconds) for one in range(count))))


@on_both_stores
def test_attempts_of_a_step_take_slots_over_all_workers(kind: str, tmp_path: Path) -> None:
    async def program(host: Any) -> None:
        store = make_store(host, kind, tmp_path)
        async with Engine(store, host=host) as one, Engine(store, host=host.sibling()) as other:
            results = await asyncio.gather(one.run(asks, 5), other.run(asks, 5))
            assert results == [[str(number) for number in range(5)]] * 2
            counts = await one.queue(provider).counts()
        assert most == {"provider": 2}
        assert (counts.queued, counts.admitted) == (0, 0)

    simulate(program)


@on_both_stores
def test_a_rate_limits_the_attempts_of_a_step(kind: str, tmp_path: Path) -> None:
    hourly = Queue("hourly", rate_limit=RateLimit(2, per=100))
    at: list[float] = []

    @step(limit=hourly)
    async def ask() -> None:
        at.append(asyncio.get_running_loop().time())

    @workflow(name="asks_often")
    async def asks_often() -> None:
        await asyncio.gather(*(ask() for _ in range(5)))

    async def program(engine: Engine) -> None:
        await engine.run(asks_often)
        assert len(at) == 5
        assert all(later - sooner >= 99.9 for sooner, later in zip(at, at[2:], strict=False))
        assert at[-1] - at[0] < 202

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_waiting_for_a_slot_is_not_part_of_the_attempt(kind: str, tmp_path: Path) -> None:
    @workflow(name="once_each")
    async def once_each() -> list[str]:
        return list(await asyncio.gather(*(ask_once(str(one)) for one in range(5))))

    async def program(engine: Engine) -> None:
        handle = await engine.start(once_each)
        await asyncio.sleep(2)
        assert len(await events_of(engine, handle.id, "step_started")) == 2, "the others have not begun"
        assert await handle.result() == [str(one) for one in range(5)]

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_an_attempt_that_is_cancelled_gives_its_slot_back(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        long = await engine.start(asks, 4, seconds=1000)
        await until(lambda: running["provider"] == 2)
        waiting = await engine.start(asks, 1)
        await long.cancel()
        with pytest.raises(WorkflowCancelled):
            await long.result()
        assert await waiting.result() == ["0"]
        types = set(await kinds(long))
        assert not types & {"step_completed", "step_failed"}
        assert (await engine.queue(provider).counts()).admitted == 0

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_a_worker_that_dies_leaves_no_slots_behind(kind: str, tmp_path: Path) -> None:
    from tests.support import kill, opened

    async def program(host: Any) -> None:
        store = make_store(host, kind, tmp_path)
        sibling = host.sibling()
        dying = await opened(Engine(store, host=sibling))
        await dying.start(asks.options(id="asks"), 2, seconds=50)
        await until(lambda: running["provider"] == 2)
        kill(dying)
        running.clear()
        async with Engine(store, host=host) as engine:
            assert await engine.handle("asks").result() == ["0", "1"]
            assert (await engine.queue(provider).counts()).admitted == 0

    simulate(program)


def test_a_step_with_an_unknown_limit_fails() -> None:
    @step(limit="nowhere")
    async def lost() -> None: ...

    @workflow(name="loses")
    async def loses() -> None:
        await lost()

    async def program(engine: Engine) -> None:
        with pytest.raises(WorkflowFailed, match="no queue 'nowhere'"):
            await engine.run(loses)

    run(program)


def test_a_limit_does_not_touch_a_plain_call() -> None:
    assert asyncio.run(ask_provider("outside", 0)) == "outside"


# -- queues as users see them ------------------------------------------------------------------------------------------


@on_both_stores
def test_a_queue_can_be_paused_changed_counted_and_deleted(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        queue = engine.queue(pair)
        await queue.pause()
        handles = [await queue.enqueue(errand, str(one)) for one in range(4)]
        await engine.start(errand.options(queue="pair", delay=50), "late")
        await asyncio.sleep(5)
        assert begun == []
        assert await queue.counts() == everlog.QueueCounts(queued=4, delayed=1, admitted=0)
        assert "queue 'pair', which is paused" in (await handles[0].status()).why
        with pytest.raises(UsageError, match="is kept"):
            await queue.delete()
        await queue.update(concurrency=1, rate_limit=RateLimit(10, per=1))
        assert await queue.status() == everlog.QueueStatus(
            name="pair",
            paused=True,
            concurrency=1,
            worker_concurrency=None,
            rate_limit=RateLimit(10, per=1),
            partition_concurrency=None,
            partition_rate_limit=None,
            partition_worker_concurrency=None,
        )
        await queue.resume()
        await until(lambda: len(begun) == 1)
        why = (await handles[3].status()).why
        assert why.startswith("It stands in queue 'pair' beside 2 others; 1 of its 1 slots is taken; it admits 10 in")
        await all_of(handles)
        assert most["pair"] == 1
        await queue.update(concurrency=None)
        assert [one.name for one in await engine.queues()] == ["pair"]
        (late,) = await engine.workflows(state="delayed")
        await engine.handle(late.id).cancel()
        await queue.delete()
        assert not await engine.queues()

    run(program, kind=kind, folder=tmp_path)


def test_a_queue_that_is_not_there_is_not_found() -> None:
    async def program(engine: Engine) -> None:
        queue = engine.queue("nowhere")
        for asked in (queue.pause(), queue.counts(), queue.status(), queue.delete(), queue.update(concurrency=1)):
            with pytest.raises(NotFound, match="no queue 'nowhere'"):
                await asked
        with pytest.raises(UsageError, match="a queue has no limit 'slots'"):
            await engine.queue(pair).update(slots=1)  # type: ignore[call-arg]
        with pytest.raises(UsageError, match="nothing to change"):
            await engine.queue(pair).update()

    run(program)


def test_what_was_changed_outlives_a_restart_until_the_code_says_otherwise() -> None:
    async def program(host: Any) -> None:
        store = make_store(host)
        async with Engine(store, host=host, queues=[pair]) as engine:
            await engine.queue("pair").update(concurrency=7)
        async with Engine(store, host=host.sibling(), queues=[Queue("pair", concurrency=2)]) as engine:
            await until(lambda: True)
            assert (await engine.queue("pair").status()).concurrency == 7
        async with Engine(store, host=host.sibling(), queues=[Queue("pair", concurrency=3)]) as engine:
            await asyncio.sleep(0.1)
            assert (await engine.queue("pair").status()).concurrency == 3

    simulate(program)


@on_both_stores
def test_queues_of_workflows_are_declared_where_the_engine_begins(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        await asyncio.sleep(0.1)
        assert [one.name for one in await engine.queues()] == ["pair"]
        handles = [await engine.start(of_pair, str(one)) for one in range(4)]
        assert await all_of(handles) == ["pair"] * 4
        assert await engine.run(of_pair.options(queue=None), "none") is None
        assert most["pair"] == 2

    run(program, kind=kind, folder=tmp_path, workflows=[of_pair])


@on_both_stores
def test_a_client_without_the_code_enqueues_by_name(kind: str, tmp_path: Path) -> None:
    async def program(host: Any) -> None:
        store = make_store(host, kind, tmp_path)
        async with Client(store, host=host.sibling()) as client:
            handle = await client.start(named("errand", type=str).options(queue=narrow), "by name")
            other = await client.queue("narrow").enqueue(named("errand"), name="by keyword", seconds=0)
            assert (await handle.status()).state == "queued"
            async with Engine(store, host=host):
                assert await handle.result() == "by name"
                assert await other.result() == "by keyword"

    simulate(program)


def test_a_step_enqueues_as_the_engine_does() -> None:
    @step
    async def enqueues() -> str:
        return (await narrow.enqueue(errand.options(id="of a step"), "of a step")).id

    @workflow(name="by_step")
    async def by_step() -> str:
        return await enqueues()

    async def program(engine: Engine) -> None:
        assert await engine.handle(await engine.run(by_step)).result() == "of a step"

    run(program)


def test_blocking_programs_have_queues_as_well(tmp_path: Path) -> None:
    with sync.Engine("memory://", queues=[narrow]) as engine:
        queue = engine.queue(narrow)
        assert queue.name == "narrow"
        handle = queue.enqueue(plain_errand, "one")
        assert handle.result() == "one"
        queue.pause()
        waiting = queue.enqueue(plain_errand, "two")
        assert queue.counts().queued == 1
        queue.update(concurrency=3)
        waiting.update(priority=3)
        assert queue.status().concurrency == 3
        assert [one.name for one in engine.queues()] == ["narrow", "pair"]
        queue.resume()
        assert waiting.result() == "two"
        queue.delete()


def test_a_store_without_queues_says_so() -> None:
    async def program(engine: Engine) -> None:
        assert await engine.run(errand, "one") == "one"
        with pytest.raises(UsageError, match="this store has no queues"):
            await engine.start(errand.options(queue=narrow), "two")

    run(program, store=cast("Any", WithoutQueues))


METHODS = ["now", "commit", "claim", "read", "heads", "workflows", "unread", "changes"]
METHODS += ["register", "renew", "workers", "retire", "close"]


class WithoutQueues:
    """Passes on what every store has."""

    def __init__(self, store: Any) -> None:
        for name in METHODS:
            setattr(self, name, getattr(store, name))


@pytest.mark.parametrize("seed", range(5))
def test_what_the_dead_have_held_of_a_queue_counts_before_it_is_in_memory(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their heads say first that they run, which is a commit; meanwhile nobody else is admitted in their place."""
    host = SimulatedHost(seed)
    of_three = Queue("of_three", worker_concurrency=3)

    async def program() -> None:
        store = make_store(host)
        dying = Engine(store, host=host.sibling(), lease=2, queues=[of_three])
        await dying.__aenter__()
        handles = [await dying.queue(of_three).enqueue(errand.options(id=f"item-{one}"), f"{one}") for one in range(9)]
        await until(lambda: most["of_three"] == 3)
        kill(dying)
        dead = dying.host.process()
        monkeypatch.setattr(host, "is_gone", lambda process: process == dead)
        await asyncio.sleep(0.1)
        running.clear()
        most.clear()
        async with Engine(store, host=host, lease=2, queues=[of_three]) as engine:
            for handle in handles:
                await engine.handle(handle.id).result(timeout=200)
        assert most["of_three"] == 3

    host.run(program())

"""Workflows that continue as new: what goes on, what begins anew, and what is refused."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any, NoReturn

import pytest

import everlog
from everlog import (
    Engine,
    Handle,
    UsageError,
    WorkflowCancelled,
    WorkflowFailed,
    WrongContext,
    step,
    sync,
    workflow,
)
from everlog.core.event_codec import decode_event
from everlog.core.events import WorkflowContinued
from everlog.core.rewinding import folded, since_continued
from everlog.memory import MemoryStore
from everlog.runtime import lengths, parking
from everlog.store import ClaimRequest, Store
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
    published_fits,
    run,
    simulate,
    until,
)

CALLS: list[Any] = []


@pytest.fixture(autouse=True)
def nothing_happened() -> None:
    CALLS.clear()


@step
async def note(what: str) -> str:
    CALLS.append(what)
    return what


@workflow
async def rounds(number: int, last: int, seen: list[int]) -> list[int]:
    """Receive two messages a round, and go on as new until the last round."""
    seen += [await everlog.recv("news", type=int) for _ in range(2)]
    await note(f"round {number}")
    if number < last:
        everlog.continue_as_new(rounds, number + 1, last, seen)
    return seen


@workflow
def blocking_rounds(number: int, last: int, seen: list[int]) -> list[int]:
    seen += [sync.recv("news", type=int) for _ in range(2)]
    sync.call(note, f"round {number}")
    if number < last:
        sync.continue_as_new(blocking_rounds, number + 1, last, seen)
    return seen


@on_both_stores
@pytest.mark.parametrize("flow", [rounds, blocking_rounds], ids=["async", "blocking"])
def test_the_same_workflow_goes_on_and_its_result_is_that_of_the_last_round(
    flow: Any, kind: str, tmp_path: Path
) -> None:
    stores: list[Store] = []

    async def program(engine: Engine) -> None:
        handle: Handle[list[int]] = await engine.start(flow.options(id="rounds"), 1, 4, [])
        for number in range(8):
            await handle.send("news", number)
        assert await handle.result() == list(range(8))
        assert [f"round {number}" for number in range(1, 5)] == CALLS
        continued = await events_of(engine, "rounds", "workflow_continued")
        status = await handle.status()
        assert len(continued) == 3
        assert status.history_length == len(await handle.history()) - continued[-1].seq + 1
        assert "1 step since it last continued as new" in status.why
        (head,) = stores[0].heads(["rounds"])
        assert head is not None
        assert head.first_seq == continued[-1].seq
        projections_fit(stores[0], "rounds")

    run(program, kind=kind, folder=tmp_path, store=lambda store: stores.append(store) or store)


@workflow
async def counts(left: int, seen: list[int]) -> list[int]:
    seen.append(await everlog.recv("news", type=int))
    if left:
        everlog.continue_as_new(counts, left - 1, seen[-3:])
    return seen


def test_of_a_thousand_continuations_each_message_is_received_once_and_claims_stay_small() -> None:
    async def program(host: SimulatedHost) -> None:
        store = MemoryStore(clock=host.wall)
        async with Engine(store, host=host) as engine:
            handle = await engine.start(counts.options(id="counts"), 1000, [])
            await asyncio.gather(*[handle.send("news", number) for number in range(1000)])
            await until(lambda: len(store.read("counts")) > 3000)
            await asyncio.sleep(5)
        request = ClaimRequest(worker="w", tokens=["t"], build="b", only="counts")
        (claimed,) = store.claim(request).claimed
        assert len(claimed.history) <= 4
        store.retire("w")
        async with Engine(store, host=host) as engine:
            handle = engine.handle("counts", counts)
            await handle.send("news", 1000)
            assert await handle.result() == [997, 998, 999, 1000]
            received = await events_of(engine, "counts", "message_received")
            assert [event.data["message"] for event in received] == list(range(1001))

    simulate(program)


@workflow
async def becomes(what: str) -> str:
    await note(what)
    everlog.continue_as_new(other, what + " and more")


@workflow
async def other(what: str) -> str:
    await note(what)
    return f"{everlog.current().name}: {what}"


def test_it_may_go_on_as_another_workflow() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(becomes.options(id="one"), "tea")
        assert await handle.result() == "other: tea and more"
        assert (await handle.status()).name == "other"
        again = await engine.start(becomes.options(id="one"), "tea")  # what it was started with counts
        assert await again.result() == "other: tea and more"

    run(program)


@on_both_stores
def test_it_waits_for_an_engine_that_has_the_code(kind: str, tmp_path: Path) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        async with Engine(store, host=host, workflows=[becomes]) as engine:
            handle = await engine.start(becomes.options(id="one"), "tea")
            await in_state(handle, "queued")
            await asyncio.sleep(60)
            status = await handle.status()
            assert (status.name, status.worker) == ("other", None)
            assert "waited 60 s for a worker that knows 'other'" in status.why
            await handle.cancel()
            with pytest.raises(WorkflowCancelled):
                await handle.result()
            await handle.retry()
            async with Engine(store, host=host.sibling(), workflows=[other]):
                assert await handle.result() == "other: tea and more"
        assert CALLS == ["tea", "tea and more"]
        projections_fit(store, "one")

    simulate(program)


@workflow
async def draws(number: int, drawn: list[str]) -> list[str]:
    drawn += [str(everlog.uuid4()), str(everlog.random().random())]
    await asyncio.sleep(1)
    if number:
        everlog.continue_as_new(draws, number - 1, drawn)
    return drawn


@workflow(name="continuing.hears the time")
async def hears_the_time(before: str) -> list[str]:
    return [before, everlog.now().isoformat()]


@workflow(name="continuing.tells the time")
async def tells_the_time() -> list[str]:
    everlog.continue_as_new(hears_the_time, everlog.now().isoformat())


def test_time_does_not_go_back_where_the_clock_does_between_two_lives() -> None:
    async def program(host: SimulatedHost) -> None:
        behind = 0
        store = MemoryStore(clock=lambda: host.wall() - behind)
        async with Engine(store, host=host, workflows=[tells_the_time]) as engine:
            handle = await engine.start(tells_the_time)
            await in_state(handle, "queued")
            behind = 3600 * 1_000_000
            async with Engine(store, host=host.sibling(), workflows=[hears_the_time]):
                before, after = await handle.result(timeout=60)
        assert before <= after

    simulate(program)


def test_chance_is_not_the_same_again() -> None:
    async def program(engine: Engine) -> None:
        drawn = await engine.run(draws, 3, [])
        assert len(set(drawn)) == len(drawn) == 8

    run(program)


@workflow
async def looks(number: int, seen: list[Any]) -> list[Any]:
    current = everlog.current()
    seen.append([current.history_length, current.started_at.isoformat(), current.workflow_id])
    await asyncio.sleep(10)
    if number:
        everlog.continue_as_new(looks, number - 1, seen)
    return seen


def test_current_counts_events_anew_and_knows_when_the_workflow_first_began() -> None:
    async def program(engine: Engine) -> None:
        seen = await engine.run(looks.options(id="looks"), 2, [])
        assert [one[0] for one in seen] == [2, 2, 2]
        assert len({one[1] for one in seen}) == 1
        assert (await engine.handle("looks").status()).why.startswith("It returned after 30 s")

    run(program)


@workflow
async def cleans_up(number: int) -> str:
    try:
        if number == 1:
            everlog.continue_as_new(cleans_up, 2)
    except Exception:
        await note("was caught as an error")
        raise
    finally:
        await note(f"cleaned up {number}")
    return "done"


def test_finally_blocks_run_and_what_they_ask_for_is_done() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(cleans_up.options(id="one"), 1)
        assert await handle.result() == "done"
        assert CALLS == ["cleaned up 1", "cleaned up 2"]

    run(program)


@step
async def never() -> None:
    try:
        await asyncio.sleep(10_000)
    finally:
        CALLS.append("never ended")


@workflow
async def leaves_things_open(again: bool) -> str:
    if again:
        tasks = [asyncio.create_task(one) for one in (asyncio.sleep(5_000), everlog.recv("nothing"), never())]
        async with asyncio.timeout(6_000):
            await asyncio.sleep(2)
            assert not any(task.done() for task in tasks)
            everlog.continue_as_new(leaves_things_open, False)
    return "done"


def test_what_is_open_is_cancelled_as_at_an_end() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(leaves_things_open.options(id="one"), True)
        assert await handle.result() == "done"
        seen = await kinds(handle)
        before = seen[: seen.index("workflow_continued")]
        assert sorted(one for one in before if one.endswith("cancelled")) == [
            "step_cancelled",
            "timer_cancelled",
            "timer_cancelled",
            "wait_cancelled",
        ]
        await asyncio.sleep(1)
        assert CALLS == ["never ended"]

    run(program)


@workflow
async def in_a_group(number: int) -> str:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(100))
        await asyncio.sleep(1)
        if number:
            everlog.continue_as_new(in_a_group, number - 1)
    return "done"


def test_it_leaves_the_blocks_of_groups() -> None:
    async def program(engine: Engine) -> None:
        assert await engine.run(in_a_group, 2) == "done"

    run(program)


# -- what is refused ---------------------------------------------------------------------------------------------------


@workflow
async def in_a_task() -> str:
    async def part() -> None:
        everlog.continue_as_new(in_a_task)

    with pytest.raises(WrongContext, match="by the workflow's own function"):
        await asyncio.create_task(part())
    return "done"


@workflow
def in_a_branch() -> str:
    def part(_: int) -> None:
        sync.continue_as_new(in_a_branch)

    with pytest.raises(WrongContext, match="by the workflow's own function"):
        sync.map(part, [1])
    return "done"


@workflow
async def in_a_block() -> str:
    async with everlog.compensations() as undo:
        undo.add(note, "undone")
        with pytest.raises(WrongContext, match="leave the block first"):
            everlog.continue_as_new(in_a_block)
    return "done"


@workflow
def in_a_blocking_block() -> str:
    with sync.compensations() as undo:
        undo.add(note, "undone")
        with pytest.raises(WrongContext, match="leave the block first"):
            sync.continue_as_new(in_a_blocking_block)
    return "done"


@workflow
async def under_another_id() -> str:
    for wrong in (under_another_id.options(id="two"), under_another_id.options(key="k")):
        with pytest.raises(UsageError, match="keeps its id"):
            everlog.continue_as_new(wrong)
    with pytest.raises(UsageError, match="only a workflow"):
        everlog.continue_as_new(note.fn, "x")  # type: ignore[arg-type]
    return "done"


@pytest.mark.parametrize("flow", [in_a_task, in_a_branch, in_a_block, in_a_blocking_block, under_another_id])
def test_it_is_refused_where_it_could_not_be(flow: Any) -> None:
    async def program(engine: Engine) -> None:
        assert await engine.run(flow) == "done"

    run(program)
    assert CALLS == []


def test_it_works_in_a_workflow_alone() -> None:
    with pytest.raises(WrongContext, match="works in a workflow"):
        everlog.continue_as_new(rounds, 1, 2, [])


# -- cancellation, deadlines, pauses, retries --------------------------------------------------------------------------


@workflow
async def for_ever(number: int) -> None:
    await asyncio.sleep(10)
    everlog.continue_as_new(for_ever, number + 1)


def test_a_timeout_runs_from_the_first_beginning_through_all_lives() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(for_ever.options(id="one", timeout=35), 1)
        with pytest.raises(WorkflowCancelled, match="timeout"):
            await handle.result()
        status = await handle.status()
        assert status.ended_at is not None
        assert 35 <= (status.ended_at - status.created_at).total_seconds() < 36
        await handle.retry()  # then the timeout counts anew
        with pytest.raises(WorkflowCancelled, match="timeout"):
            await handle.result()
        again = await handle.status()
        assert again.ended_at is not None
        assert 35 <= (again.ended_at - status.ended_at).total_seconds() < 36

    run(program)


@workflow
async def at_the_same_time(again: bool) -> str:
    if again:
        await everlog.recv("go")
        everlog.continue_as_new(at_the_same_time, False)
    await asyncio.sleep(100)
    return "done"


def test_a_cancellation_that_comes_as_it_continues_is_not_lost() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(at_the_same_time.options(id="one"), True)
        await in_state(handle, "waiting")
        await asyncio.gather(handle.send("go", None), handle.cancel(reason="enough"))
        with pytest.raises(WorkflowCancelled, match="enough"):
            await handle.result()
        await handle.retry()
        if (await kinds(handle)).count("message_received") == 0:
            await handle.send("go", None)
        assert await handle.result() == "done"

    run(program)


@on_both_stores
def test_it_is_paused_resumed_and_terminated_as_ever(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(for_ever.options(id="one"), 1)
        await asyncio.sleep(15)
        await handle.pause()
        await in_state(handle, "paused")
        length = len(await handle.history())
        await asyncio.sleep(100)
        assert len(await handle.history()) == length
        await handle.resume()
        await asyncio.sleep(25)
        assert len(await handle.history()) > length
        await handle.terminate()
        with pytest.raises(WorkflowCancelled):
            await handle.result()

    run(program, kind=kind, folder=tmp_path)


FAILING: set[str] = set()


@step
async def fails(what: str) -> str:
    if what in FAILING:
        raise ValueError(what)
    return what


@workflow
async def fails_later(number: int) -> str:
    first = await everlog.recv("news", type=str)
    await note(f"{first} in {number}")
    if number == 1:
        everlog.continue_as_new(fails_later, 2)
    second = await everlog.recv("news", type=str)
    await fails("now")
    return first + second


@on_both_stores
def test_a_retry_goes_on_within_the_last_life(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        FAILING.add("now")
        handle = await engine.start(fails_later.options(id="one"), 1)
        for word in ("a", "b", "c"):
            await handle.send("news", word)
        with pytest.raises(WorkflowFailed):
            await handle.result()
        FAILING.clear()
        await handle.retry()
        assert await handle.result() == "bc"
        assert CALLS == ["a in 1", "b in 2"]
        (rewound,) = await events_of(engine, "one", "workflow_rewound")
        (continued,) = await events_of(engine, "one", "workflow_continued")
        assert rewound.data["to"] > continued.seq

    run(program, kind=kind, folder=tmp_path)


@workflow
async def takes_back(number: int) -> list[str]:
    if number == 1:
        if "now" in FAILING:
            await everlog.recv("a")
        await everlog.recv("go")
        if "now" in FAILING:
            raise ValueError
        everlog.continue_as_new(takes_back, 2)
    return [await everlog.recv(topic, type=str) for topic in ("a", "b")]


@on_both_stores
def test_messages_whose_receipt_a_retry_took_back_are_carried_over_once_and_in_order(kind: str, tmp_path: Path) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        FAILING.add("now")
        async with Engine(store, host=host) as engine:
            handle = await engine.start(takes_back.options(id="one"), 1)
            await handle.send("a", "first")
            await handle.send("a", "second")
            await handle.send("go", None)
            with pytest.raises(WorkflowFailed):
                await handle.result()
            FAILING.clear()
            # Rewound to its beginning, it does not receive "first" any more, and continues with it unread.
            events = [(row.seq, row.recorded_at, decode_event(row.payload)) for row in store.read("one")]
            assert type(events[-1][2]).__name__ == "WorkflowFailed"
        await rewind_to_the_beginning(store, host)
        async with Engine(store, host=host.sibling()) as engine:
            handle = engine.handle("one", takes_back)
            await asyncio.sleep(5)
            (continued,) = await events_of(engine, "one", "workflow_continued")
            assert [one["message"] for one in continued.data["messages"]] == ["first"]
            await handle.send("b", "third")
            assert await handle.result() == ["first", "third"]
            projections_fit(store, "one")

    simulate(program)


async def rewind_to_the_beginning(store: Store, host: SimulatedHost) -> None:
    """Do what a retry does, but from seq 2 on, as if that were where the failure arose."""
    from everlog.core.event_codec import encode_event
    from everlog.core.events import WorkflowRewound
    from everlog.store import Batch, Commit, Done, EventRow

    (head,) = store.heads(["one"])
    assert head is not None
    rewound = WorkflowRewound(to=2, by="test", asked_at=host.wall())
    row = EventRow(head.seq + 1, "workflow_rewound", host.wall(), encode_event(rewound))
    commit = Commit(workflow_id="one", token=None, seq=head.seq, state="running", events=[row])
    assert list(store.commit(Batch(commits=[commit])).commits) == [Done()]


# -- children ----------------------------------------------------------------------------------------------------------


@workflow
async def child(seconds: float, value: str) -> str:
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        await note(f"{value} was cancelled")
        raise
    return value


@workflow
async def parent(number: int, ids: list[str]) -> list[str]:
    if number < 3:
        await has_children(number, ids)
    return [await everlog.handle(one, child).result() for one in ids]


async def has_children(number: int, ids: list[str]) -> NoReturn:
    called = asyncio.create_task(child(1000, f"called {number}"))
    left = asyncio.create_task(child.options(when_parent_ends="leave")(20, f"left {number}"))
    started = await everlog.start(child, 30, f"started {number}")
    quick = await everlog.start(child, 1, f"quick {number}")
    await asyncio.sleep(5)
    assert not called.done()
    assert not left.done()
    everlog.continue_as_new(parent, number + 1, [*ids, started.id, quick.id])


@on_both_stores
def test_children_that_were_started_go_on_and_calls_are_given_up(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(parent.options(id="parent"), 1, [])
        assert await handle.result() == ["started 1", "quick 1", "started 2", "quick 2"]
        assert sorted(CALLS) == ["called 1 was cancelled", "called 2 was cancelled"]
        ended = await events_of(engine, "parent", "child_ended")
        by_child = [event.data["child"] for event in ended]
        assert len(by_child) == len(set(by_child))
        await asyncio.sleep(60)
        children = [event.data["child"] for event in await events_of(engine, "parent", "child_started")]
        assert len(set(children)) == 8, "a child of a later life has an id of its own"
        states = {one: (await engine.handle(one).status()).state for one in children}
        cancelled = [one for one, state in states.items() if state == "cancelled"]
        assert len(cancelled) == 2
        assert all(state == "completed" for one, state in states.items() if one not in cancelled)

    run(program, kind=kind, folder=tmp_path)


@workflow
async def ends_with_a_child(number: int) -> str:
    if number == 1:
        await everlog.start(child.options(id="kept"), 1000, "kept")
        everlog.continue_as_new(ends_with_a_child, 2)
    await asyncio.sleep(5)
    return "done"


def test_a_child_of_an_earlier_life_is_told_when_its_parent_ends() -> None:
    async def program(engine: Engine) -> None:
        assert await engine.run(ends_with_a_child, 1) == "done"
        with pytest.raises(WorkflowCancelled, match="has ended"):
            await engine.handle("kept").result()

    run(program)


@workflow
async def waits_for_rounds() -> list[int]:
    handle = await everlog.start(rounds.options(id="rounds"), 1, 3, [])
    return await handle.result()


def test_a_parent_waits_for_its_child_across_lives() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(waits_for_rounds)
        for number in range(6):
            await until(lambda: True)
            await asyncio.sleep(1)
            await engine.send("rounds", "news", number)
        assert await handle.result() == list(range(6))

    run(program)


# -- what is published, and what is left of before ---------------------------------------------------------------------


@step
async def talks(word: str) -> None:
    await everlog.emit("talk", word)


@workflow
async def publishes(number: int) -> str:
    await everlog.set_value("round", number)
    await everlog.set_value(f"of {number}", number)
    await everlog.emit("log", f"begins {number}")
    await talks(f"step {number}")
    if number == 1:
        await everlog.close_stream("over")
        await everlog.emit("log", "ends 1")
        everlog.continue_as_new(publishes, 2)
    with pytest.raises(UsageError, match="was closed"):
        await everlog.emit("over", "late")
    return "done"


@on_both_stores
def test_values_and_streams_go_on(kind: str, tmp_path: Path) -> None:
    stores: list[Store] = []

    async def program(engine: Engine) -> None:
        handle = await engine.start(publishes.options(id="one"), 1)
        assert await handle.result() == "done"
        assert await handle.values() == {"round": 2, "of 1": 1, "of 2": 2}
        assert [item async for item in handle.stream("log")] == ["begins 1", "ends 1", "begins 2"]
        talk = [item async for item in handle.stream("talk").items()]
        assert [item.step for item in talk] == ["talks", f"talks~{(await continued_at(engine))[-1]}"]
        published_fits(stores[0], "one")

    run(program, kind=kind, folder=tmp_path, store=lambda store: stores.append(store) or store)


async def continued_at(engine: Engine) -> list[int]:
    return [event.seq for event in await events_of(engine, "one", "workflow_continued")]


@on_both_stores
def test_another_process_needs_nothing_of_what_lies_before(kind: str, tmp_path: Path) -> None:
    """What lies before is made unreadable, and it goes on all the same."""

    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        engine = await opened(Engine(store, host=host))
        handle = await engine.start(rounds.options(id="one"), 1, 2, [])
        for number in range(3):
            await handle.send("news", number)
        await until(lambda: len(store.read("one")) >= 7)
        await asyncio.sleep(3)
        kill(engine)
        asked: list[int] = []
        reading = store.read

        def read(workflow_id: str, *, after: int = 0, limit: int | None = None) -> Any:
            asked.append(after)
            return reading(workflow_id, after=after, limit=limit)

        store.read = read  # type: ignore[method-assign]
        async with Engine(store, host=host.sibling()) as another:
            await another.send("one", "news", 3)
            assert await another.handle("one", rounds).result() == [0, 1, 2, 3]
            assert "since it last continued" in (await another.handle("one").status()).why
        (head,) = store.heads(["one"])
        assert head is not None
        assert all(after >= head.first_seq - 1 for after in asked)
        assert CALLS == ["round 1", "round 2"]

    simulate(program)


def test_the_fold_of_a_life_needs_nothing_of_what_lies_before() -> None:
    store = None

    async def program(host: SimulatedHost) -> None:
        nonlocal store
        store = MemoryStore(clock=host.wall)
        async with Engine(store, host=host) as engine:
            handle = await engine.start(parent.options(id="parent", timeout=5_000), 1, [])
            await asyncio.sleep(8)
            await handle.pause()

    simulate(program)
    assert isinstance(store, MemoryStore)
    history = [(row.seq, row.recorded_at, decode_event(row.payload)) for row in store.read("parent")]
    last = since_continued(history)
    assert isinstance(last[0][2], WorkflowContinued)
    whole, alone = folded(history), folded(last)
    for name in alone.__struct_fields__:
        if name not in ("created_at", "values", "streams"):
            assert getattr(whole, name) == getattr(alone, name), name
    assert {"parent/child~10", "parent/child#3"} <= alone.children.keys()
    assert alone.deadline is not None


def test_it_is_parked_as_if_it_had_just_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parking, "_REPLAY_OF_EVENT", 100_000)

    async def program(engine: Engine) -> None:
        handle = await engine.start(for_ever.options(id="one"), 1)
        await asyncio.sleep(155)  # in the middle of a round
        status = await handle.status()
        assert status.state == "waiting"
        assert status.worker is None
        assert len(await handle.history()) > 40

    run(program)


# -- long histories ----------------------------------------------------------------------------------------------------


@workflow
async def grows(number: int) -> int:
    for _ in range(number):
        await note("x")
    return number


def test_one_warning_comes_long_before_a_history_gets_slow(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lengths, "MOST_EVENTS", 50)

    async def program(engine: Engine) -> None:
        await engine.run(grows.options(id="short"), 40)
        await engine.run(grows.options(id="long"), 150)

    with caplog.at_level(logging.WARNING, logger="everlog"):
        run(program)
    (warning,) = [record.getMessage() for record in caplog.records if "continue_as_new" in record.getMessage()]
    assert "'long'" in warning
    assert "50 events" in warning


def test_the_bytes_of_a_history_are_warned_of_as_well_and_counted_anew_after_continuing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lengths, "MOST_BYTES", 5_000)

    async def program(host: SimulatedHost) -> None:
        store = MemoryStore(clock=host.wall)
        async with Engine(store, host=host) as engine:
            await engine.run(grows.options(id="short"), 10)
            handle = await engine.start(rounds.options(id="rounds"), 1, 100, [])
            for number in range(60):
                await handle.send("news", number)
            await until(lambda: len(CALLS) == 40)
            assert not caplog.records
            await engine.start(takes_much.options(id="long"), "x" * 10_000)
            await asyncio.sleep(30)  # parked
        async with Engine(store, host=host.sibling()) as engine:
            await engine.send("long", "go", None)
            await engine.handle("long").result()

    with caplog.at_level(logging.WARNING, logger="everlog"):
        simulate(program)
    told = [record.getMessage() for record in caplog.records if "continue_as_new" in record.getMessage()]
    assert len(told) == 2, "once in each process"
    assert all("'long'" in one for one in told)


@workflow
async def takes_much(text: str) -> None:
    await note(text)
    await everlog.recv("go")

"""Forks of workflows that have to do with others: children, asks, sends, compensations, people, queues."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import everlog
from everlog import Engine, Handle, Queue, Request, UsageError, WorkflowFailed, step, sync, workflow
from everlog.store import SupportsValues
from tests.support import on_both_stores, run

ran: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


@step
async def note(text: str) -> str:
    ran[text] += 1
    return text


@workflow
async def child(name: str) -> str:
    await note(name)
    return f"{await everlog.recv('go', type=str)} {name}"


@workflow
async def parent(names: list[str]) -> list[str]:
    return list(await asyncio.gather(*[child(name) for name in names]))


async def started(handle: Handle[Any]) -> list[str]:
    """Give the ids of the children, as the history says."""
    return [event.data["child"] for event in await handle.history() if event.type == "child_started"]


async def seq_of(handle: Handle[Any], kind: str, number: int = 0) -> int:
    return [event.seq for event in await handle.history() if event.type == kind][number]


@on_both_stores
def test_a_fork_starts_children_of_its_own_for_those_that_were_open(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(parent.options(id="source"), ["a", "b"])
        await asyncio.sleep(1)
        first, second = await started(handle)
        await engine.send(first, "go", "ended")
        await asyncio.sleep(1)
        fork = await handle.fork(id="fork")
        await asyncio.sleep(1)
        assert await started(fork) == [first, "fork/child#2"]
        assert ran == {"a": 1, "b": 2}
        assert (await engine.handle("fork/child#2").status()).parent_id == "fork"
        await engine.send("fork/child#2", "go", "forked")
        assert await fork.result() == ["ended a", "forked b"]
        await engine.send(second, "go", "old")
        assert await handle.result() == ["ended a", "old b"]

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_children_that_are_kept_are_waited_for_and_not_ended(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(parent.options(id="source"), ["a", "b"])
        await asyncio.sleep(1)
        first, second = await started(handle)
        fork = await handle.fork(children="keep")
        lost = await handle.fork(children="keep")
        await asyncio.sleep(1)
        await lost.cancel()
        await engine.send(first, "go", "one")
        await engine.send(second, "go", "two")
        assert await handle.result() == await fork.result() == ["one a", "two b"]
        assert ran == {"a": 1, "b": 1}
        late = await handle.fork(at=await seq_of(handle, "child_ended"), children="keep")
        assert await late.result() == ["one a", "two b"]

    run(program, kind=kind, folder=tmp_path)


def test_a_child_whose_id_was_chosen_is_always_the_same() -> None:
    @workflow
    async def choosing() -> str:
        return await child.options(id="the one")("a")

    async def program(engine: Engine) -> None:
        handle = await engine.start(choosing)
        await asyncio.sleep(1)
        fork = await handle.fork()
        await engine.send("the one", "go", "yes")
        assert await handle.result() == await fork.result() == "yes a"
        assert ran == {"a": 1}

    run(program)


def test_what_was_sent_to_a_child_is_sent_to_that_of_the_fork() -> None:
    @workflow
    async def talking() -> str:
        started = await everlog.start(child, "a")
        await started.send("go", "hello")
        await note("sent")
        await everlog.recv("end", type=str)
        return await started.result()

    @workflow
    async def slow(name: str) -> str:
        await asyncio.sleep(1000)
        return name

    @workflow
    async def handing_on() -> str:
        started = await everlog.start(slow, "a")
        await note(started.id)
        return await started.result()

    async def program(engine: Engine) -> None:
        handle = await engine.start(talking)
        await asyncio.sleep(1)
        fork = await handle.fork(at=await seq_of(handle, "message_sent"))
        for one in (handle, fork):
            await one.send("end", "now")
            assert await one.result() == "hello a"
        other = await engine.start(handing_on.options(id="other"))
        await asyncio.sleep(1)
        ran.clear()
        assert await (await other.fork(id="again")).result() == "a"
        assert ran[f"again/{slow.name}"] == 1

    run(program)


def test_the_result_of_a_child_is_replaced() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(parent, ["a", "b"])
        await asyncio.sleep(1)
        first, second = await started(handle)
        await engine.send(first, "go", "one")
        await engine.send(second, "go", "two")
        await handle.result()
        assert await (await handle.fork(replace={first: "other"})).result() == ["other", "two b"]
        failing = await handle.fork(replace={second: ValueError("none")})
        with pytest.raises(WorkflowFailed, match="none"):
            await failing.result()
        with pytest.raises(UsageError):
            await handle.fork(replace={first: 7})

    run(program)


def test_a_fork_of_a_child_tells_nobody_of_its_end() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(parent, ["a"])
        await asyncio.sleep(1)
        (only,) = await started(handle)
        fork = await engine.handle(only, child).fork()
        await fork.send("go", "fork")
        assert await fork.result() == "fork a"
        await asyncio.sleep(1)
        assert (await handle.status()).state == "waiting"
        assert (await fork.status()).parent_id is None
        await engine.send(only, "go", "child")
        assert await handle.result() == ["child a"]

    run(program)


def test_who_asked_is_answered_once_by_whom_it_asked() -> None:
    @workflow
    async def serving() -> list[str]:
        heard: list[str] = []
        for _ in range(2):
            request = await everlog.recv("question", type=Request[str])
            await note(request.value)
            await request.reply(f"to {request.value}")
            heard.append(request.value)
        return heard

    async def program(engine: Engine) -> None:
        handle = await engine.start(serving)
        answers = [await handle.ask("question", text, type=str, timeout=60) for text in ("one", "two")]
        assert answers == ["to one", "to two"]
        for at in range(1, len(await handle.history()) + 1):
            fork = await handle.fork(at=at)
            assert await fork.result() == ["one", "two"], at
            assert await fork.values() == {}

    run(program)


def test_an_answer_that_came_after_the_cut_is_had() -> None:
    @workflow
    async def serving() -> None:
        while True:
            request = await everlog.recv("question", type=Request[str])
            await note("asked")
            await asyncio.sleep(5)
            await request.reply(request.value.upper())

    @workflow
    async def asking(server: str) -> str:
        return await everlog.ask(server, "question", "hello", type=str, timeout=60)

    async def program(engine: Engine) -> None:
        server = await engine.start(serving)
        handle = await engine.start(asking, server.id)
        assert await handle.result() == "HELLO"
        assert await (await handle.fork(at=await seq_of(handle, "message_sent"))).result() == "HELLO"
        assert ran == {"asked": 1}
        assert await (await handle.fork(at=await seq_of(handle, "workflow_began"))).result() == "HELLO"
        assert ran == {"asked": 2}
        replaced = await handle.fork(replace={await seq_of(handle, "message_received"): "BYE"})
        assert await replaced.result() == "BYE"

    run(program)


def test_compensations_of_a_fork_undo_what_it_has_done() -> None:
    @step
    async def book(what: str) -> str:
        ran[f"book {what}"] += 1
        if what == "spaceship":
            raise LookupError(what)
        return what

    @step
    async def give_back(what: str) -> None:
        ran[f"give back {what}"] += 1

    @workflow
    async def trip(parts: list[str]) -> list[str]:
        booked: list[str] = []
        async with everlog.compensations() as undo:
            for part in parts:
                booked.append(await book(part))
                undo.add(give_back, booked[-1])
        return booked

    async def program(engine: Engine) -> None:
        handle = await engine.start(trip, ["car", "spaceship"])
        with pytest.raises(WorkflowFailed):
            await handle.result()
        ran.clear()
        fork = await handle.fork(replace={"book#2": "bicycle"})
        assert await fork.result() == ["car", "bicycle"]
        assert ran == {}
        again = await handle.fork(at="book#2")
        with pytest.raises(WorkflowFailed):
            await again.result()
        assert ran == {"book spaceship": 1, "give back car": 1}
        ran.clear()
        for at in range(1, len(await handle.history()) + 1):
            one = await handle.fork(at=at)
            with pytest.raises(WorkflowFailed, match="spaceship"):
                await one.result()

    run(program)


def test_a_wait_for_a_person_is_the_forks_own_and_an_answer_after_the_cut_is_kept() -> None:
    @workflow
    async def approving() -> str:
        return await everlog.recv("decision", type=str, title="May I?")

    async def program(engine: Engine) -> None:
        handle = await engine.start(approving)
        await asyncio.sleep(1)
        (wait,) = await engine.waits()
        early = await handle.fork()
        await asyncio.sleep(1)
        assert {one.workflow_id for one in await engine.waits()} == {handle.id, early.id}
        await engine.answer(wait.token, "yes")
        assert await handle.result() == "yes"
        late = await handle.fork(at=await seq_of(handle, "wait_started"))
        assert await late.result() == "yes"
        (own,) = await engine.waits()
        await engine.answer(own.token, "no")
        assert await early.result() == "no"

    run(program)


@on_both_stores
def test_a_fork_stands_in_the_queue_of_its_source(kind: str, tmp_path: Path) -> None:
    mail = Queue("mail", concurrency=1)

    async def program(engine: Engine) -> None:
        handle = await engine.queue(mail).enqueue(child.options(dedup_key="a"), "a")
        await asyncio.sleep(1)
        fork = await handle.fork()
        await asyncio.sleep(1)
        assert (await fork.status()).state == "queued"
        assert (await fork.status()).queue == "mail"
        await handle.send("go", "one")
        assert await handle.result() == "one a"
        await fork.send("go", "two")
        assert await fork.result() == "two a"

    run(program, kind=kind, folder=tmp_path)


def test_blocking_workflows_are_forked_as_others_are() -> None:
    @step
    def square(number: int) -> int:
        ran[f"{number}"] += 1
        return number * number

    @workflow
    def adding(numbers: list[int]) -> int:
        return sum(sync.map(square, numbers)) + square(0)

    async def program(engine: Engine) -> None:
        handle = await engine.start(adding, [1, 2, 3])
        assert await handle.result() == 14
        ran.clear()
        outcome = [event for event in await handle.history() if event.type == "step_completed"][1]
        fork = await handle.fork(replace={outcome.seq: 100})
        assert await fork.result() == 14 - outcome.data["result"] + 100
        assert ran.total() <= 1

    run(program)


def test_the_blocking_handle_forks_too(tmp_path: Path) -> None:
    @step
    def square(number: int) -> int:
        return number * number

    @workflow
    def squaring(number: int) -> int:
        return square(number)

    with sync.Engine(f"sqlite:///{tmp_path}/blocking.db") as engine:
        handle = engine.start(squaring, 3)
        assert handle.result() == 9
        assert handle.fork(replace={"square": 5}).result(timeout=60) == 5


def test_what_its_source_was_asked_a_fork_answers_to_nobody_also_after_a_retry_past_the_cut() -> None:
    fails = {"now": True}

    @step
    async def shaky() -> None:
        if fails["now"]:
            raise ValueError("not now")

    @workflow
    async def serving() -> str:
        request = await everlog.recv("question", type=Request[str])
        failure: ValueError | None = None
        try:
            await shaky()
        except ValueError as error:
            failure = error
        await asyncio.sleep(100)
        if failure is not None:
            raise failure
        await request.reply("late")
        return request.value

    async def program(engine: Engine) -> None:
        handle = await engine.start(serving)
        asking = asyncio.create_task(handle.ask("question", "hello", type=str, timeout=1000))
        await asyncio.sleep(1)
        fork = await handle.fork()
        with pytest.raises(WorkflowFailed):
            await fork.result()
        with pytest.raises(everlog.AskRefused):
            await asking
        fails["now"] = False
        await fork.retry()
        assert await fork.result() == "hello"
        (rewound,) = [event for event in await fork.history() if event.type == "workflow_rewound"]
        assert rewound.data["to"] < await seq_of(fork, "workflow_forked")

        def rows() -> list[str]:
            store = engine.store
            assert isinstance(store, SupportsValues)
            return [row.name for row in store.values(fork.id)]

        assert await engine.on_thread(rows) == []

    run(program)

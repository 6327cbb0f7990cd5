"""Continuing as new together with queues, schedules, asks and waits: what goes on into the next life, and what not."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import everlog
from everlog import (
    AskRefused,
    Engine,
    Handle,
    NotFound,
    Queue,
    Request,
    Schedule,
    UsageError,
    WorkflowCancelled,
    WorkflowFailed,
    step,
    workflow,
)
from everlog.core.orders import ATTRIBUTES, PAUSE, RESUME
from everlog.store import SupportsFinding
from tests.support import events_of, in_state, on_both_stores, projections_fit, run, until

narrow = Queue("lives.narrow", concurrency=1)
SEEN: list[Any] = []
TICKS: list[tuple[str, int, datetime]] = []
FAILING: set[str] = set()


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    SEEN.clear()
    TICKS.clear()
    FAILING.clear()


@step(name="lives.note")
async def note(what: str, seconds: float) -> None:
    SEEN.append(what)
    await asyncio.sleep(seconds)
    if what in FAILING:
        raise ValueError(what)


@workflow(name="lives.laps")
async def laps(name: str, left: int) -> str | None:
    await note(f"{name} {left}", 5)
    if left:
        everlog.continue_as_new(last_lap if left == 1 else laps, name, left - 1)
    return everlog.current().queue


@workflow(name="lives.last_lap")
async def last_lap(name: str, left: int) -> str | None:
    return await laps.fn(name, left)


@on_both_stores
def test_a_queued_workflow_keeps_its_slot_from_life_to_life(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        first = await engine.start(laps.options(id="first", queue=narrow), "first", 2)
        await until(lambda: bool(SEEN))
        second = await engine.start(laps.options(queue=narrow), "second", 0)
        assert await first.result() == "lives.narrow"
        assert await second.result() == "lives.narrow"
        assert SEEN == ["first 2", "first 1", "first 0", "second 0"]
        assert len(await events_of(engine, "first", "workflow_continued")) == 2
        assert (await engine.queue(narrow).counts()).admitted == 0
        projections_fit(engine.store, "first")

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_a_later_life_that_is_retried_stands_in_its_queue_again_and_under_its_new_name(
    kind: str, tmp_path: Path
) -> None:
    async def program(engine: Engine) -> None:
        FAILING.add("first 0")
        first = await engine.start(laps.options(id="first", queue=narrow), "first", 1)
        with pytest.raises(WorkflowFailed):
            await first.result()
        other = await engine.start(laps.options(queue=narrow), "other", 0)
        await until(lambda: "other 0" in SEEN)
        await first.retry()
        status = await first.status()
        assert (status.state, status.name, status.queue) == ("queued", "lives.last_lap", "lives.narrow")
        FAILING.clear()
        await other.result()
        assert await first.result() == "lives.narrow"
        assert SEEN == ["first 1", "first 0", "other 0", "first 0"]
        projections_fit(engine.store, "first")

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_a_later_life_is_still_the_workflow_that_was_started(kind: str, tmp_path: Path) -> None:
    """Its id and its dedup_key name it, whatever it continues as."""

    async def program(engine: Engine) -> None:
        keyed = laps.options(id="first", queue=narrow, dedup_key="k")
        first = await engine.start(keyed, "first", 1)
        await until(lambda: "first 0" in SEEN)
        assert (await engine.start(keyed, "first", 1)).id == "first"
        assert (await engine.start(laps.options(queue=narrow, dedup_key="k"), "other", 0)).id == "first"
        await first.result()
        assert (await engine.start(keyed, "first", 1)).id == "first"
        assert SEEN == ["first 1", "first 0"]

    run(program, kind=kind, folder=tmp_path)


@workflow(name="lives.ticking", schedule=Schedule(every=20))
async def ticking(life: int = 1) -> None:
    current = everlog.current()
    TICKS.append((current.workflow_id, life, current.tick))
    if life < 3:
        everlog.continue_as_new(ticking, life + 1)


@on_both_stores
def test_all_lives_of_a_scheduled_workflow_have_its_tick(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        await asyncio.sleep(50)
        ticks: dict[str, list[tuple[int, datetime]]] = {}
        for workflow_id, life, tick in TICKS:
            ticks.setdefault(workflow_id, []).append((life, tick))
        assert len(ticks) >= 2
        for seen in ticks.values():
            assert [life for life, _ in seen] == [1, 2, 3]
            assert len({tick for _, tick in seen}) == 1
        assert len({seen[0][1] for seen in ticks.values()}) == len(ticks)

    run(program, kind=kind, folder=tmp_path, workflows=[ticking])


@workflow(name="lives.clerk")
async def clerk(life: int, keeps: bool) -> str:
    """Takes one ask in a life; where it keeps the first it never answers that."""
    request = await everlog.recv("question", type=Request[int])
    SEEN.append((life, request.value))
    if not (keeps and life == 1):
        await request.reply(request.value * 10)
    if life < 3:
        everlog.continue_as_new(clerk, life + 1, keeps)
    return "closed"


@on_both_stores
def test_an_unread_ask_is_for_the_next_life(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(clerk.options(id="clerk"), 1, False)
        asked = [engine.ask("clerk", "question", number, type=int, timeout=60) for number in (1, 2, 3)]
        assert sorted(await asyncio.gather(*asked)) == [10, 20, 30]
        assert await handle.result() == "closed"
        assert [life for life, _ in SEEN] == [1, 2, 3]
        projections_fit(engine.store, "clerk")

    run(program, kind=kind, folder=tmp_path)


@workflow(name="lives.asks")
async def asks(to: str) -> str:
    try:
        return str(await everlog.ask(to, "question", 1, type=int, timeout=60))
    except AskRefused as refused:
        return refused.reason


@on_both_stores
def test_an_ask_that_was_taken_and_not_answered_is_refused_where_the_life_ends(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        await engine.start(clerk.options(id="clerk"), 1, True)
        with pytest.raises(AskRefused, match="continued as new without an answer"):
            await engine.ask("clerk", "question", 1, timeout=60)
        assert await engine.run(asks, "clerk") == "10", "the second life answers"
        (refused,) = await events_of(engine, "clerk", "request_refused")
        (continued, _) = await events_of(engine, "clerk", "workflow_continued")
        assert refused.seq < continued.seq
        projections_fit(engine.store, "clerk")

    run(program, kind=kind, folder=tmp_path)


@workflow(name="lives.cashier")
async def cashier(life: int) -> str:
    """Answers while it goes down, or in the next life."""
    if life == 1:
        try:
            await note("charge", 1)
        except ValueError:
            await (await everlog.recv("question", type=Request[int])).reply(1)
            raise
        everlog.continue_as_new(cashier, 2)
    request = await everlog.recv("question", type=Request[int])
    await request.reply(2)
    return "closed"


@on_both_stores
def test_who_was_answered_before_a_retry_is_not_answered_again_by_a_later_life(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        FAILING.add("charge")
        handle = await engine.start(cashier.options(id="cashier"), 1)
        assert await engine.ask("cashier", "question", 7, type=int, timeout=60, key="k") == 1
        with pytest.raises(WorkflowFailed):
            await handle.result()
        FAILING.clear()
        await handle.retry()
        assert await handle.result() == "closed"
        assert len(await events_of(engine, "cashier", "workflow_continued")) == 1
        assert len(await events_of(engine, "cashier", "request_answered")) == 2
        assert await engine.ask("cashier", "question", 7, type=int, timeout=60, key="k") == 1
        projections_fit(engine.store, "cashier")

    run(program, kind=kind, folder=tmp_path)


@workflow(name="lives.impatient")
async def impatient(to: str, life: int) -> str:
    """Goes on as new while what it asked is not answered."""
    asking = asyncio.create_task(asks.fn(to))
    await asyncio.sleep(5)
    if life == 1:
        everlog.continue_as_new(impatient, to, 2)
    return await asking


@on_both_stores
def test_an_answer_to_an_earlier_life_is_for_nobody(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        await engine.start(slow_clerk.options(id="slow"))
        asking = await engine.start(impatient.options(id="impatient"), "slow", 1)
        assert await asking.result() == "2"
        assert len(await events_of(engine, "impatient", "message_received")) == 1
        projections_fit(engine.store, "impatient")

    run(program, kind=kind, folder=tmp_path)


@workflow(name="lives.slow_clerk")
async def slow_clerk() -> None:
    for number in (1, 2):
        request = await everlog.recv("question", type=Request[int])
        await asyncio.sleep(7)
        await request.reply(number)


@on_both_stores
def test_an_ask_waits_where_the_workflow_is_enqueued_and_is_refused_where_it_is_cancelled_there(
    kind: str, tmp_path: Path
) -> None:
    async def program(engine: Engine) -> None:
        first = await engine.start(laps.options(queue=narrow), "first", 1)
        await until(lambda: bool(SEEN))
        answers = await engine.start(clerk.options(id="answers", queue=narrow), 3, False)
        never = await engine.start(clerk.options(id="never", queue=narrow), 3, False)
        asked = asyncio.create_task(engine.ask("answers", "question", 4, type=int, timeout=60))
        refused = asyncio.create_task(engine.ask("never", "question", 5, type=int, timeout=60))
        ordered = await engine.start(asks, "never")
        await asyncio.sleep(2)
        assert not asked.done()
        assert not refused.done()
        await never.cancel()
        with pytest.raises(AskRefused, match="ended"):
            await refused
        assert "ended" in await ordered.result()
        with pytest.raises(WorkflowCancelled):
            await never.result()
        await first.result()
        assert await asked == 40
        assert await answers.result() == "closed"
        projections_fit(engine.store, "never")

    run(program, kind=kind, folder=tmp_path)


@workflow(name="lives.approvals")
async def approvals(life: int) -> str:
    """Lists a wait, and goes on as new while it is open."""
    waiting = asyncio.create_task(everlog.recv("approval", type=str, title=f"May I, in life {life}?"))
    await asyncio.sleep(5)
    if life == 1:
        everlog.continue_as_new(approvals, 2)
    return await waiting


@on_both_stores
def test_a_listed_wait_is_closed_with_its_life(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        handle: Handle[str] = await engine.start(approvals.options(id="approvals"), 1)
        await asyncio.sleep(2)
        (old,) = await engine.waits()
        await asyncio.sleep(5)
        (new,) = await engine.waits()
        assert (old.title, new.title) == ("May I, in life 1?", "May I, in life 2?")
        with pytest.raises(NotFound):
            await engine.answer(old.token, "too late")
        await engine.answer(new.token, "yes")
        assert await handle.result() == "yes"
        assert await engine.waits() == []
        await in_state(handle, "completed")
        projections_fit(engine.store, "approvals")

    run(program, kind=kind, folder=tmp_path)


@workflow(name="lives.labelled", attributes={"kind": "laps"}, schedule=Schedule(every=20))
async def labelled(left: int = 1) -> dict[str, Any]:
    await asyncio.sleep(5)
    if left:
        everlog.continue_as_new(labelled, left - 1)
    return dict(everlog.current().attributes)


async def ids_with(engine: Engine, **attributes: Any) -> list[str]:
    return [one.id for one in await engine.workflows(attributes=attributes, newest_first=False)]


@on_both_stores
def test_attributes_go_on_from_life_to_life(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(labelled.options(id="labelled", attributes={"tenant": "acme"}), 1)
        await handle.update(attributes={"tenant": "umbrella", "urgent": True})
        assert await handle.result() == {"kind": "laps", "tenant": "umbrella", "urgent": True}
        status = await handle.status()
        assert status.attributes == {"kind": "laps", "tenant": "umbrella", "urgent": True}
        assert await ids_with(engine, tenant="umbrella") == ["labelled"]
        assert await ids_with(engine, tenant="acme") == []
        projections_fit(engine.store, "labelled")

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_what_a_schedule_starts_has_the_attributes_of_its_workflow(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        given = labelled.options(attributes={"tenant": "acme"})
        await engine.create_schedule("of-acme", Schedule(every=20), given, 0)
        await asyncio.sleep(30)
        (declared,) = [one for one in await ids_with(engine, kind="laps") if one.startswith("lives.labelled@")]
        assert (await engine.handle(declared).status()).attributes == {"kind": "laps"}
        (made,) = await ids_with(engine, tenant="acme")
        assert made.startswith("of-acme@")
        assert await engine.handle(made).result() == {"kind": "laps", "tenant": "acme"}

    run(program, kind=kind, folder=tmp_path, workflows=[labelled])


@on_both_stores
def test_what_is_enqueued_or_delayed_is_found_and_updated_where_it_stands(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        first = await engine.start(laps.options(queue=narrow), "first", 0)
        await until(lambda: bool(SEEN))
        stands = await engine.start(laps.options(id="stands", queue=narrow, attributes={"n": 1}), "stands", 0)
        later = await engine.start(laps.options(id="later", delay=100, attributes={"n": 1}), "later", 0)
        assert await ids_with(engine, n=1) == ["stands", "later"]
        for states, expected in (
            ("queued", ["stands"]),
            ("delayed", ["later"]),
            (["queued", "delayed"], ["stands", "later"]),
        ):
            assert [one.id for one in await engine.workflows(state=states, newest_first=False)] == expected
        await stands.update(attributes={"n": 2})
        await later.update(attributes={"n": 2, "moved": True}, delay=10)
        assert await ids_with(engine, n=2) == ["stands", "later"]
        assert [(await one.status()).state for one in (stands, later)] == ["queued", "delayed"]
        counts = await engine.counts()
        assert (counts.by_state["queued"], counts.total) == (1, 3)
        with pytest.raises(UsageError, match="cannot be counted apart"):
            await engine.counts(state="delayed")
        await later.update(priority=1, queue=narrow, attributes={"moved": None})
        assert (await later.status()).attributes == {"n": 2}
        await first.result()
        assert await stands.result() == await later.result() == "lives.narrow"
        with pytest.raises(UsageError, match="has ended"):
            await later.update(attributes={"n": 3}, priority=2)
        with pytest.raises(UsageError, match="nothing to change"):
            await later.update()
        assert SEEN == ["first 0", "stands 0", "later 0"]
        for one in ("stands", "later"):
            projections_fit(engine.store, one)

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_an_order_to_change_attributes_is_obeyed_where_the_workflow_stands(kind: str, tmp_path: Path) -> None:
    """As it is given where somebody holds the workflow for a moment; a void one is none from before its end."""

    async def program(engine: Engine) -> None:
        await engine.queue(narrow).pause()
        stands = await engine.start(laps.options(id="stands", queue=narrow), "stands", 0)
        for order, payload in ((ATTRIBUTES, b'{"n":1}'), (PAUSE, b'""'), (ATTRIBUTES, b'{"m":2}'), (RESUME, b'""')):
            await engine.post_control("stands", order, payload)
        await until(lambda: "m" in attributes_of(engine))
        assert attributes_of(engine) == {"n": 1, "m": 2}
        assert (await stands.status()).state == "queued"
        assert SEEN == []
        await stands.cancel()
        await stands.retry()
        assert (await stands.status()).attributes == {"n": 1, "m": 2}
        assert (await stands.status()).state == "queued"
        projections_fit(engine.store, "stands")

    def attributes_of(engine: Engine) -> dict[str, Any]:
        store = engine.store
        assert isinstance(store, SupportsFinding)
        return dict(store.attributes(["stands"])[0])

    run(program, kind=kind, folder=tmp_path)


def test_attributes_are_not_given_to_what_continues() -> None:
    @workflow(name="lives.relabels")
    async def relabels() -> None:
        everlog.continue_as_new(labelled.options(attributes={"kind": "another"}), 0)

    async def program(engine: Engine) -> None:
        with pytest.raises(WorkflowFailed, match="keeps its attributes"):
            await engine.run(relabels)

    run(program)

"""Waits: what people are asked is listed while it is open, and answered once, by whoever has its token."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pydantic
import pytest

import everlog
from everlog import Client, Engine, NotFound, Request, UsageError, Wait, WorkflowFailed, step, sync, workflow
from everlog.core.schemas import misfit, schema_of
from everlog.memory import MemoryStore
from everlog.runtime.tokens import Named, named_by, token_for
from tests.support import (
    PausableHost,
    events_of,
    in_state,
    kill,
    make_store,
    on_both_stores,
    opened,
    projections_fit,
    run,
    simulate,
    until,
)


@dataclass
class Decision:
    verdict: Literal["approve", "reject"]
    by: str
    note: str = ""


@workflow
async def claim(employee: str, cents: int, days: float = 7) -> str:
    decision = await everlog.recv(
        "decision",
        type=Decision,
        timeout=timedelta(days=days),
        default=Decision("reject", by="clock"),
        title=f"{employee} asks for {cents / 100:.2f}",
        metadata={"team": "finance", "cents": cents},
    )
    return f"{decision.verdict} by {decision.by}"


@workflow
def blocking_claim(employee: str, cents: int) -> str:
    decision = sync.recv("decision", type=Decision, title=f"{employee} asks for {cents}")
    return f"{decision.verdict} by {decision.by}"


@workflow
async def asks_two() -> list[str]:
    """Have two waits open on one topic: each answer is for its own."""
    return list(
        await asyncio.gather(
            everlog.recv("name", type=str, title="What is your name?"),
            everlog.recv("name", type=str, title="And hers?"),
        )
    )


async def listed(client: Client, number: int, **filters: Any) -> list[Wait]:
    """Give the waits once there are so many."""
    found: list[Wait] = []

    async def are_there() -> bool:
        found[:] = await client.waits(**filters)
        return len(found) == number

    await until(are_there)
    return found


def fits(client: Client, workflow_id: str) -> Any:
    return client.on_thread(lambda: projections_fit(client.store, workflow_id))


@on_both_stores
def test_a_wait_is_listed_and_answered_from_another_process(kind: str, tmp_path: Path) -> None:
    async def program(host: PausableHost) -> None:
        store = make_store(host, kind, tmp_path)
        other = store if kind == "memory" else make_store(host, kind, tmp_path)
        async with Engine(store, host=host.sibling()) as engine, Client(other, host=host.sibling()) as client:
            handle = await engine.start(claim.options(id="claim-7"), "bob", 4200)
            (wait,) = await listed(client, 1, topic="decision")
            assert (wait.workflow_id, wait.topic, wait.title) == ("claim-7", "decision", "bob asks for 42.00")
            assert wait.metadata == {"team": "finance", "cents": 4200}
            assert wait.deadline is not None
            assert timedelta(days=6) < wait.deadline - wait.since <= timedelta(days=7)
            assert wait.schema is not None
            assert wait.schema["$defs"]["Decision"]["properties"]["verdict"] == {"enum": ["approve", "reject"]}
            assert "('bob asks for 42.00')" in (await handle.status()).why
            await client.answer(wait.token, Decision("approve", by="ann"))
            assert await handle.result() == "approve by ann"
            assert await client.waits() == []
            await fits(engine, "claim-7")

    simulate(program)


@on_both_stores
def test_each_answer_is_for_just_its_wait(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(asks_two.options(id="two"))
        first, second = await listed(engine, 2)
        await engine.answer(second.token, "Grace")
        assert [wait.title for wait in await listed(engine, 1)] == [first.title]
        await fits(engine, "two")
        await engine.answer(first.token, "Alan")
        assert await handle.result() == ["Alan", "Grace"]
        await fits(engine, "two")

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_a_wait_is_answered_once(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(claim.options(id="one"), "bob", 1)
        (wait,) = await listed(engine, 1)
        answers = [engine.answer(wait.token, Decision("approve", by=str(number))) for number in range(5)]
        outcomes = await asyncio.gather(*answers, return_exceptions=True)
        refused = [one for one in outcomes if one is not None]
        assert len(refused) == 4
        assert all(
            isinstance(one, NotFound) and "does not wait for this answer any more" in str(one) for one in refused
        )
        assert (await handle.result()).startswith("approve by")
        with pytest.raises(NotFound, match="it was answered, or its time is over"):
            await engine.answer(wait.token, Decision("reject", by="late"))
        assert len(await events_of(engine, "one", "message_received")) == 1

    run(program, kind=kind, folder=tmp_path)


@pytest.mark.parametrize("how", ["message", "timeout", "cancel", "terminate", "caught"])
def test_a_wait_that_is_over_is_not_listed_and_takes_no_answer(how: str) -> None:
    @workflow
    async def gives_up() -> str:
        try:
            async with asyncio.timeout(10):
                await everlog.recv("decision", title="Well?")
        except TimeoutError:
            pass
        await everlog.recv("never")
        return "over"

    async def program(engine: Engine) -> None:
        definition = gives_up.options(id="one") if how == "caught" else None
        handle: Any = await (
            engine.start(definition)
            if definition is not None
            else engine.start(claim.options(id="one"), "bob", 1, days=0.01)
        )
        (wait,) = await listed(engine, 1)
        match how:
            case "message":
                await handle.send("decision", Decision("approve", by="a message"))
                assert await handle.result() == "approve by a message"
            case "timeout":
                await asyncio.sleep(0.01 * 86400)
                assert await handle.result() == "reject by clock"
            case "cancel":
                await handle.cancel()
            case "terminate":
                await handle.terminate()
            case _:
                await asyncio.sleep(20)
        await listed(engine, 0)
        with pytest.raises(NotFound, match="does not wait for this answer any more"):
            await engine.answer(wait.token, Decision("approve", by="ann"))
        await fits(engine, "one")

    run(program, workflows=[claim, gives_up])


def test_an_answer_after_the_deadline_is_refused_though_no_worker_was_there() -> None:
    async def program(host: PausableHost) -> None:
        store = MemoryStore(host.wall)
        engine = await opened(Engine(store, host=host.sibling(), workflows=[claim]))
        await engine.start(claim.options(id="one"), "bob", 1)
        (wait,) = await listed(engine, 1)
        kill(engine)
        async with Client(store, host=host.sibling()) as client:
            await asyncio.sleep(8 * 86400)
            assert len(await client.waits()) == 1, "nobody has closed it yet"
            with pytest.raises(NotFound, match="its time is over"):
                await client.answer(wait.token, Decision("approve", by="ann"))

    host = PausableHost(0)

    async def main() -> None:
        await program(host)

    host.run(main())


@on_both_stores
def test_parked_workflows_are_listed_and_so_they_are_after_a_restart(kind: str, tmp_path: Path) -> None:
    async def program(host: PausableHost) -> None:
        store = make_store(host, kind, tmp_path)
        engine = await opened(Engine(store, host=host.sibling(), workflows=[claim, blocking_claim]))
        await engine.start(claim.options(id="one"), "bob", 1)
        await engine.start(blocking_claim.options(id="two"), "eve", 2)
        await asyncio.sleep(30)
        shell: Any = engine._shell
        assert list(shell.worker.residents) == []
        assert len(await engine.waits()) == 2
        kill(engine)
        async with Client(store, host=host.sibling()) as client:
            waits = {wait.workflow_id: wait for wait in await client.waits()}
            with pytest.raises(UsageError, match=r"at \$\.verdict: expected one of 'approve', 'reject', found 'yes'"):
                await client.answer(waits["one"].token, {"verdict": "yes", "by": "ann"})
            with pytest.raises(UsageError, match=r"at \$: 'by' is missing; nothing was sent, and it still waits"):
                await client.answer(waits["two"].token, {"verdict": "reject"})
            for wait in waits.values():
                await client.answer(wait.token, {"verdict": "reject", "by": "ann"})
            assert len(await client.waits()) == 2, "nobody was there to take the answers"
            with pytest.raises(NotFound, match="it was answered"):
                await client.answer(waits["one"].token, Decision("approve", by="eve"))
        async with Engine(store, host=host.sibling(), workflows=[claim, blocking_claim]) as engine:
            for name in ("one", "two"):
                assert await engine.handle(name).result() == "reject by ann"
                await fits(engine, name)
            assert await engine.waits() == []

    simulate(program)


def test_what_does_not_fit_is_refused_by_the_type_itself_where_it_is_known() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(claim.options(id="one"), "bob", 1)
        (wait,) = await listed(engine, 1)
        for answer in ("yes", {"verdict": "maybe", "by": "ann"}, 7, {"verdict": "approve", "by": 3}, None):
            with pytest.raises(
                UsageError, match=r"does not fit what workflow 'one' waits for \('bob asks for 0\.01'\)"
            ):
                await engine.answer(wait.token, answer)
        assert len(await engine.waits()) == 1
        await engine.answer(wait.token, {"verdict": "approve", "by": "ann"})
        assert await handle.result() == "approve by ann"

    run(program)


def test_tokens_that_were_changed_are_refused() -> None:
    key = "k" * 64
    named = Named("order-☃", "main/recv#2", 7)
    token = token_for(named, key)
    assert named_by(token, key) == named
    assert token_for(named, "another") != token
    for place in range(len(token)):
        changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        with pytest.raises(UsageError, match="this is no token of a wait in this database, or it was changed"):
            named_by(changed, key)
    wrong: Any
    for wrong in ("", "x", "é", token + "A", token + "=", token[:-1], token_for(named, "another"), None, 7):
        with pytest.raises(UsageError, match="this is no token"):
            named_by(wrong, key)


def test_a_token_of_another_database_is_none() -> None:
    async def program(engine: Engine) -> None:
        await engine.start(claim.options(id="one"), "bob", 1)
        (wait,) = await listed(engine, 1)
        async with Engine("memory://", host=engine.host) as other:
            await other.start(claim.options(id="one"), "bob", 1)
            with pytest.raises(UsageError, match="this is no token"):
                await other.answer(wait.token, Decision("approve", by="ann"))

    run(program)


def test_waits_come_in_pages_and_by_workflow() -> None:
    @workflow
    async def asks_many(number: int) -> None:
        await asyncio.gather(*(everlog.recv(f"topic-{one % 2}", title=f"Question {one}") for one in range(number)))

    async def program(engine: Engine) -> None:
        handles = [await engine.start(asks_many.options(id=f"many-{one}"), 75) for one in range(3)]
        found = await listed(engine, 225)
        assert len({wait.token for wait in found}) == 225
        assert [wait.since for wait in found] == sorted(wait.since for wait in found)
        assert [wait async for wait in engine.waits()] == found
        assert len(await engine.waits(topic="topic-0")) == 3 * 38
        assert {wait.workflow_id for wait in await engine.waits(workflow_id="many-1")} == {"many-1"}
        assert await engine.waits(topic="topic-2") == []
        await fits(engine, "many-1")
        await engine.cancel(*(handle.id for handle in handles))
        await listed(engine, 0)

    run(program, workflows=[asks_many])


def test_blocking_code_lists_and_answers() -> None:
    with sync.Engine("memory://", grace=0) as engine:
        handle = engine.start(blocking_claim, "bob", 5)
        while not (found := list(engine.waits(topic="decision"))):
            engine.run(naps)
        engine.answer(found[0].token, Decision("approve", by="ann"))
        assert handle.result() == "approve by ann"


@workflow
async def naps() -> None:
    await asyncio.sleep(0.01)


def test_what_cannot_be_listed() -> None:
    forms: list[dict[str, Any]] = [
        {"metadata": 1},
        {"title": ""},
        {"title": 7},
        {"title": "t" * 513},
        {"title": "May I?", "type": Request[int]},
        {"title": "May I?", "metadata": object()},
    ]

    @workflow
    async def lists_wrongly(which: int) -> None:
        await everlog.recv("topic", **forms[which])

    expected = [
        "shown with a title=",
        "must not be empty",
        "must be a string",
        "at most 512",
        "asks are answered",
        "metadata",
    ]

    async def program(engine: Engine) -> None:
        for which, message in enumerate(expected):
            with pytest.raises(WorkflowFailed, match=message):
                await engine.run(lists_wrongly, which)

    run(program, workflows=[lists_wrongly])


@on_both_stores
def test_after_a_retry_a_wait_is_listed_anew_and_the_answer_it_had_is_its_own(kind: str, tmp_path: Path) -> None:
    mended: list[bool] = []

    @step
    async def looks_up() -> None:
        if not mended:
            raise ConnectionError

    @workflow
    async def asks_beside_a_step() -> list[str]:
        names = [asyncio.create_task(everlog.recv("name", type=str, title=title)) for title in ("His?", "Hers?")]
        try:
            await looks_up()
        except ConnectionError:
            await names[1]  # so that its answer is void when it goes on before the step
            raise
        return list(await asyncio.gather(*names))

    async def program(engine: Engine) -> None:
        handle = await engine.start(asks_beside_a_step.options(id="two"))
        his, hers = await listed(engine, 2)
        await engine.answer(hers.token, "Grace")
        with pytest.raises(WorkflowFailed):
            await handle.result()
        assert await engine.waits() == []
        await fits(engine, "two")
        mended.append(True)
        await handle.retry()
        (again,) = await listed(engine, 1)
        assert again.title == "His?"
        await fits(engine, "two")
        with pytest.raises(NotFound):
            await engine.answer(his.token, "Alan")
        await engine.answer(again.token, "Alan")
        assert await handle.result() == ["Alan", "Grace"]
        await fits(engine, "two")

    run(program, kind=kind, folder=tmp_path, workflows=[asks_beside_a_step])


@on_both_stores
def test_an_answer_that_is_unread_at_the_end_is_received_after_a_retry(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(claim.options(id="one"), "bob", 1)
        (wait,) = await listed(engine, 1)
        await handle.pause()
        await in_state(handle, "paused")
        await engine.answer(wait.token, Decision("approve", by="ann"))
        await handle.terminate()
        await in_state(handle, "cancelled")
        assert await engine.waits() == []
        await handle.retry()
        assert await handle.result() == "approve by ann"
        await fits(engine, "one")

    run(program, kind=kind, folder=tmp_path)


def test_a_stuck_workflow_stays_listed_and_its_retry_lists_it_anew() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(claim.options(id="one"), "bob", 1)
        (wait,) = await listed(engine, 1)
        await handle.send("decision", "no decision at all")
        await in_state(handle, "stuck")
        assert await engine.waits() == [], "it has received something"
        with pytest.raises(NotFound):
            await engine.answer(wait.token, Decision("approve", by="ann"))
        await fits(engine, "one")

    run(program)


def test_a_store_that_lists_none_says_so() -> None:
    class Plain(MemoryStore):
        list_waits = None  # type: ignore[assignment]  # which is the point

    async def program(engine: Engine) -> None:
        handle = await engine.start(claim.options(id="one"), "bob", 1)
        with pytest.raises(UsageError, match="Plain lists no waits"):
            await engine.waits()
        await handle.send("decision", Decision("approve", by="ann"))
        assert await handle.result() == "approve by ann"

    run(program, store=lambda store: Plain())


class Form(pydantic.BaseModel):
    name: str
    age: int


@pytest.mark.parametrize(
    ("declared", "fitting", "unfitting"),
    [
        (int, ["1", "1.0"], ["true", '"1"', "1.5", "null"]),
        (int | None, ["1", "null"], ['"x"']),
        (list[int], ["[]", "[1]"], ["[1,null]", "{}"]),
        (bool, ["true"], ["1"]),
        (dict[str, int], ['{"a":1}'], ["[]"]),
        (Form, ['{"name":"x","age":1}', '{"$type":"Form","$value":{"name":"x","age":1}}'], ['{"name":"x"}', "1"]),
        (Decision, ['{"verdict":"reject","by":"x"}', '{"$":"anything"}'], ['{"verdict":"no","by":"x"}', '{"by":"x"}']),
        (list[Decision], ['[{"verdict":"reject","by":"x"}]'], ['[{"verdict":"reject"}]']),
        (Any, ["1", "{}"], []),
        (asyncio.Future, ["1"], []),
    ],
)
def test_what_a_schema_refuses_surely_does_not_fit(declared: Any, fitting: list[str], unfitting: list[str]) -> None:
    import msgspec

    text = schema_of(declared)
    if text is None:
        assert not unfitting
        return
    schema = msgspec.json.decode(text)
    assert [payload for payload in fitting if misfit(schema, payload.encode()) is not None] == []
    assert [payload for payload in unfitting if misfit(schema, payload.encode()) is None] == []

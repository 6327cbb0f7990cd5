"""Asks: who asks has the answer or a refusal, exactly once, whatever happens to either side meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest

import everlog
from everlog import (
    AskRefused,
    Client,
    Engine,
    Handle,
    NotFound,
    Request,
    UsageError,
    WorkflowFailed,
    WrongContext,
    step,
    sync,
    workflow,
)
from everlog.core import asks
from everlog.store import InboxRow, Store, SupportsInboxes
from tests.support import (
    FlakyStore,
    PausableHost,
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


@workflow
async def account(balance: int) -> int:
    while True:
        request = await everlog.recv("withdraw", type=Request[int])
        if request.value == 0:
            await request.reply("closed")
            return balance
        if request.value > balance:
            await request.refuse(f"there is only {balance}")
        else:
            balance -= request.value
            await request.reply(balance)


@workflow
def blocking_account(balance: int) -> int:
    while True:
        request = sync.recv("withdraw", type=sync.Request[int])
        if request.value == 0:
            request.reply("closed")
            return balance
        if request.value > balance:
            request.refuse(f"there is only {balance}")
        else:
            balance -= request.value
            request.reply(balance)


@workflow
async def shops(where: str, amounts: list[Any]) -> list[str]:
    heard: list[str] = []
    for amount in amounts:
        try:
            heard.append(str(await everlog.ask(where, "withdraw", amount, timeout=60)))
        except AskRefused as refused:
            heard.append(refused.reason)
    return heard


@workflow
def shops_blocking(where: str, amounts: list[Any]) -> list[str]:
    heard: list[str] = []
    for amount in amounts:
        try:
            heard.append(str(sync.ask(where, "withdraw", amount, timeout=60)))
        except AskRefused as refused:
            heard.append(refused.reason)
    return heard


@workflow
async def takes(then: str) -> str:
    """Take an ask, and do something else than answer it."""
    request = await everlog.recv("question", type=Request[str])
    if then == "fail":
        raise ValueError(request.value)
    if then == "wait":
        await asyncio.sleep(1000)
    return request.value


@workflow
async def idles() -> None:
    await everlog.recv("never")


@workflow
async def asks_one(to: str, timeout: float = 500.0) -> str:
    try:
        return str(await everlog.ask(to, "question", "why?", timeout=timeout))
    except (AskRefused, TimeoutError) as error:
        return f"{type(error).__name__}: {getattr(error, 'reason', '')}"


Program = Callable[[Engine], Coroutine[Any, Any, Any]]


def fits(engine: Engine, *ids: str) -> Coroutine[Any, Any, None]:
    """Check what is kept beside the logs of these workflows."""

    def look() -> None:
        for one in ids:
            projections_fit(engine.store, one)
            published_fits(engine.store, one)

    return engine.on_thread(look)


# -- answers -----------------------------------------------------------------------------------------------------------


@on_both_stores
@pytest.mark.parametrize("answers", [account, blocking_account])
@pytest.mark.parametrize("customer", [shops, shops_blocking])
def test_workflows_ask_workflows(kind: str, tmp_path: Path, answers: Any, customer: Any) -> None:
    async def program(engine: Engine) -> None:
        await engine.start(answers.options(id="account"), 100)
        handle = await engine.start(customer.options(id="customer"), "account", [30, 80, 70])
        assert await handle.result() == ["70", "there is only 70", "0"]
        assert await engine.ask("account", "withdraw", 0, type=str, timeout=60) == "closed"
        await engine.handle("account").result()
        await fits(engine, "account", "customer")

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_anybody_asks_from_another_process(kind: str, tmp_path: Path) -> None:
    async def program(host: PausableHost) -> None:
        store = make_store(host, kind, tmp_path)
        async with (
            Engine(make_store(host, kind, tmp_path) if kind != "memory" else store, host=host.sibling()) as engine,
            Client(store, host=host.sibling()) as client,
        ):
            handle = await engine.start(account.options(id="account"), 100)
            assert await client.ask("account", "withdraw", 1, type=int, timeout=60) == 99
            assert await client.handle("account").ask("withdraw", 2, type=int, timeout=60) == 97
            with pytest.raises(AskRefused, match="refused what it was asked on topic 'withdraw': there is only 97"):
                await client.ask("account", "withdraw", 98, timeout=60)
            assert await handle.ask("withdraw", 0, timeout=60) == "closed"
            assert await handle.result() == 97
            assert await client.handle("account").values() == {}, "answers are no values of the workflow"
            await fits(engine, "account")

    simulate(program)


def test_asks_and_messages_on_one_topic_are_apart() -> None:
    @workflow
    async def listens() -> list[object]:
        message = await everlog.recv("topic", type=str)
        request = await everlog.recv("topic", type=Request[str])
        await request.reply(message)
        return [message, request.value, await everlog.recv("topic", type=str)]

    async def program(engine: Engine) -> None:
        handle = await engine.start(listens)
        asking = asyncio.create_task(handle.ask("topic", "asked", timeout=60))
        await asyncio.sleep(5)
        await handle.send("topic", "first")
        await handle.send("topic", "second")
        assert await asking == "first"
        assert await handle.result() == ["first", "asked", "second"]

    run(program)


def test_what_does_not_fit_is_refused_and_the_workflow_waits_on() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(account.options(id="account"), 5)
        with pytest.raises(AskRefused) as refused:
            await handle.ask("withdraw", "all of it", timeout=60)
        assert refused.value.reason == "it does not fit what is taken, at $: expected int, found 'all of it'"
        assert await engine.run(shops, "account", [["no"], 2]) == [
            "it does not fit what is taken, at $: expected int, found ['no']",
            "3",
        ]
        assert (await handle.status()).state in ("running", "waiting")
        assert await handle.ask("withdraw", 0, timeout=60) == "closed"
        assert len(await events_of(engine, "account", "request_refused")) == 2

    run(program)


def test_an_ask_is_answered_once() -> None:
    @workflow
    async def answers_twice() -> list[str]:
        request = await everlog.recv("question", type=Request[str])
        await request.reply(1)
        errors: list[str] = []
        for again in (request.reply, request.refuse):
            with pytest.raises(
                UsageError, match=r"has answered this ask of 'client-.*' on topic 'question' before"
            ) as e:
                await again("once more")
            errors.append(str(e.value))
        return errors

    async def program(engine: Engine) -> None:
        handle = await engine.start(answers_twice)
        assert await handle.ask("question", "?", timeout=60) == 1
        assert len(await handle.result()) == 2
        assert "request_refused" not in await kinds(handle)

    run(program)


def test_a_request_belongs_to_its_workflow() -> None:
    kept: list[Any] = []

    @workflow
    async def keeps() -> None:
        kept.append(await everlog.recv("question", type=Request[str]))
        await everlog.recv("never")

    @workflow
    async def steals() -> None:
        await kept[0].reply("mine")

    async def program(engine: Engine) -> None:
        handle = await engine.start(keeps.options(id="keeps"))
        asking = asyncio.create_task(handle.ask("question", "?", timeout=60))
        await until(lambda: bool(kept))
        with pytest.raises(WrongContext, match="belongs to workflow 'keeps'"):
            kept[0].reply("from outside")
        with pytest.raises(WorkflowFailed, match="belongs to workflow 'keeps'"):
            await engine.run(steals)
        asking.cancel()

    run(program, workflows=[keeps, steals])


def test_requests_are_of_the_colour_of_the_code() -> None:
    @workflow
    async def wrong_async(which: int) -> None:
        forms: list[Any] = [sync.Request[int], Request[int] | Request[str], Request[int] | None, list[Request[int]]]
        await everlog.recv("question", type=forms[which])

    @workflow
    def wrong_blocking() -> None:
        sync.recv("question", type=Request[int])

    async def program(engine: Engine) -> None:
        for which in range(4):
            with pytest.raises(WorkflowFailed, match=r"type=everlog\.Request\[\.\.\.\], alone"):
                await engine.run(wrong_async, which)
        with pytest.raises(WorkflowFailed, match=r"type=sync\.Request\[\.\.\.\], alone"):
            await engine.run(wrong_blocking)

    run(program)


# -- time limits -------------------------------------------------------------------------------------------------------


@on_both_stores
def test_a_late_answer_is_dropped(kind: str, tmp_path: Path) -> None:
    @workflow
    async def dawdles() -> int:
        for number in range(2):
            request = await everlog.recv("question", type=Request[str])
            await asyncio.sleep(20)
            await request.reply(number)
        return 2

    @workflow
    async def is_impatient(to: str) -> str:
        with pytest.raises(TimeoutError, match="workflow 'dawdles' did not answer in time"):
            await everlog.ask(to, "question", "1", timeout=5)
        await asyncio.sleep(30)
        return str(await everlog.ask(to, "question", "2", timeout=100))

    async def program(engine: Engine) -> None:
        await engine.start(dawdles.options(id="dawdles"))
        handle = await engine.start(is_impatient.options(id="impatient"), "dawdles")
        assert await handle.result() == "1"
        assert await engine.handle("dawdles").result() == 2
        store: Any = engine.store
        assert await engine.on_thread(lambda: list(store.inbox("impatient"))) == []
        await fits(engine, "dawdles", "impatient")

    run(program, kind=kind, folder=tmp_path, workflows=[dawdles, is_impatient])


def test_who_asks_from_outside_gives_up_after_its_timeout() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(idles)
        with pytest.raises(TimeoutError, match="has not answered within 2 s what it was asked on topic 'question'"):
            await handle.ask("question", "?", timeout=2)
        with pytest.raises(UsageError, match="timeout of ask"):
            await handle.ask("question", "?", timeout=None)  # type: ignore[call-overload]  # which is the point

    run(program)


def test_that_nobody_waits_for_the_answer_any_more_is_no_error() -> None:
    @workflow
    async def waits_for_the_end() -> str:
        request = await everlog.recv("question", type=Request[str])
        await asyncio.sleep(50)
        await request.reply("too late")
        return "replied"

    async def program(engine: Engine) -> None:
        handle = await engine.start(waits_for_the_end.options(id="late"))
        asker = await engine.start(asks_one, "late")
        await until(lambda: _received(engine, "late"))
        await asker.terminate()
        assert await handle.result() == "replied"

    run(program, workflows=[waits_for_the_end, asks_one])


async def _received(engine: Engine, workflow_id: str) -> bool:
    return bool(await events_of(engine, workflow_id, "message_received"))


# -- ends --------------------------------------------------------------------------------------------------------------


async def end_it(handle: Handle[Any], how: str) -> None:
    """Have a workflow end that has taken a question."""
    if how == "cancel":
        await handle.cancel(reason="enough")
    elif how == "terminate":
        await handle.terminate()


@on_both_stores
@pytest.mark.parametrize("how", ["return", "fail", "cancel", "terminate"])
def test_who_ends_refuses_what_it_was_asked(kind: str, tmp_path: Path, how: str) -> None:
    ended = {"return": "completed", "fail": "failed", "cancel": "cancelled", "terminate": "terminated"}[how]

    async def program(engine: Engine) -> None:
        handle = await engine.start(takes.options(id="busy"), how if how in ("return", "fail") else "wait")
        if how in ("return", "fail"):
            await handle.pause()  # so that all have asked before it takes the first
            await in_state(handle, "paused")
        asking = [asyncio.create_task(handle.ask("question", "?", timeout=500)) for _ in range(2)]
        askers = [await engine.start(asks_one.options(id=f"asker-{number}"), "busy") for number in range(2)]
        await asyncio.sleep(10)
        before = engine.host.wall()
        await handle.resume()
        await end_it(handle, how)
        reason = f"workflow 'busy' has ended ({ended}) without an answer"
        for one in asking:
            with pytest.raises(AskRefused) as refused:
                await one
            assert refused.value.reason == reason
        for asker in askers:
            assert await asker.result() == f"AskRefused: {reason}"
        assert engine.host.wall() - before < 1_000_000, "they hear at once"
        assert len(await events_of(engine, "busy", "request_refused")) == 4
        await fits(engine, "busy", *(asker.id for asker in askers))

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
@pytest.mark.parametrize("how", ["cancel", "terminate"])
def test_what_nobody_holds_refuses_when_it_is_ended_from_outside(kind: str, tmp_path: Path, how: str) -> None:
    async def program(host: PausableHost) -> None:
        store = make_store(host, kind, tmp_path)
        async with Engine(store, host=host.sibling(), workflows=[asks_one]) as engine:
            handle = await engine.start(idles.options(id="queued"))  # which this engine does not run
            asking = asyncio.create_task(handle.ask("question", "?", timeout=500))
            asker = await engine.start(asks_one, "queued")
            await asyncio.sleep(20)
            await end_it(handle, how)
            with pytest.raises(AskRefused, match="without an answer"):
                await asking
            assert "without an answer" in await asker.result()
            await fits(engine, "queued", asker.id)

    simulate(program)


class DeafStore(FlakyStore):
    """A store whose reader of inboxes misses asks: as if each was written in the moment of the end."""

    def unread(self, worker: str, *, after: int = 0) -> Sequence[InboxRow]:
        return [row for row in super().unread(worker, after=after) if not row.topic.startswith(asks.ASK)]


def test_an_ask_that_is_written_in_the_moment_of_the_end_is_refused() -> None:
    @workflow
    async def ends() -> None:
        await asyncio.sleep(0.5)

    async def program(engine: Engine) -> None:
        await engine.start(ends.options(id="ends"))
        asker = await engine.start(asks_one, "ends")
        heard = await asker.result()
        assert heard == "AskRefused: workflow 'ends' has ended (completed) without an answer"
        await engine.handle("ends").delete()
        await fits(engine, asker.id)

    run(program, store=DeafStore, workflows=[ends, asks_one])


def test_an_answer_that_came_before_the_end_counts_however_late_it_is_read() -> None:
    class SlowStore(FlakyStore):
        """A store whose answers are seen two seconds after they were written."""

        def unread(self, worker: str, *, after: int = 0) -> Sequence[InboxRow]:
            rows = super().unread(worker, after=after)
            late = self.now() - 900_000
            return [row for row in rows if not row.topic.startswith(asks.REPLY) or row.arrived_at < late]

    @workflow
    async def answers_and_ends() -> None:
        request = await everlog.recv("question", type=Request[str])
        await request.reply("here")

    async def program(engine: Engine) -> None:
        await engine.start(answers_and_ends.options(id="answers"))
        asker = await engine.start(asks_one, "answers")
        assert await asker.result() == "here"

    run(program, store=SlowStore, workflows=[answers_and_ends, asks_one])


def test_nobody_there_to_ask() -> None:
    @workflow
    async def asks_nobody(to: str) -> str:
        with pytest.raises(NotFound) as error:
            await everlog.ask(to, "question", "?", timeout=5)
        return str(error.value)

    async def program(engine: Engine) -> None:
        handle = await engine.start(takes.options(id="over"), "return")
        await handle.cancel()
        with pytest.raises(everlog.WorkflowCancelled):
            await handle.result()
        assert "there is no workflow 'nobody' to send to" in await engine.run(asks_nobody, "nobody")
        assert "workflow 'over' has ended" in await engine.run(asks_nobody, "over")
        for to in ("nobody", "over"):
            with pytest.raises(NotFound, match=to):
                await engine.ask(to, "question", "?", timeout=5)

    run(program, workflows=[asks_nobody, takes, asks_one])


# -- keys --------------------------------------------------------------------------------------------------------------


@on_both_stores
def test_asks_of_one_key_are_one(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(account.options(id="account"), 100)
        asking = [handle.ask("withdraw", 10, type=int, timeout=60, key="once") for _ in range(3)]
        assert await asyncio.gather(*asking) == [90, 90, 90]
        assert await handle.ask("withdraw", 0, timeout=60) == "closed"
        assert await handle.result() == 90
        assert await handle.ask("withdraw", 10, type=int, timeout=60, key="once") == 90, "also when it has ended"
        with pytest.raises(NotFound, match="has ended"):
            await handle.ask("withdraw", 10, type=int, timeout=60, key="another")

    run(program, kind=kind, folder=tmp_path)


def test_in_an_async_step_it_is_asked_with_a_key() -> None:
    attempts: list[int] = []

    @step(retry=everlog.RetryPolicy(max_attempts=3, first_delay=0.1))
    async def withdraws(where: str) -> int:
        left = await everlog.ask(where, "withdraw", 10, type=int, timeout=60, key="the step")
        attempts.append(left)
        if len(attempts) < 3:
            raise ConnectionError
        return left

    @step
    def plain() -> None:
        sync.ask("x", "withdraw", 1, timeout=1)

    @workflow
    async def pays(where: str) -> int:
        with pytest.raises(WrongContext, match=r"make the step an async def and write \"await everlog\.ask"):
            await everlog.call(plain)
        return await withdraws(where)

    @workflow
    async def gives_a_key(where: str) -> None:
        await everlog.ask(where, "withdraw", 1, timeout=5, key="k")

    async def program(engine: Engine) -> None:
        await engine.start(account.options(id="account"), 100)
        assert await engine.run(pays, "account") == 90
        assert attempts == [90, 90, 90]
        with pytest.raises(WorkflowFailed, match="asked once anyway, so it has no key="):
            await engine.run(gives_a_key, "account")

    run(program, workflows=[account, pays, gives_a_key])


def test_names_that_are_too_long_and_reserved_ones() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(idles)
        with pytest.raises(UsageError, match="the topic of an ask must have at most 500 characters, got 512"):
            await handle.ask("t" * 512, "?", timeout=1)
        with pytest.raises(UsageError, match="the key of an ask must have at most 494 characters, got 500"):
            await handle.ask("t", "?", timeout=1, key="k" * 500)
        with pytest.raises(UsageError, match="are Everlog's own"):
            await handle.get_value("everlog:reply key once")

    run(program)


# -- crashes, parking, retries -----------------------------------------------------------------------------------------


@on_both_stores
def test_both_sides_are_parked_and_woken(kind: str, tmp_path: Path) -> None:
    @workflow
    async def answers_tomorrow() -> None:
        request = await everlog.recv("question", type=Request[str])
        await everlog.recv("go")
        await request.reply("tomorrow")

    async def program(host: PausableHost) -> None:
        store = make_store(host, kind, tmp_path)
        engine = await opened(Engine(store, host=host.sibling(), workflows=[answers_tomorrow, asks_one]))
        handle = await engine.start(answers_tomorrow.options(id="answers"))
        asker = await engine.start(asks_one.options(id="asker"), "answers", 10**6)
        asking = asyncio.create_task(handle.ask("question", "?", timeout=10**6))
        await asyncio.sleep(30)
        shell: Any = engine._shell
        assert list(shell.worker.residents) == []
        why = (await asker.status()).why
        assert why.startswith("It has waited")
        assert "for an answer of 'answers', until" in why
        asking.cancel()
        kill(engine)
        async with Engine(store, host=host.sibling(), workflows=[answers_tomorrow, asks_one]) as engine:
            await asyncio.sleep(10)
            status = await engine.handle("answers").status()
            assert "has had an ask on topic 'question' to answer for" in status.why
            await engine.send("answers", "go", None)
            assert await engine.handle("asker").result() == "tomorrow"
            await fits(engine, "answers", "asker")

    simulate(program)


@on_both_stores
def test_after_a_retry_nobody_is_answered_twice(kind: str, tmp_path: Path) -> None:
    mended: list[bool] = []

    @step
    async def looks_up() -> str:
        await asyncio.sleep(1)
        if not mended:
            raise ConnectionError
        return "found"

    @workflow
    async def answers_whatever_happens() -> str:
        requests = [await everlog.recv("question", type=Request[str]) for _ in range(3)]
        answer = "nothing"
        try:
            answer = await looks_up()
        finally:
            for request in requests[:2]:
                await request.reply(answer)
        await requests[2].reply(answer)
        return answer

    async def program(engine: Engine) -> None:
        handle = await engine.start(answers_whatever_happens.options(id="answers"))
        asker = await engine.start(asks_one.options(id="asker"), "answers")
        await asyncio.sleep(0.2)
        asking: list[asyncio.Task[Any]] = []
        for key in "ab":
            asking.append(asyncio.create_task(handle.ask("question", "?", timeout=100, key=key)))
            await asyncio.sleep(0.2)
        with pytest.raises(WorkflowFailed):
            await handle.result()
        assert await asker.result() == "nothing"
        heard = await asyncio.gather(*asking, return_exceptions=True)
        assert heard[0] == "nothing"
        assert isinstance(heard[1], AskRefused), "it ended before it answered that"
        mended.append(True)
        await engine.retry("answers")
        assert await handle.result() == "found"
        assert await handle.ask("question", "?", timeout=100, key="a") == "nothing"
        with pytest.raises(AskRefused, match=r"has ended \(failed\) without an answer"):
            await handle.ask("question", "?", timeout=100, key="b")
        assert len(await events_of(engine, "answers", "request_answered")) == 5
        await fits(engine, "answers", "asker")

    run(program, kind=kind, folder=tmp_path, workflows=[answers_whatever_happens, asks_one])


@on_both_stores
def test_after_a_retry_nobody_is_asked_twice(kind: str, tmp_path: Path) -> None:
    mended: list[bool] = []

    @step
    async def looks_up() -> str:
        if not mended:
            raise ConnectionError
        return "found"

    @workflow
    async def asks_beside_a_step(where: str) -> str:
        asking = asyncio.create_task(everlog.ask(where, "withdraw", 10, timeout=100))
        try:
            await looks_up()
        except ConnectionError:
            await asking  # so that the answer is void when it goes on before the step
            raise
        return str(await asking)

    async def program(engine: Engine) -> None:
        account_handle = await engine.start(account.options(id="account"), 100)
        handle = await engine.start(asks_beside_a_step.options(id="asks"), "account")
        with pytest.raises(WorkflowFailed):
            await handle.result()
        mended.append(True)
        await handle.retry()
        assert await handle.result() == "90"
        assert await account_handle.ask("withdraw", 1, timeout=60) == 89
        await fits(engine, "account", "asks")

    run(program, kind=kind, folder=tmp_path, workflows=[account, asks_beside_a_step])


def test_an_ask_in_the_code_of_a_compensation() -> None:
    @workflow
    async def gives_back(where: str) -> str:
        return str(await everlog.ask(where, "withdraw", -5, timeout=60))

    @workflow
    async def regrets(where: str) -> None:
        async with everlog.compensations() as undo:
            await everlog.ask(where, "withdraw", 5, timeout=60)
            undo.add(gives_back, where)
            raise ConnectionError

    async def program(engine: Engine) -> None:
        handle = await engine.start(account.options(id="account"), 100)
        with pytest.raises(WorkflowFailed):
            await engine.run(regrets, "account")
        await handle.ask("withdraw", 0, timeout=60)
        assert await handle.result() == 100

    run(program, workflows=[account, gives_back, regrets])


def test_a_reply_is_given_though_who_gives_it_is_cancelled() -> None:
    @workflow
    async def is_hasty() -> None:
        request = await everlog.recv("question", type=Request[str])

        async def reply() -> None:
            await request.reply("given")

        replying = asyncio.create_task(reply())
        await asyncio.sleep(0)
        replying.cancel()
        await asyncio.sleep(1)

    async def program(engine: Engine) -> None:
        handle = await engine.start(is_hasty.options(id="hasty"))
        assert await handle.ask("question", "?", timeout=60) == "given"
        await handle.result()
        await fits(engine, "hasty")

    run(program, workflows=[is_hasty])


@on_both_stores
def test_inboxes_are_read_by_anybody(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(idles.options(id="idles"))
        for number in range(3):
            await handle.send("topic", number)

        def look(store: Store) -> list[tuple[str, bytes]]:
            assert isinstance(store, SupportsInboxes)
            assert list(store.inbox("nobody")) == []
            return [(row.topic, row.payload) for row in store.inbox("idles")]

        assert await engine.on_thread(lambda: look(engine.store)) == [("topic", b"0"), ("topic", b"1"), ("topic", b"2")]

    run(program, kind=kind, folder=tmp_path)


def test_who_is_answered_by_a_workflow_that_then_waits_hears_of_it_at_once() -> None:
    @step
    async def look_up(question: str) -> str:
        return question.upper()

    @workflow
    async def answering() -> None:
        while True:
            request = await everlog.recv("question", type=Request[str])
            await request.reply(await look_up(request.value))

    async def program(engine: Engine) -> None:
        handle = await engine.start(answering)
        for question in ("one", "two"):
            assert await handle.ask("question", question, type=str, timeout=60) == question.upper()

    run(program)

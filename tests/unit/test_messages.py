"""Messages: each is received once, in the order of its sender, by who waits or will wait for it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

import everlog
from everlog import Client, Engine, NotEncodable, NotFound, UsageError, step, workflow
from everlog.testing.simulation import SimulatedHost
from tests.support import events_of, in_state, kill, kinds, make_store, on_both_stores, opened, run, simulate


@dataclass
class Approve:
    by: str
    limit: int = 0


@dataclass
class Reject:
    why: str


@workflow
async def collects(count: int) -> list[Any]:
    return [await everlog.recv("items") for _ in range(count)]


@on_both_stores
def test_messages_of_one_sender_are_received_in_the_order_sent(kind: str, tmp_path: Any) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        async with (
            Engine(store, host=host.sibling(), workflows=[collects]) as engine,
            Client(store, host=host.sibling()) as client,
        ):
            handle = await engine.start(collects, 60)

            async def send(sender: Client, name: str) -> None:
                for number in range(30):
                    await sender.send(handle.id, "items", [name, number])

            await asyncio.gather(send(engine, "engine"), send(client, "client"))
            received = await handle.result()
            for name in ("engine", "client"):
                assert [number for sender, number in received if sender == name] == list(range(30))

    simulate(program)


def test_messages_wait_in_the_inbox_for_who_asks_later() -> None:
    @workflow(name="asks_later")
    async def flow() -> list[Any]:
        await asyncio.sleep(10)
        return [await everlog.recv("b"), await everlog.recv("a"), await everlog.recv("b")]

    async def program(engine: Engine) -> list[Any]:
        handle = await engine.start(flow)
        for topic, message in (("a", 1), ("b", 2), ("b", 3), ("nobody", 4)):
            await handle.send(topic, message)
        return await handle.result()

    assert run(program, workflows=[flow]) == [2, 1, 3]


@on_both_stores
def test_a_message_that_nobody_awaits_stays_through_a_restart(kind: str, tmp_path: Any) -> None:
    @workflow(name="asks_after_a_restart")
    async def flow() -> Any:
        await everlog.recv("go")
        return await everlog.recv("kept")

    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        async with Engine(store, host=host.sibling(), workflows=[flow]) as first:
            handle = await first.start(flow.options(id="flow"))
            await in_state(handle, "waiting")
            await handle.send("kept", "kept")
            await asyncio.sleep(1)
        async with Engine(store, host=host.sibling(), workflows=[flow]) as second:
            await asyncio.sleep(1)
            assert (await second.handle("flow").status()).worker is None, "it need not be woken for that"
            await second.send("flow", "go", 1)
            assert await second.handle("flow").result() == "kept"

    simulate(program)


def test_several_waiters_on_a_topic_get_one_message_each_in_their_order() -> None:
    @workflow(name="several_wait")
    async def flow() -> list[Any]:
        return await asyncio.gather(*(everlog.recv("items") for _ in range(5)))

    async def program(engine: Engine) -> None:
        handle = await engine.start(flow)
        for number in range(5):
            await handle.send("items", number)
        assert await handle.result() == [0, 1, 2, 3, 4]

    for seed in range(10):
        run(program, workflows=[flow], seed=seed)


def test_a_wait_ends_at_its_timeout_with_an_error_or_the_default() -> None:
    @workflow(name="waits_in_vain")
    async def flow() -> list[Any]:
        begun = everlog.now()
        found: list[Any] = [await everlog.recv("never", timeout=5, default="default")]
        found.append(await everlog.recv("never", timeout=5, default=None))
        try:
            await everlog.recv("never", timeout=5)
        except TimeoutError as error:
            found.append(str(error))
        found.append((everlog.now() - begun).total_seconds())
        return found

    async def program(engine: Engine) -> list[Any]:
        return await engine.run(flow)

    default, none, said, seconds = run(program, workflows=[flow])
    assert (default, none) == ("default", None)
    assert "'never'" in said
    assert 15 <= seconds < 15.1


def test_a_default_needs_a_timeout() -> None:
    @workflow(name="has_no_timeout")
    async def flow() -> str:
        try:
            await everlog.recv("x", default=1)  # type: ignore[call-overload]
        except UsageError as error:
            return str(error)
        return ""

    async def program(engine: Engine) -> str:
        return await engine.run(flow)

    assert "timeout" in run(program, workflows=[flow])


def test_a_timeout_of_nothing_only_looks() -> None:
    @workflow(name="looks")
    async def flow() -> list[Any]:
        found = [await everlog.recv("items", timeout=0, default="none")]
        await everlog.recv("go")
        found += [await everlog.recv("items", timeout=0, default="none") for _ in range(3)]
        return found

    async def program(engine: Engine) -> list[Any]:
        handle = await engine.start(flow)
        await in_state(handle, "waiting")
        await handle.send("items", 1)
        await handle.send("items", 2)
        await handle.send("go", 1)
        return await handle.result()

    assert run(program, workflows=[flow]) == ["none", 1, 2, "none"]


# -- types


@workflow
async def decides() -> list[Any]:
    found: list[Any] = []
    for _ in range(3):
        decision = await everlog.recv("decision", type=Approve | Reject)
        found.append([type(decision).__name__, decision.by if isinstance(decision, Approve) else decision.why])
    return found


def test_a_union_of_dataclasses_comes_back_as_what_was_sent() -> None:
    async def program(engine: Engine) -> list[Any]:
        handle = await engine.start(decides)
        for message in (Approve("ann", 5), Reject("too late"), Approve("bob")):
            await handle.send("decision", message)
        return await handle.result()

    assert run(program, workflows=[decides]) == [["Approve", "ann"], ["Reject", "too late"], ["Approve", "bob"]]


def test_a_message_that_does_not_fit_its_type_makes_the_workflow_stuck_and_is_not_lost() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(decides)
        await handle.send("decision", 17)
        await in_state(handle, "stuck")
        assert "decision" in (await handle.status()).why
        (received,) = await events_of(engine, handle.id, "message_received")
        assert received.data["message"] == 17

    run(program, workflows=[decides])


def test_a_message_that_cannot_be_recorded_is_refused_before_anything_is_sent() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(collects, 1)
        with pytest.raises(NotEncodable, match="items"):
            await handle.send("items", object())
        await handle.send("items", "fine")
        assert await handle.result() == ["fine"]

    run(program, workflows=[collects])


# -- keys


@on_both_stores
def test_messages_of_one_key_are_one_also_after_it_was_read(kind: str, tmp_path: Any) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        async with Engine(store, host=host.sibling(), workflows=[collects]) as engine:
            handle = await engine.start(collects, 3)
            await handle.send("items", 1, key="a")
            await handle.send("items", "again", key="a")
            await asyncio.sleep(1)
            await handle.send("items", "and again", key="a")
            async with Client(store, host=host.sibling()) as client:
                await client.send(handle.id, "items", "from elsewhere", key="a")
                await client.send(handle.id, "items", 2, key="b")
            await handle.send("items", 3)
            assert await handle.result() == [1, 2, 3]

    simulate(program)


@workflow
async def sends_twice(to: str) -> None:
    for _ in range(2):
        await everlog.send(to, "items", "keyed", key="once")
    await everlog.send(to, "items", "plain")
    await everlog.send(to, "items", "plain")


def test_keys_count_between_workflows_as_well() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(collects, 3)
        sender = await engine.start(sends_twice, handle.id)
        assert await handle.result() == ["keyed", "plain", "plain"]
        await sender.result()
        assert (await kinds(sender)).count("message_sent") == 4

    run(program, workflows=[collects, sends_twice])


# -- nobody there


@workflow
async def sends_into_the_void(to: str) -> list[str]:
    said: list[str] = []
    for topic in ("one", "two"):
        try:
            await everlog.send(to, topic, 1)
        except NotFound as error:
            said.append(str(error))
    await asyncio.sleep(5)
    return said


def test_sending_to_nobody_is_not_found_and_replayed_as_that() -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        first = await opened(Engine(store, host=host.sibling(), workflows=[sends_into_the_void, collects]))
        ended = await first.start(collects, 0)
        await ended.result()
        for to in ("nobody", ended.id):
            with pytest.raises(NotFound, match=to):
                await first.send(to, "one", 1)
        unknown = await first.start(sends_into_the_void.options(id="unknown"), "nobody")
        await first.start(sends_into_the_void.options(id="ended"), ended.id)
        await asyncio.sleep(1)
        assert (await kinds(unknown)).count("send_failed") == 2
        kill(first)
        await asyncio.sleep(15)
        async with Engine(store, host=host.sibling(), workflows=[sends_into_the_void, collects]) as second:
            for workflow_id, to, reason in (("unknown", "nobody", "no workflow"), ("ended", ended.id, "has ended")):
                said = await second.handle(workflow_id).result()
                assert len(said) == 2
                assert all(to in one and reason in one for one in said)

    simulate(program)


def test_one_send_that_fails_does_not_hold_the_others_of_its_drain() -> None:
    @workflow(name="sends_at_once")
    async def flow(to: str) -> list[str]:
        ends = await asyncio.gather(
            everlog.send(to, "items", 1),
            everlog.send("nobody", "items", 2),
            everlog.send(to, "items", 3),
            everlog.send("nobody either", "items", 4),
            return_exceptions=True,
        )
        return [type(end).__name__ for end in ends]

    async def program(engine: Engine) -> None:
        handle = await engine.start(collects, 2)
        assert await engine.run(flow, handle.id) == ["NoneType", "NotFound", "NoneType", "NotFound"]
        assert await handle.result() == [1, 3]

    run(program, workflows=[flow, collects])


def test_a_workflow_can_send_to_itself() -> None:
    @workflow(name="talks_to_itself")
    async def flow() -> list[Any]:
        me = everlog.current().workflow_id
        await everlog.send(me, "items", 1)
        await everlog.send(me, "items", 2)
        return [await everlog.recv("items"), await everlog.recv("items")]

    async def program(engine: Engine) -> list[Any]:
        return await engine.run(flow)

    assert run(program, workflows=[flow]) == [1, 2]


def test_two_workflows_play_ping_pong() -> None:
    @workflow(name="plays")
    async def plays(other: str, serves: bool) -> int:
        hits = 0
        if serves:
            await everlog.send(other, "ball", 0)
        while hits < 20:
            ball = await everlog.recv("ball", type=int)
            hits += 1
            try:
                await everlog.send(other, "ball", ball + 1)
            except NotFound:
                break
        return hits

    async def program(engine: Engine) -> None:
        one = await engine.start(plays.options(id="one"), "two", False)
        two = await engine.start(plays.options(id="two"), "one", True)
        assert await one.result() == 20
        assert await two.result() in (19, 20)

    run(program, workflows=[plays])


# -- messages and time


@pytest.mark.parametrize(("sent_at", "expected"), [(4.0, "in time"), (9.0, "in time"), (12.0, "too late")])
def test_a_message_that_came_in_time_beats_the_timer_though_no_engine_ran(sent_at: float, expected: str) -> None:
    @workflow(name="has_a_deadline")
    async def flow() -> str:
        try:
            await everlog.recv("answer", timeout=10)
        except TimeoutError:
            return "too late"
        return "in time"

    @workflow(name="has_an_asyncio_deadline")
    async def asyncio_flow() -> str:
        try:
            async with asyncio.timeout(10):
                await everlog.recv("answer")
        except TimeoutError:
            return "too late"
        return "in time"

    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        flows: list[Any] = [flow, asyncio_flow]
        async with Engine(store, host=host.sibling(), workflows=flows) as first:
            for one in flows:
                await in_state(await first.start(one.options(id=one.name)), "waiting")
        async with Client(store, host=host.sibling()) as client:
            await asyncio.sleep(sent_at - 1)
            for one in flows:
                await client.send(one.name, "answer", 1)
        await asyncio.sleep(60)
        async with Engine(store, host=host.sibling(), workflows=flows) as second:
            for one in flows:
                assert await second.handle(one.name).result() == expected

    simulate(program)


@workflow
async def gives_up_then_asks_again() -> list[Any]:
    found: list[Any] = []
    try:
        async with asyncio.timeout(10):
            found.append(await everlog.recv("answer"))
    except TimeoutError:
        found.append("gave up")
    found.append(await everlog.recv("answer", timeout=1000, default="lost"))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_a_message_is_not_lost_when_its_wait_is_cancelled_in_the_same_commit(seed: int) -> None:
    """The timeout and the message are both there when an engine opens: the message is for the next wait."""

    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        async with Engine(store, host=host.sibling(), workflows=[gives_up_then_asks_again]) as first:
            await in_state(await first.start(gives_up_then_asks_again.options(id="flow")), "waiting")
        async with Client(store, host=host.sibling()) as client:
            await asyncio.sleep(20)
            await client.send("flow", "answer", "kept")
        async with Engine(store, host=host.sibling(), workflows=[gives_up_then_asks_again]) as second:
            assert await second.handle("flow").result() == ["gave up", "kept"]

    simulate(program, seed=seed)


def test_of_two_waits_the_loser_loses_no_message() -> None:
    @workflow(name="takes_the_first")
    async def flow() -> list[Any]:
        one, two = (asyncio.ensure_future(everlog.recv(topic)) for topic in ("one", "two"))
        done, left = await asyncio.wait([one, two], return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()
        first = [task.result() for task in done]
        return [first, [await everlog.recv(topic, timeout=5, default="none") for topic in ("one", "two")]]

    for seed in range(10):

        async def program(host: SimulatedHost) -> None:
            store = make_store(host)
            async with Engine(store, host=host.sibling(), workflows=[flow]) as first:
                await in_state(await first.start(flow.options(id="flow")), "waiting")
            async with Client(store, host=host.sibling()) as client:
                await client.send("flow", "one", 1)
                await client.send("flow", "two", 2)
            async with Engine(store, host=host.sibling(), workflows=[flow]) as second:
                assert await second.handle("flow").result() == [[1], ["none", 2]]

        simulate(program, seed=seed)


def test_a_cancel_between_two_messages_loses_none() -> None:
    @workflow(name="is_cancelled_between")
    async def flow() -> list[Any]:
        found: list[Any] = []
        while len(found) < 3:
            try:
                found.append(await everlog.recv("items"))
            except asyncio.CancelledError:
                found.append("cancelled")
        return found

    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        async with Engine(store, host=host.sibling(), workflows=[flow]) as first:
            await in_state(await first.start(flow.options(id="flow")), "waiting")
        async with Client(store, host=host.sibling()) as client:
            await client.send("flow", "items", 1)
            await client.cancel("flow")
            await client.send("flow", "items", 2)
        async with Engine(store, host=host.sibling(), workflows=[flow]) as second:
            assert await second.handle("flow").result() == [1, "cancelled", 2]

    simulate(program)


# -- floods


@step
async def tick(n: int) -> int:
    return n


@workflow
async def is_flooded() -> int:
    total = 0
    for number in range(20):
        total += await tick(number)
        await asyncio.sleep(0.1)
    return total


def test_a_flood_of_messages_that_nobody_awaits_holds_up_nothing() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(is_flooded)
        await asyncio.gather(*(handle.send("noise", number) for number in range(2000)))
        assert await handle.result() == 190

    run(program, workflows=[is_flooded])


@pytest.mark.parametrize("wrong", ["", "x" * 10_000_000, "a\0b", "\ud800", 7, None])
def test_a_topic_or_id_that_can_be_none_is_refused(wrong: Any) -> None:
    @workflow(name="uses_wrong_names")
    async def flow(which: int) -> list[str]:
        said: list[str] = []
        for call in (
            lambda: everlog.recv(wrong),
            lambda: everlog.send("x", wrong, 1),
            lambda: everlog.send(wrong, "x", 1),
            lambda: everlog.recv("x", timeout="soon"),
        ):
            try:
                await call()
            except UsageError as error:
                said.append(str(error)[:500])
        return said

    async def program(engine: Engine) -> None:
        handle = await engine.start(collects, 1)
        for call in (
            lambda: handle.send(wrong, 1),
            lambda: engine.send(wrong, "topic", 1),
            lambda: engine.cancel(wrong),
        ):
            with pytest.raises(UsageError) as caught:
                await call()
            assert len(str(caught.value)) < 300
        said = await engine.run(flow, 1)
        assert len(said) == 4
        assert all(len(one) < 300 for one in said)
        await handle.send("items", "still fine")
        assert await handle.result() == ["still fine"]

    run(program, workflows=[flow, collects])

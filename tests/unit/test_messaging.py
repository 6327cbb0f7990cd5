"""Messages between engines, over restarts and crashes: each is received once, and none is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

import everlog
from everlog import Client, Engine, NotFound, UsageError, step, workflow
from everlog.testing import FaultyStore
from everlog.testing.faults import Fault
from everlog.testing.simulation import SimulatedHost
from tests.support import events_of, in_state, kill, kinds, make_store, on_both_stores, opened, run, until


class Packed(msgspec.Struct):
    boxes: int


class Shipment(msgspec.Struct):
    packed: list[Packed]


@workflow(name="messaging.collects")
async def collects(number: int, topic: str = "news") -> list[Any]:
    return [await everlog.recv(topic) for _ in range(number)]


# -- order


@on_both_stores
@pytest.mark.parametrize("seed", range(3))
def test_messages_of_one_sender_come_in_the_order_sent(kind: str, seed: int, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        async with (
            Client(engine.store, host=engine.host) as one,
            Client(engine.store, host=engine.host) as other,
        ):
            await engine.start(collects.options(id="c"), 60)

            async def sends(client: Client, name: str) -> None:
                for number in range(30):
                    await client.send("c", "news", [name, number])

            await asyncio.gather(sends(one, "one"), sends(other, "other"))
        found = await engine.handle("c", collects).result()
        for name in ("one", "other"):
            assert [number for sender, number in found if sender == name] == list(range(30))

    run(program, seed=seed, kind=kind, folder=tmp_path, workflows=[collects])


@on_both_stores
def test_messages_that_came_before_the_workflow_began_are_received(kind: str, tmp_path: Any) -> None:
    host = SimulatedHost(1)

    async def main() -> list[Any]:
        store = make_store(host, kind, tmp_path)
        async with Client(store, host=host.sibling()) as client:
            handle = await client.start(collects.options(id="c"), 5)
            for number in range(5):
                await handle.send("news", number)
        async with Engine(store, host=host.sibling(), workflows=[collects]) as engine:
            return await engine.handle("c", collects).result()

    assert host.run(main()) == [0, 1, 2, 3, 4]


@workflow(name="messaging.waits_in_turn")
async def waits_in_turn() -> list[Any]:
    waiters = [asyncio.create_task(everlog.recv("news")) for _ in range(4)]
    await asyncio.sleep(1)
    waiters[1].cancel()
    await asyncio.wait(waiters)
    return [None if waiter.cancelled() else waiter.result() for waiter in waiters]


@on_both_stores
def test_a_waiter_that_was_cancelled_takes_no_message(kind: str, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(waits_in_turn)
        await asyncio.sleep(2)
        for text in "abc":
            await handle.send("news", text)
        assert await handle.result() == ["a", None, "b", "c"]

    run(program, kind=kind, folder=tmp_path, workflows=[waits_in_turn])


# -- time


@workflow(name="messaging.in_time")
async def in_time(way: str) -> list[Any]:
    received: list[Any] = []
    try:
        if way == "recv":
            received.append(await everlog.recv("news", timeout=100))
        elif way == "timeout":
            async with asyncio.timeout(100):
                received.append(await everlog.recv("news"))
        else:
            received.append(await asyncio.wait_for(everlog.recv("news"), 100))
    except TimeoutError:
        received.append("too late")
        received.append(await everlog.recv("news"))
    return received


@on_both_stores
@pytest.mark.parametrize("way", ["recv", "timeout", "wait_for"])
@pytest.mark.parametrize(("sent_at", "received"), [(50, ["hello"]), (150, ["too late", "hello"])])
def test_a_message_in_time_beats_the_timer_though_no_engine_ran(
    kind: str, way: str, sent_at: int, received: list[str], tmp_path: Any
) -> None:
    host = SimulatedHost(1)

    async def main() -> None:
        store = make_store(host, kind, tmp_path)
        async with Engine(store, host=host.sibling(), workflows=[in_time]) as engine:
            handle = await engine.start(in_time.options(id="w"), way)
            await in_state(handle, "waiting")
        await asyncio.sleep(sent_at)
        async with Client(store, host=host.sibling()) as client:
            await client.send("w", "news", "hello")
        await asyncio.sleep(500 - sent_at)
        async with Engine(store, host=host.sibling(), workflows=[in_time]) as engine:
            assert await engine.handle("w", in_time).result(timeout=20) == received

    host.run(main())


@step(name="messaging.takes_a_while")
async def takes_a_while(seconds: float) -> None:
    await asyncio.sleep(seconds)


@workflow(name="messaging.polls")
async def polls() -> list[Any]:
    await takes_a_while(5)
    found: list[Any] = []
    while (message := await everlog.recv("news", timeout=0, default=None)) is not None:
        found.append(message)
    return found


@on_both_stores
def test_a_timeout_of_nothing_takes_what_is_there(kind: str, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(polls)
        for number in range(1, 4):
            await handle.send("news", number)
        assert await handle.result() == [1, 2, 3]

    run(program, kind=kind, folder=tmp_path, workflows=[polls])


@workflow(name="messaging.later")
async def later() -> list[Any]:
    first = await everlog.recv("first")
    await asyncio.sleep(10)
    return [first, await everlog.recv("second"), await everlog.recv("second")]


@on_both_stores
def test_a_message_that_nobody_awaits_stays_until_somebody_does(kind: str, tmp_path: Any) -> None:
    host = SimulatedHost(1)

    async def main() -> None:
        store = make_store(host, kind, tmp_path)
        async with Engine(store, host=host.sibling(), workflows=[later]) as engine:
            handle = await engine.start(later.options(id="w"))
            await handle.send("second", 2)
            await asyncio.sleep(5)
            assert "message_received" not in await kinds(handle)
        async with Client(store, host=host.sibling()) as client:
            await client.send("w", "second", 3)
        async with Engine(store, host=host.sibling(), workflows=[later]) as engine:
            await asyncio.sleep(5)
            await engine.send("w", "first", 1)
            assert await engine.handle("w", later).result() == [1, 2, 3]

    host.run(main())


# -- types


@workflow(name="messaging.structs")
async def structs() -> list[Any]:
    packed = await everlog.recv("packed", type=Packed)
    many = await everlog.recv("many", type=Shipment)
    plain: Any = await everlog.recv("plain")
    return [type(packed).__name__, packed.boxes, [one.boxes for one in many.packed], plain]


def test_structs_and_lists_of_them_come_back_as_what_they_were() -> None:
    async def program(engine: Engine) -> list[Any]:
        handle = await engine.start(structs)
        await handle.send("packed", Packed(3))
        await handle.send("many", Shipment([Packed(1), Packed(2)]))
        await handle.send("plain", {"a": [1, None, 2.5]})
        return await handle.result()

    assert run(program, workflows=[structs]) == ["Packed", 3, [1, 2], {"a": [1, None, 2.5]}]


def counts(declared: Any) -> Any:
    @workflow(name="messaging.counts")
    async def counting() -> str:
        message: Any = await everlog.recv("count", type=declared)
        return f"{type(message).__name__} {message}"

    return counting


@on_both_stores
def test_a_message_of_the_wrong_type_makes_stuck_with_an_explanation_and_is_not_lost(
    kind: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = SimulatedHost(1)

    async def main() -> None:
        store = make_store(host, kind, tmp_path)
        monkeypatch.setenv("EVERLOG_BUILD", "one")
        flow = counts(int)
        async with Engine(store, host=host.sibling(), workflows=[flow]) as engine:
            handle = await engine.start(flow.options(id="w"))
            await handle.send("count", "twelve")
            await in_state(handle, "stuck")
            status = await handle.status()
            for told in ("'w'", "'count'", "int", "twelve"):
                assert told in str(status.error)
        monkeypatch.setenv("EVERLOG_BUILD", "two")
        flow = counts(str)
        async with Engine(store, host=host.sibling(), workflows=[flow]) as engine:
            assert await engine.handle("w", flow).result(timeout=60) == "str twelve"

    host.run(main())


# -- keys


@on_both_stores
def test_messages_of_one_key_are_one_also_after_the_first_was_received(kind: str, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(collects.options(id="c"), 3)
        other = await engine.start(collects.options(id="d"), 1)
        await handle.send("news", 1, key="k")
        await handle.send("news", 1, key="k")
        await asyncio.sleep(5)
        await handle.send("news", "again", key="k")
        async with Client(engine.store, host=engine.host) as client:
            await client.send("c", "news", "again", key="k")
            await client.send("c", "other topic", "again", key="k")
        await handle.send("news", 2, key="l")
        await other.send("news", "its own", key="k")
        await handle.send("news", 3)
        assert await handle.result() == [1, 2, 3]
        assert await other.result() == ["its own"]
        await handle.send("news", 1, key="k")  # it was delivered: nothing is wrong
        with pytest.raises(NotFound):
            await handle.send("news", 1, key="m")

    run(program, kind=kind, folder=tmp_path, workflows=[collects])


@workflow(name="messaging.sends_with_a_key")
async def sends_with_a_key(to: str) -> None:
    for number in (1, 1, 1):
        await everlog.send(to, "news", number, key="k")
    await everlog.send(to, "news", 2)


@on_both_stores
def test_a_key_is_one_message_also_from_a_workflow(kind: str, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(collects.options(id="c"), 2)
        await engine.run(sends_with_a_key, "c")
        assert await handle.result() == [1, 2]

    run(program, kind=kind, folder=tmp_path, workflows=[collects, sends_with_a_key])


# -- nobody there


@workflow(name="messaging.sends_to_nobody")
async def sends_to_nobody(*to: str) -> list[str]:
    said: list[str] = []
    for workflow_id in to:
        try:
            await everlog.send(workflow_id, "news", "hello")
        except NotFound as error:
            said.append(str(error))
    await asyncio.sleep(1)
    return said


@on_both_stores
def test_a_send_to_nobody_is_not_found_and_is_in_the_history(kind: str, tmp_path: Any) -> None:
    host = SimulatedHost(1)

    async def main() -> None:
        store = make_store(host, kind, tmp_path)
        async with Engine(store, host=host.sibling(), workflows=[collects, sends_to_nobody]) as engine:
            await engine.run(collects.options(id="ended"), 0)
            for workflow_id, told in (("nobody", "there is no workflow 'nobody'"), ("ended", "has ended")):
                with pytest.raises(NotFound, match=told):
                    await engine.send(workflow_id, "news", 1)
        first = await opened(Engine(store, host=host.sibling(), workflows=[sends_to_nobody]))
        handle = await first.start(sends_to_nobody.options(id="s"), "nobody", "ended", "nobody")
        await in_state(handle, "waiting")
        assert (await kinds(handle)).count("send_failed") == 3
        kill(first)
        # The rest is a replay, in which the failures are those of the history.
        async with Engine(store, host=host.sibling(), workflows=[sends_to_nobody]) as second:
            said = await second.handle("s", sends_to_nobody).result(timeout=60)
            assert ["'nobody'" in text for text in said] == [True, False, True]
            assert (await kinds(second.handle("s"))).count("send_failed") == 3

    host.run(main())


@workflow(name="messaging.sends_to_some")
async def sends_to_some(to: list[str]) -> list[str]:
    outcomes = await asyncio.gather(
        *(everlog.send(workflow_id, "news", number) for number, workflow_id in enumerate(to)), return_exceptions=True
    )
    return [type(outcome).__name__ for outcome in outcomes]


@on_both_stores
def test_of_many_sends_at_once_only_those_to_nobody_fail(kind: str, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(collects.options(id="c"), 3)
        outcomes = await engine.run(sends_to_some, ["x", "c", "c", "y", "c", "z"])
        assert outcomes == ["NotFound", "NoneType", "NoneType", "NotFound", "NoneType", "NotFound"]
        assert await handle.result() == [1, 2, 4]

    run(program, kind=kind, folder=tmp_path, workflows=[collects, sends_to_some])


# -- between workflows


@workflow(name="messaging.ping")
async def ping(rounds: int) -> int:
    total = 0
    for number in range(rounds):
        await everlog.send("pong", "ping", number)
        total += await everlog.recv("pong", type=int)
    return total


@workflow(name="messaging.pong")
async def pong(rounds: int) -> None:
    for _ in range(rounds):
        await everlog.send("ping", "pong", 2 * await everlog.recv("ping", type=int))


@on_both_stores
@pytest.mark.parametrize("apart", [False, True], ids=["one engine", "two engines"])
def test_two_workflows_answer_each_other_fifty_times(kind: str, apart: bool, tmp_path: Any) -> None:
    host = SimulatedHost(5)

    async def main() -> int:
        store = make_store(host, kind, tmp_path)
        flows = [[ping], [pong]] if apart else [[ping, pong], []]
        async with (
            Engine(store, host=host.sibling(), workflows=flows[0]) as one,
            Engine(store, host=host.sibling(), workflows=flows[1]) as other,
        ):
            await (other if apart else one).start(pong.options(id="pong"), 50)
            return await one.run(ping.options(id="ping"), 50)

    assert host.run(main()) == 50 * 49


@workflow(name="messaging.sends_then_works")
async def sends_then_works(to: str) -> None:
    await everlog.send(to, "news", "begun")
    await takes_a_while(30)


def test_a_message_is_there_at_once_though_its_sender_goes_on_with_a_long_step() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(collects.options(id="c"), 1)
        sender = await engine.start(sends_then_works, "c")
        assert await handle.result(timeout=0.5) == ["begun"]
        await sender.cancel()

    run(program, workflows=[collects, sends_then_works])


@workflow(name="messaging.takes_back")
async def takes_back(to: str) -> str:
    sending = asyncio.create_task(everlog.send(to, "news", "taken back"))
    await asyncio.sleep(0)
    sending.cancel()
    try:
        await sending
    except asyncio.CancelledError:
        await everlog.send(to, "news", "instead")
        return "cancelled"
    return "sent"


def test_a_send_that_was_cancelled_before_it_was_committed_is_not_sent() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(collects.options(id="c"), 1)
        sender = await engine.start(takes_back, "c")
        assert await sender.result() == "cancelled"
        assert await handle.result() == ["instead"]
        assert len(await events_of(engine, sender.id, "message_sent")) == 1

    run(program, workflows=[collects, takes_back])


# -- crashes


@workflow(name="messaging.relays")
async def relays(number: int, to: str) -> int:
    for _ in range(number):
        await everlog.send(to, "news", await everlog.recv("news"))
    return number


def commits_of(seed: int) -> int:
    return crashing(seed, None)


def crashing(seed: int, fault: Fault | None) -> int:
    """Send through two workflows whose process dies at a commit; give how many commits there were."""
    host = SimulatedHost(seed)

    async def main() -> int:
        plain = make_store(host)
        store = FaultyStore(plain, *([] if fault is None else [fault]))
        flows = [collects, relays]
        async with Client(plain, host=host.sibling()) as client:
            collecting = await client.start(collects.options(id="c"), 4)
            await client.start(relays.options(id="r"), 4, "c")
            for number in range(2):
                await client.send("r", "news", number)
            first = await opened(Engine(store, host=host.sibling(), workflows=flows))
            for number in range(2, 4):
                await client.send("r", "news", number)
            if fault is None:
                assert await collecting.result() == [0, 1, 2, 3]
                kill(first)
                return store.commits
            await until(lambda: store.crashed)
            kill(first)
            async with Engine(plain, host=host.sibling(), workflows=flows):
                assert await collecting.result(timeout=100) == [0, 1, 2, 3]
                assert await client.handle("r", relays).result(timeout=100) == 4
            for workflow_id in ("c", "r"):
                assert len(await events_of(client, workflow_id, "message_received")) == 4
        return 0

    return host.run(main())


@pytest.mark.parametrize("when", ["before", "after"])
def test_messages_are_received_exactly_once_whatever_commit_the_process_dies_at(when: Any) -> None:
    for seed in range(2):
        for commit in range(1, commits_of(seed)):
            crashing(seed, Fault(commit=commit, when=when, kind="crash"))


# -- what names nobody


@pytest.mark.parametrize("bad", ["", "x" * 10_000_000, "a\0b", "\ud800", 5, None, b"x", ["x"]])
def test_ids_topics_and_keys_that_can_name_nothing_are_refused_and_nothing_is_written(bad: Any) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(collects.options(id="c"), 1)
        changes = engine.store.changes()
        with pytest.raises(UsageError, match="workflow id"):
            await engine.send(bad, "news", 1)
        with pytest.raises(UsageError, match="topic"):
            await handle.send(bad, 1)
        if bad is not None:
            with pytest.raises(UsageError, match="key"):
                await handle.send("news", 1, key=bad)
        with pytest.raises(UsageError, match="workflow id"):
            engine.handle(bad)
        assert engine.store.changes() - changes <= 1  # it may have begun meanwhile
        await handle.send("news", "good")
        assert await handle.result() == ["good"]

    run(program, workflows=[collects])


@workflow(name="messaging.names_nothing")
async def names_nothing() -> list[str]:
    refused: list[str] = []
    bad: Any
    for bad in ("", "x" * 600, "a\0b", "\udc80", 5, b"x"):
        for call in (
            lambda bad=bad: everlog.send(bad, "news", 1),
            lambda bad=bad: everlog.send("c", bad, 1),
            lambda bad=bad: everlog.send("c", "news", 1, key=bad),
            lambda bad=bad: everlog.recv(bad),
        ):
            try:
                await call()
            except UsageError as error:
                refused.append(str(error))
    return refused


def test_a_workflow_is_refused_names_of_nothing_at_the_call() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(names_nothing)
        assert len(await handle.result(timeout=10)) == 24
        assert await kinds(handle) == ["workflow_created", "workflow_began", "workflow_completed"]

    run(program, workflows=[names_nothing])

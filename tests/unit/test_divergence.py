"""Divergence: code that does not fit a history is found before it has an effect, told, and mended by other code."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from typing import Any

import pytest

import everlog
from everlog import Engine, Workflow, step, workflow
from everlog.errors import StoreUnavailable
from everlog.store import Batch, Store
from everlog.testing.simulation import SimulatedHost
from tests.support import FlakyStore, in_state, kill, kinds, make_store, on_both_stores, opened, simulate, until

CALLS: list[str] = []


@pytest.fixture(autouse=True)
def no_calls() -> None:
    CALLS.clear()


@step
async def reserve(item: str) -> str:
    CALLS.append(f"reserve {item}")
    return item


@step
async def charge(cents: int) -> int:
    CALLS.append(f"charge {cents}")
    return cents


@step
async def ship(item: str) -> str:
    CALLS.append(f"ship {item}")
    await asyncio.sleep(2)
    return item


@step(name="charge")
async def charge_by_another_name(item: str) -> str:
    CALLS.append(f"other {item}")
    return item


def original() -> Workflow[[], str]:
    @workflow(name="order")
    async def order() -> str:
        await reserve("tea")
        await charge(5)
        await asyncio.sleep(60)
        return await ship("tea")

    return order


def reordered() -> Workflow[[], str]:
    @workflow(name="order")
    async def order() -> str:
        await charge(5)
        await reserve("tea")
        await asyncio.sleep(60)
        return await ship("tea")

    return order


def with_another_argument() -> Workflow[[], str]:
    @workflow(name="order")
    async def order() -> str:
        await reserve("coffee")
        await charge(5)
        await asyncio.sleep(60)
        return await ship("coffee")

    return order


def without_its_tail() -> Workflow[[], str]:
    @workflow(name="order")
    async def order() -> str:
        return await reserve("tea")

    return order


def with_another_step_of_that_name() -> Workflow[[], str]:
    @workflow(name="order")
    async def order() -> str:
        await reserve("tea")
        await charge_by_another_name("tea")
        await asyncio.sleep(60)
        return await ship("tea")

    return order


def with_another_duration() -> Workflow[[], str]:
    @workflow(name="order")
    async def order() -> str:
        await reserve("tea")
        await charge(5)
        await asyncio.sleep(61)
        return await ship("tea")

    return order


def that_fails_early() -> Workflow[[], str]:
    @workflow(name="order")
    async def order() -> str:
        await reserve("tea")
        raise ValueError("a new check")

    return order


def that_waits_instead() -> Workflow[[], str]:
    @workflow(name="order")
    async def order() -> str:
        await reserve("tea")
        await charge(5)
        await everlog.recv("go")
        return await ship("tea")

    return order


def with_a_new_step_first() -> Workflow[[], str]:
    @workflow(name="order")
    async def order() -> str:
        await ship("a new side effect")
        await reserve("tea")
        await charge(5)
        await asyncio.sleep(60)
        return await ship("tea")

    return order


MUTATIONS: list[Any] = [
    (reordered, 3, "charge"),
    (with_another_argument, 3, "coffee"),
    (without_its_tail, 4, "ended"),
    (with_another_step_of_that_name, 4, "tea"),
    (with_another_duration, 5, "timer"),
    (that_fails_early, 4, "ValueError"),
    (that_waits_instead, 5, "recv"),
    (with_a_new_step_first, 3, "ship"),
]


async def left_behind(host: SimulatedHost, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the original until it sleeps, and kill its engine."""
    monkeypatch.setenv("EVERLOG_BUILD", "one")
    first = await opened(Engine(store, host=host.sibling(), workflows=[original()]))
    handle = await first.start(original().options(id="order-1"))
    await in_state(handle, "waiting")
    kill(first)
    await asyncio.sleep(15)
    assert CALLS == ["reserve tea", "charge 5"]
    CALLS.clear()


@pytest.mark.parametrize(("changed", "seq", "found"), MUTATIONS)
def test_a_changed_workflow_is_stuck_before_any_new_side_effect(
    changed: Any, seq: int, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        await left_behind(host, store, monkeypatch)
        monkeypatch.setenv("EVERLOG_BUILD", "two")
        async with Engine(store, host=host.sibling(), workflows=[changed()]) as second:
            handle = second.handle("order-1")
            before = await handle.history()
            await in_state(handle, "stuck")
            await asyncio.sleep(100)
            status = await handle.status()
            assert status.state == "stuck"
            assert status.error is not None
            for told in ("order-1", f"seq {seq}", found, "history", "code"):
                assert told in status.error, status.error
                assert told in status.why
            if changed in (reordered, with_another_argument, with_another_step_of_that_name):
                assert f"{__file__}:" in status.error
            assert await handle.history() == before
            assert CALLS == []
            assert status.worker is None
        assert CALLS == []
        # The code that fits goes on by itself.
        monkeypatch.setenv("EVERLOG_BUILD", "three")
        async with Engine(store, host=host.sibling(), workflows=[original()]) as third:
            assert await third.handle("order-1", original()).result() == "tea"
        assert CALLS == ["ship tea"]

    simulate(program)


@on_both_stores
def test_a_stuck_workflow_is_not_tried_again_by_the_same_build_and_goes_on_with_another(
    kind: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        await left_behind(host, store, monkeypatch)
        monkeypatch.setenv("EVERLOG_BUILD", "two")
        async with Engine(store, host=host.sibling(), workflows=[reordered()]) as second:
            handle = second.handle("order-1")
            await in_state(handle, "stuck")
            await second.send("order-1", "go", 1)
            await asyncio.sleep(90)
        async with Engine(store, host=host.sibling(), workflows=[reordered()]):
            await asyncio.sleep(5)
        told = [record for record in caplog.records if "is stuck" in record.message]
        assert len(told) == 1
        # A newer engine beside an older one: the workflow does not go back and forth between them.
        monkeypatch.setenv("EVERLOG_BUILD", "two")
        async with Engine(store, host=host.sibling(), workflows=[reordered()]):
            monkeypatch.setenv("EVERLOG_BUILD", "three")
            async with Engine(store, host=host.sibling(), workflows=[original()]) as third:
                assert await third.handle("order-1", original()).result(timeout=100) == "tea"

    caplog.set_level(logging.INFO, logger="everlog")
    simulate(program)


def test_a_stuck_workflow_that_another_build_runs_is_no_longer_shown_as_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        await left_behind(host, store, monkeypatch)
        monkeypatch.setenv("EVERLOG_BUILD", "two")
        async with Engine(store, host=host.sibling(), workflows=[reordered()]) as second:
            await in_state(second.handle("order-1"), "stuck")
        monkeypatch.setenv("EVERLOG_BUILD", "three")
        async with Engine(store, host=host.sibling(), workflows=[original()]) as third:
            await asyncio.sleep(1)
            status = await third.handle("order-1").status()
            assert status.state in ("running", "waiting")
            assert status.error is None
            await third.cancel("order-1")

    simulate(program)


def hears(kind: type[Any]) -> Any:
    @workflow(name="hears")
    async def flow() -> list[Any]:
        return [await everlog.recv("first", type=kind), await everlog.recv("second")]

    return flow


def test_a_message_that_comes_while_a_stuck_workflow_is_taken_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    async def program(host: SimulatedHost) -> None:
        store = FlakyStore(make_store(host))
        refused: list[Batch] = []

        def refuse_at_first(batch: Batch) -> None:
            if len(refused) < 2 and any(commit.state == "running" for commit in batch.commits):
                refused.append(batch)
                raise StoreUnavailable("as the test asked")

        async with Engine(store, host=host.sibling(), workflows=[hears(int)]) as first:
            handle = await first.start(hears(int).options(id="one"))
            await handle.send("first", "a text")
            await in_state(handle, "stuck")
        monkeypatch.setenv("EVERLOG_BUILD", "two")
        store.on_commit = refuse_at_first
        async with Engine(store, host=host.sibling(), workflows=[hears(str)]) as second:
            await until(lambda: bool(refused))
            await second.send("one", "second", 2)
            # In virtual time, and before it would be parked: who takes it up then reads all messages anyway.
            assert await second.handle("one").result(timeout=0.5) == ["a text", 2]

    simulate(program)


@dataclasses.dataclass
class Order:
    item: str


def with_an_order(kind: type[Any], items: str = "item") -> Any:
    @step(name="pack")
    async def pack(order: Any) -> str:
        CALLS.append("pack")
        return str(getattr(order, items))

    pack.fn.__annotations__["order"] = kind
    packs = step(pack.fn, name="pack")

    @workflow(name="packing")
    async def packing(order: Any) -> str:
        packed = await packs(order)
        await asyncio.sleep(60)
        return packed

    packing.fn.__annotations__["order"] = kind
    return workflow(packing.fn, name="packing")


def test_a_deploy_that_only_adds_a_defaulted_field_to_an_argument_is_no_divergence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @dataclasses.dataclass
    class NewOrder:
        item: str
        gift: bool = False

    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        old, new = with_an_order(Order), with_an_order(NewOrder)
        monkeypatch.setenv("EVERLOG_BUILD", "one")
        first = await opened(Engine(store, host=host.sibling(), workflows=[old]))
        await in_state(await first.start(old.options(id="flow"), Order("tea")), "waiting")
        kill(first)
        await asyncio.sleep(15)
        monkeypatch.setenv("EVERLOG_BUILD", "two")
        async with Engine(store, host=host.sibling(), workflows=[new]) as second:
            # Also the start is the same start.
            handle = await second.start(new.options(id="flow"), NewOrder("tea"))
            assert await handle.result() == "tea"
            with pytest.raises(everlog.IdInUse):
                await second.start(new.options(id="flow"), NewOrder("tea", gift=True))
        assert CALLS == ["pack"]

    simulate(program)


def test_a_deploy_that_adds_a_field_without_a_default_is_stuck_and_tells_why(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclasses.dataclass
    class NewOrder:
        item: str
        gift: bool

    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        old, new = with_an_order(Order), with_an_order(NewOrder)
        monkeypatch.setenv("EVERLOG_BUILD", "one")
        first = await opened(Engine(store, host=host.sibling(), workflows=[old]))
        await in_state(await first.start(old.options(id="flow"), Order("tea")), "waiting")
        kill(first)
        await asyncio.sleep(15)
        monkeypatch.setenv("EVERLOG_BUILD", "two")
        async with Engine(store, host=host.sibling(), workflows=[new]) as second:
            handle = second.handle("flow")
            await in_state(handle, "stuck")
            assert "gift" in (await handle.status()).why

    simulate(program)


@workflow
async def branches() -> list[str]:
    done, left = await asyncio.wait(
        [asyncio.ensure_future(slow(1)), asyncio.ensure_future(slow(2))], return_when=asyncio.FIRST_COMPLETED
    )
    for task in left:
        task.cancel()
    await asyncio.sleep(10)
    return sorted(str(task.result()) for task in done)


@step
async def slow(seconds: int) -> int:
    await asyncio.sleep(seconds)
    return seconds


def test_the_completion_of_a_step_that_was_cancelled_is_no_divergence() -> None:
    for seed in range(20):

        async def program(host: SimulatedHost) -> None:
            store = make_store(host)
            first = await opened(Engine(store, host=host.sibling(), workflows=[branches]))
            handle = await first.start(branches.options(id="flow"))
            await in_state(handle, "waiting")
            kill(first)
            await asyncio.sleep(15)
            async with Engine(store, host=host.sibling(), workflows=[branches]) as second:
                assert await second.handle("flow").result() == ["1"]
                assert "step_cancelled" in await kinds(second.handle("flow"))

        simulate(program, seed=seed)


def test_a_defect_in_one_workflow_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """A type of the user's raises something unheard of while the history is applied."""

    class Broken(BaseException):
        pass

    @workflow(name="broken")
    async def broken() -> None:
        raise Broken

    @workflow(name="exits")
    async def exits() -> None:
        raise SystemExit(2)

    @workflow(name="interrupts")
    async def interrupts() -> None:
        raise KeyboardInterrupt

    @workflow(name="exits_in_a_task")
    async def exits_in_a_task() -> None:
        async def leave() -> None:
            raise SystemExit(2)

        async with asyncio.TaskGroup() as group:
            group.create_task(leave())

    async def program(host: SimulatedHost) -> None:
        flows: list[Any] = [broken, exits, interrupts, exits_in_a_task, original()]
        async with Engine(make_store(host), host=host, workflows=flows) as engine:
            for flow in (broken, exits, interrupts, exits_in_a_task):
                handle = await engine.start(flow)
                await in_state(handle, "failed")
            assert await engine.run(original()) == "tea"

    simulate(program)

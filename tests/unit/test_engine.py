"""The engine from the outside: starting, ids, results, listings, limits, and several engines at once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

import everlog
from everlog import Client, Engine, IdInUse, NotEncodable, NotFound, UsageError, WorkflowFailed, step, workflow
from everlog.memory import MemoryStore
from everlog.testing.simulation import SimulatedHost
from tests.support import in_state, make_store, on_both_stores, run, simulate

RUNNING: list[int] = [0, 0]


@dataclass
class Order:
    item: str
    count: int = 1


@step
async def double(n: int) -> int:
    RUNNING[0] += 1
    RUNNING[1] = max(RUNNING)
    await asyncio.sleep(1)
    RUNNING[0] -= 1
    return 2 * n


@workflow
async def doubles(n: int) -> int:
    return await double(n)


@workflow
async def takes_an_order(order: Order, *, urgent: bool = False) -> Order:
    await asyncio.sleep(1)
    return Order(order.item.upper(), order.count + urgent)


@workflow
async def fails(message: str) -> None:
    raise ValueError(message)


@workflow
async def listens() -> Any:
    return await everlog.recv("news")


FLOWS: list[Any] = [doubles, takes_an_order, fails, listens]


@on_both_stores
def test_a_workflow_returns_what_its_function_returns(kind: str, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        assert await engine.run(doubles, 21) == 42
        handle = await engine.start(takes_an_order, Order("tea"), urgent=True)
        assert UUID(handle.id)
        assert await handle.result() == Order("TEA", 2)
        assert await handle.result() == Order("TEA", 2), "as often as asked"
        assert await engine.handle(handle.id, takes_an_order).result() == Order("TEA", 2)
        assert await engine.handle(handle.id).result() == {"item": "TEA", "count": 2}

    run(program, kind=kind, folder=tmp_path, workflows=FLOWS)


def test_a_failure_is_raised_with_its_cause() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(fails, "no tea")
        for _ in range(2):
            with pytest.raises(WorkflowFailed, match="ValueError: no tea") as caught:
                await handle.result()
            assert caught.value.workflow_id == handle.id
            assert isinstance(caught.value.__cause__, ValueError)
            assert caught.value.error is not None
            assert "in fails" in caught.value.error.traceback
        status = await handle.status()
        assert status.state == "failed"
        assert status.error == "ValueError: no tea"
        assert status.ended_at is not None

    run(program, workflows=FLOWS)


# -- ids


@on_both_stores
def test_an_id_starts_a_workflow_once(kind: str, tmp_path: Any) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        async with (
            Engine(store, host=host.sibling(), workflows=FLOWS) as engine,
            Client(store, host=host.sibling()) as client,
        ):
            RUNNING[:] = [0, 0]
            handles = await asyncio.gather(
                *(one.start(doubles.options(id="one"), 4) for one in (engine, client) for _ in range(10))
            )
            assert {await handle.result() for handle in handles} == {8}
            assert RUNNING[1] == 1
            again = await client.start(doubles.options(id="one"), 4)
            assert await again.result() == 8
            assert len(await engine.workflows()) == 1

    simulate(program)


def test_an_id_with_another_function_or_input_is_in_use() -> None:
    async def program(engine: Engine) -> None:
        await engine.start(takes_an_order.options(id="one"), Order("tea"))
        await engine.start(takes_an_order.options(id="one"), order=Order("tea", 1), urgent=False)
        for wrong in (
            engine.start(takes_an_order.options(id="one"), Order("coffee")),
            engine.start(takes_an_order.options(id="one"), Order("tea"), urgent=True),
            engine.start(doubles.options(id="one"), 1),
        ):
            with pytest.raises(IdInUse, match="'one'"):
                await wrong
        assert len(await engine.workflows()) == 1

    run(program, workflows=FLOWS)


def test_a_start_that_cannot_be_recorded_starts_nothing() -> None:
    async def program(engine: Engine) -> None:
        with pytest.raises(NotEncodable, match="item"):
            await engine.start(takes_an_order, Order(object()))  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="urgency"):
            await engine.start(takes_an_order, Order("tea"), urgency=True)  # type: ignore[call-arg]
        with pytest.raises(TypeError):
            await engine.start(doubles)  # type: ignore[call-arg]
        with pytest.raises(UsageError, match="@workflow"):
            await engine.start(doubles.fn, 1)  # type: ignore[arg-type]
        assert await engine.workflows() == []

    run(program, workflows=FLOWS)


def test_of_what_is_not_there_nothing_can_be_had() -> None:
    async def program(engine: Engine) -> None:
        handle = engine.handle("nobody")
        for ask in (handle.result, handle.status, handle.history, lambda: handle.send("x", 1), handle.cancel):
            with pytest.raises(NotFound, match="'nobody'"):
                await ask()
        with pytest.raises(NotFound):
            async for _ in handle.history():
                pass

    run(program, workflows=FLOWS)


# -- listings


@on_both_stores
def test_listings_stream_all_pages_newest_first(kind: str, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        ids = [f"flow-{number:03}" for number in range(230)]
        for workflow_id in ids:
            await engine.start(listens.options(id=workflow_id))
        failed = await engine.start(fails, "x")
        await in_state(failed, "failed")
        await asyncio.sleep(1)
        listed = await engine.workflows(name="listens")
        assert len(listed) == 230
        created = [status.created_at for status in listed]
        assert created == sorted(created, reverse=True)
        assert {status.id for status in listed} == set(ids)
        streamed = [status.id async for status in engine.workflows(state="waiting")]
        assert streamed == [status.id for status in listed]
        assert [status.id for status in await engine.workflows(state="failed")] == [failed.id]
        with pytest.raises(UsageError, match=r"there is no state 'done': a workflow is queued, .* or cancelled"):
            engine.workflows(state="done")  # type: ignore[arg-type]
        assert await engine.workflows(name="nothing") == []
        await engine.cancel(*ids)

    run(program, kind=kind, folder=tmp_path, workflows=FLOWS)


def test_a_history_streams_from_any_seq() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(doubles, 1)
        await handle.result()
        everything = await handle.history()
        assert [event.seq for event in everything] == [1, 2, 3, 4, 5]
        assert await handle.history(after=3) == everything[3:]
        assert await handle.history(after=100) == []

    run(program, workflows=FLOWS)


# -- limits


def test_more_workflows_than_may_be_held_are_queued_and_all_run() -> None:
    async def program(engine: Engine) -> None:
        RUNNING[:] = [0, 0]
        handles = [await engine.start(doubles, number) for number in range(20)]
        assert [await handle.result() for handle in handles] == [2 * number for number in range(20)]
        assert RUNNING[1] <= 3

    run(program, workflows=FLOWS, concurrency=3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"concurrency": 0},
        {"step_threads": -1},
        {"lease": 0},
        {"lease": -5},
        {"lease": "soon"},
        {"grace": -1},
        {"guards": "perhaps"},
        {"durability": "hope"},
        {"codec": object()},
        {"codec": "json"},
        {"concurrency": True},
        {"concurrency": 1.5},
        {"step_threads": "many"},
        {"grace": float("nan")},
        {"lease": None},
        {"lease": True},
        {"workflows": doubles},
        {"workflows": [lambda: None]},
    ],
)
def test_wrong_options_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        Engine("memory://", **wrong)
    assert next(iter(wrong)) in str(caught.value)


def test_an_engine_runs_only_the_workflows_it_was_given() -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        async with Engine(store, host=host.sibling(), workflows=[listens]) as engine:
            handle = await engine.start(doubles, 2)
            await asyncio.sleep(5)
            assert (await handle.status()).state == "queued"
            assert "doubles" in (await handle.status()).why
            async with Engine(store, host=host.sibling(), workflows=[doubles]):
                assert await handle.result() == 4

    simulate(program)


# -- several engines


def test_engines_on_one_store_share_the_work_and_see_each_others_ends() -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        async with (
            Engine(store, host=host.sibling(), workflows=FLOWS, concurrency=2) as one,
            Engine(store, host=host.sibling(), workflows=FLOWS, concurrency=2) as two,
        ):
            handles = [await one.start(doubles, number) for number in range(12)]
            assert [await two.handle(handle.id).result() for handle in handles] == [2 * n for n in range(12)]
            workers = set()
            for handle in handles:
                for event in await handle.history():
                    workers.add(event.data.get("worker"))
            assert len(workers - {None}) == 2

    for seed in range(5):
        simulate(program, seed=seed)


def test_two_engines_of_one_process_on_one_memory_store_lose_no_wake_up() -> None:
    """With real threads: what one writes while the other is at work must still wake the other."""

    async def main() -> None:
        store = MemoryStore()
        async with (
            Engine(store, workflows=[listens], concurrency=50) as one,
            Engine(store, workflows=[doubles_quickly], concurrency=50) as two,
        ):
            for _ in range(20):
                started = await asyncio.gather(*(one.start(doubles_quickly, n) for n in range(10)))
                waiting = await asyncio.gather(*(two.start(listens) for _ in range(10)))
                await asyncio.gather(*(two.send(handle.id, "news", 1) for handle in waiting))
                async with asyncio.timeout(20):
                    await asyncio.gather(*(one.handle(handle.id).result() for handle in started))
                    await asyncio.gather(*(two.handle(handle.id).result() for handle in waiting))

    asyncio.run(main())


@workflow
async def doubles_quickly(n: int) -> int:
    return 2 * n


def test_a_result_is_had_by_all_who_wait_for_it() -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        async with (
            Engine(store, host=host.sibling(), workflows=FLOWS) as engine,
            Client(store, host=host.sibling()) as client,
        ):
            handle = await engine.start(doubles, 5)
            waiting = [engine.handle(handle.id).result() for _ in range(5)]
            waiting += [client.handle(handle.id).result() for _ in range(5)]
            assert await asyncio.gather(*waiting) == [10] * 10

    simulate(program)


# -- odds and ends


@workflow
async def forgets_to_await() -> str:
    double(1)
    everlog.recv("news")
    return "done"


def test_an_operation_that_was_never_awaited_is_reported_with_its_line(caplog: pytest.LogCaptureFixture) -> None:
    async def program(engine: Engine) -> None:
        assert await engine.run(forgets_to_await) == "done"

    run(program, workflows=[forgets_to_await])
    said = [record.getMessage() for record in caplog.records if "never awaited" in record.getMessage()]
    line = forgets_to_await.fn.__code__.co_firstlineno
    assert len(said) == 2
    assert "double" in said[0]
    assert f"{__file__}:{line + 2}" in said[0]
    assert f"{__file__}:{line + 3}" in said[1]


@workflow
async def leaves_things_behind() -> str:
    asyncio.ensure_future(double(1))  # noqa: RUF006
    asyncio.ensure_future(everlog.recv("news"))  # noqa: RUF006
    await asyncio.sleep(0.5)
    return "done"


def test_what_a_workflow_leaves_behind_is_cancelled_and_closed() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(leaves_things_behind)
        assert await handle.result() == "done"
        closed = [event.type for event in await handle.history() if event.type.endswith("_cancelled")]
        assert sorted(closed) == ["step_cancelled", "wait_cancelled"]

    run(program, workflows=[leaves_things_behind])

"""What users of DBOS look for here and no other test shows on all three stores: a row of docs/coming-from-dbos.md each.

Each test is written as a user would write it, with what the page says of the row; what lies deeper is tested where
its subject lives.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os.path
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import everlog
from everlog import (
    Client,
    Engine,
    InvalidDefinition,
    NotEncodable,
    Queue,
    RateLimit,
    RetryPolicy,
    Schedule,
    StepTimeout,
    WorkflowCancelled,
    WorkflowFailed,
    step,
    sync,
    workflow,
)
from everlog.replay import instances
from everlog.testing.simulation import SimulatedHost
from tests.support import events_of, in_state, kill, kinds, make_store, on_both_stores, opened, run, simulate, until

CALLS: list[Any] = []


@pytest.fixture(autouse=True)
def _a_program_of_its_own() -> Iterator[None]:
    CALLS.clear()
    instances._registered.clear()
    instances._names.clear()
    yield
    instances._registered.clear()
    instances._names.clear()


@step
async def work(name: str, seconds: float = 1) -> str:
    CALLS.append(name)
    await asyncio.sleep(seconds)
    return name


# -- workflows and steps


@workflow(name="charges")
async def charges(name: str) -> str:
    return await work(name)


@on_both_stores
def test_a_name_stands_for_the_workflow_of_one_module(kind: str, tmp_path: Path) -> None:
    async def elsewhere(name: str) -> str:
        return name

    async def program(engine: Engine) -> None:
        elsewhere.__module__ = "another.module"
        with pytest.raises(InvalidDefinition, match="charges"):
            workflow(elsewhere, name="charges")
        assert await engine.run(charges, "a") == "a"
        assert CALLS == ["a"], "it is still the first"

    run(program, kind=kind, folder=tmp_path, workflows=[charges])


@dataclass
class Order:
    number: int
    price: Decimal
    at: datetime
    tags: frozenset[str]
    size: tuple[int, float]
    label: bytes


@step
async def confirm(order: Order) -> Order:
    return dataclasses.replace(order, number=order.number + 1)


@workflow
async def confirms(order: Order) -> Order:
    confirmed = await confirm(order)
    await asyncio.sleep(10)  # it is parked, and rebuilt from what the database holds
    assert isinstance(confirmed, Order)
    return confirmed


@on_both_stores
def test_values_are_json_in_the_database_and_come_back_as_what_they_were(kind: str, tmp_path: Path) -> None:
    order = Order(1, Decimal("9.90"), datetime(2026, 3, 29, tzinfo=UTC), frozenset({"a"}), (2, 0.5), b"\x00\xff")

    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        async with Engine(store, host=host.sibling(), workflows=[confirms]) as engine:
            handle = await engine.start(confirms, order)
            assert await handle.result() == dataclasses.replace(order, number=2)
            (completed,) = [row.payload for row in store.read(handle.id) if b'"step_completed"' in row.payload]
            assert b"9.90" in completed, "a person can read it"
            assert completed.decode().isprintable()

    simulate(program)


@on_both_stores
def test_an_argument_of_another_type_is_refused_before_anything_is_written(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        wrong: Any = 7
        with pytest.raises(NotEncodable, match=r"\$\.name: declared str, found int"):
            await engine.start(charges, wrong)
        assert await engine.workflows() == []

    run(program, kind=kind, folder=tmp_path, workflows=[charges])


class OutOfStock(Exception):
    pass


@step(retry=RetryPolicy(max_attempts=5, first_delay=1, give_up_on=OutOfStock))
async def reserve(item: str) -> None:
    CALLS.append(everlog.current().attempt)
    raise OutOfStock(item) if len(CALLS) == 3 else ConnectionError("the warehouse does not answer")


@workflow
async def reserves(item: str) -> str:
    try:
        await reserve(item)
    except OutOfStock as error:
        return f"no {error} left"
    return "reserved"


@on_both_stores
def test_which_errors_are_tried_again_is_said_by_their_types(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        assert await engine.run(reserves, "cup") == "no cup left"
        assert CALLS == [1, 2, 3]

    run(program, kind=kind, folder=tmp_path, workflows=[reserves])


@step(retry=RetryPolicy(max_attempts=4, first_delay=2, backoff=1, jitter=0))
async def answers_late() -> int:
    attempt = everlog.current().attempt
    CALLS.append(attempt)
    if attempt < 3:
        raise ConnectionError("nobody answers")
    await asyncio.sleep(5)
    return attempt


@workflow
async def asks_for_long() -> int:
    return await answers_late()


@on_both_stores
def test_attempts_outlive_the_process(kind: str, tmp_path: Path) -> None:
    """The one that was cut short is run again, since a crash is no attempt; those before it are not."""

    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        engine = await opened(Engine(store, host=host.sibling(), workflows=[asks_for_long], lease=3))
        await engine.start(asks_for_long.options(id="late"))
        await until(lambda: CALLS == [1, 2, 3])
        await asyncio.sleep(1)
        kill(engine)
        await asyncio.sleep(5)
        async with Engine(store, host=host.sibling(), workflows=[asks_for_long], lease=3) as engine:
            assert await engine.handle("late").result() == 3
        assert CALLS == [1, 2, 3, 3]

    simulate(program)


@step(timeout=5, retry=RetryPolicy(max_attempts=2, first_delay=1))
async def hangs_once() -> str:
    CALLS.append(everlog.current().attempt)
    await asyncio.sleep(60 if everlog.current().attempt == 1 else 0)
    return "came through"


@step(timeout=5)
async def hangs() -> None:
    await asyncio.sleep(60)


@workflow
async def has_no_patience() -> str:
    try:
        await hangs()
    except StepTimeout:
        return await hangs_once()
    return "no timeout"


@on_both_stores
def test_a_timeout_of_a_step_is_for_each_attempt(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        assert await engine.run(has_no_patience) == "came through"
        assert CALLS == [1, 2]

    run(program, kind=kind, folder=tmp_path, workflows=[has_no_patience])


@step
async def computes() -> None:
    try:
        await asyncio.sleep(1000)
    except asyncio.CancelledError:
        CALLS.append("stopped")
        raise


@workflow
async def computes_long() -> None:
    await computes()


@on_both_stores
def test_a_running_async_step_is_stopped_with_its_workflow(kind: str, tmp_path: Path) -> None:
    """No option asks for it, and it may be cancelled from any process."""

    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        async with (
            Engine(store, host=host.sibling(), workflows=[computes_long]) as engine,
            Client(store, host=host.sibling()) as client,
        ):
            handle = await engine.start(computes_long)
            await asyncio.sleep(5)
            await client.cancel(handle.id)
            with pytest.raises(WorkflowCancelled):
                await handle.result(timeout=10)
            assert CALLS == ["stopped"]

    simulate(program)


@step
async def outer(name: str) -> str:
    return await work(f"{name} within", 0)


@workflow
async def calls_outer() -> str:
    return await outer("a step")


@on_both_stores
def test_a_step_is_a_plain_function_outside_and_within_another_step(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        assert await outer("outside") == "outside within"
        handle = await engine.start(calls_outer)
        assert await handle.result() == "a step within"
        assert (await kinds(handle)).count("step_completed") == 1
        assert len(await engine.workflows()) == 1

    run(program, kind=kind, folder=tmp_path, workflows=[calls_outer])


async def fetch(url: str) -> str:
    CALLS.append(url)
    return f"what is at {url}"


@workflow
async def fetches(url: str) -> tuple[str, str]:
    name = await everlog.call(step(os.path.basename, name="name of the file"), url)
    return name, await step(fetch, name="fetch", retry=RetryPolicy(max_attempts=3))(url)


@on_both_stores
def test_a_function_of_somebody_else_is_a_step_where_it_is_called(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(fetches, "host/page")
        assert await handle.result() == ("page", "what is at host/page")
        steps = [event.data["step"] for event in await events_of(engine, handle.id, "step_completed")]
        assert steps == ["name of the file", "fetch"]

    run(program, kind=kind, folder=tmp_path, workflows=[fetches])


@workflow
async def four_branches() -> list[str]:
    async def branch(number: int) -> str:
        seconds = everlog.random().uniform(0.1, 1)
        first = await work(f"{number} first", seconds)
        await asyncio.sleep(seconds)
        return f"{first}, {await work(f'{number} second', 1 - seconds)}"

    return await asyncio.gather(*(branch(number) for number in range(4)))


@on_both_stores
@pytest.mark.parametrize("seed", range(3))
def test_branches_of_a_gather_have_their_own_results_after_every_crash(kind: str, seed: int, tmp_path: Path) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        for _ in range(3):
            engine = await opened(Engine(store, host=host.sibling(), workflows=[four_branches], lease=1))
            await engine.start(four_branches.options(id="branches"))
            await asyncio.sleep(host.random.uniform(0.5, 1.2))
            kill(engine)
            await asyncio.sleep(3)
        async with Engine(store, host=host.sibling(), workflows=[four_branches]) as last:
            result = await last.handle("branches", four_branches).result()
        assert result == [f"{number} first, {number} second" for number in range(4)]

    simulate(program, seed=seed)


@workflow
async def first_of_two() -> str:
    handles = [await everlog.start(charges, name) for name in ("one", "two")]
    ends = {asyncio.create_task(handle.result()): handle.id for handle in handles}
    done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    (first,) = done
    await asyncio.sleep(10)  # it is parked: its code runs again when both have ended long ago
    return ends[first]


@on_both_stores
def test_who_ended_first_is_the_same_in_every_replay(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(first_of_two)
        first = await handle.result()
        ended = [event.data["child"] for event in await events_of(engine, handle.id, "child_ended")]
        assert len(ended) == 2
        assert first == ended[0]

    run(program, kind=kind, folder=tmp_path, workflows=[first_of_two, charges])


class Shop:
    def __init__(self, region: str) -> None:
        self.region = region

    @workflow
    async def checkout(self, order: str) -> str:
        await asyncio.sleep(10)
        return await self.pack(order)

    @step
    async def pack(self, order: str) -> str:
        return f"{order} packed in {self.region}"


@on_both_stores
def test_a_workflow_of_an_object_goes_on_with_the_object_of_its_name(kind: str, tmp_path: Path) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        shop = everlog.register(Shop("the old region"), name="eu")
        engine = await opened(Engine(store, host=host.sibling(), workflows=[shop.checkout]))
        await engine.start(shop.checkout.options(id="order"), "cup")
        await asyncio.sleep(1)
        kill(engine)
        instances._registered.clear()  # another process
        instances._names.clear()
        shop = everlog.register(Shop("Lisbon"), name="eu")
        async with Engine(store, host=host.sibling(), workflows=[shop.checkout]) as engine:
            assert await engine.handle("order").result() == "cup packed in Lisbon"

    simulate(program)


@step
async def tells_what_it_is() -> list[Any]:
    me = everlog.current()
    return [me.workflow_id, me.name, me.parent_id, me.step, me.attempt, me.key, dict(me.attributes)]


@workflow(attributes={"kind": "order"})
async def tells() -> list[Any]:
    return await tells_what_it_is.options(key="mine")()


@workflow
async def has_told() -> list[Any]:
    return await tells.options(id="child")()


@on_both_stores
def test_code_knows_where_it_runs(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        told = await engine.run(has_told.options(id="parent"))
        assert told == ["child", "tells", "parent", "tells_what_it_is", 1, "mine", {"kind": "order"}]

    run(program, kind=kind, folder=tmp_path, workflows=[tells, has_told])


@step(retry=RetryPolicy(max_attempts=3))
async def opens() -> Any:
    CALLS.append("opened")
    return {"connection": asyncio.Lock()}


@workflow
async def keeps_a_lock() -> str:
    try:
        await opens()
    except NotEncodable as error:
        return str(error)
    return "recorded"


@on_both_stores
def test_a_result_that_cannot_be_recorded_fails_its_step_and_says_where(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        assert "$.connection" in await engine.run(keeps_a_lock)
        assert CALLS == ["opened"], "its effect has happened, so it is not tried again"

    run(program, kind=kind, folder=tmp_path, workflows=[keeps_a_lock])


class Declined(Exception):
    def __init__(self, card: str, code: int) -> None:
        super().__init__(card, code)
        self.code = code


@step
async def declines(card: str) -> None:
    raise Declined(card, 51)


@workflow
async def pays(card: str) -> str:
    try:
        await declines(card)
    except Declined as error:
        if card == "silver":
            raise
        return f"declined by code {error.code}"
    return "paid"


@on_both_stores
def test_an_error_is_what_was_raised(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        assert await engine.run(pays, "gold") == "declined by code 51"
        with pytest.raises(WorkflowFailed) as failed:
            await engine.run(pays, "silver")
        assert isinstance(failed.value.__cause__, Declined)
        assert failed.value.__cause__.code == 51

    run(program, kind=kind, folder=tmp_path, workflows=[pays])


@workflow
async def outlasts() -> None:
    await asyncio.sleep(1000)


@workflow
async def has_a_child_that_outlasts() -> None:
    await outlasts.options(id="child")()


@on_both_stores
def test_a_deadline_is_that_of_the_children_too(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        parent = await engine.start(has_a_child_that_outlasts.options(id="parent", timeout=20))
        with pytest.raises(WorkflowCancelled, match="timeout"):
            await parent.result()
        child = engine.handle("child")
        await in_state(child, "cancelled")
        created = (await parent.status()).created_at
        ended = (await child.status()).ended_at
        assert ended is not None
        assert ended - created < timedelta(seconds=25)

    run(program, kind=kind, folder=tmp_path, workflows=[outlasts, has_a_child_that_outlasts])


# -- messages


@step(retry=RetryPolicy(max_attempts=3, first_delay=1))
async def announces(to: str) -> None:
    await everlog.send(to, "news", "without a key")
    await everlog.send(to, "news", "with a key", key="news")
    CALLS.append("sent")
    if len(CALLS) < 3:
        raise ConnectionError("after it was sent")


@workflow
async def announces_to(to: str) -> None:
    await announces(to)


@workflow
async def hears() -> list[str]:
    heard = []
    while (news := await everlog.recv("news", type=str, timeout=20, default="")) != "":
        heard.append(news)
    return heard


@on_both_stores
def test_a_step_that_runs_again_sends_once_what_has_a_key(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        listener = await engine.start(hears)
        await engine.run(announces_to, listener.id)
        heard = await listener.result()
        assert (heard.count("without a key"), heard.count("with a key")) == (3, 1)

    run(program, kind=kind, folder=tmp_path, workflows=[hears, announces_to])


# -- processes


@on_both_stores
def test_an_engine_that_starts_beside_another_runs_nothing_twice(kind: str, tmp_path: Path) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        async with Engine(store, host=host.sibling(), workflows=[charges]) as engine:
            handles = [await engine.start(charges, f"order {number}") for number in range(10)]
            await asyncio.sleep(0.5)
            async with Engine(store, host=host.sibling(), workflows=[charges]):
                assert [await handle.result() for handle in handles] == [f"order {number}" for number in range(10)]
        assert sorted(CALLS) == sorted(f"order {number}" for number in range(10))

    simulate(program)


@step
def add(total: int, number: int) -> int:
    return total + number


@workflow
async def many_steps(count: int) -> int:
    total = 0
    for number in range(count):
        total = await everlog.call(add, total, number)
    await everlog.recv("go")
    return total


@on_both_stores
def test_a_replay_reads_the_history_once_however_long(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        async with Engine(store, host=host.sibling(), workflows=[many_steps]) as engine:
            handle = await engine.start(many_steps.options(id="long"), 200)
            await in_state(handle, "waiting")
        asked: list[str] = []
        for name in ("read", "commit"):
            method = getattr(store, name)

            def counted(*args: Any, _name: str = name, _method: Any = method, **kwargs: Any) -> Any:
                asked.append(_name)
                return _method(*args, **kwargs)

            monkeypatch.setattr(store, name, counted)
        async with Engine(store, host=host.sibling(), workflows=[many_steps]) as engine:
            asked.clear()
            await engine.send("long", "go", None)
            assert await engine.handle("long").result() == sum(range(200))
        assert 1 <= asked.count("read") <= 3
        assert 1 <= asked.count("commit") <= 10

    simulate(program)


@workflow
def sleeps_long() -> str:
    sync.sleep(30)
    return "slept"


@on_both_stores
def test_blocking_code_that_sleeps_holds_no_thread_and_is_cancelled_at_once(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        handles = [await engine.start(sleeps_long) for _ in range(20)]
        for handle in handles:
            await in_state(handle, "waiting")

        async def all_parked() -> bool:
            return all([(await handle.status()).worker is None for handle in handles])

        await until(all_parked)
        for handle in handles[:10]:
            await handle.cancel()
            with pytest.raises(WorkflowCancelled):
                await handle.result(timeout=5)
        assert [await handle.result() for handle in handles[10:]] == ["slept"] * 10

    run(program, kind=kind, folder=tmp_path, workflows=[sleeps_long])


# -- queues and schedules


@on_both_stores
def test_an_engine_listens_to_the_queues_that_it_names(kind: str, tmp_path: Path) -> None:
    heard, unheard = Queue("heard", concurrency=5), Queue("unheard", concurrency=5)

    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        async with Engine(store, host=host.sibling(), workflows=[charges], queues=[heard]) as engine:
            here = await engine.start(charges.options(queue=heard), "heard")
            there = await engine.start(charges.options(queue=unheard), "unheard")
            assert await here.result() == "heard"
            await asyncio.sleep(5)
            assert (await there.status()).state == "queued"
            async with Engine(store, host=host.sibling(), workflows=[charges], queues=[unheard]):
                assert await there.result() == "unheard"

    simulate(program)


@on_both_stores
def test_a_partition_may_begin_so_many_in_a_time(kind: str, tmp_path: Path) -> None:
    fair = Queue("by customer", partition_rate_limit=RateLimit(2, per=10))

    async def program(engine: Engine) -> None:
        of_queue = charges.options(queue=fair)
        handles = [
            await engine.start(of_queue.options(partition=customer), f"{customer}{number}")
            for customer in "ab"
            for number in range(4)
        ]
        await asyncio.sleep(5)
        assert sorted(CALLS) == ["a0", "a1", "b0", "b1"]
        for handle in handles:
            await handle.result()
        begun = [(await events_of(engine, handle.id, "workflow_began"))[0].recorded_at for handle in handles]
        assert begun[2] - begun[0] >= timedelta(seconds=10)
        assert begun[6] - begun[4] >= timedelta(seconds=10)

    run(program, kind=kind, folder=tmp_path, workflows=[charges])


@workflow
async def reports(channel: str) -> None:
    tick = everlog.current().tick
    CALLS.append((channel, tick.astimezone(UTC).strftime("%S"), tick.utcoffset()))


@on_both_stores
def test_cron_has_seconds_time_zones_and_arguments(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        often = Schedule("*/5 * * * * *", timezone="Asia/Kolkata")
        await engine.create_schedule("often", often, reports, channel="#noise")
        await asyncio.sleep(12)
        await engine.schedule("often").delete()
        assert [call[0] for call in CALLS[:2]] == ["#noise"] * 2
        assert {int(second) % 5 for _, second, _ in CALLS} == {0}
        assert {offset for _, _, offset in CALLS} == {timedelta(hours=5, minutes=30)}

    run(program, kind=kind, folder=tmp_path, workflows=[reports])


async def delays(host: SimulatedHost, kind: str, folder: Path) -> dict[str, float]:
    """Have two engines make ticks for a while, and give by how much each was late."""
    store = make_store(host, kind, folder)
    async with (
        Engine(store, host=host.sibling(), workflows=[reports]) as engine,
        Engine(store, host=host.sibling(), workflows=[reports]),
    ):
        await engine.create_schedule("often", Schedule(every=5, jitter=4), reports, channel="#noise")
        await asyncio.sleep(21)
        await engine.schedule("often").delete()
        return {one.id: one.created_at.timestamp() % 5 for one in await engine.workflows()}


@on_both_stores
def test_all_engines_delay_a_tick_alike(kind: str, tmp_path: Path) -> None:
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
    first = simulate(lambda host: delays(host, kind, folders[0]), seed=1)
    second = simulate(lambda host: delays(host, kind, folders[1]), seed=2)
    both = first.keys() & second.keys()
    assert len(both) >= 3
    assert all(abs(first[one] - second[one]) < 0.5 for one in both)
    assert max(first.values()) - min(first.values()) > 0.5, "and other ticks by another time"


# -- management


@on_both_stores
def test_what_ended_long_ago_is_found_and_deleted(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        for number in range(3):
            await engine.run(charges.options(id=f"old-{number}"), "x")
        await asyncio.sleep(30)
        now = (await (await engine.start(charges.options(id="new"), "x")).status()).created_at
        await engine.handle("new").result()
        old = [one.id for one in await engine.workflows(ended_before=now - timedelta(seconds=10))]
        assert sorted(await engine.delete(*old)) == ["old-0", "old-1", "old-2"]
        assert [one.id for one in await engine.workflows()] == ["new"]

    run(program, kind=kind, folder=tmp_path, workflows=[charges])


@on_both_stores
def test_a_status_says_why_and_a_result_is_waited_for_from_anywhere(kind: str, tmp_path: Path) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        async with (
            Engine(store, host=host.sibling(), workflows=[hears]) as engine,
            Client(store, host=host.sibling()) as client,
        ):
            await engine.start(hears.options(id="listener"))
            handle = client.handle("listener", hears)
            await in_state(handle, "waiting")
            assert "'news'" in (await handle.status()).why
            with pytest.raises(TimeoutError):
                await handle.result(timeout=5)
            await handle.send("news", "the last")
            assert await handle.result() == ["the last"]
            status = await handle.status()
            assert (status.state, status.name) == ("completed", "hears")
            assert status.ended_at is not None

    simulate(program)


@on_both_stores
def test_an_operation_that_runs_is_in_the_history(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(computes_long)
        await asyncio.sleep(5)
        (started,) = await events_of(engine, handle.id, "step_started")
        assert started.data["step"] == "computes"
        status = await handle.status()
        assert status.steps is not None
        assert status.steps.open == 1
        await handle.cancel()

    run(program, kind=kind, folder=tmp_path, workflows=[computes_long])

"""The simulation: the whole engine on virtual time, where one seed gives one run."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

import everlog
from everlog import Engine, RetryPolicy, step, workflow
from everlog.memory import MemoryStore
from everlog.testing.simulation import Deadlock, Livelock, SimulatedHost
from tests.support import FlakyStore, kinds, make_store, until


@step(name="simulation.triple")
async def triple(number: int) -> int:
    await asyncio.sleep(number)
    return 3 * number


@workflow(name="simulation.tripling")
async def tripling(number: int) -> int:
    return await triple(number)


def test_a_simulated_run_takes_ten_lines() -> None:
    host = SimulatedHost(seed=1)
    store = MemoryStore(clock=host.wall)

    async def main() -> int:
        async with Engine(store, host=host, workflows=[tripling]) as engine:
            return await engine.run(tripling, 3)

    assert host.run(main()) == 9
    assert 3 <= host.monotonic() < 4


@step(name="simulation.fails_sometimes", retry=RetryPolicy(max_attempts=20, first_delay=0.1))
async def fails_sometimes(number: int) -> int:
    if everlog.current().attempt < 3:
        raise ValueError(number)
    return number


@step(name="simulation.in_a_thread")
def in_a_thread(number: int) -> int:
    return number


@workflow(name="simulation.does_much")
async def does_much(number: int) -> int:
    async with asyncio.TaskGroup() as group:
        several = [
            group.create_task(fails_sometimes(number)),
            group.create_task(everlog.call(in_a_thread, number)),
            group.create_task(everlog.recv("news", type=int)),
            group.create_task(everlog.recv("nothing", type=int, timeout=5, default=0)),
        ]
    await everlog.sleep(everlog.random().random())
    if number:
        await everlog.send("0", "other news", number)
    else:
        several += [group_of(await everlog.recv("other news")) for _ in range(9)]
    return sum([one if isinstance(one, int) else one.result() for one in several])


def group_of(message: Any) -> Any:
    return int(message)


def histories(seed: int) -> list[list[tuple[Any, ...]]]:
    """Give the histories of ten workflows, with ids, times and tokens."""
    host = SimulatedHost(seed)

    async def main() -> list[list[tuple[Any, ...]]]:
        async with Engine(make_store(host), host=host, workflows=[does_much]) as engine:
            handles = [await engine.start(does_much.options(id=str(number)), number) for number in range(10)]
            await asyncio.gather(*(handle.send("news", number) for number, handle in enumerate(handles)))
            for handle in handles:
                await handle.result()
            return [
                [(event.seq, event.type, event.recorded_at, _told(event.data)) for event in await handle.history()]
                for handle in handles
            ]

    return host.run(main())


def _told(data: dict[str, Any]) -> str:
    return repr(sorted((name, value) for name, value in data.items() if name != "error"))


def test_the_same_seed_gives_the_same_histories_and_another_gives_others() -> None:
    again = histories(7)
    assert histories(7) == again
    assert histories(8) != again


def test_another_seed_gives_another_order() -> None:
    orders = {tuple(kind for _, kind, _, _ in histories(seed)[0]) for seed in range(6)}
    assert len(orders) > 1


@workflow(name="simulation.sleeps")
async def sleeps(seconds: float) -> float:
    before = everlog.now()
    await asyncio.sleep(seconds)
    return (everlog.now() - before).total_seconds()


def test_a_month_of_sleep_takes_no_time() -> None:
    host, month, began = SimulatedHost(1), 30 * 86400.0, time.perf_counter()

    async def main() -> float:
        store = make_store(host)
        async with Engine(store, host=host, workflows=[sleeps], lease=86400) as engine:
            return await engine.run(sleeps, month)

    assert month <= host.run(main()) < month + 1
    assert host.monotonic() >= month
    assert time.perf_counter() - began < 2


def test_a_program_in_which_nothing_can_happen_any_more_is_a_deadlock() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock):
        SimulatedHost(1).run(main())


class CountedStore(FlakyStore):
    """A store that is asked for the time so often only by somebody who never rests."""

    asked = 0

    def now(self) -> int:
        self.asked += 1
        if self.asked > 20_000:
            raise AssertionError("somebody asks without end")
        return super().now()


@pytest.mark.parametrize("workflows", [[], [tripling]], ids=["none known", "none there"])
def test_an_engine_that_has_nothing_to_do_rests(workflows: list[Any]) -> None:
    host = SimulatedHost(1)

    async def main() -> int:
        store = CountedStore(make_store(host))
        async with Engine(store, host=host, workflows=workflows):
            await asyncio.sleep(60)
        return store.asked

    assert host.run(main()) < 10_000


class Restless:
    """Has something to do at once, and never does it."""

    def pump(self) -> float | None:
        return 0.0


def test_what_is_never_done_is_told_from_work() -> None:
    host = SimulatedHost(seed=1)

    async def main() -> None:
        host.drive("restless", Restless())
        await asyncio.sleep(1)

    host.run(main())
    assert isinstance(host.failure, Livelock)
    assert "restless has been driven" in str(host.failure)


def test_a_crash_ends_all_that_a_host_drives_and_a_sibling_goes_on() -> None:
    host = SimulatedHost(1)

    async def main() -> None:
        store, dying = make_store(host), host.sibling()
        first = await Engine(store, host=dying, workflows=[sleeps]).__aenter__()
        await first.start(sleeps.options(id="s"), 100)
        await asyncio.sleep(1)
        dying.crash()
        assert host.monotonic() < 2
        async with Engine(store, host=host.sibling(), workflows=[sleeps]) as second:
            assert 100 <= await second.handle("s", sleeps).result() < 101
            assert (await kinds(second.handle("s")))[-1] == "workflow_completed"

    host.run(main())


@workflow(name="simulation.ids")
async def ids() -> list[str]:
    return [str(everlog.uuid4()), repr(everlog.random().random())]


def test_chance_in_a_workflow_comes_from_the_seed_of_the_host() -> None:
    def drawn(seed: int) -> list[str]:
        host = SimulatedHost(seed)

        async def main() -> list[str]:
            async with Engine(make_store(host), host=host, workflows=[ids]) as engine:
                return await engine.run(ids)

        return host.run(main())

    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)


def test_waiting_for_what_never_comes_ends_the_test_and_not_the_patience() -> None:
    host = SimulatedHost(1)

    async def main() -> None:
        await until(lambda: False, seconds=5)

    with pytest.raises(AssertionError, match="did not come"):
        host.run(main())


def test_virtual_time_goes_on_for_a_thousand_years() -> None:
    """A float of so many seconds knows no nanoseconds, by which asyncio tells what is due."""
    host = SimulatedHost(1)

    async def main() -> float:
        for years in (1, 10, 989):
            await asyncio.sleep(years * 365 * 86_400)
            host.loop.call_later(0, lambda: None)
            await asyncio.sleep(0.001)
        return host.loop.time()

    assert host.run(main()) >= 1000 * 365 * 86_400

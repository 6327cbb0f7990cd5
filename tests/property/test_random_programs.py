"""Stock asyncio replays exactly: random concurrent programs, run live, are replayed by other processes.

The other processes have other hash seeds and heaps, and run no steps. Every input of a step holds how much was
observed before it, and the result all of it, so no two runs that differ have the same history.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings

import everlog
from everlog import Engine, step, workflow
from everlog.memory import MemoryStore
from everlog.testing.simulation import SimulatedHost
from tests.property.databases import LONG, Database
from tests.property.programs import recipes
from tests.property.recording import Replayer, history, record, record_seeds

# A program drops coroutines when a group refuses them; asyncio would warn as well.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")


@pytest.fixture(scope="module")
def replayer() -> Iterator[Replayer]:
    made = Replayer(2, modules=["tests.property.test_random_programs"])
    yield made
    made.close()


@settings(max_examples=2_000 if LONG else 150)
@given(recipe=recipes(nodes=24))
def test_random_programs_replay_exactly(replayer: Replayer, recipe: dict[str, Any]) -> None:
    replayer.check(record(recipe))


def test_programs_of_400_seeds_replay_exactly(replayer: Replayer, database: Database) -> None:
    seeds = range(database.few(400))
    assert replayer.check(record_seeds(seeds, nodes=30, database=database)) >= len(seeds)


def test_programs_of_families_of_200_seeds_replay_exactly(replayer: Replayer) -> None:
    assert replayer.check(record_seeds(range(200), nodes=30, family=True)) >= 500


def test_programs_whose_children_stand_in_queues_replay_exactly(replayer: Replayer, database: Database) -> None:
    seeds = range(database.few(200))
    options: dict[str, Any] = {"nodes": 20, "family": True, "queued": True, "database": database}
    assert replayer.check(record_seeds(seeds, **options)) >= len(seeds)


@pytest.mark.long
def test_programs_of_families_of_5000_seeds_replay_exactly(replayer: Replayer) -> None:
    assert replayer.check(record_seeds(range(200, 5_200), nodes=30, family=True)) >= 10_000


@pytest.mark.long
def test_programs_of_10000_seeds_replay_exactly(replayer: Replayer, database: Database) -> None:
    seeds = range(400, 400 + database.few(10_000))
    assert replayer.check(record_seeds(seeds, nodes=30, database=database)) >= len(seeds)


@step
async def add(before: int, more: int, delay: float) -> int:
    await asyncio.sleep(delay)
    return before + more


@workflow(name="eight branches")
async def eight_branches(seed: int) -> list[int]:
    async def branch(number: int) -> int:
        total = number
        for more in (1, 10, 100):
            total = await add(total, more, everlog.random().random())
        return total

    return list(await asyncio.gather(*[branch(1000 * number) for number in range(8)]))


def record_eight_branches(seed: int) -> dict[str, Any]:
    """Run them live, and see that the result is right."""
    host = SimulatedHost(seed=seed)
    store = MemoryStore(clock=host.wall)

    async def main() -> list[int]:
        async with Engine(store, host=host, guards="off", workflows=[eight_branches]) as engine:
            return await engine.run(eight_branches.options(id="eight"), seed)

    assert host.run(main()) == [1000 * number + 111 for number in range(8)]
    return history(store, "eight")


def test_gather_of_eight_branches_is_right_and_replays_for_1000_seeds(replayer: Replayer) -> None:
    assert replayer.check(record_eight_branches(seed) for seed in range(1000)) == 1000

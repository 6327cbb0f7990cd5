"""Simulated fleets: whatever happens, nothing is lost, doubled or overtaken; and a store that does so is found."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from everlog import step, workflow
from everlog.memory import MemoryStore
from everlog.replay import guards
from everlog.store import Store
from everlog.testing import Faults, Mishap, Simulation, SimulationFailed, simulate
from everlog_sqlite import SqliteStore
from tests.property.broken_stores import BROKEN
from tests.property.databases import LONG
from tests.property.towns import BENCH, NARROW, SLOW, WORKFLOWS, sleeper, town, whole_town

SEEDS = 10_000 if LONG else 200
AT_ONCE = 250 if LONG else 50
ENOUGH = 1_000
"""A broken store is found within so many seeds."""
KEPT = Path(__file__).with_name("kept_failures.json")
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")


def options(seed: int) -> dict[str, Any]:
    """Give a world of which every other seed has a client that suffers too, and of which leases are short or long."""
    return {
        "seed": seed,
        "workflows": WORKFLOWS,
        "queues": [NARROW, SLOW, BENCH],
        "faults": Faults(during=12, often=0.6, client=seed % 2 == 1),
        "lease": (2, 5, 10)[seed % 3],
    }


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_a_town_survives_whatever_happens_to_its_fleet(first: int) -> None:
    for seed in range(first, first + AT_ONCE):
        simulate(town, **options(seed))


@pytest.mark.parametrize("kept", json.loads(KEPT.read_text()), ids=lambda kept: kept["what"])
def test_what_failed_once_does_not_fail_again(kept: dict[str, Any]) -> None:
    mishaps = [msgspec.convert(mishap, Mishap) for mishap in kept["mishaps"]]
    program = {"whole": whole_town, "in parts": town}[kept["town"]]
    simulate(program, **{**options(kept["seed"]), "lease": kept["lease"], "mishaps": mishaps})


def test_the_same_in_a_database_on_disk(tmp_path: Path) -> None:
    for seed in range(40 if LONG else 2):

        def opened(clock: Callable[[], int], path: Path = tmp_path / f"{seed}.db") -> Store:
            return SqliteStore(path, durability="process", clock=clock)

        simulate(town, **options(seed), store=opened)


# -- stores that are broken on purpose ---------------------------------------------------------------------------------

LIKELY = {
    "SeqIsTheOnlyFence": 225,
    "NoEventsNoFence": 7,
    "PartialInsert": 7,
    "SendsFirst": 156,
    "ForgetsWhatWasRead": 155,
    "MissesWhatCameMeanwhile": 70,
    "KeepsSlotsOfTheDead": 46,
    "TellsTheFirst": 176,
    "CountsBeforeItLocks": 10,
    "ForgetsStarts": 10,
    "CreatesAnew": 7,
}
"""Seeds that find these; the others are found by one of the first."""


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_a_broken_store_is_found(kind: type[MemoryStore]) -> None:
    first = 0 if LONG else LIKELY.get(kind.__name__, 0)
    for seed in (*range(first, ENOUGH), *range(first)):
        shared: list[Store] = []

        def opened(clock: Callable[[], int], shared: list[Store] = shared) -> Store:
            shared[:] = shared or [kind(clock)]
            return shared[0]

        try:
            Simulation(**options(seed), store=opened).run(town)
        except SimulationFailed:
            return
    raise AssertionError(f"{kind.__name__} was not found within {ENOUGH} seeds")


# -- one seed, one run -------------------------------------------------------------------------------------------------


def digest_of_trace(seed: int) -> str:
    world = Simulation(**options(seed))
    world.run(town)
    return sha256("\n".join(world.trace).encode()).hexdigest()


def test_one_seed_gives_one_trace_also_in_another_process_with_another_hash_seed() -> None:
    seeds = range(20 if LONG else 3)
    here = [digest_of_trace(seed) for seed in seeds]
    assert [digest_of_trace(seed) for seed in seeds] == here
    assert len(set(here)) == len(here)
    code = (
        f"from tests.property.test_fleets import digest_of_trace\nfor seed in {seeds!r}: print(digest_of_trace(seed))\n"
    )
    for hash_seed in ("1", "77"):
        told = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
        run = subprocess.run([sys.executable, "-c", code], env=told, capture_output=True, text=True, check=False)
        assert run.stdout.split() == here, run.stderr


def test_years_of_timers_pass_where_nothing_else_happens() -> None:
    """Each second of a fleet takes some work: if it had to live through all of them, this test would not end."""
    year = 365 * 86_400.0

    async def waits_for_years(world: Simulation) -> int:
        handle = await world.client.start(sleeper.options(id="sleeper"), 5 * year)
        return await handle.result()

    world = Simulation(3, workflows=WORKFLOWS, queues=[])
    assert world.run(waits_for_years) == 1
    assert float(world.trace[-1].split()[0]) >= 5 * year


@step(name="fleets.waits")
async def waits(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


@workflow(name="fleets.waits_thrice")
async def waits_thrice() -> float:
    return await waits(1) + await waits(1) + await waits(1)


@pytest.mark.parametrize("at", [0.5, 1.5, 2.5])
def test_what_arrives_late_is_ones_own(at: float) -> None:
    """The database goes on with a commit after its connection was lost; sent again it is refused, as a rival's is."""

    async def program(world: Simulation) -> None:
        handle = await world.client.start(waits_thrice.options(id="thrice"))
        assert await asyncio.wait_for(handle.result(), 60) == 3

    late = [Mishap(at, "late", 1, 0.2)]
    simulate(program, workers=1, mishaps=late, workflows=[waits_thrice], queues=[])


@step(name="fleets.counts")
async def counts() -> int:
    return 1


@workflow(name="fleets.unknown_to_nobody")
async def twice() -> int:
    return await counts() + await counts()


def test_a_failure_is_told_with_as_few_mishaps_as_cause_it_and_happens_again() -> None:
    async def expects_no_death(world: Simulation) -> None:
        handle = await world.client.start(twice.options(id="one"))
        assert await handle.result() == 2
        await world.settled()
        world.tell("it is quiet")
        assert not any(line.endswith("dies") for line in world.trace), "somebody has died"

    async def patient(world: Simulation) -> None:
        for _ in range(20):
            await world.client.run(twice)
            await asyncio.sleep(1)
        await expects_no_death(world)

    with pytest.raises(SimulationFailed, match="somebody has died") as failed:
        simulate(patient, seed=1, workflows=[twice], queues=[])
    assert [mishap.kind for mishap in failed.value.mishaps] == ["crash"]
    text = str(failed.value)
    assert "simulate(program, seed=1)" in text
    assert "Mishap(at=" in text
    assert "it is quiet" in text
    with pytest.raises(SimulationFailed) as again:
        simulate(patient, seed=1, workflows=[twice], queues=[], mishaps=failed.value.mishaps)
    assert again.value.trace == failed.value.trace


def test_the_guards_of_engines_that_died_are_gone_with_their_world() -> None:
    before = list(guards._settings)
    simulate(town, **options(1), mishaps=[Mishap(0.1, "crash", 1, 0.2), Mishap(0.5, "crash", 2, 0.2)])
    assert guards._settings == before

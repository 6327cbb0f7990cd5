"""Random programs that are patched in the middle, while engines with old and new code come, go and die on one database.

What went beyond a patch before it was there goes on the old way, what comes to it afterwards goes the new one, and
nothing ever goes both: whichever engine takes it up, and however often it is replayed.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import everlog
from everlog import Engine, step, workflow
from everlog.memory import MemoryStore
from everlog.runtime.replaying import known_workflows, replay_environment
from everlog.runtime.verdicts import verdict_of
from everlog.store import Store
from everlog.testing import Exported
from everlog.testing.simulation import SimulatedHost
from tests.property.databases import LONG, Database
from tests.support import kill

PATCHES = 3
Place = tuple[str, int]
"""What stands at a place of a program, and the patch that changed it; 0: none did."""


@step(name="patching.act")
async def act(place: str, delay: float) -> str:
    await asyncio.sleep(delay)
    return place


def code(level: int) -> Any:
    """Give the code of a program after so many patches."""

    @workflow(name="patching.program")
    async def program(places: list[Place], delay: float) -> list[str]:
        async def at(number: int, kind: str, patch: int) -> list[str]:
            is_new = 0 < patch <= level and everlog.patched(f"patch {patch}")
            said = f"{number}:{patch}:{'new' if is_new else 'old'}"
            if kind == "sleep":
                await asyncio.sleep(delay * (2 if is_new else 1))
                return [said]
            first = await act(said, delay)
            return [first, await act(f"{said} again", delay)] if is_new else [first]

        seen: list[str] = []
        for number, (kind, patch) in enumerate(places):
            if kind == "both":
                parts = await asyncio.gather(at(number, "step", 0), at(number, "step", patch))
                seen += [one for part in parts for one in part]
            else:
                seen += await at(number, kind, patch)
        return seen

    return program


CODE = {level: code(level) for level in range(PATCHES + 1)}
LAST = CODE[PATCHES]


@st.composite
def stories(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a program, and the deployments that it lives through."""
    return story(Random(draw(st.integers(0, 2**32))))


def story(random: Random) -> dict[str, Any]:
    kinds = ["step", "step", "sleep", "both"]
    places = [(random.choice(kinds), random.choice([0, 1, 1, 2, 3])) for _ in range(random.randint(2, 7))]
    deployments = [
        {
            "levels": sorted(random.choices(range(PATCHES + 1), k=random.choice([1, 1, 2]))),
            "for": random.choice([0.1, 0.5, 1.0, 3.0]),
            "starts": random.random() < 0.6,
            "dies": random.random() < 0.3,
        }
        for _ in range(random.randint(1, 4))
    ]
    if random.random() < 0.7:  # most of the time nothing is rolled back
        deployments.sort(key=lambda one: one["levels"])
    return {"seed": random.randrange(2**32), "places": places, "deployments": deployments}


def tell(
    told: dict[str, Any], monkeypatch: pytest.MonkeyPatch, database: Database | None = None
) -> dict[str, list[str]]:
    """Live a story to its end; give what each workflow returned."""
    host = SimulatedHost(seed=told["seed"])
    memory = MemoryStore(clock=host.wall)
    if database is not None:
        database.clean()

    def opened() -> Store:
        return memory if database is None else database.open(host.wall)

    async def engine_of(level: int) -> Engine:
        monkeypatch.setenv("EVERLOG_BUILD", f"level {level}")
        engine = Engine(opened(), host=host.sibling(), guards="off", workflows=[CODE[level]], lease=2, grace=0.2)
        await engine.__aenter__()
        return engine

    async def main() -> dict[str, list[str]]:
        started: list[str] = []
        dead: list[Engine] = []  # kept: the end of what is dead has no effects
        for number, deployment in enumerate(told["deployments"]):
            engines = [await engine_of(level) for level in deployment["levels"]]
            if deployment["starts"] or not started:
                for engine in engines:
                    started.append(f"w{number}-{len(started)}")
                    await engine.start(LAST.options(id=started[-1]), told["places"], 0.3)
            await asyncio.sleep(deployment["for"])
            for engine in engines:
                if deployment["dies"]:
                    kill(engine)
                    dead.append(engine)
                else:
                    await engine.__aexit__(None, None, None)
        last = await engine_of(PATCHES)
        try:
            async with asyncio.timeout(10_000):
                return {one: await last.handle(one, LAST).result() for one in started}
        finally:
            await last.__aexit__(None, None, None)

    results = host.run(main())
    store = opened()
    environment, definitions = replay_environment(), known_workflows(LAST)
    for one in results:
        rows = [(row.seq, row.recorded_at, row.payload) for row in store.read(one)]
        verdict = verdict_of(Exported(workflow_id=one, name="patching.program", rows=rows), definitions, environment)
        assert verdict.is_clean, str(verdict)
    return results


def check(told: dict[str, Any], results: dict[str, list[str]]) -> int:
    """See that none is mixed, and give how many ways were old and new."""
    new = 0
    for one, seen in results.items():
        ways: dict[str, set[str]] = {}
        for said in seen:
            _, patch, way = said.removesuffix(" again").split(":")
            ways.setdefault(patch, set()).add(way)
        assert ways.get("0", {"old"}) == {"old"}
        assert all(len(way) == 1 for way in ways.values()), (one, seen)
        first = int(one[1:].partition("-")[0])
        lowest = min(level for deployment in told["deployments"][first:] for level in deployment["levels"])
        for patch, way in ways.items():
            if 0 < int(patch) <= lowest:
                assert way == {"new"}, (one, patch, seen)
            new += way == {"new"}
    return new


@settings(max_examples=1_000 if LONG else 25)
@given(told=stories())
def test_no_workflow_goes_both_ways_of_a_patch(told: dict[str, Any]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        check(told, tell(told, monkeypatch))


def test_nor_on_a_database(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    new = 0
    for seed in range(database.few(1_000 if LONG else 60)):
        told = story(Random(seed))
        new += check(told, tell(told, monkeypatch, database))
    assert new > 0

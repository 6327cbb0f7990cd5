"""Values and streams through the deaths of the processes that write them, and readers that come and go.

The program is random; its processes die at random commits or moments, answers of the database are lost. Whatever
happens: workflow code publishes each thing once, what steps emit is marked where they begin again, a reader who resumes
by offset sees each place once, and the values that are kept are those of the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import everlog
from everlog import Client, Engine, RetryPolicy, StreamItem, StreamReset, UsageError, step, sync, workflow
from everlog.testing.faults import Fault
from tests.support import FlakyStore, PausableHost, kill, make_store, opened, published_fits, rows_of, simulate

STREAMS = ("a", "b")
PARTS = ["value", "items", "items", "talk", "talk", "fails", "plain", "sleep", "end"]
Plan = list[list[str]]


@step(retry=RetryPolicy(max_attempts=3, first_delay=0.2, jitter=0))
async def talk(stream: str, items: int, failures: int) -> int:
    attempt = everlog.current().attempt
    for number in range(items):
        await everlog.emit(stream, [attempt, number])
        await everlog.set_value("talking", number)
        await asyncio.sleep(0.01 * (number % 3))
        if attempt <= failures and number == 1:
            raise ConnectionError
    return attempt


@step
def plain(stream: str, items: int) -> int:
    for number in range(items):
        sync.emit(stream, [1, number])
    return 1


async def part(name: str, stream: str, number: int) -> list[Any]:
    match name:
        case "value":
            await everlog.set_value(stream, number)
        case "items":
            try:
                await everlog.emit(stream, number, [number])
            except UsageError:
                return ["closed"]
            return ["items", stream, number]
        case "end":
            await everlog.close_stream(stream)
        case "talk":
            return ["talk", stream, await talk(f"{stream} of steps", 4, 0)]
        case "fails":
            return ["talk", stream, await talk(f"{stream} of steps", 3, 1)]
        case "plain":
            return ["talk", stream, await everlog.call(plain, f"{stream} of steps", 5)]
        case _:
            await asyncio.sleep(0.5)
    return [name]


@workflow
async def shows(plan: Plan) -> list[list[Any]]:
    told: list[list[Any]] = []
    numbers = count()
    for together in plan:
        told += await asyncio.gather(*(part(name, STREAMS[len(name) % 2], next(numbers)) for name in together))
        await everlog.emit("told", len(told))
    await everlog.set_value("last", told)
    return told


async def follow(client: Client, stream: str, chance: Random) -> list[StreamItem[Any] | StreamReset]:
    """Read a stream to its end, leaving off now and then, and going on by offset."""
    seen: list[StreamItem[Any] | StreamReset] = []
    offset, ended = 0, False
    while not ended:
        ended, reader = True, client.handle("flow").stream(stream, start=offset)
        async for one in reader.items():
            seen.append(one)
            offset = reader.offset
            if chance.random() < 0.1:
                ended = False
                break
    return seen


def check_steps(seen: Sequence[StreamItem[Any] | StreamReset]) -> None:
    """Each step's items begin anew after each reset, and only there; those after the last are all of them."""
    heard: dict[str, list[list[int]]] = {}
    for one in seen:
        if isinstance(one, StreamReset):
            heard[one.step] = []
            continue
        assert one.step is not None
        said = heard.setdefault(one.step, [])
        said.append(one.value)
        assert one.value == [one.attempt, len(said) - 1], "items of a step follow each other, or a reset stands between"
    for identity, said in heard.items():
        assert [number for _, number in said] in ([0, 1, 2, 3], [0, 1, 2], [0, 1, 2, 3, 4]), identity


def run_shows(
    kind: str, folder: Path, seed: int, plan: Plan, deaths: Sequence[tuple[str, int, float]], chance: Random
) -> None:
    async def program(host: PausableHost) -> None:
        store = make_store(host, kind, folder)
        reading = await opened(Client(store, host=host.sibling()))
        flaky = FlakyStore(store)
        engine = await opened(Engine(flaky, host=host.sibling(), workflows=[shows], lease=2))
        handle = await engine.start(shows.options(id="flow"), plan)
        names = ["told", *STREAMS, *(f"{stream} of steps" for stream in STREAMS)]
        readers = {name: asyncio.create_task(follow(reading, name, chance)) for name in names}
        for what, commit, pause in deaths:
            if what == "lose":
                flaky.lose_answers = commit
            elif what == "crash":
                when = "after" if commit % 2 else "before"
                flaky.faults.append(Fault(commit=flaky.commits + commit, when=when, kind="crash"))  # type: ignore[arg-type]
            await asyncio.sleep(pause)
            published_fits(store, "flow")
            if what != "lose":
                kill(engine)
                flaky = FlakyStore(store)
                engine = await opened(Engine(flaky, host=host.sibling(), workflows=[shows], lease=2))
                handle = engine.handle("flow", shows)
        told = await handle.result(timeout=1000)
        seen = {name: await reader for name, reader in readers.items()}
        published_fits(store, "flow")
        for name, items in seen.items():
            taken = [item.offset for item in items]
            rows = [row for row in rows_of(store, "flow", name) if row.kind != "closed"]
            assert taken == [*range(sum(row.count for row in rows))], name
        for stream in STREAMS:
            check_steps(seen[f"{stream} of steps"])
            own = [item.value for item in seen[stream] if isinstance(item, StreamItem)]
            emitted = [[one[2], [one[2]]] for one in told if one[:2] == ["items", stream]]
            assert sorted(map(str, own)) == sorted(str(value) for pair in emitted for value in pair)
        sizes = [sum(len(part) for part in plan[: number + 1]) for number in range(len(plan))]
        assert [item.value for item in seen["told"] if isinstance(item, StreamItem)] == sizes
        assert await reading.handle("flow").get_value("last", timeout=0) == told
        with suppress(everlog.StoreError):
            await engine.__aexit__(None, None, None)

    simulate(program, seed=seed)


_plans = st.lists(st.lists(st.sampled_from(PARTS), min_size=1, max_size=3), min_size=1, max_size=4)
_deaths = st.lists(
    st.tuples(st.sampled_from(["kill", "crash", "lose"]), st.integers(1, 6), st.floats(0, 1)), max_size=4
)


@given(seed=st.integers(0, 2**32), plan=_plans, deaths=_deaths)
def test_what_is_published_survives_every_death(seed: int, plan: Plan, deaths: list[tuple[str, int, float]]) -> None:
    run_shows("memory", Path(), seed, plan, deaths, Random(seed))


@pytest.mark.parametrize("seed", range(6))
def test_the_same_on_a_file(seed: int) -> None:
    chance = Random(seed)
    plan = [[chance.choice(PARTS) for _ in range(2)] for _ in range(4)]
    deaths = [(chance.choice(["kill", "crash", "lose"]), chance.randint(1, 6), chance.random()) for _ in range(3)]
    with TemporaryDirectory() as folder:
        run_shows("sqlite", Path(folder), seed, plan, deaths, chance)

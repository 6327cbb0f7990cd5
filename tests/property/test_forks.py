"""Forks of random workflows: wherever they are cut they come to the end that their source came to, and with another
result in the place of one to that of a run in which the step gave it. No fork of any program gets stuck."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import everlog
from everlog import Engine, Handle, HistoryEvent, NotFound, step, workflow
from everlog.core.event_codec import decode_event
from everlog.core.forking import is_of_an_end
from everlog.store import Store
from everlog.testing import history_of, replay
from everlog.testing.simulation import SimulatedHost
from tests.property.databases import LONG
from tests.property.programs import random_recipe
from tests.property.recording import (
    INTERPRETERS,
    MEMORY,
    Replayer,
    disturb,
    histories,
    interpreter_of,
    until_ended,
)
from tests.support import buries_its_dead, projections_fit, run

Node = list[Any]
ID = "source"
given_instead: dict[int, int] = {}
"""What the step of a node gives instead of what it computes."""
ran: Counter[int] = Counter()
pytestmark = buries_its_dead


@step
async def compute(number: int, argument: int) -> int:
    ran[number] += 1
    await asyncio.sleep(number % 3 / 10)
    return given_instead.get(number, (number * 7 + argument) % 10)


async def value_of(node: Node, argument: int) -> int:
    """Run a node, whose value depends on nothing but the argument and what its steps give."""
    match node:
        case ["step", number]:
            return await compute.options(key=f"{number}")(number, argument)
        case ["sequence", *nodes]:
            for one in nodes:
                argument = await value_of(one, argument)
            return argument
        case ["gather", *nodes]:
            return sum(await asyncio.gather(*[value_of(one, argument) for one in nodes])) % 10
        case ["choose", asked, one, other]:
            return await value_of(one if await value_of(asked, argument) % 2 else other, argument)
        case ["sleep", seconds]:
            await asyncio.sleep(seconds)
            return argument
        case ["message", topic]:
            return (argument + await everlog.recv(topic, type=int)) % 10
        case ["publish", name]:
            await everlog.set_value(name, argument)
            await everlog.emit(name, argument)
            return argument
        case ["child", body]:
            return await part(body, argument)
        case _:
            raise ValueError(node)


@workflow
async def whole(node: Node) -> int:
    return await value_of(node, 1)


@workflow
async def part(node: Node, argument: int) -> int:
    return await value_of(node, argument)


class Drawing:
    """Draws nodes, of which each step has a number of its own."""

    def __init__(self, chance: Random, size: int) -> None:
        self.chance, self.left, self.numbers, self.topics = chance, size, 0, list[str]()

    def draw(self, depth: int = 0, *, in_child: bool = False) -> Node:
        """Draw a node and what is in it."""
        self.left -= 1
        inner = ["sequence", "sequence", "gather", "gather", "choose"] + ([] if in_child else ["child"])
        leaves = ["step"] * 5 + ["sleep", "publish"] + ([] if in_child else ["message"])
        kind = self.chance.choice(leaves if depth > 3 or self.left <= 0 else inner)
        match kind:
            case "step":
                self.numbers += 1
                return ["step", self.numbers]
            case "sleep":
                return ["sleep", self.chance.choice([0, 0.1, 1])]
            case "publish":
                return ["publish", self.chance.choice(["a", "b"])]
            case "message":
                self.topics.append(f"topic-{len(self.topics)}")
                return ["message", self.topics[-1]]
            case "child":
                return ["child", self.draw(depth + 1, in_child=True)]
            case "choose":
                return ["choose", *[self.draw(depth + 1, in_child=in_child) for _ in range(3)]]
            case _:
                several = range(self.chance.randint(1, 4))
                return [kind, *[self.draw(depth + 1, in_child=in_child) for _ in several]]


drawings = st.randoms(use_true_random=False).map(lambda chance: Drawing(chance, chance.randint(1, 12)))


async def run_whole(engine: Engine, workflow_id: str, node: Node, topics: list[str]) -> tuple[Handle[int], int]:
    handle = await engine.start(whole.options(id=workflow_id), node)
    for place, topic in enumerate(topics):
        with suppress(NotFound):  # it may have chosen a way on which nobody waits for it, and have ended
            await handle.send(topic, place)
    return handle, await handle.result()


async def all_of(handle: Handle[Any]) -> list[HistoryEvent]:
    return list(await handle.history())


@settings(max_examples=200 if LONG else 12)
@given(drawing=drawings)
def test_a_fork_at_any_event_ends_as_its_source_did_and_has_its_rows(drawing: Drawing) -> None:
    node = drawing.draw()

    async def program(engine: Engine) -> None:
        handle, result = await run_whole(engine, ID, node, drawing.topics)
        before = await all_of(handle)
        kept = [one for one in before if one.type not in ("workflow_completed",)]
        for at in range(1, len(before) + 1):
            children: Any = "keep" if at % 2 else "rerun"
            fork = await handle.fork(at=at, children=children)
            assert await fork.result(timeout=1000) == result, at
            until = min(at, len(kept))
            assert replay(await history_of(engine, fork.id)).is_clean
            theirs = (await all_of(fork))[:until]
            differing = {one.type for one, other in zip(theirs, before[:until], strict=True) if one != other}
            assert differing <= {"workflow_created", "child_started"}
            await engine.on_thread(lambda: projections_fit(engine.store, fork.id))  # noqa: B023 - called at once
        assert await all_of(handle) == before

    run(program)


@settings(max_examples=400 if LONG else 25)
@given(drawing=drawings, which=st.integers(0, 10**6), value=st.integers(0, 9))
def test_a_fork_with_another_result_ends_as_a_run_in_which_the_step_gave_it(
    drawing: Drawing, which: int, value: int
) -> None:
    node = drawing.draw()

    async def program(engine: Engine) -> None:
        given_instead.clear()
        handle, _ = await run_whole(engine, ID, node, drawing.topics)
        steps = [one for one in await all_of(handle) if one.type == "step_completed"]
        if not steps:
            return
        operation: str = steps[which % len(steps)].data["operation"]
        number = int(operation.rpartition("@")[2])
        ran.clear()
        fork = await handle.fork(replace={operation: value})
        forked = await fork.result(timeout=1000)
        assert replay(await history_of(engine, fork.id)).is_clean
        assert set(ran) <= after(node, number), "what depends on it runs again, and nothing else"
        given_instead[number] = value
        _, fresh = await run_whole(engine, "fresh", node, drawing.topics)
        given_instead.clear()
        assert forked == fresh

    run(program)


def steps_in(node: Node) -> set[int]:
    """Give the numbers of all steps in a node."""
    if node[0] == "step":
        return {node[1]}
    return {number for one in node[1:] if isinstance(one, list) for number in steps_in(one)}


def after(node: Node, number: int) -> set[int]:
    """Give the steps that depend on what a step gives."""
    within = [place for place, one in enumerate(node) if isinstance(one, list) and number in steps_in(one)]
    if not within:
        return set()
    (place,) = within
    later = [] if node[0] == "gather" else node[place + 1 :]
    if node[0] == "choose" and place > 1:
        later = []
    return after(node[place], number) | {step for one in later for step in steps_in(one)}


@pytest.fixture(scope="module")
def replayer() -> Iterator[Replayer]:
    made = Replayer(2)
    yield made
    made.close()


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("blocking", [False, True], ids=["async", "blocking"])
@pytest.mark.parametrize("family", [False, True], ids=["alone", "family"])
def test_no_fork_of_any_program_gets_stuck_and_all_are_replayed(
    replayer: Replayer, blocking: bool, family: bool
) -> None:
    for seed in range(300 if LONG else 8):
        recipe = random_recipe(Random(seed), nodes=10, blocking=blocking, family=family)
        host = SimulatedHost(recipe["seed"])
        MEMORY.clean()
        store = MEMORY.open(host.wall)
        host.run(_fork_all(store, host, recipe, Random(seed)))
        if host.failure is not None:
            raise host.failure
        replayer.check(histories(store))


async def _fork_all(store: Store, host: SimulatedHost, recipe: dict[str, Any], chance: Random) -> None:
    ids = [f"program-{number}" for number in range(len(recipe["programs"]))]
    async with Engine(store, host=host, guards="off", workflows=INTERPRETERS) as engine:
        handles: list[Handle[Any]] = [
            await engine.start(
                interpreter_of(recipe, number).options(id=one, timeout=recipe["timeouts"][number]),
                program,
                ids[number - 1],
                one,
            )
            for number, (one, program) in enumerate(zip(ids, recipe["programs"], strict=True))
        ]
        await disturb(handles, recipe["outside"])
        await until_ended(handles)
        before = {one: store.read(one) for one in ids}
        forks: list[Handle[Any]] = []
        for handle in handles:
            rows = before[handle.id]
            outcomes = [row for row in rows if row.type in ("step_completed", "step_failed")]
            for at in sorted(chance.sample(range(1, len(rows) + 1), min(6, len(rows)))):
                messages: Any = chance.choice(["keep", "drop"])
                children: Any = chance.choice(["keep", "rerun"])
                forks.append(await handle.fork(at=at, messages=messages, children=children))
            for row in chance.sample(outcomes, min(3, len(outcomes))):
                last = [one for one in rows if one.type == "workflow_continued"]
                if not last or row.seq > last[-1].seq:
                    forks.append(await handle.fork(replace={row.seq: chance.randrange(10)}))
        await until_ended(forks)
        for handle in [*forks]:
            (head,) = store.heads([handle.id])
            assert head is not None
            assert head.state != "stuck", head.why
            rows = store.read(handle.id)
            assert is_of_an_end(decode_event(rows[-1].payload))
        assert {one: store.read(one) for one in ids} == before

"""Storms: random programs that are cancelled, terminated, paused, resumed and retried at random, and crash meanwhile.

Nothing hangs, every history has one end, what is to be undone is undone once, and another process replays all of it.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from random import Random
from typing import Any

import pytest

import everlog
from everlog import Client, Engine, Handle, NotFound, WorkflowCancelled, WorkflowFailed, step, workflow
from everlog.core.event_codec import decode_event, encode_event
from everlog.core.events import (
    AnyEvent,
    CancelRequested,
    ChildEnded,
    ItemsEmitted,
    StepCompleted,
    StepFailed,
    TerminateRequested,
    WorkflowCompleted,
)
from everlog.core.rewinding import Lived
from everlog.replay.publishing import elements
from everlog.store import ENDED, Store, StreamQuestion, SupportsStreams
from everlog.testing.faults import Fault
from everlog.testing.simulation import SimulatedHost
from tests.property.interpreter import runs
from tests.property.programs import MOMENTS, random_recipe
from tests.property.recording import ALL, Replayer, interpreter_of, until_ended
from tests.property.test_crash_at_every_commit import ID, Life, in_both_colours
from tests.support import buries_its_dead, make_store, on_both_stores, projections_fit

LONG = os.environ.get("EVERLOG_LONG") == "1"
ORDERS = ["cancel", "pause", "resume", "pause", "resume", "terminate", "retry", "retry", "send"]
OF_OTHERS = ["cancel", "pause", "resume", "terminate"]
"""A child that somebody else has retried may end otherwise than its parent knows."""
PATIENCE = 30
UNDONE = 3

pytestmark = [
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
    *buries_its_dead,
]


@pytest.fixture(scope="module")
def replayer() -> Iterator[Replayer]:
    made = Replayer(2)
    yield made
    made.close()


class Storm(Life):
    """A program that orders rain upon, through the deaths of the processes that run it."""

    def __init__(
        self, recipe: dict[str, Any], orders: list[tuple[float, str, int | None]], *, retries: int, retire: bool
    ) -> None:
        super().__init__(recipe, retire=retire)
        self.orders = orders
        self.retries = retries

    async def _use(self, engine: Engine) -> None:
        program = self.recipe["programs"][0]
        flow = interpreter_of(self.recipe, 0).options(id=ID, timeout=self.recipe["timeouts"][0])
        handle: Handle[Any] = await engine.start(flow, program, ID, ID)
        for after, order, whom in self.orders:
            await asyncio.sleep(after)
            aim = handle if whom is None else self._child(engine, whom)
            if order == "send":
                with suppress(NotFound):
                    await aim.send("a", 1)
            else:
                await getattr(aim, order)()
        await self._calm_down(handle)
        await until_ended([engine.handle(head.workflow_id) for head in self._seen.workflows(ALL)])

    def _child(self, engine: Engine, whom: int) -> Handle[Any]:
        """Give the handle of one of those that came of it, or its own where there is none."""
        ids = sorted(head.workflow_id for head in self._seen.workflows(ALL))
        return engine.handle(ids[whom % len(ids)])

    async def _calm_down(self, handle: Handle[Any]) -> None:
        for retry in range(self.retries + 1):
            await ended(handle)
            if retry < self.retries:
                await handle.retry()

    def check(self, recorded: dict[str, Any]) -> None:
        rows = [(seq, at, decode_event(payload.encode())) for seq, at, payload in recorded["rows"]]
        assert [seq for seq, _, _ in rows] == [*range(1, len(rows) + 1)]
        lived = [event for _, _, event in Lived(rows).rows]
        ends = Counter(event.operation for event in lived if isinstance(event, StepCompleted | StepFailed))
        assert all(number == 1 for number in ends.values()), ends
        was_undone(lived)
        store = self._seen
        for head in store.workflows(ALL):
            assert head.state in ENDED, f"{head.workflow_id} was lost: {head.state}"
            projections_fit(store, head.workflow_id)
        ends_were_told(store, lived)
        was_published_once(store, [event for _, _, event in rows])


def ends_were_told(store: Store, lived: list[AnyEvent]) -> None:
    """What a workflow knows of the end of a child is how that ended at last, also where both were opened again."""
    for event in lived:
        if isinstance(event, ChildEnded):
            last = decode_event(store.read(event.child)[-1].payload)
            assert encode_event(event.outcome) == encode_event(last), event.child


def was_published_once(store: Store, history: list[AnyEvent]) -> None:
    """Every stream holds what the history says, whatever it was rewound to, each item once."""
    assert isinstance(store, SupportsStreams)
    written: dict[tuple[str, int], bytes] = {}
    for event in history:
        if isinstance(event, ItemsEmitted):
            items = elements(bytes(event.items))
            for place, item in enumerate(items, start=event.offset):
                assert written.setdefault((event.stream, place), item) == item
    said = Counter((event.operation, event.offset) for event in history if isinstance(event, ItemsEmitted))
    again = {(event.operation, bytes(event.items)) for event in history if isinstance(event, ItemsEmitted)}
    assert len(said) == len(again), "the same was appended twice"
    for stream in store.streams(ID):
        question = StreamQuestion(workflow_id=ID, stream=stream.stream, start=0)
        (page,) = store.read_streams([question], limit=10_000)
        for row in page.rows:
            if row.kind == "items":
                found = elements(row.payload)
                told = [written.pop((stream.stream, place)) for place in range(row.offset, row.offset + row.count)]
                assert found == told
    assert not written


async def ended(handle: Handle[Any]) -> None:
    """Bring a workflow to its end; terminate it where a cancellation does not."""
    for stop in (handle.cancel, handle.cancel, handle.terminate):
        await handle.resume()
        with suppress(TimeoutError, WorkflowFailed, WorkflowCancelled):
            await handle.result(timeout=PATIENCE)
        if (await handle.status()).state in ENDED:
            return
        await stop()
    with suppress(WorkflowCancelled, WorkflowFailed):
        await handle.result(timeout=PATIENCE)
    assert (await handle.status()).state in ENDED, (await handle.status()).why


def was_undone(lived: list[AnyEvent]) -> None:
    """The block around the whole program was undone if and only if it did not return, each part once."""
    undone = [
        event.operation for event in lived if isinstance(event, StepCompleted | StepFailed) and event.step == "amends 0"
    ]
    began = any(event.__struct_config__.tag == "workflow_began" for event in lived)
    if not began or any(isinstance(event, TerminateRequested) for event in lived):
        return
    returned = isinstance(lived[-1], WorkflowCompleted)
    assert len(undone) == len(set(undone)) == (0 if returned else UNDONE), undone


def storm(chance: Random, *, blocking: bool, nodes: int, family: bool = False) -> dict[str, Any]:
    """Draw a program in a block, and what happens to it; with `family` it is mostly about children."""
    recipe = random_recipe(chance, nodes=nodes, alone=True, blocking=blocking, family=family)
    body = {**recipe["programs"][0], "id": 1000}
    recipe["programs"] = [
        {"do": "undo", "id": 0, "most": UNDONE, "seconds": 0.1, "failures": 0, "body": body, "raises": True}
    ]
    orders: list[tuple[float, str, int | None]] = []
    for _ in range(chance.randint(1, 6)):
        after, whom = chance.choice(MOMENTS), chance.randrange(1, 9) if family and chance.random() < 0.4 else None
        orders.append((after, chance.choice(ORDERS if whom is None else OF_OTHERS), whom))
    return {"recipe": recipe, "orders": orders, "retries": chance.randint(0, 2)}


@pytest.mark.parametrize("family", [False, True], ids=["anything", "families"])
@in_both_colours
def test_a_storm_leaves_nothing_undone_or_done_twice(replayer: Replayer, blocking: bool, family: bool) -> None:
    def histories() -> Iterator[dict[str, Any]]:
        for seed in range(1500 if LONG else 60):
            drawn = storm(Random(seed), blocking=blocking, nodes=12, family=family)
            life = Storm(**drawn, retire=False)
            recorded = life.live()
            recorded["from"] = f"seed {seed}: {drawn}"
            checked(life, recorded)
            seen.update(json.loads(payload)["type"] for _, _, payload in recorded["rows"])
            yield recorded
            yield from [{**one, "from": f"{one['id']} of {recorded['from']}"} for one in life.children()]

    seen: Counter[str] = Counter()
    assert replayer.check(histories()) >= 60
    happened = ("paused", "resumed", "rewound", "completed", "failed", "cancelled")
    assert min(seen[f"workflow_{what}"] for what in happened) > 2, seen
    assert min(seen["terminate_requested"], seen["cancel_requested"]) > 2, seen


@pytest.mark.parametrize("family", [False, True], ids=["anything", "families"])
@in_both_colours
def test_nor_does_a_crash_at_any_commit_of_a_storm(replayer: Replayer, blocking: bool, family: bool) -> None:
    def histories() -> Iterator[dict[str, Any]]:
        for seed in range(400 if LONG else 2):
            drawn = storm(Random(seed), blocking=blocking, nodes=8, family=family)
            calm = Storm(**drawn, retire=False)
            calm.live()
            for commit in range(1, calm.commits + 1):
                runs.clear()
                life = Storm(**drawn, retire=commit % 3 != 0)
                recorded = life.live(Fault(commit=commit, when=("before", "after")[commit % 2], kind="crash"))  # type: ignore[arg-type]
                recorded["from"] = f"a crash at commit {commit} of seed {seed}: {drawn}"
                checked(life, recorded)
                yield recorded
                yield from [{**one, "from": f"{one['id']} of {recorded['from']}"} for one in life.children()]

    assert replayer.check(histories()) >= 30


def checked(life: Storm, recorded: dict[str, Any]) -> None:
    try:
        life.check(recorded)
    except AssertionError as error:
        raise AssertionError(f"{recorded['from']}: {error}") from error


# -- many at once ------------------------------------------------------------------------------------------------------

DONE: Counter[str] = Counter()
UNDONE_PARTS: Counter[str] = Counter()


@step(name="storms.books")
async def books(what: str, seconds: float) -> str:
    await asyncio.sleep(seconds)
    DONE[what] += 1
    return what


@step(name="storms.gives_back")
async def gives_back(what: str) -> None:
    UNDONE_PARTS[what] += 1


@workflow(name="storms.trip")
async def trip(number: int) -> None:
    chance = everlog.random()
    async with everlog.compensations() as undo:
        for part in range(3):
            undo.add(gives_back, await books(f"{number}/{part}", chance.random()))
            await asyncio.sleep(chance.random())
        await everlog.recv("never")


def booked(history: Iterable[AnyEvent]) -> Iterator[str]:
    """Give what the workflow learnt was done: a step that was cancelled while it ended may have done it as well."""
    for event in history:
        if isinstance(event, CancelRequested):
            return
        if isinstance(event, StepCompleted) and event.step == "storms.books":
            yield json.loads(bytes(event.result))


@on_both_stores
def test_a_thousand_workflows_are_cancelled_at_random_points(kind: str, tmp_path: Any) -> None:
    DONE.clear()
    UNDONE_PARTS.clear()
    number = 1000 if kind == "memory" else 200
    host = SimulatedHost(7)
    store = make_store(host, kind, tmp_path)
    known: Counter[str] = Counter()

    async def main() -> None:
        async with (
            Engine(store, host=host.sibling(), workflows=[trip], concurrency=number // 3) as engine,
            Client(store, host=host.sibling()) as client,
        ):
            ids = [f"trip-{one}" for one in range(number)]
            await asyncio.gather(*[engine.start(trip.options(id=one), place) for place, one in enumerate(ids)])

            async def cancel(one: str) -> None:
                await asyncio.sleep(host.random.random() * 5)
                await (engine if host.random.random() < 0.5 else client).cancel(one)
                with pytest.raises(WorkflowCancelled):
                    await engine.handle(one).result(timeout=600)

            await asyncio.gather(*[cancel(one) for one in ids])
            heads = await engine.on_thread(lambda: engine.store.heads(ids))
            assert {head.state for head in heads if head is not None} == {"cancelled"}
            assert {head.token for head in heads if head is not None} == {None}
            for one in ids[:: number // 50]:
                await engine.on_thread(lambda one=one: projections_fit(engine.store, one))
            for one in ids:
                rows = await engine.on_thread(lambda one=one: engine.store.read(one))
                known.update(booked(decode_event(row.payload) for row in rows))

    host.run(main())
    assert known == UNDONE_PARTS, "what was recorded as done was undone, once"
    assert known <= DONE
    assert set(DONE.values()) == {1}
    assert len(DONE) > number // 2

"""A process that dies at any commit loses nothing that was recorded and repeats nothing that was.

Each program is run once to count the commits of the store. Then it is run again and again: the process dies before or
after each commit in turn, and another takes over.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from itertools import accumulate
from random import Random
from typing import Any

import pytest

from everlog import AskRefused, Engine, Handle, NotFound
from everlog.core.event_codec import decode_event
from everlog.core.events import (
    ChildEnded,
    ChildStarted,
    MessageReceived,
    ReplyEvent,
    StepCompleted,
    StepFailed,
    WorkflowCompleted,
    WorkflowContinued,
    WorkflowCreated,
)
from everlog.store import ENDED, Store, SupportsQueues
from everlog.testing.faults import Fault, FaultyStore
from everlog.testing.simulation import SimulatedHost
from tests.property.databases import LONG, Database
from tests.property.interpreter import runs
from tests.property.programs import random_recipe
from tests.property.recording import (
    ALL,
    INTERPRETERS,
    MEMORY,
    Replayer,
    ask_or_answer,
    histories,
    history,
    interpreter_of,
    until_ended,
)
from tests.support import buries_its_dead, projections_fit, published_fits

ID = "program"

pytestmark = [
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
    *buries_its_dead,
]
in_both_colours = pytest.mark.parametrize("blocking", [False, True], ids=["async", "blocking"])


@pytest.fixture(scope="module")
def replayer() -> Iterator[Replayer]:
    made = Replayer(2)
    yield made
    made.close()


class MortalHost(SimulatedHost):
    """A host whose death can be waited for."""

    def __init__(self, seed: int, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        super().__init__(seed, loop=loop)
        self.dead = asyncio.Event()

    def sibling(self) -> MortalHost:
        return MortalHost(self.random.randrange(2**32), loop=self.loop)

    def crash(self) -> None:
        super().crash()
        self.dead.set()


class Life:
    """One workflow in one database, through the deaths of the processes that run it."""

    def __init__(self, recipe: dict[str, Any], database: Database = MEMORY, *, retire: bool = False) -> None:
        self.recipe = recipe
        self.retire = retire
        self.host = MortalHost(recipe["seed"])
        self.database = database
        database.clean()
        self.commits = 0
        self.began_with = len(runs)
        self.answers: dict[int, Any] = {}
        """What was answered to those outside, by their number in the recipe."""
        self.known: set[tuple[str, str]] = set()
        """The workflows and operations whose end was recorded when a process died."""

    def live(self, *faults: Fault) -> dict[str, Any]:
        """Run to the end, one process for each fault and one more; give the history."""
        self.host.run(self._live(faults))
        return history(self._seen, ID)

    def _opened(self) -> Store:
        return self.database.open(self.host.wall)

    @cached_property
    def _seen(self) -> Store:
        """The database as the test looks at it: through a store that belongs to none of the processes."""
        return self._opened()

    def children(self) -> list[dict[str, Any]]:
        """Give the histories of all workflows that came of it."""
        return [recorded for recorded in histories(self._seen) if recorded["id"] != ID]

    async def _live(self, faults: tuple[Fault, ...]) -> None:
        host = self.host
        for fault in faults:
            await self._die(host, fault)
            host = self.host.sibling()
        counting = FaultyStore(self._opened())
        async with Engine(counting, host=host, guards="off", workflows=INTERPRETERS) as engine:
            await self._use(engine)
        if host.failure is not None:
            raise host.failure
        self.commits = counting.commits

    async def _die(self, host: MortalHost, fault: Fault) -> None:
        """Be a process that dies at this fault, or at its end."""
        store = self._opened()
        engine = Engine(FaultyStore(store, fault), host=host, guards="off", workflows=INTERPRETERS)
        others = asyncio.all_tasks()
        lives = [asyncio.create_task(self._be(engine)), asyncio.create_task(host.dead.wait())]
        await asyncio.wait(lives, return_when=asyncio.FIRST_COMPLETED)
        host.crash()
        self.database.close(store)
        left = self._opened()
        self.known = ended_steps(left)
        self.began_with = len(runs)
        for task in asyncio.all_tasks() - others:
            task.cancel()
        await asyncio.sleep(0)
        worker = engine._open_shell().worker
        assert worker is not None
        worker.let_all_go()
        if self.retire:
            for row in left.workers():
                left.retire(row.worker)
        self.database.close(left)

    async def _be(self, engine: Engine) -> None:
        await engine.__aenter__()
        await self._use(engine)

    async def _use(self, engine: Engine) -> None:
        program = self.recipe["programs"][0]
        flow = interpreter_of(self.recipe, 0).options(id=ID, timeout=self.recipe["timeouts"][0])
        handle: Handle[Any] = await engine.start(flow, program, ID, ID)
        for number, one in enumerate(self.recipe["outside"]):
            await asyncio.sleep(one["after"])
            if one["do"] == "cancel":
                await handle.cancel()
                continue
            if one["do"] == "send":
                with suppress(NotFound):  # it has ended
                    await engine.send(ID, one["topic"], one["value"], key=f"outside-{number}")
                continue
            with suppress(NotFound, AskRefused, TimeoutError):
                answer = await ask_or_answer(handle, one, key=f"outside-{number}")
                assert self.answers.setdefault(number, answer) == answer, "an ask has one answer, for ever"
        await until_ended([handle])
        await until_ended([engine.handle(head.workflow_id) for head in self._seen.workflows(ALL)])

    def check(self) -> None:
        """Insist on what has to hold whatever happened, of the workflow and of all that came of it."""
        made: Counter[tuple[str, str]] = Counter()
        born: Counter[tuple[str, str]] = Counter()
        store = self._seen
        for recorded in histories(store):
            rows = [decode_event(row[2].encode()) for row in recorded["rows"]]
            assert [row[0] for row in recorded["rows"]] == [*range(1, len(rows) + 1)]
            assert recorded["state"] in ENDED, f"{recorded['id']} was lost: {recorded['state']}"
            lives = accumulate(isinstance(row, WorkflowContinued) for row in rows)
            ends = Counter(
                (life, row.operation)
                for life, row in zip(lives, rows, strict=True)
                if isinstance(row, StepCompleted | StepFailed | ChildEnded)
            )
            assert all(number == 1 for number in ends.values()), ends
            started = [row for row in rows if isinstance(row, ChildStarted) and not row.existed]
            made.update((row.child, recorded["id"]) for row in started)
            if isinstance(rows[0], WorkflowCreated) and rows[0].parent is not None:
                born[recorded["id"], rows[0].parent] += 1
            replies = Counter((row.source, row.number) for row in rows if isinstance(row, ReplyEvent))
            assert all(number == 1 for number in replies.values()), f"answered more than once: {replies}"
            published_fits(store, recorded["id"])
            projections_fit(store, recorded["id"])
        assert made == born, f"started and not there, or there and not started: {made - born}, {born - made}"
        assert isinstance(store, SupportsQueues)
        for counts in store.count_queues([row.name for row in store.queues()]):
            assert (counts.due, counts.delayed, counts.taken) == (0, 0, 0), f"a place or slot is left: {counts}"
        again = [run for run in runs[self.began_with :] if run[:2] in self.known]
        assert not again, f"run again although their ends were recorded: {again}"


def ended_steps(store: Store) -> set[tuple[str, str]]:
    """Give the workflows and operations whose end is in a history."""
    known: set[tuple[str, str]] = set()
    for head in store.workflows(ALL):
        rows = [decode_event(row.payload) for row in store.read(head.workflow_id)]
        known |= {(head.workflow_id, row.operation) for row in rows if isinstance(row, StepCompleted | StepFailed)}
    return known


def crash_everywhere(
    recipe: dict[str, Any], database: Database = MEMORY
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Crash before and after each commit; give each history, checked but for its replay, beside the undisturbed one."""
    calm = Life(recipe, database)
    undisturbed = calm.live()
    calm.check()
    for commit in range(1, calm.commits + 1):
        for when in ("before", "after"):
            runs.clear()
            life = Life(recipe, database, retire=commit % 3 != 0)
            recorded = life.live(Fault(commit=commit, when=when, kind="crash"))  # type: ignore[arg-type]
            recorded["from"] = f"a crash {when} commit {commit} of {recipe}"
            try:
                life.check()
            except AssertionError as error:
                raise AssertionError(f"{recorded['from']}: {error}") from error
            assert_once_at_most()
            yield undisturbed, recorded
            for child in life.children():
                yield {}, {**child, "from": f"{child['id']} of {recorded['from']}"}


def assert_once_at_most() -> None:
    """No attempt of a step that runs at most once was begun twice, whatever process began it."""
    begun = Counter(run for run in runs if run[1].rpartition("/")[2].startswith("once"))
    assert all(number == 1 for number in begun.values()), begun


def leave_to_the_long_form(database: Database, *, blocking: bool) -> None:
    """Skip blocking code on databases, which takes minutes; in memory it is always tried, and async code everywhere."""
    if blocking and database.kind != "memory" and not LONG:
        pytest.skip("blocking code on databases is in the long form")


def value_of(recorded: dict[str, Any]) -> Any:
    """Give what the program returned or raised, without when that was observed."""
    last = decode_event(recorded["rows"][-1][2].encode())
    assert isinstance(last, WorkflowCompleted)
    return json.loads(bytes(last.result))[-1][1:]


@in_both_colours
def test_nothing_is_lost_or_repeated_by_a_crash_at_any_commit(
    replayer: Replayer, database: Database, blocking: bool
) -> None:
    seeds = range(database.few(600 if LONG else 12))
    recipes = (random_recipe(Random(seed), nodes=10, alone=True, blocking=blocking) for seed in seeds)
    crashed = (recorded for recipe in recipes for _, recorded in crash_everywhere(recipe, database))
    assert replayer.check(crashed) > 5 * len(seeds)


@in_both_colours
def test_no_child_is_lost_or_started_twice_by_a_crash_at_any_commit(
    replayer: Replayer, database: Database, blocking: bool
) -> None:
    leave_to_the_long_form(database, blocking=blocking)
    seeds = range(database.few(600 if LONG else 6))
    recipes = (random_recipe(Random(seed), nodes=9, alone=True, blocking=blocking, family=True) for seed in seeds)
    crashed = (recorded for recipe in recipes for _, recorded in crash_everywhere(recipe, database))
    assert replayer.check(crashed) > 5 * len(seeds)


@in_both_colours
def test_no_place_is_lost_or_taken_twice_by_a_crash_at_any_commit(
    replayer: Replayer, database: Database, blocking: bool
) -> None:
    leave_to_the_long_form(database, blocking=blocking)
    seeds = range(database.few(600 if LONG else 6))
    options: dict[str, Any] = {
        "nodes": 9 if LONG else 7,
        "alone": True,
        "blocking": blocking,
        "family": True,
        "queued": True,
    }
    recipes = (random_recipe(Random(seed), **options) for seed in seeds)
    crashed = (recorded for recipe in recipes for _, recorded in crash_everywhere(recipe, database))
    assert replayer.check(crashed) > 5 * len(seeds)


@in_both_colours
def test_a_crash_at_any_commit_does_not_change_the_result(
    replayer: Replayer, database: Database, blocking: bool
) -> None:
    leave_to_the_long_form(database, blocking=blocking)
    seeds = range(database.few(600 if LONG else 12))

    def crashed() -> Iterator[dict[str, Any]]:
        for seed in seeds:
            recipe = random_recipe(Random(seed), nodes=12, timed=False, blocking=blocking)
            for undisturbed, recorded in crash_everywhere(recipe, database):
                if undisturbed:
                    assert value_of(recorded) == value_of(undisturbed), recorded["from"]
                yield recorded

    assert replayer.check(crashed()) > 5 * len(seeds)


def rounds(life: int) -> dict[str, Any]:
    """Give a program that receives two messages, takes a step, and continues as new, twice."""
    received = {"do": "recv", "id": 1, "topic": "a", "seconds": None, "default": False}
    taken = {"do": "step", "id": 2, "how": "async", "value": 1, "seconds": 0.1, "failures": 0, "attempts": 1}
    then = {"do": "continue", "id": 3, "then": rounds(life + 1)} if life < 2 else {"do": "draw", "id": 3}
    return {"do": "sequence", "id": 0, "of": [received, {**taken, "life": life}, received, then]}


@in_both_colours
def test_each_message_is_received_once_and_in_order_across_lives_by_a_crash_at_any_commit(
    replayer: Replayer, database: Database, blocking: bool
) -> None:
    leave_to_the_long_form(database, blocking=blocking)
    outside = [{"after": 0.07, "do": "send", "to": 0, "topic": "a", "value": number} for number in range(6)]
    recipe = {"seed": 1, "programs": [rounds(0)], "blocking": [blocking], "timeouts": [None], "outside": outside}

    def crashed() -> Iterator[dict[str, Any]]:
        for _, recorded in crash_everywhere(recipe, database):
            rows = [decode_event(row[2].encode()) for row in recorded["rows"]]
            received = [int(bytes(row.message)) for row in rows if isinstance(row, MessageReceived)]
            assert received == list(range(6)), recorded["from"]
            assert sum(isinstance(row, WorkflowContinued) for row in rows) == 2
            yield recorded

    assert replayer.check(crashed()) > 20


@pytest.mark.long
@in_both_colours
def test_nothing_is_lost_or_repeated_by_two_crashes(replayer: Replayer, database: Database, blocking: bool) -> None:
    def crashed() -> Iterator[dict[str, Any]]:
        for seed in range(database.few(3000)):
            chance = Random(seed)
            recipe = random_recipe(chance, nodes=10, alone=True, blocking=blocking)
            faults = [
                Fault(commit=chance.randint(1, 8), when=chance.choice(["before", "after"]), kind="crash")  # type: ignore[arg-type]
                for _ in range(2)
            ]
            life = Life(recipe, database, retire=chance.random() < 0.5)
            runs.clear()
            recorded = life.live(*faults)
            life.check()
            assert_once_at_most()
            yield {"from": f"crashes {faults} of seed {seed}", **recorded}

    replayer.check(crashed())

"""Programs beside which all is pruned that may be, at any time, end as they would, and what was pruned is archived.

The programs themselves are held, so that they are there in the end: what goes are their children, and theirs.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everlog import Engine
from everlog.core.event_codec import decode_event
from everlog.core.retention import AuditRow
from everlog.memory import MemoryStore
from everlog.runtime.archives import Archive, opened_lines
from everlog.runtime.digests import moved_digest
from everlog.runtime.portable import import_lines
from everlog.runtime.pruning import Pruning, Rule, retaining
from everlog.runtime.replaying import Replay, known_workflows, replay_environment
from everlog.runtime.verifying import verify
from everlog.store import ENDED, Store, WorkflowQuery
from tests.property.databases import LONG, Database
from tests.property.programs import random_recipe
from tests.property.recording import INTERPRETERS, MEMORY, disturb, histories, interpreter_of, until_ended
from tests.support import PausableHost, buries_its_dead, kill, opened, simulate

FORMS: Sequence[dict[str, bool]] = ({"family": True}, {"family": True}, {"queued": True})
RULE = Rule(query=WorkflowQuery(states=sorted(ENDED)), said="all that has ended", batch=3)
pytestmark = buries_its_dead


def prune_all(store: Store, folder: Path) -> int:
    """Prune all that may be pruned, and see that it is in the archive as it was."""
    retains = retaining(store)
    before = {rows.head.workflow_id: rows for rows in retains.workflow_rows(limit=10_000)}
    archive = Archive(folder)
    pruned = [one for step in Pruning(retains, RULE, by="us", archive=archive).steps() for one in step.removed]
    for one in pruned:
        with opened_lines(archive.path_of(before[one])) as lines:
            brought = MemoryStore(store.now)
            brought.put_workflow_rows([import_lines(lines)])
        assert moved_digest(brought.rows_of([one])[0]) == moved_digest(before[one])
    assert [one.what for one in verify(store, retains)] == []
    return len(pruned)


def pruned_midway(recipe: dict[str, Any], database: Database, stops: Sequence[tuple[float, bool]]) -> None:
    """Run a recipe, and prune at these times, with the death of its engine or beside it."""

    async def program(host: PausableHost) -> None:
        database.clean()
        store = database.open(host.wall)
        retains = retaining(store)
        ids = [f"program-{number}" for number in range(len(recipe["programs"]))]
        engine = await opened(Engine(store, host=host.sibling(), guards="off", workflows=INTERPRETERS, lease=2))
        handles = [
            await engine.start(
                interpreter_of(recipe, number).options(id=one, timeout=recipe["timeouts"][number]),
                each,
                ids[number - 1],
                one,
            )
            for number, (one, each) in enumerate(zip(ids, recipe["programs"], strict=True))
        ]
        audit = AuditRow(at=store.now(), by="us", action="held")
        assert sorted(retains.hold(ids, audit)) == sorted(ids)
        disturbing = asyncio.ensure_future(disturb(handles, recipe["outside"]))
        with tempfile.TemporaryDirectory() as folder:
            for stop, is_killed in stops:
                await asyncio.sleep(stop)
                if is_killed:
                    disturbing.cancel()
                    kill(engine)
                prune_all(store, Path(folder))
                if is_killed:
                    sibling = host.sibling()
                    engine = await opened(Engine(store, host=sibling, guards="off", workflows=INTERPRETERS, lease=2))
            with suppress(asyncio.CancelledError):
                await disturbing
            await until_ended([engine.handle(one) for one in ids])
            await engine.__aexit__(None, None, None)
            prune_all(store, Path(folder))
        written = histories(store)
        assert set(ids) <= {one["id"] for one in written}
        for one in ids:
            replays(one, store)

    simulate(program, seed=recipe["seed"])


def replays(workflow_id: str, store: Store) -> None:
    """See that a history still fits the code that wrote it."""
    rows = [(row.seq, row.recorded_at, decode_event(row.payload)) for row in store.read(workflow_id)]
    with Replay(workflow_id, rows, known_workflows(), replay_environment()) as replay:
        stuck = replay.run()
        assert stuck is None, stuck.why


@given(
    seed=st.integers(0, 2**32),
    form=st.sampled_from(FORMS),
    stops=st.lists(st.tuples(st.floats(0, 5), st.booleans()), min_size=1, max_size=4),
)
def test_programs_beside_which_all_is_pruned_go_on(
    seed: int, form: dict[str, bool], stops: list[tuple[float, bool]]
) -> None:
    pruned_midway(random_recipe(Random(seed), **form), MEMORY, stops)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Any:
    made = Database(request.param)
    yield made
    made.end()


@settings(max_examples=100 if LONG else 3)
@given(
    seed=st.integers(0, 2**32),
    stops=st.lists(st.tuples(st.floats(0, 5), st.booleans()), min_size=2, max_size=3),
)
def test_and_on_disk(database: Database, seed: int, stops: list[tuple[float, bool]]) -> None:
    pruned_midway(random_recipe(Random(seed), family=True), database, stops)

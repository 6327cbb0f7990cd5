"""Programs that are stopped at any commit, moved to another store and run there end as they would have here.

And what they write verifies after every commit: so that a finding of `everlog verify` is one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everlog import Engine
from everlog.memory import MemoryStore
from everlog.runtime.copying import End, copy
from everlog.runtime.seals import make_seal, read_seal, verify_seal
from everlog.runtime.verifying import findings_of, verify
from everlog.store import Batch, BatchOutcome, Store
from everlog.store_moving import SupportsMoving
from tests.property.databases import LONG, Database
from tests.property.programs import random_recipe
from tests.property.recording import INTERPRETERS, MEMORY, disturb, histories, interpreter_of, record, until_ended
from tests.support import PausableHost, buries_its_dead, kill, opened, simulate

FORMS: Sequence[dict[str, bool]] = ({}, {"family": True}, {"queued": True})
pytestmark = buries_its_dead
BLOCKING: dict[str, bool] = {"blocking": True}


class VerifiedStore(MemoryStore):
    """A memory store that looks after every commit whether all that it holds verifies."""

    def commit(self, batch: Batch) -> BatchOutcome:
        outcome = super().commit(batch)
        ids = {commit.workflow_id for commit in batch.commits} | {new.workflow_id for new in batch.creates}
        ids |= {message.destination for message in batch.posts}
        for rows in self.rows_of(sorted(ids)):
            assert list(findings_of(rows, now=self.now())) == [], rows
        return outcome


class Verified(Database):
    def _opened(self, clock: Any) -> Store:
        self._memory = self._memory or VerifiedStore(clock=clock)
        return self._memory


@given(seed=st.integers(0, 2**32), form=st.sampled_from([*FORMS, BLOCKING]))
def test_what_programs_write_verifies_after_every_commit(seed: int, form: dict[str, bool]) -> None:
    record(random_recipe(Random(seed), **form), Verified("memory"))


def emptied(database: Database, host: PausableHost) -> None:
    """Empty a database, from which everything was moved perhaps."""
    store = database.open(host.wall)
    assert isinstance(store, SupportsMoving)
    store.open_after_move()
    database.clean()


def moved_midway(recipe: dict[str, Any], databases: Sequence[Database], stops: Sequence[float]) -> None:
    """Run a recipe, and move it from database to database at these times."""

    async def program(host: PausableHost) -> None:
        for database in databases:
            emptied(database, host)
        store = databases[0].open(host.wall)
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
        disturbing = asyncio.ensure_future(disturb(handles, recipe["outside"]))
        for number, stop in enumerate(stops):
            await asyncio.sleep(stop)
            disturbing.cancel()
            kill(engine)
            assert isinstance(store, SupportsMoving)
            assert [one.what for one in verify(store, store)] == []
            following = databases[(number + 1) % len(databases)]
            emptied(following, host)
            destination = following.open(host.wall)
            copied = copy(End(store, "one"), End(destination, "other"), move_id=f"move-{number}", force=True)
            assert copied.workflows == len(histories(destination))
            assert histories(store) == histories(destination)
            assert isinstance(destination, SupportsMoving)
            seal = read_seal(make_seal(destination, destination, previous=None))
            assert [one.what for one in verify_seal(store, store, seal, unchanged=True)] == []
            store = destination
            engine = await opened(Engine(store, host=host.sibling(), guards="off", workflows=INTERPRETERS, lease=2))
        with suppress(asyncio.CancelledError):
            await disturbing
        await until_ended([engine.handle(one) for one in ids])
        histories(store)
        assert isinstance(store, SupportsMoving)
        assert [one.what for one in verify_seal(store, store, seal)] == []
        await engine.__aexit__(None, None, None)

    simulate(program, seed=recipe["seed"])


@pytest.fixture(scope="module")
def databases() -> Any:
    made = [Database("sqlite"), Database("postgres")]
    yield made
    for one in made:
        one.end()


@given(seed=st.integers(0, 2**32), form=st.sampled_from(FORMS), stops=st.lists(st.floats(0, 5), min_size=1, max_size=3))
def test_programs_that_are_moved_go_on(seed: int, form: dict[str, bool], stops: list[float]) -> None:
    moved_midway(random_recipe(Random(seed), **form), [MEMORY, Database("memory")], stops)


@settings(max_examples=200 if LONG else 4)
@given(seed=st.integers(0, 2**32), form=st.sampled_from(FORMS), stops=st.lists(st.floats(0, 5), min_size=2, max_size=3))
def test_and_from_and_to_databases_on_disk(
    databases: list[Database], seed: int, form: dict[str, bool], stops: list[float]
) -> None:
    moved_midway(random_recipe(Random(seed), **form), databases, stops)

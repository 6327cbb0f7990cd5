"""Commits whose row another transaction has locked: tried again after a pause and apart, until it is free."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any

import pytest

from everlog import Engine, step, workflow
from everlog.core.durations import SECOND
from everlog.runtime.committer import LONGEST_PAUSE
from everlog.store import Batch, BatchOutcome, Busy, CommitOutcome, Store
from everlog.testing.simulation import SimulatedHost
from tests.support import FlakyStore, in_state, kinds, make_store


@step(name="busy.work")
async def work() -> str:
    await asyncio.sleep(0.1)
    return "worked"


@workflow(name="busy.works")
async def works(times: int) -> str:
    said = ""
    for _ in range(times):
        said = await work()
    return said


class LockedStore(FlakyStore):
    """A store whose row of the workflow `locked` somebody else has: for the next `times` commits of it."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.times = 0
        self.tried_at: list[int] = []
        self.together: list[list[str]] = []
        """The workflows of each batch that was answered busy for a second time, or a later one."""

    def commit(self, batch: Batch) -> BatchOutcome:
        if not self.times or all(one.workflow_id != "locked" for one in batch.commits):
            return super().commit(batch)
        self.times -= 1
        if self.tried_at:
            self.together.append([one.workflow_id for one in batch.commits])
        self.tried_at.append(self.now())
        assert len(self.tried_at) < 1_000, "it is tried again without end"
        free = [one for one in batch.commits if one.workflow_id != "locked"]
        outcome = super().commit(Batch(creates=batch.creates, commits=free, posts=batch.posts))
        answers = iter(outcome.commits)
        commits: list[CommitOutcome] = [
            Busy() if one.workflow_id == "locked" else next(answers) for one in batch.commits
        ]
        return BatchOutcome(creates=outcome.creates, commits=commits, posts=outcome.posts)


def run(program: Callable[[Engine, LockedStore], Coroutine[Any, Any, None]]) -> LockedStore:
    host = SimulatedHost(3)
    store = LockedStore(make_store(host))

    async def main() -> None:
        async with Engine(store, host=host, workflows=[works], grace=5) as engine:
            await program(engine, store)

    host.run(main())
    return store


@pytest.mark.parametrize("times", [1, 2, 7, 30])
def test_a_busy_commit_is_tried_again_after_growing_pauses_until_its_row_is_free(times: int) -> None:
    async def program(engine: Engine, store: LockedStore) -> None:
        store.times = times
        handle = await engine.start(works.options(id="locked"), 2)
        assert await handle.result() == "worked"
        assert (await kinds(handle)).count("step_completed") == 2

    tried = run(program).tried_at
    pauses = [later - earlier for earlier, later in pairwise(tried)]
    assert len(tried) == times
    assert all(0 < pause <= 2 * LONGEST_PAUSE for pause in pauses)
    assert all(later >= min(1.5 * earlier, LONGEST_PAUSE) for earlier, later in pairwise(pauses))


def test_a_busy_workflow_holds_up_no_other_and_shares_no_batch_with_them(caplog: pytest.LogCaptureFixture) -> None:
    async def program(engine: Engine, store: LockedStore) -> None:
        store.times = 900
        locked = await engine.start(works.options(id="locked"), 1)
        began = engine.host.monotonic()
        others = [await engine.start(works, 20) for _ in range(5)]
        assert [await other.result() for other in others] == ["worked"] * 5
        assert engine.host.monotonic() - began < 4, "in virtual time: twenty steps of a tenth of a second, one by one"
        store.times = 0
        assert await locked.result() == "worked"

    with caplog.at_level(logging.WARNING):
        store = run(program)
    assert store.together
    assert all(batch == ["locked"] for batch in store.together)
    (said,) = [record.getMessage() for record in caplog.records]
    assert "'locked'" in said
    assert "another transaction" in said


def test_an_engine_that_waits_for_a_busy_row_rests_and_can_be_closed() -> None:
    async def program(engine: Engine, store: LockedStore) -> None:
        store.times = 900
        await in_state(await engine.start(works.options(id="locked"), 1), "running")
        await asyncio.sleep(60)

    store = run(program)
    assert 60 <= len(store.tried_at) <= 90
    assert store.tried_at[-1] - store.tried_at[0] > 60 * SECOND

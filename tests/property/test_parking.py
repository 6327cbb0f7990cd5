"""Parking changes nothing: programs of both colours that leave the memory at every wait go as those that are kept."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everlog.runtime import parking
from everlog.runtime import worker as worker_module
from everlog.runtime.observed import ObservedWorker
from everlog.runtime.residents import Resident
from tests.property.databases import LONG, Database
from tests.property.programs import random_recipe, recipes
from tests.property.recording import MEMORY, Replayer, record
from tests.property.test_crash_at_every_commit import crash_everywhere, in_both_colours, value_of
from tests.support import buries_its_dead

pytestmark = [
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
    *buries_its_dead,
]


@pytest.fixture(scope="module")
def replayer() -> Iterator[Replayer]:
    made = Replayer(2)
    yield made
    made.close()


@contextmanager
def parking_at_every_wait() -> Generator[list[str]]:
    """Have every workflow parked as soon as it waits; gives the ids of all that were."""
    ids: list[str] = []

    class Noting(ObservedWorker):
        def _hand_back(self, resident: Resident, now: int) -> None:
            ids.append(resident.workflow_id)
            super()._hand_back(resident, now)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker_module, "SETTLE", 0)
        for name in ("PARK_AFTER", "SETTLE", "REPLAYS"):
            patch.setattr(parking, name, 0)
        patch.setattr("everlog.runtime.engine.ObservedWorker", Noting)
        yield ids


@in_both_colours
@settings(max_examples=1000 if LONG else 40)
@given(data=st.data())
def test_random_programs_that_are_parked_at_every_wait_replay_exactly(
    replayer: Replayer, blocking: bool, data: st.DataObject
) -> None:
    recipe = data.draw(recipes(nodes=24, blocking=blocking))
    with parking_at_every_wait():
        replayer.check(record(recipe))


@in_both_colours
def test_programs_are_parked_many_times(replayer: Replayer, blocking: bool) -> None:
    seeds = range(80)
    with parking_at_every_wait() as parked:
        replayer.check(
            one for seed in seeds for one in record(random_recipe(Random(seed), nodes=24, blocking=blocking))
        )
    assert len(parked) > 60


@in_both_colours
def test_a_crash_at_any_commit_does_not_change_the_result_of_what_is_parked(replayer: Replayer, blocking: bool) -> None:
    crash_what_is_parked(replayer, MEMORY, blocking, range(300 if LONG else 7))


@pytest.mark.long
@in_both_colours
def test_the_same_in_a_database_on_disk(replayer: Replayer, database_on_disk: Database, blocking: bool) -> None:
    crash_what_is_parked(replayer, database_on_disk, blocking, range(20))


def crash_what_is_parked(replayer: Replayer, database: Database, blocking: bool, seeds: range) -> None:
    parked: list[int] = []

    def histories() -> Iterator[dict[str, Any]]:
        for seed in seeds:
            recipe = random_recipe(Random(seed), nodes=12, timed=False, blocking=blocking)
            kept = next(one for one in record(recipe) if one["id"] == "program-0")
            with parking_at_every_wait() as ids:
                for undisturbed, recorded in crash_everywhere(recipe, database):
                    if undisturbed:  # else it is a child
                        assert value_of(recorded) == value_of(kept), recorded["from"]
                    yield recorded
            parked.append(len(ids))

    assert replayer.check(histories()) > 100
    assert sum(parked) > 100


@in_both_colours
def test_nothing_is_lost_or_repeated_by_a_crash_of_what_is_parked(replayer: Replayer, blocking: bool) -> None:
    seeds = range(300 if LONG else 6)
    drawn = (random_recipe(Random(seed), nodes=10, alone=True, blocking=blocking) for seed in seeds)
    with parking_at_every_wait():
        assert replayer.check(recorded for recipe in drawn for _, recorded in crash_everywhere(recipe)) > 100

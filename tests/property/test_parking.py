"""Parking changes nothing: programs that leave the memory at every wait go as those that are kept."""

from __future__ import annotations

import os
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings

from everlog.runtime import parking
from everlog.runtime import worker as worker_module
from everlog.runtime.residents import Resident
from everlog.runtime.worker import Worker
from tests.property.programs import random_recipe, recipes
from tests.property.recording import Replayer, record
from tests.property.test_crash_at_every_commit import crash_everywhere, value_of

LONG = os.environ.get("EVERLOG_LONG") == "1"

pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")


@pytest.fixture(scope="module")
def replayer() -> Iterator[Replayer]:
    made = Replayer(2)
    yield made
    made.close()


@pytest.fixture(scope="module")
def parked() -> Iterator[list[str]]:
    """Has every workflow parked as soon as it waits; gives the ids of all that were."""
    ids: list[str] = []

    class Noting(Worker):
        def _hand_back(self, resident: Resident, now: int) -> None:
            ids.append(resident.workflow_id)
            super()._hand_back(resident, now)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker_module, "PARK_AFTER", 0)
        patch.setattr(worker_module, "SETTLE", 0)
        patch.setattr(parking, "REPLAYS", 0)
        patch.setattr("everlog.runtime.engine.Worker", Noting)
        yield ids


@settings(max_examples=1000 if LONG else 60)
@given(recipe=recipes(nodes=24))
def test_random_programs_that_are_parked_at_every_wait_replay_exactly(
    replayer: Replayer, parked: list[str], recipe: dict[str, Any]
) -> None:
    replayer.check(record(recipe))


def test_programs_are_parked_many_times(replayer: Replayer, parked: list[str]) -> None:
    before = len(parked)
    replayer.check(one for seed in range(200) for one in record(random_recipe(Random(seed), nodes=24)))
    assert len(parked) - before > 150


def test_a_crash_at_any_commit_does_not_change_the_result_of_what_is_parked(
    replayer: Replayer, parked: list[str]
) -> None:
    def histories() -> Iterator[dict[str, Any]]:
        for seed in range(300 if LONG else 20):
            for undisturbed, recorded in crash_everywhere(random_recipe(Random(seed), nodes=12, timed=False)):
                assert value_of(recorded) == value_of(undisturbed), recorded["from"]
                yield recorded

    assert replayer.check(histories()) > 200


def test_nothing_is_lost_or_repeated_by_a_crash_of_what_is_parked(replayer: Replayer, parked: list[str]) -> None:
    seeds = (random_recipe(Random(seed), nodes=10, alone=True) for seed in range(300 if LONG else 20))
    assert replayer.check(recorded for recipe in seeds for _, recorded in crash_everywhere(recipe)) > 200

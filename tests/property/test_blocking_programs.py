"""Blocking code replays as exactly as async code does, and writes the same log: random programs in both colours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings

from everlog.core.event_codec import decode_event
from everlog.core.events import WorkflowCompleted
from tests.property.databases import LONG, Database
from tests.property.programs import Node, random_recipe, recipes
from tests.property.recording import Replayer, record, record_seeds
from tests.support import buries_its_dead

# The clean-up of a generator that nobody closed may fail, which Python tells nobody; a group may refuse coroutines.
pytestmark = [
    *buries_its_dead,
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
]


@pytest.fixture(scope="module")
def replayer() -> Iterator[Replayer]:
    made = Replayer(2)
    yield made
    made.close()


@settings(max_examples=2_000 if LONG else 100)
@given(recipe=recipes(nodes=24, blocking=True))
def test_random_blocking_programs_replay_exactly(replayer: Replayer, recipe: dict[str, Any]) -> None:
    replayer.check(record(recipe))


def test_blocking_programs_of_300_seeds_replay_exactly(replayer: Replayer, database: Database) -> None:
    seeds = range(database.few(300))
    assert replayer.check(record_seeds(seeds, nodes=30, blocking=True, database=database)) >= len(seeds)


def test_blocking_programs_of_families_of_100_seeds_replay_exactly(replayer: Replayer) -> None:
    assert replayer.check(record_seeds(range(100), nodes=30, blocking=True, family=True)) >= 200


@pytest.mark.long
def test_blocking_programs_of_10000_seeds_replay_exactly(replayer: Replayer, database: Database) -> None:
    seeds = range(300, 300 + database.few(10_000))
    assert replayer.check(record_seeds(seeds, nodes=30, blocking=True, database=database)) >= len(seeds)


def test_a_program_writes_the_same_log_in_both_colours() -> None:
    operations = 0
    for seed in range(3000 if LONG else 150):
        recipe = random_recipe(Random(seed), nodes=30, blocking=True)
        for program in recipe["programs"]:
            make_alike(program)
        blocking = record({**recipe, "blocking": [True] * len(recipe["programs"])})
        awaiting = record({**recipe, "blocking": [False] * len(recipe["programs"])})
        for one, other in zip(blocking, awaiting, strict=True):
            if seed_of(one) != seed_of(other):  # an engine draws more tokens where it has room for more workflows
                continue
            assert rows_of(one) == rows_of(other), f"seed {seed}"
            operations += len(one["rows"])
    assert operations > 2000


def make_alike(node: Node) -> None:
    """Leave out what has no counterpart: async branches of blocking code, generators that only the loop closes, and
    steps by way of `asyncio.to_thread`, which makes a task."""
    if node["do"] == "map":
        node["mixed"] = False
    elif node["do"] == "generator":
        node["most"] = 0
    elif node.get("how") in ("thread", "executor"):
        node["how"] = "call"
    for child in [
        *node.get("of", ()),
        *(node[key] for key in ("body", "clean", "then") if isinstance(node.get(key), dict)),
    ]:
        make_alike(child)


def seed_of(recorded: dict[str, Any]) -> str:
    """Give the seed that a workflow was created with."""
    seed: str = json.loads(recorded["rows"][0][2])["seed"]
    return seed


def rows_of(recorded: dict[str, Any]) -> list[Any]:
    """Give a history without the name of its function."""
    rows = [[seq, at, json.loads(payload)] for seq, at, payload in recorded["rows"]]
    for _, _, row in rows:
        if row["type"] in ("workflow_created", "workflow_continued"):
            del row.get("created", row)["name"]
    last = decode_event(recorded["rows"][-1][2].encode())
    return [*rows, json.loads(bytes(last.result)) if isinstance(last, WorkflowCompleted) else None]

"""`everlog.log_context()`: what records of the standard logging say of the workflow or step that wrote them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest

import everlog
from everlog import Engine, RetryPolicy, step, sync, workflow
from everlog.testing.simulation import SimulatedHost
from tests.support import make_store, run, simulate

FIELDS = ("workflow_id", "workflow", "step", "attempt", "operation", "seq")
own = logging.getLogger("tests.log_context.of_a_user")


class Kept(logging.Handler):
    """Keeps what it is given, and formats it as users do."""

    def __init__(self) -> None:
        super().__init__()
        self.addFilter(everlog.log_context())
        self.setFormatter(logging.Formatter(" ".join(f"%({name})s" for name in FIELDS)))
        self.records: list[Any] = []
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.lines.append(self.format(record))

    def told(self) -> list[tuple[Any, ...]]:
        return [(one.getMessage(), *(getattr(one, name) for name in FIELDS)) for one in self.records]


@pytest.fixture
def kept() -> Iterator[Kept]:
    handler = Kept()
    own.addHandler(handler)
    own.setLevel(logging.INFO)
    yield handler
    own.removeHandler(handler)


@step(name="log_context.in_a_thread")
def in_a_thread() -> None:
    own.info("in a thread")


@step(name="log_context.twice", retry=RetryPolicy(max_attempts=2, first_delay=0, jitter=0))
async def twice() -> None:
    async def deeper() -> None:
        own.info("in a task of a step")

    attempt = everlog.current().attempt
    await asyncio.create_task(deeper())
    if attempt == 1:
        raise ConnectionError("again")


@workflow(name="log_context.logs")
async def logs() -> None:
    own.info("begun")
    await everlog.call(in_a_thread)
    await twice.options(key="k")()
    own.info("gone on", extra={"step": "mine"})


def test_records_of_workflows_and_steps_say_where_they_come_from(kept: Kept) -> None:
    async def program(engine: Engine) -> None:
        await engine.run(logs.options(id="one"))

    own.info("before")
    run(program, workflows=[logs])
    where = ("one", "log_context.logs")
    assert kept.told() == [
        ("before", None, None, None, None, None, None),
        ("begun", *where, None, None, None, 2),
        ("in a thread", *where, "log_context.in_a_thread", 1, "log_context.in_a_thread", None),
        ("in a task of a step", *where, "log_context.twice", 1, "log_context.twice@k", None),
        ("in a task of a step", *where, "log_context.twice", 2, "log_context.twice@k", None),
        ("gone on", *where, "mine", None, None, 5),
    ]
    assert kept.lines[1] == "one log_context.logs None None None 2"


@workflow(name="log_context.sleeps")
async def sleeps() -> None:
    own.info("begun")
    try:
        await asyncio.sleep(100)
        own.info("awake")
    finally:
        own.info("leaving")


@workflow(name="log_context.blocks")
def blocks() -> None:
    own.info("begun")
    try:
        sync.sleep(100)
        own.info("awake")
    finally:
        own.info("leaving")


@pytest.mark.parametrize("definition", [sleeps, blocks], ids=["async", "blocking"])
def test_nothing_is_said_twice(kept: Kept, definition: Any) -> None:
    """Neither by a replay nor by the `finally` of a workflow that is only parked, with any logger and any colour."""

    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        async with Engine(store, host=host.sibling(), workflows=[definition]) as engine:
            await engine.start(definition.options(id="one"))
            await asyncio.sleep(5)
        async with Engine(store, host=host.sibling(), workflows=[definition]) as engine:
            await engine.handle("one").result()

    simulate(program)
    assert [(one.getMessage(), one.workflow_id) for one in kept.records] == [
        ("begun", "one"),
        ("awake", "one"),
        ("leaving", "one"),
    ]


def test_the_engine_is_heard_in_a_replay(kept: Kept) -> None:
    """It says nothing twice by itself, and what it says of a replay is an error that somebody has to see."""
    engines_own = logging.getLogger("everlog.tests")
    engines_own.addHandler(kept)

    @workflow(name="log_context.complains")
    async def complains() -> None:
        if everlog.current().replaying:
            engines_own.error("of the engine")
        await asyncio.sleep(100)

    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        async with Engine(store, host=host.sibling(), workflows=[complains]) as engine:
            await engine.start(complains.options(id="heard"))
            await asyncio.sleep(5)
        async with Engine(store, host=host.sibling(), workflows=[complains]) as engine:
            await engine.handle("heard").result()

    try:
        simulate(program)
    finally:
        engines_own.removeHandler(kept)
    assert {record.getMessage() for record in kept.records} == {"of the engine"}

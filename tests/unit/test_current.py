"""`everlog.current()`: what workflow code and steps can ask about themselves, live and in replay."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import everlog
from everlog import Current, Engine, RetryPolicy, step, workflow
from everlog.testing.simulation import SimulatedHost
from tests.support import make_store, on_both_stores, run, simulate

SEEN: list[Any] = []
TRIES: list[int] = []


@step(retry=RetryPolicy(max_attempts=3, first_delay=0.5, jitter=0))
async def looks_around() -> None:
    SEEN.append(everlog.current())
    if len(TRIES) < 1:
        TRIES.append(1)
        raise ConnectionError("again")


@step
def looks_around_in_a_thread() -> None:
    SEEN.append(everlog.current())


@workflow
async def looks() -> None:
    SEEN.append(everlog.current())
    await asyncio.sleep(0.9)  # too short to be parked, which would run the code again
    await looks_around.options(key="mine")()
    await everlog.call(looks_around_in_a_thread)
    SEEN.append(everlog.current())


def test_workflow_and_steps_know_what_they_are() -> None:
    async def program(engine: Engine) -> str:
        handle = await engine.start(looks)
        await handle.result()
        history = await handle.history()
        began = next(event.recorded_at for event in history if event.type == "workflow_began")
        assert {one.started_at for one in SEEN} == {began} == {one.tick for one in SEEN}
        assert SEEN[0].history_length == 2
        assert SEEN[-1].history_length == len(history) - 1
        return handle.id

    SEEN.clear()
    TRIES.clear()
    workflow_id = run(program, workflows=[looks])
    assert all(isinstance(one, Current) and (one.workflow_id, one.name) == (workflow_id, "looks") for one in SEEN)
    told = [(one.step, one.attempt, one.key) for one in SEEN]
    assert told == [
        (None, 0, None),
        ("looks_around", 1, "mine"),
        ("looks_around", 2, "mine"),
        ("looks_around_in_a_thread", 1, None),
        (None, 0, None),
    ]
    assert "looks_around" in repr(SEEN[1])
    assert not any(one.replaying or one.cancelled or one.parking for one in SEEN)
    assert SEEN[0].started_at.tzinfo is UTC
    assert isinstance(SEEN[0].started_at, datetime)


@workflow
async def logs(*, ends: bool) -> str:
    logger = everlog.current().logger
    logger.info("begun %s", "once")
    try:
        await log_in_a_step()
        SEEN.append((everlog.current().replaying, logger.isEnabledFor(logging.INFO)))
        logger.info("gone on", extra={"mine": 7})
        await asyncio.sleep(0 if ends else 100)
        logger.info("ended")
    finally:
        SEEN.append("parking" if everlog.current().parking else "leaving")
        logger.info("leaving")
    return "done"


@step
async def log_in_a_step() -> None:
    everlog.current().logger.info("in the step")


@on_both_stores
def test_the_logger_says_nothing_twice(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        async with Engine(store, host=host.sibling(), workflows=[logs]) as engine:
            await engine.start(logs.options(id="one"), ends=False)
            await asyncio.sleep(5)
        async with Engine(store, host=host.sibling(), workflows=[logs]) as engine:
            assert await engine.handle("one").result() == "done"

    SEEN.clear()
    with caplog.at_level(logging.INFO, "everlog.workflow"):
        simulate(program)
    records: list[Any] = [record for record in caplog.records if record.name == "everlog.workflow"]
    assert [record.getMessage() for record in records] == ["begun once", "in the step", "gone on", "ended", "leaving"]
    assert {(record.workflow_id, record.workflow) for record in records} == {("one", "logs")}
    assert [record.step for record in records] == [None, "log_in_a_step", None, None, None]
    assert records[2].mine == 7
    assert SEEN == [(False, True), "parking", (True, False), "leaving"]

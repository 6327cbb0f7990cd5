"""More workflows than an engine may hold in memory: those that only wait make room for those that could run."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import everlog
from everlog import Engine, step, workflow
from tests.support import on_both_stores, run

HELD = 4


@step
async def count(number: int) -> int:
    return number + 1


@workflow
async def sleeps(number: int) -> int:
    await asyncio.sleep(3600)
    return await count(number)


@workflow
async def listens(number: int) -> int:
    heard: int = await everlog.recv("go", type=int)
    return await count(number + heard)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])  # an hour of virtual time, in which a server is asked too often
def test_more_workflows_sleep_than_may_be_held(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> list[int]:
        handles = [await engine.start(sleeps, number) for number in range(5 * HELD)]
        return await asyncio.gather(*(handle.result() for handle in handles))

    assert run(program, kind=kind, folder=tmp_path, concurrency=HELD) == list(range(1, 5 * HELD + 1))


@on_both_stores
def test_a_message_reaches_a_workflow_that_made_room(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> list[int]:
        handles = [await engine.start(listens, number) for number in range(3 * HELD)]
        await asyncio.sleep(10)
        for handle in handles:
            await handle.send("go", 100)
        return await asyncio.gather(*(handle.result() for handle in handles))

    assert run(program, kind=kind, folder=tmp_path, concurrency=HELD) == [n + 101 for n in range(3 * HELD)]

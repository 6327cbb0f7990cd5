"""The engine from the outside: starting, waiting, looking."""

from __future__ import annotations
import asyncio
from everlog import Engine, step, workflow
from tests.support import run


@step
async def double(n: int) -> int:
    await asyncio.sleep(1)
    return 2 * n


@workflow
async def doubling(n: int) -> int:
    return await double(n)


def test_a_workflow_returns_what_its_function_returns() -> None:
    async def program(engine: Engine) -> int:
        return await engine.run(doubling, 21)

    assert run(program, workflows=[doubling]) == 42

"""A workflow that has ended leaves nothing to the garbage collector: it goes by itself, at once."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from contextlib import suppress

from everlog import Engine, step, workflow
from everlog.memory import MemoryStore
from everlog.replay.execution import Execution
from everlog.replay.operations import Operation
from everlog.testing.simulation import SimulatedHost


@step
async def double(number: int) -> int:
    return 2 * number


@step
async def refuse() -> None:
    raise ValueError("as the test asked")


@workflow
async def fan_out(width: int) -> int:
    doubled = await asyncio.gather(*(double(number) for number in range(width)))
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            await asyncio.sleep(10)
    with suppress(ValueError):
        await refuse()
    return sum(doubled)


def is_ours(left: object) -> bool:
    """Tell whether it is of this test; others may have left something before."""
    execution = left.execution if isinstance(left, Operation) else left
    return isinstance(execution, Execution) and execution.definition is fan_out


def test_ended_workflows_leave_no_cycles() -> None:
    host = SimulatedHost(0)

    async def program() -> Counter[str]:
        async with Engine(MemoryStore(clock=host.wall), host=host, workflows=[fan_out]) as engine:
            await engine.run(fan_out, 3)
            gc.collect()
            gc.set_debug(gc.DEBUG_SAVEALL)
            assert await asyncio.gather(*(engine.run(fan_out, 5) for _ in range(10))) == [20] * 10
            gc.collect()
            return Counter(type(left).__name__ for left in gc.garbage if is_ours(left))

    try:
        left = host.run(program())
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
    assert not left

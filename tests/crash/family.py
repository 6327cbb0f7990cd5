"""A program with many children, to be killed: parents wait for theirs, and each child has steps that are noted.

python family.py URL NOTES PARENTS CHILDREN
"""

from __future__ import annotations

import asyncio
import os
import sys

import everlog
from everlog import Engine, current, step, workflow


def note(text: str) -> None:
    """Append a line, whole: several processes write."""
    file = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(file, f"{text}\n".encode())
    os.close(file)


@step
async def works(value: int) -> int:
    note(f"{current().workflow_id} {value}")
    await asyncio.sleep(0.02)
    return value


@workflow(name="family child")
async def child(value: int) -> int:
    return await works(value) + await works(value + 1)


@workflow(name="family parent")
async def parent(count: int) -> int:
    first = await everlog.start(child, 1000)
    called = asyncio.gather(*[child(value) for value in range(count)])
    return await first.result() + sum(await called)


async def main() -> None:
    async with Engine(sys.argv[1], lease=1, guards="off") as engine:
        ids = [f"parent-{number}" for number in range(int(sys.argv[3]))]
        handles = [await engine.start(parent.options(id=one), int(sys.argv[4])) for one in ids]
        note("started")
        print(sum([await handle.result() for handle in handles]))


if __name__ == "__main__":
    asyncio.run(main())

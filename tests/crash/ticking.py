"""A program for tests that kill it: `python ticking.py URL NOTES` runs a workflow every second until it is told to end.

Every tick is noted in a file that outlives the process.
"""

from __future__ import annotations

import asyncio
import sys

import everlog
from everlog import Engine, Schedule, step, workflow

URL, NOTES = sys.argv[1:3]


@step
def note(text: str) -> None:
    with open(NOTES, "a") as notes:
        notes.write(f"{text}\n")


@workflow(name="ticking", schedule=Schedule(every=1, catch_up="all"))
async def ticking() -> str:
    tick = everlog.current().tick.isoformat()
    await everlog.call(note, tick)
    return tick


async def main() -> None:
    async with Engine(URL, lease=2, grace=5) as engine:
        await engine.serve()


if __name__ == "__main__":
    asyncio.run(main())

"""A workflow that survives `kill -9`. Start it, kill it, start it again: it goes on where it was."""

from __future__ import annotations

import asyncio

from everlog import Engine, step, workflow


@step
async def brew(cup: int) -> str:
    """Make one cup, which takes its time."""
    print(f"brewing cup {cup}")
    await asyncio.sleep(1)
    return f"cup {cup}"


@workflow
async def breakfast(cups: int) -> list[str]:
    """Make some cups, with a pause after each."""
    served: list[str] = []
    for cup in range(1, cups + 1):
        served.append(await brew(cup))
        await asyncio.sleep(1)  # durable: a restart waits for what is left of it
    return served


async def main() -> None:
    """Start breakfast, or go on with it, or give what came of it."""
    async with Engine("sqlite:///breakfast.db") as engine:
        handle = await engine.start(breakfast.options(id="monday"), 5)
        print(await handle.result())


if __name__ == "__main__":
    asyncio.run(main())

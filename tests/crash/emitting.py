"""A program that emits, for tests that kill it: `python emitting.py DATABASE` runs or resumes one workflow."""

from __future__ import annotations

import asyncio
import sys

import everlog
from everlog import Engine, step, workflow

TOKENS = 400


@step
async def talk(part: int) -> int:
    for number in range(TOKENS):
        await everlog.emit("tokens", [part, number])
        if number % 20 == 0:
            await asyncio.sleep(0.02)
    return part


@workflow
async def chat(parts: int) -> int:
    for part in range(parts):
        await everlog.emit("log", part)
        await talk(part)
        await everlog.set_value("parts", part + 1)
    return parts


async def main() -> None:
    async with Engine(sys.argv[1], lease=1) as engine:
        handle = await engine.start(chat.options(id="chat"), 4)
        print(await handle.result())


if __name__ == "__main__":
    asyncio.run(main())

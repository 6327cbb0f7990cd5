"""Everlog on SQLite, WAL and FULL: durable steps per second, 100 workflows of 10 steps in flight, and one alone."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from time import perf_counter, process_time

import everlog
from benchmarks.measuring import EMITTED, FLIGHT, IDLE_SECONDS, LONE_STEPS, ROUNDS, STEPS, report
from everlog import Engine, step, workflow


@step
async def add(total: int, number: int) -> int:
    return total + number


@workflow
async def count(steps: int) -> int:
    total = 0
    for number in range(steps):
        total = await add(total, number)
    return total


@step
async def talk(items: int) -> int:
    for number in range(items):
        await everlog.emit("words", f"word {number}")
    return items


@workflow
async def chat(items: int) -> int:
    return await talk(items)


async def emitted(engine: Engine) -> float:
    """Emit item by item from one step; give the items per second, until the last is in the database and was read."""
    begun = perf_counter()
    handle = await engine.start(chat, EMITTED)
    read = [item async for item in handle.stream("words")]
    if len(read) != EMITTED or read[-1] != f"word {EMITTED - 1}":
        raise SystemExit(f"{len(read)} items were read of {EMITTED}")
    return EMITTED / (perf_counter() - begun)


async def flight(engine: Engine) -> None:
    handles = await asyncio.gather(*(engine.start(count, STEPS) for _ in range(FLIGHT)))
    results = await asyncio.gather(*(handle.result() for handle in handles))
    if set(results) != {sum(range(STEPS))}:
        raise SystemExit(f"wrong results: {set(results)}")


async def measure(url: str) -> None:
    async with Engine(url) as engine:
        await flight(engine)
        begun, worked = perf_counter(), process_time()
        for _ in range(ROUNDS):
            await flight(engine)
        steps = ROUNDS * FLIGHT * STEPS
        rate, work = steps / (perf_counter() - begun), (process_time() - worked) / steps
        begun = perf_counter()
        await engine.run(count, LONE_STEPS)
        lone = LONE_STEPS / (perf_counter() - begun)
        items = await emitted(engine)
        await asyncio.sleep(1)
        begun, worked = perf_counter(), process_time()
        await asyncio.sleep(IDLE_SECONDS)
        idle = (process_time() - worked) / (perf_counter() - begun)
        report(flight=rate, lone=lone, cpu_us=work * 1e6, emitted=items, idle_percent=idle * 100)


if __name__ == "__main__":
    asyncio.run(measure(f"sqlite:///{Path(sys.argv[1])}/bench.db"))

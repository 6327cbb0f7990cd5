"""DBOS on SQLite, its file switched to WAL first: durable steps per second, by its blocking and its async API."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from pathlib import Path
from time import perf_counter

from dbos import DBOS

from benchmarks.measuring import FLIGHT, STEPS, report

LONE_STEPS = 100


@DBOS.step()
def add(total: int, number: int) -> int:
    return total + number


@DBOS.workflow()
def count(steps: int) -> int:
    total = 0
    for number in range(steps):
        total = add(total, number)
    return total


@DBOS.step()
async def add_async(total: int, number: int) -> int:
    return total + number


@DBOS.workflow()
async def count_async(steps: int) -> int:
    total = 0
    for number in range(steps):
        total = await add_async(total, number)
    return total


async def flight_async() -> None:
    handles = await asyncio.gather(*(DBOS.start_workflow_async(count_async, STEPS) for _ in range(FLIGHT)))
    await asyncio.gather(*(handle.get_result() for handle in handles))


def main(directory: Path) -> None:
    file = directory / "dbos.db"
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    measure(f"sqlite:///{file}")


def measure(url: str) -> None:
    """Run the workflows on a database and report."""
    DBOS(
        config={
            "name": "bench",
            "system_database_url": url,
            "log_level": "ERROR",
            "run_admin_server": False,
        }
    )
    DBOS.launch()
    count(2)
    begun = perf_counter()
    for handle in [DBOS.start_workflow(count, STEPS) for _ in range(FLIGHT)]:
        handle.get_result()
    blocking = FLIGHT * STEPS / (perf_counter() - begun)
    begun = perf_counter()
    asyncio.run(flight_async())
    asynchronous = FLIGHT * STEPS / (perf_counter() - begun)
    begun = perf_counter()
    count(LONE_STEPS)
    lone = LONE_STEPS / (perf_counter() - begun)
    DBOS.destroy()
    report(flight_blocking=blocking, flight_async=asynchronous, flight=max(blocking, asynchronous), lone=lone)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Everlog on Postgres in several processes: workflows that a client started are claimed and run by one, then by four.

Time is counted from the first beginning to the last end, as the log has them; the database's as the server counts what
its sessions were active, and, on Linux and with the server on this machine, as the CPU that their processes took.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.measuring import report
from everlog import Client, Engine, step, workflow

WORKFLOWS = 2000
STEPS = 5
PROCESSES = (1, 4)


@step
async def work(total: int, number: int) -> int:
    return total + number


@workflow(name="fleet.count")
async def count(steps: int) -> int:
    total = 0
    for number in range(steps):
        total = await work(total, number)
    return total


async def create(url: str) -> None:
    async with Client(url) as client:
        await asyncio.gather(*(client.start(count, STEPS) for _ in range(WORKFLOWS)))


async def serve(url: str) -> None:
    """Be one of the processes, until told to end."""
    print("ready", flush=True)
    sys.stdin.readline()
    async with Engine(url, workflows=[count]):
        await asyncio.to_thread(sys.stdin.readline)


class Database:
    """The server, past Everlog."""

    def __init__(self, url: str, schema: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        self._schema = schema

    def _ask(self, sql: str) -> tuple[Any, ...]:
        row = self._connection.execute(sql.format(schema=f'"{self._schema}"').encode()).fetchone()
        if row is None:
            raise SystemExit(f"no answer to {sql}")
        return row

    def left(self) -> int:
        """Give how many workflows have not ended."""
        left: int = self._ask("SELECT count(*) FROM {schema}.heads WHERE ended_at IS NULL")[0]
        return left

    def seconds(self) -> float:
        """Give the seconds from the first beginning to the last end."""
        ran: float = self._ask(
            "SELECT (max(recorded_at) - min(recorded_at)) / 1000000.0 FROM {schema}.events WHERE seq > 1"
        )[0]
        return float(ran)

    def active(self) -> float:
        """Give the seconds for which sessions have been active; what has not ended yet counts late."""
        self._ask("SELECT pg_stat_clear_snapshot()")
        return float(self._ask("SELECT active_time / 1000 FROM pg_stat_database WHERE datname = current_database()")[0])

    def cpu(self) -> float:
        """Give the seconds of CPU of the sessions of Everlog that are there; 0 where that cannot be seen."""
        rows = self._connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'everlog %'"
        ).fetchall()
        seconds = 0.0
        for (pid,) in rows:
            with suppress(OSError):
                seconds += int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
        return seconds


def run(url: str, processes: int) -> dict[str, float]:
    schema = f"fleet_{os.getpid()}_{processes}"
    there = f"{url}{'&' if '?' in url else '?'}schema={schema}"
    asyncio.run(create(there))
    database = Database(url, schema)
    command = [sys.executable, "-m", "benchmarks.fleet_postgres", there]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    active = database.active()
    for worker in workers:
        assert worker.stdout is not None
        worker.stdout.readline()
    for worker in workers:
        tell(worker)
    while database.left():
        time.sleep(0.02)
    cpu = database.cpu()
    for worker in workers:
        tell(worker)
        worker.wait(timeout=30)
    time.sleep(1)  # until the server has counted what the sessions did
    return {
        f"workflows_{processes}": WORKFLOWS / database.seconds(),
        f"active_us_{processes}": (database.active() - active) / WORKFLOWS * 1e6,
        f"cpu_us_{processes}": cpu / WORKFLOWS * 1e6,
    }


def tell(worker: subprocess.Popen[str]) -> None:
    assert worker.stdin is not None
    worker.stdin.write("go\n")
    worker.stdin.flush()


def main() -> None:
    url = os.environ["EVERLOG_BENCH_POSTGRES"]
    figures: dict[str, float] = {}
    for processes in PROCESSES:
        figures.update(run(url, processes))
    report(**figures)


if __name__ == "__main__":
    given = sys.argv[1]
    if given.startswith("postgres"):
        asyncio.run(serve(given))
    else:
        main()

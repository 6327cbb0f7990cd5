"""Where the threads run: one durable commit per step in three layouts, without an engine around it.

- `one thread`: steps and commits on the user's loop.
- `thread with hand-over`: a thread takes what ended, commits, and hands the answers back to the loop.
- `adaptive`: the same, but while only one step waits its commit is made where the step ended.

Prints commits per second and the ratio to raw single-row commits, with 1 and with 100 steps in flight.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import threading
from pathlib import Path
from statistics import median
from time import perf_counter

PAYLOAD = "x" * 200
COMMITS = 2000
REPETITIONS = 5
Future = asyncio.Future[None]


class Log:
    """A table in WAL and FULL."""

    def __init__(self, file: Path) -> None:
        self.connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = FULL")
        self.connection.execute("CREATE TABLE IF NOT EXISTS log (position INTEGER PRIMARY KEY, payload TEXT)")

    def append(self, rows: int) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.execute(f"INSERT INTO log (payload) VALUES {','.join(['(?)'] * rows)}", [PAYLOAD] * rows)
        self.connection.execute("COMMIT")


class Layout:
    """Takes futures of ended steps, makes them durable together, and resolves them."""

    def __init__(self, log: Log, loop: asyncio.AbstractEventLoop, *, thread: bool, alone_here: bool) -> None:
        self.log, self.loop, self.thread, self.alone_here = log, loop, thread, alone_here
        self.waiting: list[Future] = []
        self.called = self.stopped = False
        self.wanted = threading.Semaphore(0)
        if thread:
            threading.Thread(target=self._work, daemon=True).start()

    def commit(self) -> Future:
        future: Future = self.loop.create_future()
        self.waiting.append(future)
        if not self.called:
            self.called = True
            if self.thread and not self.alone_here:
                self.wanted.release()
            else:
                self.loop.call_soon(self._here)
        return future

    def stop(self) -> None:
        self.stopped = True
        self.wanted.release()

    def _here(self) -> None:
        if self.thread and len(self.waiting) > 1:
            self.wanted.release()
            return
        _resolve(self._write())

    def _write(self) -> list[Future]:
        self.called = False
        batch, self.waiting = self.waiting, []
        if batch:
            self.log.append(len(batch))
        return batch

    def _work(self) -> None:
        while True:
            self.wanted.acquire()
            if self.stopped:
                return
            batch = self._write()
            self.loop.call_soon_threadsafe(_resolve, batch)


def _resolve(batch: list[Future]) -> None:
    for future in batch:
        future.set_result(None)


async def run(log: Log, in_flight: int, *, thread: bool, alone_here: bool) -> float:
    layout = Layout(log, asyncio.get_running_loop(), thread=thread, alone_here=alone_here)

    async def one(commits: int) -> None:
        for _ in range(commits):
            await layout.commit()

    begun = perf_counter()
    await asyncio.gather(*(one(COMMITS // in_flight) for _ in range(in_flight)))
    layout.stop()
    return COMMITS / (perf_counter() - begun)


def raw(log: Log) -> float:
    begun = perf_counter()
    for _ in range(COMMITS):
        log.append(1)
    return COMMITS / (perf_counter() - begun)


LAYOUTS: dict[str, dict[str, bool]] = {
    "one thread": {"thread": False, "alone_here": True},
    "thread with hand-over": {"thread": True, "alone_here": False},
    "adaptive": {"thread": True, "alone_here": True},
}


def main() -> None:
    measured: dict[tuple[str, int], list[float]] = {}
    floor: list[float] = []
    with tempfile.TemporaryDirectory(prefix="everlog-bench-") as directory:
        log = Log(Path(directory) / "log.db")
        for _ in range(REPETITIONS):
            floor.append(raw(log))
            for name, settings in LAYOUTS.items():
                for in_flight in (1, 100):
                    rate = asyncio.run(run(log, in_flight, **settings))
                    measured.setdefault((name, in_flight), []).append(rate)
    print(f"raw single-row commits: {median(floor):,.0f}/s")
    for (name, in_flight), rates in measured.items():
        print(f"{name:24}{in_flight:4} in flight {median(rates):10,.0f}/s {median(rates) / median(floor):7.2f} x raw")


if __name__ == "__main__":
    main()

"""A program for tests that kill it: `python retrying.py DATABASE NOTES FLOW [SECONDS]` runs or resumes one workflow.

Every attempt of a step is noted, with the time, in a file that outlives the process.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import everlog
from everlog import Engine, RetryPolicy, StepInterrupted, step, workflow

DATABASE, NOTES, FLOW = sys.argv[1:4]
GRACE = float(sys.argv[4]) if len(sys.argv) > 4 else 30
DELAY = 1.0


def note(text: str) -> None:
    with open(NOTES, "a") as notes:
        notes.write(f"{time.time():.3f} {text}\n")


def attempts_noted() -> int:
    return Path(NOTES).read_text().count("attempt")


def note_attempt() -> int:
    number = everlog.current().attempt
    note(f"attempt {number}")
    return number


@step(retry=RetryPolicy(max_attempts=4, first_delay=DELAY, backoff=1, jitter=0))
async def fails_three_times() -> str:
    if note_attempt() < 4:
        raise ConnectionError("not yet")
    return "done"


@step(retry=RetryPolicy(max_attempts=4, first_delay=0.05, backoff=1, jitter=0))
async def hangs_in_the_third() -> str:
    number = note_attempt()
    if number < 3:
        raise ConnectionError("not yet")
    if attempts_noted() == number:
        await asyncio.sleep(3600)
    return "done"


@step(at_most_once=True, retry=RetryPolicy(max_attempts=4, first_delay=0.05, backoff=1, jitter=0))
async def hangs_and_runs_once() -> str:
    if note_attempt() < 3:
        raise ConnectionError("not yet")
    await asyncio.sleep(3600)
    return "done"


@step
def ends_its_process() -> None:
    note_attempt()
    os.kill(os.getpid(), signal.SIGKILL)


@step
async def sleeps(seconds: float) -> str:
    note("sleeps")
    await asyncio.sleep(seconds)
    note("slept")
    return "slept"


@step
def sleeps_in_a_thread(seconds: float) -> str:
    note("sleeps")
    time.sleep(seconds)
    note("slept")
    return "slept"


@workflow(name="retries")
async def retries() -> str:
    return await fails_three_times()


@workflow(name="hangs")
async def hangs() -> str:
    return await hangs_in_the_third()


@workflow(name="once")
async def once() -> str:
    try:
        return await hangs_and_runs_once()
    except StepInterrupted as error:
        return f"interrupted: {error}"


@workflow(name="poison")
async def poison() -> None:
    await everlog.call(ends_its_process)


@workflow(name="works")
async def works() -> str:
    return await sleeps(0.01)


@workflow(name="waits")
async def waits() -> str:
    return await sleeps(3600)


@workflow(name="short")
async def short() -> str:
    return await sleeps(1.5)


@workflow(name="thread")
async def thread() -> str:
    return await everlog.call(sleeps_in_a_thread, 3600)


FLOWS: dict[str, Callable[[], everlog.Workflow[[], object]]] = {
    one.name: lambda one=one: one for one in (retries, hangs, once, poison, works, waits, short, thread)
}


async def main() -> None:
    url = DATABASE if "://" in DATABASE else f"sqlite:///{DATABASE}"
    async with Engine(url, grace=GRACE, lease=float(os.environ.get("LEASE", "10"))) as engine:
        note("open")
        try:
            handle = await engine.start(FLOWS[FLOW]().options(id=FLOW))
            print("result", await handle.result(), flush=True)
        except asyncio.CancelledError:
            note("leaving")
            raise
    note("closed")


if __name__ == "__main__":
    asyncio.run(main())

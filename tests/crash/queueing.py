"""A program of queues: a worker that writes what its steps begin and end into one file, which all workers share.

`python queueing.py URL NOTES` serves; `python queueing.py URL NOTES COUNT` ingests so many documents, and ends.
"""

from __future__ import annotations

import asyncio
import os
import sys

from everlog import Engine, Queue, RateLimit, step, workflow

slots = Queue("slots", concurrency=3)
hourly = Queue("hourly", rate_limit=RateLimit(5, per=3600))
provider = Queue("provider", concurrency=2)
documents = Queue("documents", worker_concurrency=10)


def note(text: str) -> None:
    """Add a line to the notes, wholly or not at all: lines stand in the order in which things happened."""
    file = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND)
    try:
        os.write(file, f"{text}\n".encode())
    finally:
        os.close(file)


@step
async def work(queue: str, number: int) -> int:
    """Say that it begins and ends."""
    note(f"begins {queue} {number}")
    await asyncio.sleep(0.005)
    note(f"ends {queue} {number}")
    return number


@step(limit=provider)
async def ask(number: int) -> None:
    """The same, with a slot."""
    note(f"begins provider {number}")
    await asyncio.sleep(0.005)
    note(f"ends provider {number}")


@workflow
async def errand(queue: str, number: int) -> int:
    """Work, as one of a queue."""
    await work(queue, number)
    return number


@workflow
async def asking(number: int) -> int:
    """Ask a provider that all share, three times at once."""
    await asyncio.gather(*(ask(3 * number + one) for one in range(3)))
    return number


@workflow
async def document(number: int) -> int:
    """Do one of many."""
    return await work("documents", number)


@workflow
async def ingest(count: int) -> int:
    """Do them all."""
    handles = await asyncio.gather(*(documents.enqueue(document, number) for number in range(count)))
    return sum(await asyncio.gather(*(handle.result() for handle in handles)))


async def main() -> None:
    """Be a worker."""
    queues = [slots, hourly, provider, documents]
    # The tests end processes, not the machine: what the system was given to write is there when they look.
    async with Engine(sys.argv[1], queues=queues, durability="process") as engine:
        if len(sys.argv) > 3:
            print(await engine.run(ingest.options(id="ingest"), int(sys.argv[3])))
        else:
            await engine.serve()


if __name__ == "__main__":
    asyncio.run(main())

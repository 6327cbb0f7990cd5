"""How long it takes until something begins: `python -m benchmarks.latencies [--samples N]`. Medians and 95th centiles.

On an engine with nothing else to do: from `enqueue` to the first line of the workflow, and from `send` to what follows
on `recv`, within one process and from a client to a worker process; and how long a partition of a queue waits beside
another with 10 items or with 10,000. The workflow says when by a step, which is counted. Samples come at odd moments,
so that no poll is met on the beat. Postgres is the server of `benchmarks.postgres`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import quantiles
from time import time

import everlog
from benchmarks.postgres import VARIABLE, started_server
from everlog import Client, Engine, Queue, step, workflow

IDLE = Queue("latencies.idle")
SHARED = Queue("latencies.shared", worker_concurrency=10)
PAUSE = (0.02, 0.08)
"""Seconds between two samples, at random."""
FEW, MANY = 10, 10_000
ITEM = 0.01
"""Seconds that an item of the noisy partition takes."""


@step
async def moment() -> float:
    return time()


@workflow(name="latencies.arrive")
async def arrive() -> float:
    return await moment()


@workflow(name="latencies.listen")
async def listen(messages: int) -> list[float]:
    heard: list[float] = []
    for _ in range(messages):
        sent_at = await everlog.recv("moment", type=float)
        heard.append(await moment() - sent_at)
    return heard


@step
async def occupy() -> None:
    await asyncio.sleep(ITEM)


@workflow(name="latencies.item")
async def item() -> None:
    await occupy()


async def pause() -> None:
    await asyncio.sleep(random.uniform(*PAUSE))


async def starts(client: Client, samples: int) -> list[float]:
    waited: list[float] = []
    for _ in range(samples):
        await pause()
        begun = time()
        handle = await client.queue(IDLE).enqueue(arrive)
        waited.append(await handle.result() - begun)
    return waited


async def messages(client: Client, samples: int) -> list[float]:
    listening = await client.start(listen, samples)
    for _ in range(samples):
        await pause()
        await listening.send("moment", time())
    return await listening.result()


async def beside(url: str, noise: int, samples: int) -> list[float]:
    """Give how long the items of a quiet partition wait, while another has so many items at least."""
    waited: list[float] = []
    async with Engine(url, workflows=[arrive, item], queues=[SHARED]) as engine:
        shared, noisy, quiet = engine.queue(SHARED), item.options(partition="noisy"), arrive.options(partition="quiet")
        items = [await asyncio.gather(*(shared.enqueue(noisy) for _ in range(noise)))]
        for _ in range(samples):
            await pause()
            missing = noise - (await shared.counts()).queued
            items.append(await asyncio.gather(*(shared.enqueue(noisy) for _ in range(missing))))
            begun = time()
            handle = await shared.enqueue(quiet)
            waited.append(await handle.result() - begun)
        await engine.cancel(*(one.id for some in items for one in some))
    return waited


@asynccontextmanager
async def worker(url: str) -> AsyncGenerator[None]:
    """Have a process run the workflows for the length of the block."""
    command = [sys.executable, "-m", "benchmarks.latencies", "--serve", url]
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
    assert process.stdout is not None
    await process.stdout.readline()
    yield
    await process.communicate(b"over\n")


async def serve(url: str) -> None:
    async with Engine(url, workflows=[arrive, listen], queues=[IDLE]):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)


async def measure(store: str, url: str, samples: int) -> None:
    async with Engine(url, workflows=[arrive, listen], queues=[IDLE]) as engine:
        row(store, "enqueue to start, in one process", await starts(engine, samples))
        row(store, "send to recv, in one process", await messages(engine, samples))
    async with worker(url), Client(url) as client:
        row(store, "enqueue to start, across processes", await starts(client, samples))
        row(store, "send to recv, across processes", await messages(client, samples))
    for noise in (FEW, MANY):
        row(store, f"enqueue to start beside a partition of {noise:,}", await beside(url, noise, samples))


def row(store: str, what: str, seconds: Sequence[float]) -> None:
    cuts = quantiles(seconds, n=20)
    print(f"{store:10}{what:50}{cuts[9] * 1000:8.1f}{cuts[18] * 1000:8.1f}", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.latencies")
    arguments.add_argument("--samples", type=int, default=100)
    arguments.add_argument("--serve", metavar="URL", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.serve:
        asyncio.run(serve(given.serve))
        return
    print(f"{'':60}{'p50 ms':>8}{'p95 ms':>8}")
    with tempfile.TemporaryDirectory(prefix="everlog-bench-") as directory:
        asyncio.run(measure("SQLite", f"sqlite:///{Path(directory) / 'latencies.db'}", given.samples))
    url = os.environ.get(VARIABLE) or started_server()
    schema = f"{'&' if '?' in url else '?'}schema=latencies_{os.getpid()}"
    asyncio.run(measure("Postgres", url + schema, given.samples))


if __name__ == "__main__":
    main()

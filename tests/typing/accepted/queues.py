"""Queues, as both checkers accept them: what is enqueued keeps its parameters and its result."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import assert_type

import everlog
from everlog import Engine, Handle, Queue, QueueCounts, QueueHandle, RateLimit, named, step, sync, workflow

mail = Queue("mail", concurrency=3, worker_concurrency=2, rate_limit=RateLimit(100, per=60))
folders = Queue(
    "folders",
    partition_concurrency=1,
    partition_worker_concurrency=1,
    partition_rate_limit=RateLimit(1, per=timedelta(minutes=1)),
)


@step(limit=mail)
async def send(address: str) -> int:
    return len(address)


@workflow(queue=mail)
async def letter(address: str, *, copies: int = 1) -> int:
    return await send(address) * copies


@workflow(queue="mail")
def plain_letter(address: str) -> str:
    return sync.start(letter.options(queue=None), address).id


@workflow
async def letters(addresses: list[str]) -> int:
    handles = await asyncio.gather(*(mail.enqueue(letter, one, copies=2) for one in addresses))
    assert_type(handles, list[Handle[int]])
    later = letter.options(priority=1, delay=timedelta(hours=1), partition="a", queue=folders)
    unique = later.options(dedup_key="k", if_duplicate="replace", max_delay=7200)
    assert_type(await folders.enqueue(unique, "a"), Handle[int])
    assert_type(await everlog.start(unique, "a"), Handle[int])
    assert_type(await mail.enqueue(plain_letter, "a"), Handle[str])
    return sum([await handle.result() for handle in handles])


async def main() -> None:
    async with Engine("memory://", queues=[mail, "folders"]) as engine:
        queue = engine.queue(mail)
        assert_type(queue, QueueHandle)
        handle = await queue.enqueue(letter, "a", copies=3)
        assert_type(handle, Handle[int])
        await handle.update(priority=1, delay=5, queue="folders")
        await queue.update(concurrency=None, rate_limit=RateLimit(1, per=1))
        assert_type(await queue.counts(), QueueCounts)
        assert_type(await engine.queues(), list[QueueHandle])
        assert_type(await engine.queue("mail").enqueue(named("letter", type=int), "a"), Handle[int])


def blocking() -> None:
    with sync.Engine("memory://", queues=[mail]) as engine:
        handle = engine.queue(mail).enqueue(letter, "a")
        assert_type(handle, sync.Handle[int])
        assert_type([one.name for one in engine.queues()], list[str])

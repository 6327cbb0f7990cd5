"""Queues, as both checkers refuse them: each line that ends in a mark has an error, and no other."""

from __future__ import annotations

from everlog import Engine, Queue, RateLimit, workflow

mail = Queue("mail", concurrency="three")  # error
paced = Queue("paced", rate_limit=5)  # error
rate = RateLimit(100, 60)  # error


@workflow
async def letter(address: str) -> int:
    return len(address)


@workflow
async def letters() -> None:
    await mail.enqueue(letter, 5)  # error
    await mail.enqueue(letter)  # error
    await mail.enqueue(letter.options(prio=5), "a")  # error
    await mail.enqueue(letter.options(if_duplicate="ignore"), "a")  # error
    await mail.enqueue(letter.fn, "a")  # error


async def main() -> None:
    async with Engine("memory://", queues=mail) as engine:  # error
        await engine.queue(5)  # error
        await engine.queue(mail).enqueue(letter, 5)  # error
        await engine.queue(mail).update(slots=5)  # error

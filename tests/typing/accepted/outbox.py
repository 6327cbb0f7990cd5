"""Starts within the caller's own transaction, and steps that are started, as typed as calls, in both colours."""

import asyncio
import sqlite3

import everlog
from everlog import Client, Engine, Handle, Outbox, OutboxQueue, Queue, Schedule, named, step, sync, workflow

mail = Queue("mail")


@step
async def charge(card: str, cents: int, *, currency: str = "EUR") -> str:
    return f"{card} {cents} {currency}"


@step
def render(order: str, dpi: int = 72) -> bytes:
    return order.encode() * dpi


@workflow
async def checkout(order: str, *, gift: bool = False) -> int:
    child: Handle[str] = await everlog.start(charge, order, 1, currency="USD")
    queued: Handle[bytes] = await mail.enqueue(render, order)
    return len(await child.result()) + len(await queued.result()) + gift


@workflow
def blocking(order: str) -> int:
    return len(sync.start(render, order, dpi=1).result())


async def using(client: Client, connection: sqlite3.Connection) -> int:
    outbox: Outbox = client.using(connection)
    first: Handle[int] = await outbox.start(checkout.options(id="order"), "order", gift=True)
    queue: OutboxQueue = outbox.queue(mail)
    second: Handle[bytes] = await queue.enqueue(render, "order", dpi=1)
    third: Handle[str] = await outbox.queue("mail").enqueue(named("elsewhere", type=str), 1, "two")
    await outbox.send(first.id, "topic", {"any": "thing"}, key="k")
    connection.commit()
    return await first.result() + len(await second.result()) + len(await third.result())


def using_blocking(client: sync.Client, connection: sqlite3.Connection) -> int:
    outbox: sync.Outbox = client.using(connection)
    first: sync.Handle[int] = outbox.start(checkout, "order", gift=True)
    second: sync.Handle[bytes] = outbox.queue(mail).enqueue(render, "order", dpi=1)
    outbox.send(first.id, "topic", [1, 2])
    connection.commit()
    return first.result() + len(second.result())


async def start_steps(engine: Engine) -> list[object]:
    text: str = await engine.run(charge, "card", 100, currency="USD")
    image: bytes = await (await engine.start(render, "order", dpi=3)).result()
    again: bytes = await engine.handle("id", render).result()
    queued: Handle[str] = await engine.queue(mail).enqueue(charge, "card", 5)
    await engine.create_schedule("daily", Schedule(every=86400), charge, "card", 5)
    return [text, image, again, queued.id]


def with_steps() -> int:
    with sync.Engine("memory://", workflows=[checkout, blocking, charge, render]) as engine:
        return len(engine.run(render, "order", dpi=2)) + len(engine.start(charge, "card", 1).result())


async def main() -> None:
    async with Engine("memory://", workflows=[checkout, charge]) as engine:
        print(await engine.run(charge, "card", 1))


if __name__ == "__main__":
    asyncio.run(main())

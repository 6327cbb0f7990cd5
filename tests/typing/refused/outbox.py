"""Wrong arguments of what is started within the caller's transaction, and of steps that are started."""

import sqlite3

from everlog import Client, Engine, Handle, Queue, step, sync, workflow

mail = Queue("mail")


@step
async def charge(card: str, cents: int) -> str:
    return card * cents


@workflow
async def checkout(order: str) -> int:
    return len(order)


def plain(number: int) -> int:
    return number


async def using(client: Client, connection: sqlite3.Connection) -> None:
    outbox = client.using(connection)
    await outbox.start(checkout, 1)  # error
    await outbox.start(checkout, "order", gift=True)  # error
    await outbox.start(plain, 1)  # error
    handle: Handle[str] = await outbox.start(checkout, "order")  # error
    await outbox.queue(mail).enqueue(charge, "card")  # error
    await outbox.queue(3).enqueue(charge, "card", 1)  # error
    await outbox.send(handle, "topic", 1)  # error
    await outbox.run(checkout, "order")  # error
    client.using()  # error


def using_blocking(client: sync.Client, connection: sqlite3.Connection) -> None:
    outbox = client.using(connection)
    outbox.start(checkout, 1)  # error
    outbox.queue(mail).enqueue(charge, "card", "1")  # error
    outbox.send("id", "topic")  # error


async def start_steps(engine: Engine) -> None:
    await engine.start(charge, "card", "1")  # error
    await engine.run(charge, "card", cents="1")  # error
    number: int = await engine.run(charge, "card", 1)  # error
    Engine("memory://", workflows=[plain])  # error
    print(number)

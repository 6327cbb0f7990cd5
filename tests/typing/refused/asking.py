"""Wrong uses of asks and waits. Marked lines are refused."""

import everlog
from everlog import Client, Request, sync, workflow


@workflow
async def forgets() -> None:
    everlog.ask("id", "topic", 1, timeout=1)  # error
    request = await everlog.recv("topic", type=Request[int])
    request.reply(1)  # error
    request.refuse("no")  # error
    await request.reply()  # error
    await request.refuse(1)  # error
    request.value = 2  # error
    request.value + "a"  # error
    await everlog.ask("id", "topic", 1)  # error
    left: str = await everlog.ask("id", "topic", 1, type=int, timeout=1)  # error
    await everlog.recv("topic", title=1)  # error
    print(left)


@workflow
def forgets_blocking() -> None:
    request = sync.recv("topic", type=sync.Request[int])
    request.reply(1).nothing  # error
    sync.ask("id", "topic", 1, type=int)  # error


async def lists(client: Client) -> None:
    for _ in client.waits():  # error
        pass
    client.answer("token", 1)  # error
    await client.answer(1, 1)  # error
    async for wait in client.waits(topic="a"):
        wait.nothing  # error
        wait.title = ""  # error

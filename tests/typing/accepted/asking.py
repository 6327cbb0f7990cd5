"""A workflow that is asked, by workflows of both colours and from outside; every type is known."""

import asyncio
from typing import assert_type

import everlog
from everlog import AskRefused, Client, Engine, Handle, Request, Wait, sync, workflow


@workflow
async def account(balance: int) -> int:
    while True:
        request = assert_type(await everlog.recv("withdraw", type=Request[int]), Request[int])
        amount = assert_type(request.value, int)
        if amount > balance:
            await request.refuse("not enough")
        elif amount == 0:
            await request.reply("closed")
            return balance
        else:
            balance -= amount
            await request.reply(balance)


@workflow
def echo() -> None:
    request = assert_type(sync.recv("say", type=sync.Request[str | int]), sync.Request[str | int])
    assert_type(request.value, str | int)
    request.reply(request.value)


@workflow
async def customer(where: str, echoing: str) -> list[int | str]:
    handle = everlog.handle(where, account)
    left = assert_type(await everlog.ask(where, "withdraw", 30, type=int, timeout=60), int)
    more = assert_type(await handle.ask("withdraw", 20, type=int, timeout=60), int)
    said = assert_type(await everlog.ask(echoing, "say", "hello", type=str | int, timeout=60), str | int)
    return [left, more, said]


@workflow
def blocking_customer(where: str) -> str:
    try:
        assert_type(sync.ask(where, "withdraw", 300, type=int, timeout=60), int)
    except AskRefused as refused:
        return refused.reason
    return assert_type(sync.handle(where, account).ask("withdraw", 1, type=str, timeout=60), str)


async def main(url: str) -> list[object]:
    async with Engine(url) as engine:
        handle: Handle[int] = await engine.start(account, 100)
        echoing = await engine.start(echo)
        heard: list[object] = [*await engine.run(customer, handle.id, echoing.id)]
        heard.append(await engine.run(blocking_customer, handle.id))
        left = assert_type(await engine.ask(handle.id, "withdraw", 5, type=int, timeout=60, key="k"), int)
        closed = assert_type(await handle.ask("withdraw", 0, type=str, timeout=60), str)
        return [*heard, left, closed, await handle.result(), await listed(engine)]


async def listed(client: Client) -> int:
    return len(assert_type(await client.waits(), list[Wait]))


def blocking(client: sync.Client) -> None:
    assert_type(list(client.waits(topic="decision")), list[Wait])
    assert_type(client.ask("id", "topic", 1, type=list[int], timeout=1), list[int])
    for wait in client.waits():
        client.answer(wait.token, None)


EXPECTED = [70, 50, "hello", "not enough", 45, "closed", 45, 0]

if __name__ == "__main__":
    print(asyncio.run(main("sqlite:///account.db")))

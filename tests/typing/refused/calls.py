"""Calls with wrong arguments, wrong options or a wrong idea of what comes back. Marked lines are refused."""

import asyncio

import everlog
from everlog import Client, Engine, Handle, RetryPolicy, named, step, sync, workflow


@step
async def charge(card: str, cents: int, *, currency: str = "EUR") -> str:
    return ""


@step
def render(order: str, dpi: int = 72) -> bytes:
    return b""


@step
async def total(*parts: int) -> int:
    return sum(parts)


@workflow
async def checkout(order: str, *, gift: bool = False) -> int:
    return 1


def plain(n: int) -> int:
    return n


async def plain_async(n: int) -> int:
    return n


@workflow
async def calls() -> None:
    await charge("c")  # error
    await charge("c", "1")  # error
    await charge("c", 1, curency="USD")  # error
    await charge("c", 1, "USD")  # error
    await charge("c", 1, currency=3)  # error
    await total(1, "2")  # error
    charge("c", 1)  # error
    wrong: int = await charge("c", 1)  # error
    coroutine: str = charge("c", 1)  # error
    await render("x")  # error
    await everlog.call(render, 3)  # error
    await everlog.call(render, "x", dpi="high")  # error
    await everlog.call(render, "x", dpii=3)  # error
    await everlog.call(render)  # error
    await everlog.call(plain, 3)  # error
    everlog.call(render, "x")  # error
    size: int = await everlog.call(render, "x")  # error
    await asyncio.to_thread(render, 3)  # error
    await asyncio.to_thread(render, "x", dpii=3)  # error
    await step(plain_async, name="inline")("3")  # error
    pair: tuple[int, int] = await asyncio.gather(charge("c", 1), total(1))  # error
    print(wrong, coroutine, size, pair)


@workflow
def nightly(day: str) -> int:
    return 1


@workflow
async def children() -> None:
    await checkout()  # error
    await checkout(3)  # error
    await checkout("a", gif=True)  # error
    checkout("a")  # error
    await nightly("a")  # error
    text: str = await checkout("a")  # error
    await everlog.call(nightly, 3)  # error
    await everlog.start(checkout, 3)  # error
    await everlog.start(checkout, "a", gif=True)  # error
    await everlog.start(plain_async, 3)  # error
    everlog.start(checkout, "a")  # error
    handle: Handle[str] = await everlog.start(checkout, "a")  # error
    other: Handle[str] = everlog.handle("x", checkout)  # error
    result: str = await everlog.handle("x", nightly).result()  # error
    print(text, handle, other, result)


@workflow
def blocking_children() -> None:
    nightly(3)  # error
    sync.call(checkout, 3)  # error
    sync.start(nightly, 3)  # error
    handle: sync.Handle[str] = sync.start(checkout, "a")  # error
    result: str = sync.handle("x", checkout).result()  # error
    sizes: list[str] = sync.map(nightly, ["a"])  # error
    print(handle, result, sizes)


async def options(engine: Engine) -> None:
    charge.options(id="x")  # error
    charge.options(timeot=3)  # error
    charge.options(retry=5)  # error
    charge.options(key=3)  # error
    charge.options(timeout="soon")  # error
    charge.options(key="x")("c", "1")  # error
    checkout.options(id=3)  # error
    checkout.options(key=3)  # error
    checkout.options(when_parent_ends="stay")  # error
    checkout.options(ID="x")  # error
    await engine.start(checkout.options(id="x"), 3)  # error
    RetryPolicy(5)  # error
    RetryPolicy(max_attempt=5)  # error


async def starts(engine: Engine, client: Client) -> None:
    await engine.start(checkout)  # error
    await engine.start(checkout, 3)  # error
    await engine.start(checkout, "a", True)  # error
    await engine.start(checkout, "a", gif=True)  # error
    await client.start(checkout, "a", gift="yes")  # error
    await engine.start(plain, 3)  # error
    await engine.start(plain_async, 3)  # error
    await engine.start(checkout("a"))  # error
    engine.start(checkout, "a")  # error
    started = engine.start(checkout, "a")
    started.id  # error
    text: str = await engine.run(checkout, "a")  # error
    await engine.run(checkout, order=3)  # error
    handle = await engine.start(checkout, "a")
    other: Handle[str] = handle  # error
    result: str = await handle.result()  # error
    handle.result()  # error
    await handle.result(5)  # error
    again: Handle[str] = engine.handle("x", checkout)  # error
    answer: str = await engine.run(named("x", type=int), 1)  # error
    await handle.send("topic")  # error
    await engine.workflows(state="fail")  # error
    await engine.cancel(handle)  # error
    await engine.retry(handle)  # error
    await engine.delete(state="failed")  # error
    handle.terminate()  # error
    await handle.cancel("why")  # error
    checkout.options(timeout="1h")  # error
    async with everlog.compensations() as undo:
        undo.add(charge, "c")  # error
        undo.add(charge, "c", 1, currency=3)  # error
        undo.add(lambda: None)  # error
        undo.add(plain, 3)  # error
        await undo.add(render, "x")  # error
    with everlog.compensations():  # error
        pass
    async with sync.compensations():  # error
        pass
    (await handle.status()).id.nothing  # error
    print(text, other, result, again, answer)


@workflow
async def continues(n: int) -> None:  # what follows on such a call is not looked at
    if n == 1:
        everlog.continue_as_new(checkout, 3)  # error
    if n == 2:
        everlog.continue_as_new(checkout, "a", gifts=True)  # error
    if n == 3:
        everlog.continue_as_new(plain, 3)  # error

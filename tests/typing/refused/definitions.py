"""Definitions that take what no definition takes, and methods that are called as they are not."""

from datetime import datetime

import everlog
from everlog import Engine, step, workflow


@step(retry=3)  # error
async def retried() -> None: ...


@step(name=3)  # error
def badly_named() -> None: ...


@step(timeout="soon")  # error
async def timed() -> None: ...


@step(process="yes")  # error
def processed() -> None: ...


@step(attempts=3)  # error
async def unknown() -> None: ...


@workflow(id="x")  # error
async def with_an_id() -> None: ...


@workflow(3)  # error
async def with_a_number() -> None: ...


step(17)  # error
step(retry=3)  # error


class Shop:
    @workflow
    async def sell(self, item: str) -> int:
        await self.pack(3)  # error
        await self.pack("x", "y")  # error
        count: int = await self.pack("x")  # error
        return count

    @step
    async def pack(self, item: str) -> str:
        return item

    @step
    def weigh(self, item: str) -> float:
        return 1.0

    @staticmethod
    @step
    async def price(item: str) -> int:
        return 1

    @staticmethod
    @workflow
    async def restock(item: str) -> int:
        return 1


async def methods(engine: Engine, shop: Shop) -> None:
    await engine.start(shop.sell, 3)  # error
    await engine.start(shop.sell)  # error
    await engine.start(Shop.sell, "x")  # error
    text: str = await engine.run(shop.sell, "x")  # error
    await everlog.call(shop.weigh, 3)  # error
    await Shop.price(3)  # error
    await engine.run(Shop.restock, 3)  # error
    shop.pack("x")  # error
    shop.sell.nothing  # error
    everlog.register(shop)  # error
    registered: int = everlog.register(shop, name="x")  # error
    print(text, registered)


async def primitives() -> None:
    await everlog.recv(type=int)  # error
    text: str = await everlog.recv("a", type=int)  # error
    number: int = await everlog.recv("a", type=int, timeout=5, default=None)  # error
    await everlog.recv("a", type=int, default=None)  # error
    await everlog.recv("a", timeout="soon")  # error
    both: int = await everlog.recv("a", type=int | str)  # error
    everlog.recv("a")  # error
    await everlog.send("a", "topic")  # error
    everlog.send("a", "topic", 1)  # error
    await everlog.sleep("3")  # error
    everlog.sleep(3)  # error
    await everlog.sleep_until(3.0)  # error
    moment: int = everlog.now()  # error
    everlog.current().workflowid  # error
    print(text, number, both, moment, datetime)

"""An order as a family: children that are called, started, limited, left and given up, in both colours."""

import asyncio

import everlog
from everlog import Engine, Handle, WorkflowFailed, named, step, sync, workflow


class OutOfStock(Exception): ...


@step
async def weigh(item: str) -> float:
    return float(len(item))


@workflow
async def pack(item: str, *, gift: bool = False) -> float:
    if item == "unicorn":
        raise OutOfStock(item)
    return await weigh(item) + (0.5 if gift else 0.0)


@workflow
def bill(order: str, prices: list[int]) -> int:
    return sum(prices)


@workflow
def accounts(orders: list[str]) -> list[int]:
    first: int = bill(orders[0], [1, 2])
    weight: float = sync.call(pack, "tea")
    started: sync.Handle[int] = sync.start(bill.options(when_parent_ends="leave"), orders[0], [3])
    again: sync.Handle[int] = sync.handle(started.id, bill)
    return [first, int(weight), again.result(timeout=60), *sync.map(lengths, orders)]


@workflow
async def lengths(order: str) -> int:
    return len(order)


@workflow
async def deliver(order: str, items: list[str]) -> list[float]:
    weights: list[float] = await asyncio.gather(*[pack(item, gift=True) for item in items])
    handle: Handle[int] = await everlog.start(bill.options(id=f"bill of {order}"), order, [1, 2, 3])
    price: int = await handle.result()
    async with asyncio.TaskGroup() as group:
        packing: asyncio.Task[float] = group.create_task(pack("cups"))
    elsewhere: Handle[int] = await everlog.start(named("bill", type=int), order, [4])
    same: Handle[int] = everlog.handle(elsewhere.id, bill)
    anything = await everlog.handle(elsewhere.id).result()
    told: list[int] = await everlog.call(accounts, [order])
    try:
        await (await everlog.start(pack, "unicorn")).result(timeout=60)
    except WorkflowFailed as error:
        print(error.workflow_id, error.__cause__)
    return [*weights, price, packing.result(), await same.result(), anything, *told]


EXPECTED = [3.5, 6, 4.0, 4, 4, 3, 3, 3, 8]


async def main(url: str) -> list[float]:
    async with Engine(url) as engine:
        return await engine.run(deliver.options(id="order-42"), "order-42", ["tea"])

"""Programs of users, in a module that other processes can import: five with a defect, and some that are right."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec

import everlog
from everlog import Queue, RetryPolicy, step, sync, workflow

# -- five defects -----------------------------------------------------------------------------------------------------


@step(name="exploring.price")
async def price(item: str) -> int:
    return len(item)


@step(name="exploring.notify")
async def notify(item: str) -> None:
    pass


@workflow(name="exploring.order_of_a_set")
async def order_of_a_set(items: list[str]) -> int:
    total = 0
    for item in set(items):
        total += await price(item)
    return total


_prices: dict[str, int] = {}


@workflow(name="exploring.module_cache")
async def module_cache(items: list[str]) -> int:
    for item in items:
        if item not in _prices:
            _prices[item] = await price(item)
    return sum(_prices[item] for item in items)


@workflow(name="exploring.wall_clock")
async def wall_clock(items: list[str]) -> int:
    prices = [await price(item) for item in items]
    is_weekend = bool(prices) and datetime.now(UTC).weekday() > 4
    return sum(prices) // (2 if is_weekend else 1)


_told: set[asyncio.Task[None]] = set()


@workflow(name="exploring.unawaited_task")
async def unawaited_task(items: list[str]) -> int:
    for item in items:
        _told.add(asyncio.create_task(notify(item)))
    return sum([await price(item) for item in items])


def is_new(item: str, seen: list[str] = []) -> bool:  # noqa: B006 - the very defect
    is_first = item not in seen
    seen.append(item)
    return is_first


@workflow(name="exploring.shared_default")
async def shared_default(items: list[str]) -> int:
    return sum([await price(item) for item in items if is_new(item)])


# -- other defects ----------------------------------------------------------------------------------------------------

charged: list[str] = []


@step(name="exploring.charge")
async def charge(item: str) -> None:
    charged.append(item)


@workflow(name="exploring.charges_twice")
async def charges_twice(item: str) -> None:
    await price(item)
    await charge(item)


@workflow(name="exploring.first_wins")
async def first_wins(items: list[str]) -> int:
    tasks = [asyncio.create_task(price.options(key=str(number))(item)) for number, item in enumerate(items)]
    sizes = [await done for done in asyncio.as_completed(tasks)]
    return sizes[0] if sizes else 0


@workflow(name="exploring.forgets_to_await")
async def forgets_to_await(item: str) -> None:
    notify(item)  # type: ignore[unused-coroutine] # pyright: ignore[reportUnusedCoroutine] # the very defect


@workflow(name="exploring.raises")
async def raises(number: int) -> int:
    if number > 10:
        raise KeyError(number)
    return number


@workflow(name="exploring.waits_for_ever")
async def waits_for_ever() -> str:
    return await everlog.recv("news", type=str)


# -- right programs ---------------------------------------------------------------------------------------------------


class Order(msgspec.Struct, frozen=True):
    card: str
    items: list[str]


parcels = Queue("exploring.parcels", concurrency=2)
attempts: list[str] = []


@step(name="exploring.unsure", retry=RetryPolicy(max_attempts=20, first_delay=1, give_up_on=(KeyError,)))
async def unsure(item: str) -> int:
    attempts.append(item)
    return len(item)


@step(name="exploring.in_a_thread")
def in_a_thread(card: str) -> str:
    return card.upper()


@workflow(name="exploring.parcel")
async def parcel(item: str) -> str:
    await asyncio.sleep(3600)
    return item * await unsure(item)


@workflow(name="exploring.shop")
async def shop(order: Order) -> list[Any]:
    card = await everlog.call(in_a_thread, order.card)
    async with asyncio.TaskGroup() as group:
        sizes = [group.create_task(unsure(item)) for item in order.items]
    handles = [await parcels.enqueue(parcel, item) for item in order.items]
    await asyncio.sleep(30 * 86_400)
    answer = await everlog.recv("answer", type=str)
    return [card, [size.result() for size in sizes], [await handle.result() for handle in handles], answer]


@workflow(name="exploring.blocking")
def blocking(items: list[str]) -> int:
    sizes = sync.map(lambda item: sync.call(unsure, item), items)
    sync.sleep(86_400)
    return sum(sizes)

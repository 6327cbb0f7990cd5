"""A checkout that pays and ships, and gives the money back if there is nothing to ship."""

import asyncio
from dataclasses import dataclass

from everlog import Engine, RetryPolicy, WorkflowFailed, step, workflow


@dataclass
class Order:
    id: str
    card: str
    cents: int
    address: str


class OutOfStock(Exception): ...


@step(retry=RetryPolicy(max_attempts=5), timeout=30)
async def charge(card: str, cents: int, *, idempotency_key: str) -> str:
    return f"payment-{idempotency_key}"


@step
async def refund(payment: str) -> None: ...


@step(retry=RetryPolicy(give_up_on=(OutOfStock,)))
async def reserve(order: Order) -> str:
    if order.cents > 100_000:
        raise OutOfStock(order.id)
    return "reservation-7"


@step
async def ship(reservation: str, address: str) -> str:
    return f"parcel for {address}"


@workflow
async def checkout(order: Order) -> str:
    payment = await charge(order.card, order.cents, idempotency_key=order.id)
    try:
        reservation = await reserve(order)
    except OutOfStock:
        await refund(payment)
        raise
    return await ship(reservation, order.address)


async def main(url: str) -> list[str]:
    said: list[str] = []
    async with Engine(url) as engine:
        for order in (Order("42", "4242", 1999, "1 Main St"), Order("43", "4242", 10**9, "2 Main St")):
            handle = await engine.start(checkout.options(id=f"order-{order.id}"), order)
            try:
                said.append(await handle.result())
            except WorkflowFailed as failure:
                said.append(f"no parcel: {failure.error.message if failure.error else failure}")
    return said


EXPECTED = ["parcel for 1 Main St", "no parcel: 43"]

if __name__ == "__main__":
    print(asyncio.run(main("sqlite:///shop.db")))

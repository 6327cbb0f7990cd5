"""What the browser looks at: a small shop in which something of each kind happens."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Literal

import everlog
from everlog import Queue, RetryPolicy, Schedule, step, workflow

kitchen = Queue("kitchen", concurrency=2, partition_concurrency=1)


@dataclass
class Decision:
    verdict: Literal["approve", "deny"]
    note: str | None = None


@step(name="reserve")
async def reserve(item: str) -> dict[str, Any]:
    await asyncio.sleep(0.15)
    return {"item": item, "shelf": 7}


@step(name="charge", retry=RetryPolicy(max_attempts=3, first_delay=0.2, jitter=0))
async def charge(card: str, cents: int) -> dict[str, Any]:
    await asyncio.sleep(0.1)
    if everlog.current().attempt < 2 and card != "broken":
        raise ConnectionError("the bank did not answer in time")
    if card == "broken":
        raise ValueError(f"card {card!r} is not known to the bank")
    return {"paid": cents, "receipt": f"R-{cents}"}


@step(name="ship")
async def ship(item: str, receipt: str) -> str:
    await asyncio.sleep(0.3)
    return f"{item} is on its way ({receipt})"


@step(name="bake")
async def bake(item: str) -> str:
    for part in ("dough", "oven", "cooling"):
        await everlog.emit("kitchen", f"{item}: {part}")
        await asyncio.sleep(0.15)
    return f"a warm {item}"


@workflow(name="shop.bakery")
async def bakery(item: str) -> str:
    return await bake(item)


@workflow(name="shop.order")
async def order(item: str, card: str, cents: int = 1250) -> str:
    reserved, baked = await asyncio.gather(reserve(item), kitchen.enqueue(bakery.options(id=f"{item}-cake"), "cake"))
    await everlog.set_value("progress", {"reserved": reserved, "percent": 40})
    paid = await charge(card, cents)
    await baked.result()
    if cents > 10_000:
        decision = await everlog.recv(
            "decision", type=Decision, title=f"Send an order of {cents / 100:.2f} €?", metadata={"item": item}
        )
        if decision.verdict == "deny":
            raise PermissionError(decision.note or "denied")
    sent = await ship(item, paid["receipt"])
    await everlog.set_value("progress", {"percent": 100})
    return sent


@step(name="think")
async def think(messages: list[dict[str, Any]]) -> dict[str, Any]:
    await asyncio.sleep(0.2)
    if messages[-1]["role"] == "tool":
        text = "Your order left this morning and arrives on Friday."
        return {"role": "assistant", "content": text, "usage": {"input_tokens": 412, "output_tokens": 37}}
    call = {"id": "call-1", "type": "function", "function": {"name": "find_order", "arguments": '{"order": "order-1"}'}}
    return {
        "role": "assistant",
        "content": "Let me look that up.",
        "tool_calls": [call],
        "usage": {"input_tokens": 288, "output_tokens": 24},
    }


@step(name="find_order")
async def find_order(order: str) -> dict[str, Any]:
    return {"order": order, "state": "sent", "arrives": "Friday"}


@workflow(name="shop.assistant")
async def assistant(question: str) -> str:
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "You help the customers of a small shop."},
        {"role": "user", "content": question},
    ]
    answer = await think(messages)
    found = await find_order("order-1")
    messages += [
        {name: answer[name] for name in ("role", "content", "tool_calls")},
        {"role": "tool", "tool_call_id": "call-1", "content": str(found)},
    ]
    return str((await think(messages))["content"])


@workflow(name="shop.counter")
async def counter() -> int:
    number = 0
    while await everlog.recv("next", type=str) != "stop":
        number += 1
    return number


@workflow(name="shop.report", schedule=Schedule("0 9 * * 1-5", timezone="Europe/Vienna"))
async def report() -> None:
    await asyncio.sleep(0)


@workflow(name="shop.slow")
async def slow() -> None:
    await asyncio.sleep(3600)


ALL = [bakery, order, assistant, counter, report, slow]

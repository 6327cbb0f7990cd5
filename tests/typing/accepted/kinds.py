"""What has which type: every form of definition, call, message and result, by `assert_type`."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any, Literal, Protocol, TypeVar, assert_type, overload
from uuid import UUID

import everlog
from everlog import (
    Client,
    Engine,
    Handle,
    HistoryEvent,
    RetryPolicy,
    WorkflowStatus,
    named,
    register,
    step,
    sync,
    workflow,
)

T = TypeVar("T")


@dataclass
class Order:
    id: str
    cents: int = 0


@dataclass
class Approve:
    by: str


@dataclass
class Reject:
    why: str


@step(retry=RetryPolicy(max_attempts=5), timeout=timedelta(seconds=30))
async def charge(card: str, cents: int, *, currency: str = "EUR") -> str:
    return f"{card} {cents} {currency}"


@step()
def render(order: Order, dpi: int = 72) -> bytes:
    return b"" * dpi


@step(process=True, at_most_once=True)
def crunch(numbers: list[int]) -> int:
    return sum(numbers)


@step
async def many(*parts: int, **named_parts: str) -> int:
    return len(parts) + len(named_parts)


@step
async def odd(fn: str, name: str, topic: int, options: int, instance: int = 0, key: str = "", timeout: int = 0) -> int:
    return 1


@workflow
async def odd_workflow(fn: str, name: str, id: str = "", timeout: int = 0) -> int:
    return await odd("a", "b", 1, 2, key="x", timeout=3)


async def fetch(url: str) -> bytes:
    return url.encode()


async def _first(items: list[T]) -> T:
    return items[0]


async def first(items: list[T]) -> T:
    return await step(_first, name="first")(items)


@overload
def pick(x: int) -> int: ...
@overload
def pick(x: str) -> str: ...
def pick(x: int | str) -> int | str:
    return x


class Model(Protocol):
    async def __call__(self, prompt: str, *, n: int = 1) -> str: ...


class MyModel:
    async def __call__(self, prompt: str, *, n: int = 1) -> str:
        return prompt * n


@step
async def model_step(prompt: str, *, n: int = 1) -> str:
    return prompt * n


@step
async def tool(x: str) -> int:
    return len(x)


async def loop(model: Model, use: Callable[[str], Awaitable[int]]) -> int:
    await model("x", n=2)
    return await use("x")


@workflow
async def checkout(order: Order, *, gift: bool = False) -> str:
    assert_type(await charge(order.id, cents=3, currency="USD"), str)
    assert_type(await charge.options(key="x", retry=None).options(timeout=None)(order.id, 5), str)
    assert_type(await asyncio.to_thread(render, order, dpi=3), bytes)
    assert_type(await everlog.call(render, order, dpi=3), bytes)
    assert_type(await everlog.call(charge, order.id, 3), str)
    assert_type(await everlog.call(crunch, [1, 2]), int)
    assert_type(await many(1, 2, 3, a="b"), int)
    assert_type(await asyncio.gather(tool("x"), charge(order.id, 5)), tuple[int, str])
    async with asyncio.TaskGroup() as group:
        task = group.create_task(tool("x"))
    assert_type(task.result(), int)
    assert_type(await asyncio.wait_for(everlog.recv("a", type=Approve), 5), Approve)
    assert_type(await step(fetch, name="fetch")("http://"), bytes)
    assert_type(await step(lambda: fetch("u"), name="other fetch")(), bytes)
    assert_type(step(pick)(3), int)
    assert_type(await step(functools.partial(fetch, "u"), name="partial fetch")(), bytes)
    assert_type(await loop(model_step, tool.options(key="t")), int)
    assert_type(await loop(step(MyModel(), name="model"), tool), int)
    assert_type(await first([1, 2]), int)
    return "x"


@workflow
async def listens() -> str | int:
    assert_type(await everlog.recv("a"), Any)
    assert_type(await everlog.recv("a", type=Approve | Reject), Approve | Reject)
    assert_type(await everlog.recv("a", type=Approve | None), Approve | None)
    assert_type(await everlog.recv("a", type=list[Approve]), list[Approve])
    assert_type(await everlog.recv("a", type=dict[str, Approve | Reject]), dict[str, Approve | Reject])
    assert_type(await everlog.recv("a", type=Literal["yes", "no"]), Literal["yes", "no"])
    assert_type(await everlog.recv("a", type=None), None)
    assert_type(await everlog.recv("a", type=Approve, timeout=5), Approve)
    assert_type(await everlog.recv("a", type=Approve, timeout=5, default=None), Approve | None)
    assert_type(await everlog.recv("a", type=Approve | Reject, timeout=timedelta(1), default=0), Approve | Reject | int)
    await everlog.send("other", "a", Approve("me"), key="k")
    await everlog.sleep(timedelta(days=1))
    await everlog.sleep_until(everlog.now())
    assert_type(everlog.now(), datetime)
    assert_type(everlog.uuid4(), UUID)
    assert_type(everlog.random(), Random)
    with everlog.scope("eu"):
        assert_type(everlog.random().random(), float)
    current = everlog.current()
    assert_type(current.workflow_id, str)
    assert_type(current.step, str | None)
    assert_type(current.started_at, datetime)
    assert_type(current.replaying, bool)
    return "x"


class Shop:
    def __init__(self, region: str = "eu") -> None:
        self.region = region

    @workflow
    async def sell(self, order: Order, n: int = 1) -> int:
        assert_type(await self.charge(3), str)
        assert_type(await self.charge.options(key="k")(3), str)
        assert_type(await everlog.call(self.cut, "x"), bytes)
        assert_type(await Shop.weigh(3), float)
        return n

    @step
    async def charge(self, n: int) -> str:
        return str(n)

    @step
    def cut(self, s: str) -> bytes:
        return s.encode()

    @staticmethod
    @step(timeout=3)
    async def weigh(n: int) -> float:
        return float(n)

    @staticmethod
    @workflow
    async def restock(n: int) -> str:
        return str(n)

    @workflow
    @staticmethod
    async def restock_too(n: int) -> str:
        return str(n)


async def main(engine: Engine, client: Client) -> None:
    order = Order("1")
    handle = await engine.start(checkout.options(id="o"), order, gift=True)
    assert_type(handle, Handle[str])
    assert_type(handle.id, str)
    assert_type(await handle.result(timeout=5), str)
    assert_type(await engine.run(checkout, order=order), str)
    assert_type(await client.start(listens), Handle[str | int])
    assert_type(await engine.start(odd_workflow, "a", name="b", id="c", timeout=3), Handle[int])
    assert_type(await engine.start(odd_workflow, fn="a", name="b"), Handle[int])
    assert_type(engine.handle("x"), Handle[Any])
    assert_type(engine.handle("x", checkout), Handle[str])
    assert_type(await engine.handle("x", named("y", type=list[int])).result(), list[int])
    assert_type(await engine.workflows(state="failed"), list[WorkflowStatus])
    async for status in engine.workflows():
        assert_type(status, WorkflowStatus)
    assert_type(await handle.status(), WorkflowStatus)
    assert_type(await handle.history(), list[HistoryEvent])
    assert_type(await engine.cancel("a", "b"), list[str])
    assert_type(await engine.pause("a"), list[str])
    assert_type(await engine.resume("a"), list[str])
    assert_type(await engine.retry("a"), list[str])
    assert_type(await engine.delete("a"), list[str])
    await handle.terminate(reason="enough")
    await handle.pause()
    await handle.resume()
    await handle.retry()
    await handle.delete()
    checkout.options(timeout=None).options(timeout=3.5).options(timeout=timedelta(hours=1))
    assert_type(everlog.current().deadline, datetime | None)
    async with everlog.compensations() as undo:
        undo.add(charge, "a", 1, currency="b")
        undo.add(render, order, dpi=3)
    with sync.compensations() as undo_too:
        undo_too.add(charge.options(key="k"), "a", 1, currency="b")
    await engine.send("x", "topic", 3, key="k")
    shop = register(Shop(), name="eu")
    assert_type(shop, Shop)
    assert_type(await engine.start(shop.sell.options(id="s"), order, n=3), Handle[int])
    assert_type(await engine.run(Shop.restock, 3), str)
    assert_type(await engine.run(Shop.restock_too, 3), str)
    assert_type(await engine.start(named("x"), 1, a=2), Handle[Any])
    assert_type(await engine.run(named("x", type=Approve | Reject), 1), Approve | Reject)
    general: Handle[object] = handle
    options: everlog.WorkflowOptions = {"id": "7"}
    assert_type(await engine.start(listens.options(**options)), Handle[str | int])
    step_options: everlog.StepOptions = {"timeout": 3}
    charge.options(**step_options)
    assert_type(await charge.fn("a", 1, currency="b"), str)
    assert_type(render.fn(order), bytes)
    assert_type(render(order, dpi=3), bytes)
    assert_type(checkout.name, str)
    assert_type(await shop.charge.fn(3), str)
    print(general)

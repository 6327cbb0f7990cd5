"""The code of the golden histories. It may grow workflows; what is here is never changed, or the histories break."""

from __future__ import annotations

import asyncio
import enum
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from ipaddress import IPv4Address
from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple, NotRequired
from uuid import UUID
from zoneinfo import ZoneInfo

import anyio
import msgspec
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

import everlog
from everlog import RetryPolicy, step, sync, workflow


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


@dataclass
class Order:
    number: int
    price: Decimal
    placed: datetime
    sizes: tuple[Size, ...] = ()
    notes: dict[str, list[bytes]] = field(default_factory=dict)


@dataclass
class Receipt:
    order: Order
    payment: str
    decided_by: str | None
    due: date


ORDER = Order(
    42, Decimal("19.90"), datetime(2024, 2, 29, 12, 0, tzinfo=UTC), (Size.SMALL, Size.LARGE), {"a": [b"\x00"]}
)


class Declined(Exception):
    """The card was declined."""


@step(retry=RetryPolicy(max_attempts=3, first_delay=0.2, backoff=2))
async def charge(order: Order, fails: int) -> str:
    await asyncio.sleep(0.05)
    if everlog.current().attempt <= fails:
        raise Declined(f"order {order.number}")
    return f"payment-{order.number}"


@step
def render(payment: str) -> bytes:
    return payment.encode()


@step
async def work(value: int, seconds: float) -> int:
    await asyncio.sleep(seconds)
    return value


@step(at_most_once=True)
async def ring(times: int) -> int:
    return times


@step
async def fail(message: str) -> None:
    try:
        raise KeyError("inner")
    except KeyError as error:
        raise ValueError(message) from error


@step
async def measure(text: str) -> int:
    return len(text)


@workflow(name="golden checkout")
async def checkout(order: Order) -> Receipt:
    """Retries, a message in time, a plain step, a durable sleep, rebuilt types."""
    payment = await charge(order, 2)
    async with asyncio.timeout(3600):
        decided_by = await everlog.recv("decision", type=str)
    await everlog.call(render, payment)
    await asyncio.sleep(60)
    return Receipt(order, payment, decided_by, everlog.now().date())


@workflow(name="golden reminders")
async def reminders() -> list[str]:
    """Timeouts of every kind, and a message to nobody."""
    told: list[str] = []
    for limit in (10, 20):
        try:
            await everlog.recv("answer", timeout=limit)
        except TimeoutError:
            told.append(f"none within {limit}")
    told.append(str(await everlog.recv("answer", timeout=5, default="default")))
    try:
        await asyncio.wait_for(work(1, 100), 30)
    except TimeoutError:
        told.append("wait_for")
    try:
        await everlog.send("nobody at all", "topic", 1)
    except everlog.NotFound:
        told.append("nobody")
    await everlog.send("golden-checkout", "decision", "the reminders")
    return told


@workflow(name="golden branches")
async def branches() -> list[Any]:
    """Many at once, in every way that asyncio has, with names, scopes and keys."""
    first = await asyncio.gather(*[work(number, number % 3 * 0.1) for number in range(5)])
    async with asyncio.TaskGroup() as group:
        named = [group.create_task(work(number, 0.01), name=name) for number, name in enumerate(["a/b", "c#d", "c#d"])]
    done, pending = await asyncio.wait(
        [asyncio.create_task(work(number, number)) for number in (1, 5)], return_when=asyncio.FIRST_COMPLETED
    )
    for task in pending:
        task.cancel()
    completed = [await one for one in asyncio.as_completed([work(number, 1 - number / 10) for number in range(4)])]
    with everlog.scope("scope of its own"):
        keyed = await work.options(key="key #1")(7, 0)
    again = await work.options(key="key #1", name="renamed")(8, 0)
    chance = [everlog.random().randrange(100), str(everlog.uuid4())]
    return [first, [task.result() for task in named], len(done), completed, keyed, again, chance, await ring(3)]


@workflow(name="golden clean-up")
async def clean_up() -> list[Any]:
    """Cancellation by anyio, shielded clean-up, an unfinished generator, a large input."""
    told: list[Any] = []

    async def numbers() -> Any:
        try:
            for number in range(10):
                yield await work(number, 0.1)
        finally:
            told.append("closed")

    async def child(number: int) -> None:
        with anyio.move_on_after(100):
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    told.append(await work(number, 0.1))

    async for number in numbers():
        if number == 2:
            break
    with anyio.move_on_after(5) as limit:
        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(child, number)
    told += [limit.cancelled_caught, await measure("x" * 100_000)]
    return told


@workflow(name="golden failure")
async def failure(message: str) -> None:
    """Ends by an exception that has a cause."""
    await work(1, 0)
    await fail(message)


@workflow(name="golden cancel")
async def cancel() -> None:
    """Is cancelled from outside, and cleans up."""
    try:
        await everlog.recv("never")
    finally:
        await work(9, 0.1)


class Level(enum.StrEnum):
    LOW = "low"


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: float
    y: float = 0.0


class Line(msgspec.Struct, rename="camel"):
    first_point: Point
    tags: set[str] = msgspec.field(default_factory=set)


class Person(BaseModel):
    model_config = ConfigDict(extra="allow")

    name: str = Field(alias="fullName")
    age: int = 7


class Options(TypedDict):
    url: str
    depth: NotRequired[int]


@dataclass
class Everything:
    """A value of each kind, under its declared type. The form in which each is recorded is kept for ever."""

    numbers: list[int | float]
    text: str
    raw: bytes
    moment: datetime
    day: date | str
    span: timedelta
    zone: ZoneInfo
    price: Decimal
    part: Fraction
    wave: complex
    id: UUID
    steps: range
    host: IPv4Address
    place: PurePosixPath
    level: Level | str
    access: Access
    line: Line
    person: Person | None
    options: Options
    one_of: Literal["LOW", Level.LOW, 1]
    by_key: dict[tuple[int, str], Point]
    queue: deque[int]
    ordered: OrderedDict[str, int]
    count: Counter[str]
    grouped: defaultdict[str, list[int]]
    members: frozenset[int]
    either: Point | Line | list[Point] | None
    anything: Any


def everything() -> Everything:
    """Give the same value whenever it is called."""
    anything: list[Any] = [None, True, 2**70, -0.0, float("inf"), "\x00\ud800", b"\xff", (1, {2}), {"$": 1, 2: 3}]
    anything += [date(2024, 2, 29), Decimal("1E+5"), 1j, Fraction(1, 3), range(3), deque([1], 2), Counter("aab")]
    anything += [OrderedDict(b=1, a=2), defaultdict(int, a=1), UUID(int=7), timedelta(days=-1), 10**3950]
    return Everything(
        numbers=[1, 2.0, -(2**80), float("-inf")],
        text="é\x00\ud800",
        raw=b"\x00\xff",
        moment=datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
        day=date(2024, 2, 29),
        span=timedelta(days=1, microseconds=7),
        zone=ZoneInfo("America/St_Johns"),
        price=Decimal("19.90"),
        part=Fraction(-2, 3),
        wave=1 - 2j,
        id=UUID(int=5),
        steps=range(10, 0, -3),
        host=IPv4Address("10.0.0.1"),
        place=PurePosixPath("a/b"),
        level=Level.LOW,
        access=Access.READ | Access.WRITE,
        line=Line(Point(1.0), {"b", "a"}),
        person=Person(fullName="Ann", nick=("x", 1)),
        options={"url": "x"},
        one_of=Level.LOW,
        by_key={(1, "a"): Point(1.0, 2.0)},
        queue=deque([1, 2], 5),
        ordered=OrderedDict(b=1, a=2),
        count=Counter("aab"),
        grouped=defaultdict(list, a=[1]),
        members=frozenset({3, 1, 2}),
        either=Line(Point(0.0)),
        anything=anything,
    )


@step(unrecorded=("note",))
async def keep(value: Everything, note: object = None) -> Everything:
    return value


@step
async def keep_untyped(value):  # type: ignore[no-untyped-def]
    return value


@workflow(name="golden values")
async def values() -> Everything:
    """A value of each kind as an argument, as a result, and without a declared type."""
    value = await keep(everything(), note=object())
    assert repr(await keep_untyped(value.anything)) == repr(everything().anything)
    return await keep(value)


@workflow(name="golden child")
async def child(value: int) -> int:
    """Works, sleeps or fails."""
    if value < 0:
        raise ValueError(f"{value} is negative")
    if value > 1000:
        await asyncio.sleep(value)
    return await work(value, 0.1)


@workflow(name="golden children")
async def children() -> list[Any]:
    """Children that return, fail, are given up, are cancelled and are found to be there; and one that is left."""
    told: list[Any] = list(await asyncio.gather(*[child(value) for value in (3, 1, 2, -1)], return_exceptions=True))[:3]
    named = child.options(id="golden-child")
    handle = await everlog.start(named, 4)
    told += [await handle.result(), await (await everlog.start(named, 4)).result(), (await handle.status()).state]
    try:
        await everlog.start(named, 5)
    except everlog.IdInUse as error:
        told.append(str(error))
    try:
        await asyncio.wait_for(child(2000), 1)
    except TimeoutError:
        told.append("given up")
    sleeper = await everlog.start(child.options(key="sleeper"), 3000)
    await sleeper.cancel(reason="enough")
    try:
        await sleeper.result(timeout=20)
    except everlog.WorkflowCancelled as error:
        told.append(str(error))
    told.append(await everlog.handle("golden-branches").result() is not None)
    await everlog.start(child.options(when_parent_ends="leave"), 4000)
    return told


@workflow(name="golden lives")
async def lives(number: int, told: list[Any]) -> list[Any]:
    """Continues as new twice, the last time as blocking code, with a child that goes on and a stream that is closed."""
    told += [str(everlog.uuid4()), await work(number, 0.1), everlog.current().history_length]
    await everlog.emit("log", number)
    if number == 1:
        await everlog.start(child.options(id="golden-child-of-lives"), 1001)
        await everlog.close_stream("over")
        task = asyncio.create_task(asyncio.sleep(1000))
        await asyncio.sleep(1)
        told.append(task.done())
        everlog.continue_as_new(lives, 2, told)
    everlog.continue_as_new(last_life, told)


@workflow(name="golden last life")
def last_life(told: list[Any]) -> list[Any]:
    return [*told, sync.handle("golden-child-of-lives", child).result(), sync.random().randrange(100)]


@workflow(name="golden waiting")
async def waiting() -> None:
    """Was recorded while it was waiting."""
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(1_000_000))
        group.create_task(everlog.recv("never"))
        group.create_task(everlog.recv("never", timeout=500_000))
        group.create_task(work.options(retry=RetryPolicy(max_attempts=2))(1, 0))


@workflow(name="golden blocking")
def blocking(numbers: list[int]) -> list[Any]:
    """Blocking code: branches, futures, a timeout, a message to itself, clean-up."""

    def one(number: int) -> int:
        sync.sleep(number / 10)
        return sync.call(work, number, 0.1) + len(render(f"{number}"))

    told: list[Any] = [sync.map(one, numbers, limit=2), sync.map(render, ["a", "b"]), sync.map(measure, ["abc"])]
    future, other = sync.submit(one, 50), sync.submit(one, 600)
    sync.send("golden-blocking", "topic", "message")
    told += [sync.recv("topic", type=str), sync.recv("topic", timeout=0, default="nothing")]
    try:
        with sync.timeout(20), everlog.scope("scope of its own"):
            future.result(timeout=1)
    except TimeoutError:
        told += [future.done(), future.result(), other.cancel()]
    try:
        other.result()
    except asyncio.CancelledError:
        told.append("cancelled")
    try:
        sync.call(fail, "on purpose")
    except ValueError as error:
        told.append(str(error))
    finally:
        told.append([sync.random().randrange(100), str(sync.uuid4()), render.options(key="key #1")("last").decode()])
    return told


@workflow(name="golden ending")
async def ending() -> list[Any]:
    """Is paused and resumed, undone when its time is over, and retried."""
    told: list[Any] = [await work(1, 0.1)]
    async with everlog.compensations() as undo:
        undo.add(fail, "in vain")
        undo.add(render, f"{await work(2, 0.1)} undone")
        told += [await everlog.recv("topic", type=str), await everlog.recv("go on", type=str)]
    return told


@workflow(name="golden patched", version="1")
async def patched() -> list[Any]:
    """Goes the new way of two patches, of which one is retired."""
    told: list[Any] = [everlog.patched("first"), await work(1, 0.1), everlog.current().version]
    return [*told, everlog.patched("second", retired=True), everlog.patched("first"), await work(2, 0.1)]


@workflow(name="golden terminated")
async def terminated() -> None:
    """Was terminated while a step ran and it slept."""
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(1_000_000))
        group.create_task(work(1, 1000))


@workflow(name="golden talking")
async def talking() -> list[Any]:
    """Answers and refuses, publishes, is changed from outside, and waits for a person."""
    await everlog.set_value("state", {"step": 1})
    first = await everlog.recv("question", type=everlog.Request[int])
    await first.reply(first.value + 1)
    second = await everlog.recv("question", type=everlog.Request[int])
    await second.refuse("not a second time")
    await everlog.set_value("state", {"step": 2})
    decision = await everlog.recv("decision", type=bool, title="May it?", metadata={"amount": Decimal("1.50")})
    return [decision, dict(everlog.current().attributes), await work(3, 0.1)]


@workflow(name="golden asking")
async def asking() -> list[Any]:
    """Asks three times: is answered, is refused, and gives up."""
    told: list[Any] = [await everlog.ask("golden-talking", "question", 41, type=int, timeout=60)]
    for to, timeout in (("golden-talking", 60), ("golden-lives", 5)):
        try:
            await everlog.ask(to, "question", 42, type=int, timeout=timeout)
        except everlog.AskRefused as refused:
            told.append(refused.reason)
        except TimeoutError:
            told.append("nobody answers")
    return told


GOLDEN_QUEUE = everlog.Queue("golden", concurrency=1)


@workflow(name="golden queued")
async def queued(number: int) -> list[Any]:
    """Stood in a queue, or was started by a schedule."""
    return [await work(number, 1), everlog.current().queue, everlog.current().tick.isoformat()]


@step(limit=GOLDEN_QUEUE)
async def limited(number: int) -> int:
    await asyncio.sleep(0.1)
    return number


@workflow(name="golden enqueuing")
async def enqueuing() -> list[Any]:
    """Fills a queue, replaces what stands in it, and has steps that wait for slots."""
    told: list[Any] = []
    first = await GOLDEN_QUEUE.enqueue(queued.options(id="golden-queued-1"), 1)
    put_off = queued.options(dedup_key="one", if_duplicate="replace", delay=5, priority=2)
    later = await GOLDEN_QUEUE.enqueue(put_off.options(id="golden-queued-2"), 2)
    await GOLDEN_QUEUE.enqueue(put_off, 3)
    told += [await first.result(), await later.result()]
    return [*told, await asyncio.gather(*[limited(number) for number in range(3)])]


@workflow(name="golden advice")
async def advice(name: str) -> list[Any]:
    """Was forked with another result, and what does not depend on it was not run again."""
    found, advised = await asyncio.gather(work(1, 0.3), measure(name))
    return [found, advised, await work(advised, 0.1), await everlog.recv("decision", type=str)]

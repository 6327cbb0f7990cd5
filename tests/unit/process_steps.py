"""Steps that run in processes of their own: a module that such a process can import."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import everlog
from everlog import RetryPolicy, step, sync, workflow


class Refused(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass
class Order:
    item: str
    count: int


@step(process=True)
def double(order: Order) -> Order:
    return Order(order.item, 2 * order.count)


@step(process=True)
def whereabouts() -> tuple[int, str, str | None, int, str]:
    current = everlog.current()
    return os.getpid(), current.workflow_id, current.step, current.attempt, current.name


@step(process=True)
def refuses(code: int) -> None:
    raise Refused(code)


@step(process=True, retry=RetryPolicy(max_attempts=3, first_delay=0.01, give_up_on=(Refused,)))
def gives_up(notes: str) -> None:
    note(notes)
    raise Refused(1)


@step(process=True, retry=RetryPolicy(max_attempts=3, first_delay=0.01, retry_on=(OSError,)))
def recovers(notes: str) -> int:
    if len(note(notes)) < 3:
        raise ConnectionError("not yet")
    return 3


@step(process=True, timeout=0.5)
def sleeps(notes: str) -> None:
    note(notes)
    time.sleep(600)


@step(process=True)
def dies_first(notes: str) -> int:
    times = len(note(notes))
    if times < 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return times


@step(process=True)
def shows(notes: str) -> int:
    times = len(note(notes))
    sync.emit("words", f"{times}a", f"{times}b")
    sync.set_value("times", times)
    if times < 2:
        time.sleep(0.2)  # what it has said is heard by then
        os.kill(os.getpid(), signal.SIGKILL)
    for number in range(2000):
        sync.emit("words", number)
    return times


@step(process=True, at_most_once=True)
def dies_once(notes: str) -> None:
    note(notes)
    os.kill(os.getpid(), signal.SIGKILL)


@step(process=True)
def always_dies(notes: str) -> None:
    note(notes)
    os._exit(3)


@step(process=True)
def works_long(notes: str) -> None:
    note(notes)
    time.sleep(600)


@step(process=True)
def returns_what_cannot_be_recorded() -> object:
    return object()


def plain(n: int) -> int:
    return n + os.getpid() * 0


class Tools:
    @staticmethod
    @step(process=True)
    def square(n: int) -> int:
        return n * n

    @step(process=True)
    def method(self, n: int) -> int:
        return n


def note(notes: str) -> list[str]:
    """Add the number of this process to the notes and give all of them."""
    with Path(notes).open("a") as file:
        file.write(f"{os.getpid()}\n")
    return Path(notes).read_text().split()


@workflow
async def calls_in_a_process(name: str, *args: object) -> object:
    return await everlog.call(STEPS[name], *args)


@workflow
async def doubles_in_a_process(order: Order) -> Order:
    return await everlog.call(double, order)


@workflow
async def squares_in_a_process(n: int) -> int:
    return await everlog.call(Tools.square, n)


@workflow
async def calls_inline(n: int) -> int:
    return await everlog.call(step(plain, process=True, name="inline"), n)


@workflow
async def calls_a_method(n: int) -> int:
    return await everlog.call(Tools().method, n)


STEPS = {
    made.name: made
    for made in (
        whereabouts,
        refuses,
        gives_up,
        recovers,
        sleeps,
        dies_first,
        shows,
        dies_once,
        always_dies,
        works_long,
        returns_what_cannot_be_recorded,
    )
}

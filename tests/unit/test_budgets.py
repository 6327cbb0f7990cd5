"""Budgets: a drain that does not end is reported, then interrupted, and nothing but its own code is ever struck."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from everlog import Engine, workflow
from everlog.memory import MemoryStore
from everlog.replay import budgets
from everlog.replay.budgets import Interrupted, drains, interrupt
from everlog.replay.loop import TimerHandle, WorkflowLoop
from everlog.runtime import watching
from everlog.runtime.watching import DrainWatcher
from everlog.store import WorkerRow

LEASE = 0.8
"""Seconds: small, so that the tests are quick. Nothing is asserted of the time, only of the order."""


class Owner:
    """Takes down what a loop tells its workflow."""

    def __init__(self) -> None:
        self.workflow_id = "w"
        self.told: list[str] = []
        self.pause = 0.0

    def awaits_facts(self) -> bool:
        return False

    def set_timer(self, due_at: int, handle: TimerHandle) -> None:
        raise AssertionError

    def call_in_thread(self, function: Callable[..., object], args: tuple[Any, ...]) -> Coroutine[Any, Any, Any]:
        raise AssertionError

    def was_touched(self, why: str) -> None:
        self.told.append(why)
        time.sleep(self.pause)  # between the look at the drain and the sending: the drain may end just now

    def report(self, context: dict[str, Any]) -> None:
        pass


def make_loop() -> tuple[WorkflowLoop, Owner]:
    owner = Owner()
    return WorkflowLoop(owner), owner  # type: ignore[abstract]


def computes(rounds: int) -> int:
    """Compute with many calls and jumps back: a late exception would strike here."""
    total = 0
    for n in range(rounds):
        total += len(str(n))
    return total


# -- the protocol of interrupting


def test_an_interrupted_drain_ends_and_its_workflow_is_told() -> None:
    loop, owner = make_loop()
    struck: list[type[BaseException]] = []
    begun = threading.Event()

    def endless() -> None:
        begun.set()
        try:
            while True:
                computes(10)
        except BaseException as error:
            struck.append(type(error))
            raise

    thread = threading.Thread(target=lambda: loop.drain(endless))
    thread.start()
    assert begun.wait(10)
    assert thread.ident is not None
    assert interrupt(loop, thread.ident, loop.drain_number, "why")
    thread.join(10)
    assert not thread.is_alive()
    assert struck == [Interrupted]
    assert owner.told == ["why"]
    assert drains[thread.ident] is None


def test_what_was_ready_is_not_run_after_an_interruption() -> None:
    loop, _ = make_loop()
    ran: list[str] = []
    begun = threading.Event()

    def first() -> None:
        loop.call_soon(endless)
        loop.call_soon(lambda: loop.call_soon(ran.append, "in another round"))

    def endless() -> None:
        begun.set()
        while True:
            computes(10)

    thread = threading.Thread(target=lambda: loop.drain(first))
    thread.start()
    assert begun.wait(10)
    assert thread.ident is not None
    assert interrupt(loop, thread.ident, loop.drain_number, "why")
    thread.join(10)
    assert ran == []


def test_a_drain_that_is_over_is_not_interrupted() -> None:
    loop, owner = make_loop()
    loop.drain(lambda: None)
    thread = threading.get_ident()
    assert not interrupt(loop, thread, loop.drain_number, "late")
    assert not interrupt(loop, thread, loop.drain_number + 1, "early")
    computes(1000)
    assert owner.told == []
    assert not loop.interrupted


def waits(rounds: int) -> None:
    """Let other threads run, so that what is sent meanwhile strikes late."""
    for _ in range(rounds // 10):
        time.sleep(0)


def swallows(rounds: int) -> None:
    """Compute, and swallow whatever strikes."""
    for _ in range(rounds):
        try:
            computes(5)
        except BaseException:
            pass


@pytest.mark.parametrize("code", [computes, waits, swallows])
def test_whenever_it_is_sent_only_the_drain_is_struck(code: Callable[[int], Any]) -> None:
    """Thousands of drains, each interrupted at a random moment, mostly near its end; one that is hit outside fails."""
    drained = 4000
    chance = random.Random(1)
    current: list[tuple[WorkflowLoop, int] | None] = [None]
    outside: list[BaseException] = []
    interrupted: list[WorkflowLoop] = []
    over = threading.Event()

    def engine() -> None:
        try:
            for _ in range(drained):
                loop, owner = make_loop()
                owner.pause = chance.choice([0, 0, 0.0001])
                current[0] = (loop, loop.drain_number + 1)
                loop.drain(lambda: code(chance.randrange(30)))
                computes(chance.randrange(20))
                if loop.interrupted:
                    interrupted.append(loop)
        except BaseException as error:
            outside.append(error)
        finally:
            over.set()

    thread = threading.Thread(target=engine)
    thread.start()
    sent = 0
    timing = random.Random(2)
    while not over.is_set():
        at = current[0]
        if at is not None and thread.ident is not None:
            computes(timing.randrange(30))
            for _ in range(timing.randrange(1, 4)):
                sent += interrupt(at[0], thread.ident, at[1], "why")
        if timing.random() < 0.3:
            time.sleep(timing.random() * 0.0005)
    thread.join(10)
    assert outside == []
    assert sent > 0
    assert interrupted, "none was struck, so nothing was shown"


@pytest.fixture
def switches_often() -> Iterator[None]:
    import sys

    before = sys.getswitchinterval()
    sys.setswitchinterval(0.00002)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("switches_often")
@pytest.mark.parametrize("code", [computes, waits, swallows])
def test_the_same_where_threads_change_all_the_time(code: Callable[[int], Any]) -> None:
    test_whenever_it_is_sent_only_the_drain_is_struck(code)

"""Simulation: the whole engine in one thread on virtual time. One seed gives one run, however often it is repeated.

    host = SimulatedHost(seed=1)
    store = MemoryStore(clock=host.wall)

    async def main() -> int:
        async with Engine(store, host=host) as engine:
            return await engine.run(flow, 3)

    assert host.run(main()) == 6

Pumps are driven as callbacks of a loop whose clock jumps to the next thing that is due; what real threads would do in
any order, the seed orders. Steps' own sleeps are virtual as well.
"""

from __future__ import annotations

import asyncio
import logging
import math
import selectors
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import copy_context
from itertools import count
from random import Random
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

from everlog.host import Driver, Job, Pump, unlimited_pool
from everlog.processes import ProcessPool, Request, Target

T = TypeVar("T")
log: Final = logging.getLogger("everlog")
EPOCH: Final = 1_700_000_000_000_000
RESOLUTION: Final = 1e-9
"""Seconds by which asyncio takes timers to be due too early; of a time of 50 days and more a float cannot tell them."""
MOST_AT_ONCE: Final = 10_000
"""So often may a pump ask to be driven again at one moment of virtual time, which passes only where it does not."""
LONGEST_HOP: Final = 0.002
"""Seconds that a wake-up of another thread takes at the most."""


class Deadlock(RuntimeError):
    """Nothing is left that could happen, and the simulated program has not ended."""


class Livelock(RuntimeError):
    """A part of the engine has something to do at once, for ever, and never gets it done: a defect of Everlog."""


class _VirtualSelector(selectors.SelectSelector):
    """Never waits: lets the clock jump instead."""

    def __init__(self) -> None:
        super().__init__()
        self.elapsed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise Deadlock("nothing is left that could happen: everything waits for something else")
            self.elapsed += max(0.0, timeout)
            if math.ulp(self.elapsed) >= RESOLUTION:  # asyncio would wait for ever for what is due just now
                self.elapsed = math.nextafter(self.elapsed, math.inf)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time."""

    def __init__(self) -> None:
        self._virtual = _VirtualSelector()
        self._numbers: WeakKeyDictionary[asyncio.Task[Any], int] = WeakKeyDictionary()
        self._numbering = count()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.elapsed

    def create_task(self, *args: Any, **options: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = super().create_task(*args, **options)
        self._numbers[task] = next(self._numbering)
        return task

    def left(self) -> list[asyncio.Task[Any]]:
        """Give the tasks that have not ended, in the order in which they were made; asyncio has them by address."""
        return sorted((task for task in self._numbers if not task.done()), key=self._numbers.__getitem__)


class SimulatedHost:
    """A host on virtual time, seeded. `crash` ends every pump at once, as `kill -9` ends a process."""

    def __init__(self, seed: int, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.random = Random(seed)
        self._tokens = Random(f"tokens of {seed}")  # apart, so that how many are drawn changes nothing else
        self.loop = loop if loop is not None else VirtualLoop()
        self._drivers: list[_SimulatedDriver] = []
        self._aside = unlimited_pool()
        self.failure: BaseException | None = None
        self.crashed = False

    def sibling(self) -> SimulatedHost:
        """Give the host of another process on the same virtual machine: the same time, its own drivers."""
        return SimulatedHost(self.random.randrange(2**32), loop=self.loop)

    def run(self, program: Coroutine[Any, Any, T]) -> T:
        """Run a program to its end in virtual time; once, as by `asyncio.run`: what it leaves behind is cancelled."""
        try:
            return self.loop.run_until_complete(program)
        finally:
            with suppress(Deadlock):  # what waits for a host that crashed waits for ever
                self.loop.run_until_complete(_cancel_all(self.loop))
            for driver in self._drivers:
                driver.stop()
            self.loop.close()

    def crash(self) -> None:
        """Stop everything that this host drives, at once and for ever. Steps that run are the caller's to cancel."""
        self.crashed = True
        for driver in self._drivers:
            driver.stop()

    def wall(self) -> int:
        return EPOCH + round(self.loop.time() * 1_000_000)

    def monotonic(self) -> float:
        return self.loop.time()

    def token(self) -> str:
        return f"{self._tokens.getrandbits(128):032x}"

    def chance(self) -> float:
        return self.random.random()

    def process(self) -> str:
        return f"simulated-{id(self)}"

    def is_gone(self, process: str) -> bool:
        return False

    def process_id(self) -> int:
        return 0

    def drive(self, name: str, pump: Pump) -> Driver:
        driver = _SimulatedDriver(self, name, pump)
        self._drivers.append(driver)
        driver.wake()
        return driver

    def post(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> bool:
        self.later(self.hop(), self._call, callback)
        return True

    def run_in_thread(self, function: Callable[[], None]) -> None:
        self.later(self.hop(), self._call, function)

    def limit_threads(self, threads: int) -> None:
        pass

    def processes(self, target: Target) -> ProcessPool:
        return _SimulatedPool(self, target)

    def is_starting_child(self) -> bool:
        return False

    def run_aside(self, function: Job) -> None:
        self._aside.submit(function)  # a real thread; but while it runs, the one that drains waits for it

    def later(self, delay: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        """Have something happen in this process, so many seconds from now."""
        return self.loop.call_later(delay, callback, *args)

    def hop(self) -> float:
        """Draw how long a wake-up takes."""
        return self.random.random() * LONGEST_HOP

    def _call(self, function: Callable[[], object]) -> None:
        if not self.crashed:
            function()


async def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    tasks = loop.left() if isinstance(loop, VirtualLoop) else asyncio.all_tasks(loop)
    left = [task for task in tasks if task is not asyncio.current_task(loop)]
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await loop.shutdown_asyncgens()


class _SimulatedPool:
    """Answers requests in this very process, at some moment of virtual time."""

    def __init__(self, host: SimulatedHost, target: Target) -> None:
        self._host = host
        self._target = target

    def submit(self, request: Request) -> None:
        def answer() -> None:
            if request.is_with(lambda: None):
                request.begun()
                request.answered(copy_context().run(self._target, request.payload, request.said))

        self._host.run_in_thread(answer)

    def close(self) -> None:
        pass


class _SimulatedDriver:
    """Drives a pump by callbacks of the virtual loop."""

    def __init__(self, host: SimulatedHost, name: str, pump: Pump) -> None:
        self._host = host
        self._name = name
        self._pump = pump
        self.timer: asyncio.TimerHandle | None = None
        self._soon = False
        self._at_once = 0
        """So often in a row it asked to be driven again at once."""
        self.stopped = False

    def wake(self) -> None:
        if not self._soon and not self.stopped:
            self._soon = True
            self._schedule(self._host.hop())

    def stop(self) -> None:
        self.stopped = True
        if self.timer is not None:
            self.timer.cancel()

    def _is_over(self) -> bool:
        return self.stopped or self.timer is not None

    def _schedule(self, delay: float) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.timer = self._host.later(delay, self._run)

    def _run(self) -> None:
        self._soon = False
        self.timer = None
        if self.stopped:
            return
        try:
            rest = self._pump.pump()
            self._at_once = self._at_once + 1 if rest == 0 else 0
            if self._at_once > MOST_AT_ONCE:
                raise Livelock(f"{self._name} has been driven {MOST_AT_ONCE} times at one moment, and is not done")
        except BaseException as error:
            if isinstance(error, Exception):
                log.error("a defect of Everlog ended the simulated process", exc_info=error)
            self._host.failure = error
            self._host.crash()
            return
        if rest is not None and not self._is_over():
            self._schedule(rest)

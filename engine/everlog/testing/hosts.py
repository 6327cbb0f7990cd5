"""Hosts of a simulated fleet: processes that die or stand still with all that runs in them, and whose clocks jump.

What belongs to a process is told by its context: whatever is called back in that context happens there. A process that
died does nothing more, not even clean up: its callbacks are dropped. One that stands still, as by SIGSTOP, has them
kept, and they happen when it goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from concurrent.futures import Executor
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any, Final, TypeVar, TypeVarTuple, Unpack

from everlog.host import Driver, Pump, unlimited_pool
from everlog.testing.simulation import SimulatedHost, VirtualLoop

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")
ENGINE: Final = "everlog"
"""The name of the driver that does what there is to do; the others look after the lease and after drains."""
_STRANDS: Final = unlimited_pool()
"""The threads of blocking code, of which one runs at a time: they are the same for all, and so are made seldom."""
_process: Final[ContextVar[MortalHost | None]] = ContextVar("everlog_simulated_process", default=None)


class _Callback:
    """Something that is to happen in a process, if that lives and goes on."""

    __slots__ = ("args", "callback", "context", "handle", "host")

    def __init__(
        self, host: MortalHost, callback: Callable[..., object], args: tuple[Any, ...], context: Context
    ) -> None:
        self.host = host
        self.callback = callback
        self.args = args
        self.context = context
        self.handle: asyncio.Handle | None = None

    def __call__(self) -> None:
        host = self.host
        if host.crashed and not host.buried:
            host.dropped.append(self)  # kept until the world ends, so that nothing is finalised
        elif host.paused and not host.crashed:
            host.kept.append(self)
        elif self.handle is None or not self.handle.cancelled():
            self.callback(*self.args)


class ProcessLoop(VirtualLoop):
    """A loop on virtual time that several simulated processes share."""

    def call_soon(
        self, callback: Callable[[Unpack[Arguments]], object], *args: *Arguments, context: Context | None = None
    ) -> asyncio.Handle:
        context = copy_context() if context is None else context
        host = context.get(_process)
        if host is None:
            return super().call_soon(callback, *args, context=context)
        wanted = _Callback(host, callback, args, context)
        wanted.handle = super().call_soon(wanted, context=context)
        return wanted.handle

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Arguments]], object],
        *args: *Arguments,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        context = copy_context() if context is None else context
        host = context.get(_process)
        if host is None:
            return super().call_at(when, callback, *args, context=context)
        wanted = _Callback(host, callback, args, context)
        timer = super().call_at(when, wanted, context=context)
        wanted.handle = timer
        return timer

    def again(self, wanted: _Callback) -> None:
        """Have happen what was kept; whoever has its handle can still cancel it."""
        super().call_soon(wanted, context=wanted.context)

    def next_due(self, besides: Collection[asyncio.TimerHandle]) -> float | None:
        """Give when the next timer is due that is none of these."""
        scheduled: list[asyncio.TimerHandle] = vars(self)["_scheduled"]  # asyncio shows its timers nowhere else
        times = [timer.when() for timer in scheduled if not timer.cancelled() and timer not in besides]
        return min(times, default=None)

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Arguments]], T], *args: *Arguments
    ) -> asyncio.Future[T]:
        """Run it at some moment of virtual time, in this thread: a real one would end at no moment of it."""
        future: asyncio.Future[T] = self.create_future()

        def run() -> None:
            if future.cancelled():
                return
            try:
                future.set_result(func(*args))
            except BaseException as error:  # noqa: BLE001 - it is the caller's
                future.set_exception(error)

        self.call_later(0.001, run)
        return future


class MortalHost(SimulatedHost):
    """A process of a simulated fleet."""

    def __init__(self, seed: str, *, loop: ProcessLoop, name: str, died: Callable[[str], bool]) -> None:
        super().__init__(Random(seed).randrange(2**63), loop=loop)
        self.name = name
        self._loop = loop
        self._aside = _STRANDS
        self._died = died
        """Tells whether it is known, by looking at this machine, that the process of that name has died."""
        self.paused = False
        self.buried = False
        self.jumped = 0
        """Microseconds by which its clock is ahead."""
        self.kept: list[_Callback] = []
        self.dropped: list[_Callback] = []
        self.context = copy_context()
        self.context.run(_process.set, self)
        self.on_crash: Callable[[], None] = lambda: None
        self._housekeeping: list[Any] = []

    def wall(self) -> int:
        return super().wall() + self.jumped

    def process(self) -> str:
        return self.name

    def is_gone(self, process: str) -> bool:
        return self._died(process)

    def later(self, delay: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        return self._loop.call_at(self._loop.time() + delay, callback, *args, context=self.context.copy())

    def drive(self, name: str, pump: Pump) -> Driver:
        driver = super().drive(name, pump)
        if name != ENGINE:
            self._housekeeping.append(driver)
        return driver

    def housekeeping(self) -> list[asyncio.TimerHandle]:
        """Give the timers of what only looks after the lease and after drains."""
        timers = [driver.timer for driver in self._housekeeping]
        return [timer for timer in timers if timer is not None]

    def within(self, work: Callable[[], Any]) -> asyncio.Task[Any]:
        """Run a coroutine in this process."""
        return self._loop.create_task(work(), context=self.context.copy())

    def crash(self) -> None:
        """Die at once and for ever, as by SIGKILL."""
        super().crash()
        self.on_crash()

    def bury(self) -> None:
        """Have what was left suspended end, now that the world is over and nobody looks any more."""
        if not self.crashed:
            self.crash()
        self.buried = True
        left, self.kept, self.dropped = [*self.kept, *self.dropped], [], []
        for wanted in left:
            self._loop.again(wanted)

    def pause(self) -> None:
        """Stand still, as by SIGSTOP."""
        self.paused = True

    def resume(self) -> None:
        """Go on, as if no time had passed."""
        self.paused = False
        kept, self.kept = self.kept, []
        for wanted in kept:
            self._loop.again(wanted)

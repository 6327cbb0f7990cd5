"""The Host: time, threads, chance and process identity. The only way by which `runtime` reaches any of them.

`SystemHost` is the real one. `everlog.testing.SimulatedHost` is a seeded one on virtual time, on which the whole
engine runs in one thread and one seed gives one run.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
import secrets
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from time import monotonic, time_ns
from typing import Final, Protocol

from everlog.processes import ProcessPool, SystemProcessPool, Target, is_importing_main

LONGEST_REST: Final = 3600.0
IDLE_THREAD: Final = 10.0
log: Final = logging.getLogger("everlog")


Job = Callable[[], "Callable[[], object] | None"]
"""A function for a thread of a pool, and what is to be called once that thread is free again."""


class Pump(Protocol):
    """A part of the engine that is driven: it does what there is to do, and says when it wants to be driven again."""

    def pump(self) -> float | None:
        """Do what there is to do; give the seconds until there may be more, None for not before a wake-up."""
        ...


class Driver(Protocol):
    """Drives one pump, one call at a time, until it is stopped."""

    def wake(self) -> None:
        """Have the pump driven soon. Callable from any thread, any number of times."""
        ...

    def stop(self) -> None:
        """Drive no more. Returns without waiting."""
        ...


class Host(Protocol):
    """What the shell asks of the machine."""

    def wall(self) -> int:
        """Give microseconds since 1970 by the machine's clock."""
        ...

    def monotonic(self) -> float:
        """Give seconds of a clock that never goes back."""
        ...

    def token(self) -> str:
        """Give 32 hexadecimal digits that nobody can guess."""
        ...

    def chance(self) -> float:
        """Give a number in [0, 1)."""
        ...

    def process(self) -> str:
        """Give the identity of this process as text, for `is_gone`."""
        ...

    def is_gone(self, process: str) -> bool:
        """Tell whether the process of that identity has certainly ended; False where that cannot be known."""
        ...

    def process_id(self) -> int:
        """Give a number that differs in a forked child."""
        ...

    def drive(self, name: str, pump: Pump) -> Driver:
        """Drive the pump until its driver is stopped; the first call comes at once."""
        ...

    def post(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> bool:
        """Have a loop of the user run the callback; False where the loop is closed. Callable from any thread."""
        ...

    def run_in_thread(self, function: Callable[[], None]) -> None:
        """Run the function in a thread of the step pool, soon. Callable from the engine's thread.

        Raises `RuntimeError` where the machine has no thread left: then it is not run.
        """
        ...

    def limit_threads(self, threads: int) -> None:
        """Have the step pool use at most so many threads at once."""
        ...

    def processes(self, target: Target) -> ProcessPool:
        """Give a pool of processes, one for each processor, that answer requests by a function of a module."""
        ...

    def is_starting_child(self) -> bool:
        """Tell whether this is a process of such a pool that is still importing the program."""
        ...

    def run_aside(self, function: Job) -> None:
        """Run the function at once in a thread that is its own until it returns; there is always one.

        What it gives back is called when the thread is free for another.

        Raises `RuntimeError` where the machine has no thread left.
        """
        ...


class SystemHost:
    """The machine itself."""

    def __init__(self) -> None:
        self._pool = ThreadPool("everlog-step", limit=64)
        self._aside = unlimited_pool()
        self._random = random.Random()

    def wall(self) -> int:
        return time_ns() // 1000

    def monotonic(self) -> float:
        return monotonic()

    def token(self) -> str:
        return secrets.token_hex(16)

    def chance(self) -> float:
        return self._random.random()

    def process(self) -> str:
        return json.dumps(_identity(os.getpid()))

    def is_gone(self, process: str) -> bool:
        """Conclude only from a process of the same boot and PID namespace; a pid alone says nothing."""
        try:
            other = json.loads(process)
            mine = _identity(os.getpid())
            if not mine["boot"] or (other["boot"], other["namespace"]) != (mine["boot"], mine["namespace"]):
                return False
            return bool(_started(int(other["pid"])) != other["started"])
        except (ValueError, KeyError, TypeError):
            return False

    def process_id(self) -> int:
        return os.getpid()

    def drive(self, name: str, pump: Pump) -> Driver:
        return _ThreadDriver(name, pump)

    def post(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> bool:
        try:
            loop.call_soon_threadsafe(callback)
        except RuntimeError:
            return False
        return True

    def run_in_thread(self, function: Callable[[], None]) -> None:
        self._pool.submit(function)

    def limit_threads(self, threads: int) -> None:
        self._pool.limit = threads

    def processes(self, target: Target) -> ProcessPool:
        return SystemProcessPool(target, os.cpu_count() or 1)

    def is_starting_child(self) -> bool:
        return is_importing_main()

    def run_aside(self, function: Job) -> None:
        self._aside.submit(function)


class _ThreadDriver:
    """Drives a pump on a daemon thread of its own."""

    def __init__(self, name: str, pump: Pump) -> None:
        self._pump = pump
        self._stopped = False
        self._woken = False
        self._wanted = threading.Lock()
        self._wanted.acquire()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        if not self._woken:
            self._woken = True
            with contextlib.suppress(RuntimeError):  # another thread was faster
                self._wanted.release()

    def stop(self) -> None:
        self._stopped = True
        self.wake()

    def _run(self) -> None:
        pump, wait = self._pump.pump, self._wanted.acquire  # looked up once: this is most of what an idle engine does
        while not self._stopped:
            try:
                rest = pump()
            except Exception:
                log.exception("%s: an error of Everlog; going on in a second", self._thread.name)
                rest = 1.0
            if rest is None or rest > LONGEST_REST:
                rest = LONGEST_REST
            wait(True, rest if rest > 0 else 0.0)
            self._woken = False


class ThreadPool:
    """Daemon threads made when needed, up to a limit; unlike an executor's, they never hold up the exit.

    A thread that has had nothing to do for `IDLE_THREAD` seconds ends. Without a limit no function waits for another.
    What a function gives back is called once its thread counts as free: whoever learns of the end that way, and has the
    next function run, does not find the thread busy still.
    """

    def __init__(self, name: str, *, limit: int | None) -> None:
        self._name = name
        self.limit = limit
        self._waiting: deque[Job] = deque()
        self._condition = threading.Condition()
        self._threads = 0
        self._idle = 0

    def submit(self, function: Job) -> None:
        """Have a thread run the function, as soon as one is free. Raises `RuntimeError` where none can be made."""
        with self._condition:
            self._waiting.append(function)
            if self._idle >= len(self._waiting):
                self._condition.notify()
            elif self.limit is None or self._threads < self.limit:
                self._begin_thread()

    def _begin_thread(self) -> None:
        self._threads += 1
        try:
            threading.Thread(target=self._work, name=f"{self._name}-{self._threads}", daemon=True).start()
        except RuntimeError:
            self._threads -= 1
            if self._threads and self.limit is not None:
                return  # one of the others takes it
            self._waiting.pop()
            raise

    def _work(self) -> None:
        last: Callable[[], object] | None = None
        while True:
            with self._condition:
                self._idle += 1
                if last is not None:
                    last()
                woken = True
                while woken and not self._waiting:
                    woken = self._condition.wait(timeout=IDLE_THREAD)
                self._idle -= 1
                if not self._waiting:
                    self._threads -= 1
                    return
                function = self._waiting.popleft()
            last = function()
            del function


def unlimited_pool() -> ThreadPool:
    """Give a pool for what may wait for one another, as the strands of blocking workflow code do."""
    return ThreadPool("everlog-aside", limit=None)


def _identity(pid: int) -> dict[str, str]:
    return {"boot": _boot(), "namespace": _namespace(), "pid": str(pid), "started": _started(pid)}


def _boot() -> str:
    return _read("/proc/sys/kernel/random/boot_id").strip()


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Give when a process started, in ticks since boot; empty where none of that pid runs any more."""
    after_name = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return after_name[19] if len(after_name) > 19 and after_name[0] not in "ZX" else ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""

"""Places: where in a simulated fleet one process after another runs an engine. They start and end them when told to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from everlog.runtime.engine import Engine
from everlog.runtime.shell import Shell
from everlog.testing.hosts import MortalHost
from everlog.testing.links import Link

OPENING: Final = 0.2
"""Seconds after which a process that could not reach the store tries again."""

Make = Callable[[str], tuple[MortalHost, Link, Engine]]
"""Gives the parts of a process of that name."""


class Place:
    """One place in the fleet."""

    def __init__(self, number: int, make: Make, tell: Callable[[str, str], None]) -> None:
        self.number = number
        self._make = make
        self._tell = tell
        self._generation = 0
        self.host: MortalHost | None = None
        self.link: Link | None = None
        self.engine: Engine | None = None
        self.is_up = asyncio.Event()
        self.is_moving = False
        """Whether a process is on its way to be the next one here."""
        self.past: list[tuple[MortalHost, Link, Engine]] = []

    async def begin(self) -> None:
        """Start a process that opens an engine; it tries until it can."""
        self.is_moving = True
        while True:
            self._generation += 1
            host, link, engine = self._make(f"worker-{self.number}.{self._generation}")
            self.host, self.link, self.engine = host, link, engine
            self.past.append((host, link, engine))
            self._tell(host.name, "starts")
            opening = host.within(engine.__aenter__)
            dead = asyncio.Event()
            host.on_crash = dead.set
            if await _first(opening, dead):
                self.is_moving = False
                self.is_up.set()
                return
            if not host.crashed:
                self._tell(host.name, f"cannot begin: {opening.exception()}")
                host.crash()
            await asyncio.sleep(OPENING)

    def kill(self) -> None:
        """Have its process die."""
        assert self.host is not None
        assert self.link is not None
        self.is_up.clear()
        self.link.is_dead = True
        self.host.crash()

    async def close(self) -> None:
        """Close its engine as a deployment does."""
        assert self.host is not None
        assert self.engine is not None
        self.is_up.clear()
        dead = asyncio.Event()
        self.host.on_crash = dead.set
        engine = self.engine
        closing = self.host.within(lambda: engine.__aexit__(None, None, None))
        if not await _first(closing, dead) and not self.host.crashed and closing.done():
            self._tell(self.host.name, f"closes with an error: {closing.exception()}")
        if not self.host.crashed:
            self.kill()

    def end(self) -> None:
        """Have all its processes be dead, and nothing of them in memory any more."""
        for host, link, engine in self.past:
            link.is_dead = True
            if not host.crashed:
                host.crash()
            # Nobody else lets go of what is in a dead one's memory, and guards would be left to whoever comes after.
            shell: Shell | None = vars(engine)["_shell"]
            if shell is not None and shell.worker is not None:
                shell.worker.let_all_go()
            unguard: Callable[[], None] | None = vars(engine)["_remove_guards"]
            if unguard is not None:
                unguard()


async def _first(task: asyncio.Task[Any], dead: asyncio.Event) -> bool:
    """Wait until a task has ended or its process has died; tell whether it returned."""
    dying = asyncio.ensure_future(dead.wait())
    await asyncio.wait([task, dying], return_when=asyncio.FIRST_COMPLETED)
    dying.cancel()
    return task.done() and not task.cancelled() and task.exception() is None

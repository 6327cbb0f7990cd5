"""Remembered: answers that take a store long, such as counts of all workflows, and are shown for a little while."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

LEAST: Final = 1.0
"""Seconds for which an answer is good."""
SHARE: Final = 20
"""It is good for so many times as long as it took: looking takes a store no more than a twentieth of its time."""

QUICK: Final = 0.05
"""What took no more seconds is waited for; of what took longer the last answer is given, and the new one follows."""


class Remembered(Generic[T]):
    """One question. Who asks gets the last answer, and a new one is got when that is old; only the first waits."""

    def __init__(self, ask: Callable[[], Awaitable[T]], clock: Callable[[], float]) -> None:
        self._ask = ask
        self._clock = clock
        self._until = 0.0
        self._took = 0.0
        self._asking: asyncio.Task[T] | None = None
        self._last: T | None = None

    async def get(self) -> T:
        """Give an answer. Raises what asking raised, where there is none yet."""
        if self._last is not None and self._clock() < self._until:
            return self._last
        asking = self._asking
        if asking is None or asking.done() or asking.get_loop() is not asyncio.get_running_loop():
            asking = self._asking = asyncio.create_task(self._fresh())
        if self._last is None or self._took < QUICK:
            return await asyncio.shield(asking)
        asking.add_done_callback(_look)
        return self._last

    async def _fresh(self) -> T:
        begin = self._clock()
        found = await self._ask()
        self._last, now = found, self._clock()
        self._took = now - begin
        self._until = now + max(LEAST, SHARE * self._took)
        return found


def _look(asked: asyncio.Task[T]) -> None:
    """Take note of an error that nobody waited for: the next who asks meets it."""
    if not asked.cancelled():
        asked.exception()

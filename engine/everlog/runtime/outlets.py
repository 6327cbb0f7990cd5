"""Outlets: what the steps of a workflow publish, from their threads and loops to its next commit. They write nothing.

Many small items become few rows: what one attempt emits to one stream is gathered until the engine's thread comes by,
which it does at once for the first item and then every `PAUSE`. Whoever emits faster than the database takes it waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from threading import Event, Lock
from typing import Any, Final

from msgspec import Raw, Struct

from everlog.core import events
from everlog.core.codec import SELF, Codec
from everlog.core.names import check_name
from everlog.errors import StepInterrupted, UsageError
from everlog.host import Host
from everlog.replay.attempts import Attempt
from everlog.replay.publishing import Part, Published
from everlog.replay.sizes import LARGE, check_size

PAUSE: Final = 10_000
"""Microseconds between two commits of a workflow that only carry what steps publish."""
MOST_WAITING: Final = 2_000_000
"""So many bytes of items may wait for the engine's thread before whoever emits has to wait as well."""
ITEM: Final = 50
"""Bytes that an item counts beside its own."""
TURN: Final = 256
"""After so many items an async step that never waits for anything else lets its loop take a turn."""


class _Gathered(Struct, eq=False):
    attempt: Attempt
    payloads: list[bytes]


class Outlet:
    """Takes what the attempts of one workflow publish. One lock, held for moments only."""

    def __init__(self, codec: Codec, host: Host, published: Published, wake: Callable[[], None]) -> None:
        self._codec = codec
        self._host = host
        self._published = published
        self._wake = wake
        """Has the engine's thread come by; called from any thread, and once for all until it does."""
        self._lock = Lock()
        self._items: dict[str, list[_Gathered]] = {}
        self._known: dict[str, str] = {}
        """What errors call each stream whose name was looked at."""
        self._values: dict[str, tuple[Attempt, bytes]] = {}
        self._bytes = 0
        self._turn = 0
        self.is_told = False
        """Whether anything was published since the engine's thread came by last."""
        self._waiters: list[Callable[[], None]] = []
        self._last: dict[tuple[str, str], Attempt] = {}
        """The attempt of each step that emitted last to each stream, as the engine's thread knows it."""
        self.flushed_at = 0
        """When it was last emptied, by the store's clock."""

    # -- from the threads and loops of steps -------------------------------------------------------------------------

    def emit(self, attempt: Attempt, stream: str, items: tuple[object, ...]) -> Awaitable[None]:
        """Take items; give what waits while too many are under way."""
        if self._take(attempt, stream, self._encoded(stream, items)):
            return self._until_emptied()
        if self._turn > TURN:
            self._turn = 0
            return asyncio.sleep(0)
        return _AT_ONCE

    def emit_blocking(self, attempt: Attempt, stream: str, items: tuple[object, ...]) -> None:
        """Take items; wait while too many are under way."""
        self.emit_encoded(attempt, stream, self._encoded(stream, items))

    def emit_encoded(self, attempt: Attempt, stream: str, payloads: list[bytes]) -> None:
        """Do the same with items that were encoded elsewhere."""
        # A plain step has no loop in its thread, save where it stands still for it, as in a simulation.
        if self._take(attempt, stream, payloads) and asyncio._get_running_loop() is None:
            emptied = Event()
            if self._is_waited_for(emptied.set):
                emptied.wait()

    def set_value(self, attempt: Attempt, name: str, value: object) -> None:
        """Take a value, in the place of one that was not written yet."""
        self.set_encoded(attempt, name, self._encode(f"value {name!r}", value))

    def set_encoded(self, attempt: Attempt, name: str, payload: bytes) -> None:
        """Do the same with a value that was encoded elsewhere."""
        with self._lock:
            _check_running(attempt)
            self._values[name] = (attempt, payload)
            told, self.is_told = self.is_told, True
        if not told:
            self._wake()

    def _encoded(self, stream: str, items: tuple[object, ...]) -> list[bytes]:
        what = self._known.get(stream)
        if what is None:
            what = self._known[stream] = f"stream {check_name(stream, 'the name of a stream')!r}"
        return [self._encode(what, item) for item in items]

    def _encode(self, what: str, value: object) -> bytes:
        payload = self._codec.encode(value, SELF, what=what)
        if len(payload) >= LARGE:
            check_size(payload, what)
        return payload

    def _take(self, attempt: Attempt, stream: str, payloads: list[bytes]) -> bool:
        """Gather items; tell whether too many are under way."""
        if not payloads:
            return False
        with self._lock:
            _check_running(attempt)
            if stream in self._published.sealed:
                raise UsageError(f"stream {stream!r} was closed, so nothing can be emitted to it any more")
            gathered = self._items.get(stream)
            if gathered is None:
                gathered = self._items[stream] = []
            if gathered and gathered[-1].attempt is attempt:
                gathered[-1].payloads.extend(payloads)
            else:
                gathered.append(_Gathered(attempt, payloads))
            self._turn += len(payloads)
            self._bytes += sum(map(len, payloads)) + ITEM * len(payloads)
            told, self.is_told = self.is_told, True
        if not told:
            self._wake()
        return self._bytes > MOST_WAITING

    def _is_waited_for(self, waiter: Callable[[], None]) -> bool:
        """Have the waiter called once all was taken; False where it was by now."""
        with self._lock:
            if self._bytes <= MOST_WAITING:
                return False
            self._waiters.append(waiter)
            return True

    def _until_emptied(self) -> Coroutine[Any, Any, None]:
        async def wait() -> None:
            loop = asyncio.get_running_loop()
            emptied: asyncio.Future[None] = loop.create_future()
            if self._is_waited_for(lambda: _post(self._host, loop, emptied)):
                await emptied

        return wait()

    # -- on the engine's thread --------------------------------------------------------------------------------------

    def move(self, now: int) -> None:
        """Move all that was published to where the next commit takes it from."""
        if not self.is_told:
            return
        with self._lock:
            items, self._items = self._items, {}
            values, self._values = self._values, {}
            waiters, self._waiters = self._waiters, []
            self._bytes, self.is_told = 0, False
        self.flushed_at = now
        for stream, gathered in items.items():
            for one in gathered:
                self._published.parts.extend(self._parts(stream, one))
        for name, (attempt, payload) in values.items():
            row = events.ValueSet(operation=attempt.identity, name=name, value=Raw(payload), attempt=attempt.number)
            self._published.values.append(row)
        for waiter in waiters:
            waiter()

    def close(self) -> None:
        """Let go of those who wait: what they emitted goes nowhere, and so does what they emit from now on."""
        self._wake = _nothing  # which held the resident that holds this: none is left to the garbage collector
        with self._lock:
            waiters, self._waiters = self._waiters, []
            self._items.clear()
            self._values.clear()
            self._bytes = 0
        for waiter in waiters:
            waiter()

    def _parts(self, stream: str, gathered: _Gathered) -> Generator[Part]:
        """Give the items of an attempt, after a reset where the step has emitted to this stream before, or may have."""
        attempt = gathered.attempt
        key = (attempt.identity, stream)
        before = self._last.get(key)
        name = attempt.identity + self._published.suffix
        if before is not attempt and (before is not None or attempt.repeats):
            yield _part(stream, name, attempt, "reset", [])
        self._last[key] = attempt
        yield _part(stream, name, attempt, "items", gathered.payloads)


def _part(stream: str, name: str, attempt: Attempt, kind: Any, payloads: list[bytes]) -> Part:
    return Part(stream=stream, kind=kind, payloads=payloads, operation=name, attempt=attempt.number)


def _check_running(attempt: Attempt) -> None:
    if attempt.over or attempt.cancelled:
        raise StepInterrupted(
            f"attempt {attempt.number} of step {attempt.step!r} is over, or nobody wants it any more: what it "
            "publishes now would come too late; end it"
        )


def _post(host: Host, loop: asyncio.AbstractEventLoop, emptied: asyncio.Future[None]) -> None:
    host.post(loop, partial(_resolve, emptied))


def _nothing() -> None:
    pass


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class AtOnce:
    """Awaiting it waits for nothing, and costs nothing: for loops that emit token by token."""

    def __await__(self) -> Generator[Any, Any, None]:
        return
        yield


_AT_ONCE: Final = AtOnce()

"""The portal: an event loop on a thread of its own, and the way to it from blocking code. It knows no client."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import suppress
from threading import Event
from typing import Any, Final, TypeVar

from everlog.errors import StoreUnavailable, UsageError, WrongContext
from everlog.host import Host
from everlog.replay.context import active

T = TypeVar("T")
_CLOSED: Final = "this engine or client was closed before the answer was there; ask another"


class Portal:
    """An event loop for blocking code."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._process = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = asyncio.Event()
        self._is_open = Event()
        self._is_closed = Event()
        self._calls: set[Future[Any]] = set()
        self._failure: BaseException | None = None

    def open(self) -> None:
        """Begin the loop; once."""
        refuse_where_nobody_may_block()
        if self._is_open.is_set():
            raise UsageError("this engine or client was opened before; make another for a second block")
        self._process = self._host.process_id()
        self._host.run_aside(self._run)
        self._is_open.wait()
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """End the loop and what still runs on it; returns when its thread has left it."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._closing.set)
            self._is_closed.wait()
            self._loop = None

    def call(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine on the loop; give or raise what it does. An interruption here, as by Ctrl-C, cancels it."""
        refuse_where_nobody_may_block()
        loop = self._loop
        if loop is None or self._is_closed.is_set():
            raise UsageError("this engine or client is not open; use it inside: with sync.Engine(...) as engine")
        if self._host.process_id() != self._process:
            raise UsageError("this engine was opened before fork(), and is unusable in the child; open another there")
        coroutine = function()
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        except RuntimeError as error:  # the loop was closed at this moment
            coroutine.close()
            raise StoreUnavailable(_CLOSED) from error
        self._calls.add(future)
        if self._is_closed.is_set():
            self._give_up()
        try:
            return future.result()
        except CancelledError as error:  # as the last tasks of a loop that is being closed are
            raise StoreUnavailable(_CLOSED) from error
        finally:
            self._calls.discard(future)
            future.cancel()
            if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED and self._is_closed.is_set():
                coroutine.close()

    def _run(self) -> None:
        try:
            with asyncio.Runner() as runner:
                self._loop = runner.get_loop()
                self._is_open.set()
                runner.run(self._until_closing())
        except Exception as error:  # noqa: BLE001 - it is for who opens it, who waits on another thread
            self._failure = error
        finally:
            self._is_closed.set()
            self._is_open.set()
            self._give_up()

    def _give_up(self) -> None:
        """Answer the calls that came when the loop had made its last turn: nobody else will."""
        for future in list(self._calls):
            with suppress(InvalidStateError):
                future.set_exception(StoreUnavailable(_CLOSED))

    async def _until_closing(self) -> None:
        await self._closing.wait()


def refuse_where_nobody_may_block() -> None:
    """Raise `WrongContext` in workflow code, and in a thread whose event loop would stand still."""
    if active.execution is not None:
        raise WrongContext(
            f"the methods of an engine are not for workflow code (workflow {active.execution.workflow_id!r}): "
            "use sync.send, or call them in a step"
        )
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise WrongContext(
        "sync.Engine and sync.Client block their thread, and in this one runs an event loop, which would stand still; "
        "write: async with everlog.Engine(...) as engine"
    )

"""The portal: an event loop on a thread of its own, and the way to it from blocking code. It knows no client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from threading import Event
from typing import Any, TypeVar

from everlog.errors import UsageError, WrongContext
from everlog.host import Host
from everlog.replay.context import active

T = TypeVar("T")


class Portal:
    """An event loop for blocking code."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._process = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = asyncio.Event()
        self._is_open = Event()
        self._is_closed = Event()

    def open(self) -> None:
        """Begin the loop; once."""
        refuse_where_nobody_may_block()
        if self._is_open.is_set():
            raise UsageError("this engine or client was opened before; make another for a second block")
        self._process = self._host.process_id()
        self._host.run_aside(self._run)
        self._is_open.wait()

    def close(self) -> None:
        """End the loop and what still runs on it; returns when its thread has left it."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._closing.set)
            self._is_closed.wait()
            self._loop = None

    def call(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine on the loop; give or raise what it does. An interruption here, as by Ctrl-C, cancels it."""
        refuse_where_nobody_may_block()
        if self._loop is None:
            raise UsageError("this engine or client is not open; use it inside: with sync.Engine(...) as engine")
        if self._host.process_id() != self._process:
            raise UsageError("this engine was opened before fork(), and is unusable in the child; open another there")
        future = asyncio.run_coroutine_threadsafe(function(), self._loop)
        try:
            return future.result()
        finally:
            future.cancel()

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            self._is_open.set()
            runner.run(self._until_closing())
        self._is_closed.set()

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

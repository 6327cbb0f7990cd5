"""The connection of an engine or a client: the open store, the engine's thread, and how others ask that and wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self, TypeVar

from everlog.core.codec import Codec, JsonCodec
from everlog.core.events import EndEvent
from everlog.errors import EverlogError, StoreUnavailable, UsageError
from everlog.host import Host, SystemHost
from everlog.runtime.backends import Durability, open_store
from everlog.runtime.outside import refuse_in_workflow
from everlog.runtime.readers import Reader
from everlog.runtime.shell import Shell
from everlog.store import Store

T = TypeVar("T")
Resolve = Callable[[Any], None]


class Connection:
    """A store and the engine's thread on it, open for the length of an `async with` block."""

    def __init__(self, url: str | Store, *, codec: Codec | None, durability: Durability, host: Host | None) -> None:
        if not isinstance(url, str) and not hasattr(url, "commit"):
            raise UsageError(f"a store is named by a URL, such as 'sqlite:///shop.db', got {url!r}")
        if codec is not None and not all(callable(getattr(codec, name, None)) for name in ("encode", "decode")):
            raise UsageError(f"codec must have encode and decode, as everlog's Codec says, got {codec!r}")
        if durability not in ("full", "process"):
            raise UsageError(f"durability must be 'full' or 'process', got {durability!r}")
        self._url = url
        self._durability: Durability = durability
        self._shell: Shell | None = None
        self._process = 0
        self.name = ""
        """By which it signs what it writes."""
        self.codec: Codec = codec if codec is not None else JsonCodec()
        self.host: Host = host if host is not None else SystemHost()
        self._asking: set[asyncio.Future[Any]] = set()
        """What users wait for that the engine's thread is to answer."""

    # -- opening and closing -----------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        refuse_in_workflow()
        if self._shell is not None:
            raise UsageError("this engine or client is open already; make another for a second block")
        if self.host.is_starting_child():
            raise UsageError(
                "this program is being imported by a process that is to run a step of it, and must not open an engine "
                'there; put that under if __name__ == "__main__"'
            )
        store = self._url if not isinstance(self._url, str) else await self._in_thread(partial(self._open, self._url))
        self._process = self.host.process_id()
        self.name = f"client-{self.host.token()[:16]}"
        shell = Shell(store, self.host)
        try:
            await self._begin(shell)
        except BaseException:
            self._close_store(shell)
            raise
        self._shell = shell
        shell.driver = self.host.drive("everlog", shell)
        return self

    async def __aexit__(self, *exc: object) -> None:
        shell = self._open_shell()
        try:
            await self._end(shell)
        finally:
            self._shell = None
            if not shell.closed:
                shell.submit(partial(self._close, shell))
            # What came to the engine's thread after the order to close, or never will, has no other answer.
            self._give_up_asking(StoreUnavailable("this engine was closed before the answer was there; ask another"))

    async def _begin(self, shell: Shell) -> None:
        """Prepare what runs beside the client."""

    async def _end(self, shell: Shell) -> None:
        """Bring to an end what runs beside the client, and let go of the store."""
        await self.on_thread(partial(self._close, shell))

    def _close(self, shell: Shell) -> None:
        """On the engine's thread: stop it."""
        shell.close()
        self._close_store(shell)

    def _close_store(self, shell: Shell) -> None:
        if isinstance(self._url, str):
            shell.store.close()

    def _open(self, url: str) -> Store:
        return open_store(url, durability=self._durability)

    # -- for what is built on it -------------------------------------------------------------------------------------

    @property
    def store(self) -> Store:
        """The store; used on the engine's thread only."""
        return self._open_shell().store

    @property
    def url_of_store(self) -> str | None:
        """The URL by which the same database is opened once more; None where an open store was given."""
        return self._url if isinstance(self._url, str) else None

    async def on_thread(self, function: Callable[[], T]) -> T:
        """Run a function on the engine's thread and give what it gives."""

        def run(resolve: Resolve) -> None:
            try:
                resolve(function())
            except Exception as error:  # noqa: BLE001 - it is the caller's, who waits on another thread
                resolve(error)

        answered: T = await self._asked(run)
        return answered

    async def aside(self, function: Callable[[], T]) -> T:
        """Run a function that takes its time on a thread, and give what it gives."""
        return await self._in_thread(function)

    async def wait_for_end(self, workflow_id: str) -> EndEvent | EverlogError:
        """Wait until a workflow has ended and give its last event."""
        shell, loop = self._open_shell(), asyncio.get_running_loop()
        future: asyncio.Future[EndEvent | EverlogError] = loop.create_future()
        forget: list[Callable[[], None]] = []

        def on_end(end: EndEvent | EverlogError) -> None:
            shell.answer(loop, partial(_set_result, future, end))

        self._asking.add(future)
        try:
            shell.submit(lambda: forget.append(shell.when_ended(workflow_id, on_end)))
            return await future
        finally:
            self._asking.discard(future)
            if not future.done() or future.cancelled():
                self._forget(shell, forget)

    async def wait_for(self, make: Callable[[Callable[[Any], None]], Reader]) -> Any:
        """Wait for what a reader waits for, and give it; `make` makes the reader from what takes its answer."""
        shell, loop = self._open_shell(), asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        reader = make(lambda found: shell.answer(loop, partial(_set_result, future, found)))
        self._asking.add(future)
        try:
            shell.submit(partial(shell.readers.add, reader))
            found = await future
        finally:
            self._asking.discard(future)
            if not future.done() or future.cancelled():
                self._forget(shell, [partial(shell.readers.forget, reader)])
        if isinstance(found, Exception):
            raise found
        return found

    # -- inside ------------------------------------------------------------------------------------------------------

    def _open_shell(self) -> Shell:
        refuse_in_workflow()
        if self._shell is None:
            raise UsageError("this engine or client is not open; use it inside: async with Engine(...) as engine")
        if self.host.process_id() != self._process:
            raise UsageError("this engine was opened before fork(), and is unusable in the child; open another there")
        return self._shell

    async def _asked(self, function: Callable[[Resolve], None]) -> Any:
        """Run a function on the engine's thread and wait until it resolves; an `Exception` is raised."""
        shell, loop = self._open_shell(), asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def resolve(value: Any) -> None:
            shell.answer(loop, partial(_set_result, future, value))

        def run() -> None:
            try:
                function(resolve)
            except Exception as error:  # noqa: BLE001 - whoever asked is told, and nobody else
                resolve(error)

        self._asking.add(future)
        try:
            shell.submit(run)
            value = await future
        finally:
            self._asking.discard(future)
        if isinstance(value, Exception):
            raise value
        return value

    async def _in_thread(self, function: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def run() -> None:
            try:
                value: Any = function()
            except Exception as error:  # noqa: BLE001 - it is the caller's, who waits on another thread
                value = error
            self.host.post(loop, partial(_set_result, future, value))

        self.host.run_in_thread(run)
        value = await future
        if isinstance(value, Exception):
            raise value
        answered: T = value
        return answered

    def _open_shell_here(self) -> Shell:
        if self._shell is None or self._shell.closed:
            raise StoreUnavailable("this engine is closed; open another")
        return self._shell

    def _give_up_asking(self, error: EverlogError) -> None:
        """Tell all who wait for the engine's thread that it does not answer."""
        for future in list(self._asking):
            self.host.post(future.get_loop(), partial(_set_result, future, error))

    def _forget(self, shell: Shell, forget: list[Callable[[], None]]) -> None:
        if not shell.closed:
            shell.submit(partial(_run_all, forget))


def _run_all(functions: Sequence[Callable[[], None]]) -> None:
    for function in functions:
        function()


def _set_result(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)

"""What the standard library and anyio do by memory address, or otherwise in each Python version, made the same.

Each change acts only inside a workflow loop; everywhere else the original runs.
- `asyncio.as_completed` makes its tasks by iterating a set of coroutines, which hash by address: made in order.
- `asyncio.gather` gives a future that hashes by address: by creation number.
- `asyncio.wait_for` of Python 3.11 wraps the awaitable in a task: the algorithm of 3.12 is used instead.
- anyio cancels child scopes in the order of a set that hashes by address: in the order of their creation.
The code objects of functions are exchanged, not module attributes, so that earlier `from asyncio import ...` follow.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import events, tasks
from collections.abc import Iterable, Iterator
from types import FunctionType
from typing import Any, Final

_SCOPES: Final = "anyio._backends._asyncio"


def adapt_standard_library() -> None:
    """Exchange what differs; once, when the workflow loop is first imported."""
    _dispatch("as_completed", _as_completed, ordered_as_completed)
    if sys.version_info < (3, 12):
        _dispatch("wait_for", _wait_for, newer_wait_for)
    gathering: Any = vars(tasks)["_GatheringFuture"]
    gathering.__hash__ = _hash_by_number


def adapt_libraries() -> None:
    """Exchange what differs in libraries that were imported since the last call."""
    if "anyio" in sys.modules and not _adapted:
        import anyio._backends._asyncio as backend

        _adapted.add(_SCOPES)
        _order_child_scopes(backend.CancelScope)


_adapted: set[str] = set()


def _dispatch(name: str, dispatcher: Any, inside: Any) -> None:
    """Make `asyncio.<name>` run `inside` in a workflow loop; the original stays reachable for other loops."""
    function: Any = vars(tasks)[name]
    original = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    original.__kwdefaults__ = function.__kwdefaults__
    function.__globals__[f"_everlog_original_{name}"] = original
    function.__globals__[f"_everlog_{name}"] = inside
    function.__code__ = dispatcher.__code__


# The next two run with the globals of asyncio.tasks, where `_dispatch` has put the names that they look up.
def _as_completed(fs: Any, *, timeout: float | None = None) -> Any:
    names = globals()
    if hasattr(names["events"]._get_running_loop(), "log_time"):
        return names["_everlog_as_completed"](names["_everlog_original_as_completed"], fs, timeout)
    return names["_everlog_original_as_completed"](fs, timeout=timeout)


async def _wait_for(fut: Any, timeout: float | None) -> Any:
    names = globals()
    if hasattr(names["events"]._get_running_loop(), "log_time"):
        return await names["_everlog_wait_for"](fut, timeout)
    return await names["_everlog_original_wait_for"](fut, timeout)


def ordered_as_completed(original: Any, awaitables: Iterable[Any], timeout: float | None) -> Any:
    """Run `asyncio.as_completed` with tasks that are made in the order given."""
    if asyncio.isfuture(awaitables) or asyncio.iscoroutine(awaitables):
        return original(awaitables, timeout=timeout)
    distinct = dict.fromkeys(awaitables)
    return original([asyncio.ensure_future(awaitable) for awaitable in distinct], timeout=timeout)


async def newer_wait_for(awaitable: Any, timeout: float | None) -> Any:
    """Wait as `asyncio.wait_for` of Python 3.12 and later does: in the caller's task, under `asyncio.timeout`."""
    if timeout is not None and timeout <= 0:
        future = asyncio.ensure_future(awaitable)
        if future.done():
            return future.result()
        await _cancel_and_wait(future)
        try:
            return future.result()
        except asyncio.CancelledError as error:
            raise TimeoutError from error
    async with asyncio.timeout(timeout):
        return await awaitable


async def _cancel_and_wait(future: asyncio.Future[Any]) -> None:
    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake(_: object) -> None:
        if not waiter.done():
            waiter.set_result(None)

    future.add_done_callback(wake)
    try:
        future.cancel()
        await waiter
    finally:
        future.remove_done_callback(wake)


def _hash_by_number(future: Any) -> int:
    loop = future.get_loop()
    if not hasattr(loop, "log_time"):
        return object.__hash__(future)
    number = future.__dict__.get("_everlog_number")
    if number is None:
        number = future.__dict__["_everlog_number"] = loop.next_number()
    return int(number)


class OrderedScopes:
    """The part of a set that anyio's cancel scopes use, in order of insertion."""

    __slots__ = ("_scopes",)

    def __init__(self) -> None:
        self._scopes: dict[int, Any] = {}

    def add(self, scope: Any) -> None:
        """Add at the end."""
        self._scopes[id(scope)] = scope

    def remove(self, scope: Any) -> None:
        """Remove; `KeyError` where it is not there."""
        del self._scopes[id(scope)]

    def discard(self, scope: Any) -> None:
        """Remove where it is there."""
        self._scopes.pop(id(scope), None)

    def __contains__(self, scope: object) -> bool:
        return id(scope) in self._scopes

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._scopes.values()))

    def __len__(self) -> int:
        return len(self._scopes)


def _order_child_scopes(scope_class: Any) -> None:
    original = scope_class.__init__

    # It takes the place of the class's own.
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        original(self, *args, **kwargs)
        if hasattr(events._get_running_loop(), "log_time"):
            self._child_scopes = OrderedScopes()

    scope_class.__init__ = __init__


adapt_standard_library()

"""What the standard library and anyio do by memory address, or otherwise in each Python version, made the same.

Each change acts only inside a workflow loop; everywhere else the original runs.
- `asyncio.as_completed` makes its tasks by iterating a set of coroutines, which hash by address: made in order.
- `asyncio.gather` gives a future that hashes by address: by creation number.
- `asyncio.all_tasks` finds them in a set that all loops of the process share: in order of creation.
- anyio cancels child scopes in the order of a set that hashes by address: in the order of their creation.
- `asyncio.wait_for` leaves a coroutine behind where its timer is refused: it is closed, in `newer`.
- Before Python 3.13, the algorithms of 3.13 are used: those of `newer`.
The code objects of functions are exchanged, not module attributes, so that earlier `from asyncio import ...` follow.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import events, tasks
from collections.abc import Iterable, Iterator
from itertools import chain
from types import FunctionType
from typing import Any, Final

from everlog.replay import newer

_SCOPES: Final = "anyio._backends._asyncio"


def adapt_standard_library() -> None:
    """Exchange what differs; once, when the workflow loop is first imported."""
    _dispatch(tasks.as_completed, _as_completed, ordered_as_completed)
    if isinstance(tasks.all_tasks, FunctionType):  # later in C, and not looked for in one set
        _dispatch(tasks.all_tasks, _all_tasks, ordered_all_tasks)
    gathering: Any = vars(tasks)["_GatheringFuture"]
    gathering.__hash__ = _hash_by_number
    _dispatch(tasks.wait_for, _wait_for, newer.wait_for)
    if sys.version_info < (3, 12):
        _dispatch(tasks.gather, _gather, newer.gather)
    if sys.version_info < (3, 13):
        _dispatch(asyncio.Condition.wait, _wait, newer.wait_for_condition)
        _dispatch(asyncio.Semaphore.acquire, _acquire, newer.acquire_semaphore)
        _dispatch(asyncio.TaskGroup.__aexit__, _leave, newer.leave_group)


def adapt_libraries() -> None:
    """Exchange what differs in libraries that were imported since the last call."""
    if "anyio" in sys.modules and not _adapted:
        import anyio._backends._asyncio as backend

        _adapted.add(_SCOPES)
        _order_child_scopes(backend.CancelScope)


_adapted: set[str] = set()


def _dispatch(function: Any, dispatcher: Any, inside: Any) -> None:
    """Make a function of asyncio run `inside` in a workflow loop; the original stays reachable for other loops."""
    original = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    original.__kwdefaults__ = function.__kwdefaults__
    function.__globals__[f"_everlog_{dispatcher.__name__}"] = (_is_inside, inside, original)
    function.__code__ = dispatcher.__code__


def _is_inside() -> bool:
    return hasattr(events._get_running_loop(), "log_time")


# The next run with the globals of asyncio's modules, where `_dispatch` has put what they look up.
def _as_completed(fs: Any, *, timeout: float | None = None) -> Any:
    is_inside, inside, original = globals()["_everlog__as_completed"]
    return inside(original, fs, timeout) if is_inside() else original(fs, timeout=timeout)


def _all_tasks(loop: Any = None) -> Any:
    is_inside, inside, original = globals()["_everlog__all_tasks"]
    return inside(original, loop) if is_inside() else original(loop)


def _gather(*coros_or_futures: Any, return_exceptions: bool = False) -> Any:
    is_inside, inside, original = globals()["_everlog__gather"]
    if is_inside():
        return inside(original, coros_or_futures, return_exceptions)
    return original(*coros_or_futures, return_exceptions=return_exceptions)


async def _wait_for(fut: Any, timeout: float | None) -> Any:
    is_inside, inside, original = globals()["_everlog__wait_for"]
    return await (inside if is_inside() else original)(fut, timeout)


async def _wait(self: Any) -> Any:
    is_inside, inside, original = globals()["_everlog__wait"]
    return await (inside if is_inside() else original)(self)


async def _acquire(self: Any) -> Any:
    is_inside, inside, original = globals()["_everlog__acquire"]
    return await (inside if is_inside() else original)(self)


async def _leave(self: Any, et: Any, exc: Any, tb: Any) -> Any:
    is_inside, inside, original = globals()["_everlog__leave"]
    return await (inside if is_inside() else original)(self, et, exc, tb)


def ordered_as_completed(original: Any, awaitables: Iterable[Any], timeout: float | None) -> Any:
    """Run `asyncio.as_completed` with tasks that are made at once, in the order given."""
    if asyncio.isfuture(awaitables) or asyncio.iscoroutine(awaitables):
        return original(awaitables, timeout=timeout)
    distinct = dict.fromkeys(awaitables)
    completed = original([asyncio.ensure_future(awaitable) for awaitable in distinct], timeout=timeout)
    if sys.version_info >= (3, 13) or not distinct:
        return completed
    return chain([next(completed)], completed)  # a generator, which sets the timer when it is first asked


def ordered_all_tasks(original: Any, loop: Any) -> set[Any]:
    """Give the tasks that are not done, as a set that was filled in the order of their creation."""
    loop = asyncio.get_running_loop() if loop is None else loop
    ordered: set[Any] = set(loop.unfinished_tasks()) if hasattr(loop, "log_time") else original(loop)
    return ordered


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

"""What asyncio does since Python 3.13, for workflows, so that every history replays under all versions.

Written against the attributes that the classes of 3.11 and 3.12 have, which get no more than security fixes.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from types import TracebackType
from typing import Any


async def wait_for(awaitable: Any, timeout: float | None) -> Any:
    """Wait in the caller's task, under `asyncio.timeout`; 3.11 wraps the awaitable in a task.

    While a workflow is dropped no timer can be set. Then the coroutine is closed, which all versions leave behind, to
    be remarked on as never awaited.
    """
    if timeout is None or timeout > 0:
        try:
            async with asyncio.timeout(timeout):
                return await awaitable
        finally:
            if inspect.iscoroutine(awaitable):
                awaitable.close()
    future = asyncio.ensure_future(awaitable)
    if not future.done():
        future.cancel()
        await asyncio.wait([future])
        if future.cancelled():
            raise TimeoutError
    return future.result()


def gather(original: Any, awaitables: tuple[Any, ...], return_exceptions: bool) -> Any:
    """Gather what is done already at once; 3.11 takes note of it one round later."""
    loop: Any = asyncio.get_running_loop()
    mark = loop.ready_length()
    outer = original(*awaitables, return_exceptions=return_exceptions)
    if any(asyncio.isfuture(one) and one.done() for one in awaitables):
        for handle in loop.take_ready(mark, "gather.<locals>._done_callback"):
            handle.callback(*handle.args)
    return outer


async def wait_for_condition(condition: Any) -> bool:
    """Wait for a notification; who is cancelled meanwhile passes it on, which versions before 3.13 do not."""
    if not condition.locked():
        raise RuntimeError("cannot wait on un-acquired lock")
    waiter = asyncio.get_running_loop().create_future()
    condition.release()
    try:
        try:
            condition._waiters.append(waiter)
            try:
                await waiter
            finally:
                condition._waiters.remove(waiter)
        finally:
            await _acquire_at_last(condition)
    except BaseException:
        for other in condition._waiters:
            if not other.done():
                other.set_result(False)
                break
        raise
    return True


async def _acquire_at_last(condition: Any) -> None:
    """Acquire the lock, also when cancelled; the cancellation comes after it."""
    cancelled: asyncio.CancelledError | None = None
    while True:
        try:
            await condition.acquire()
            break
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


async def acquire_semaphore(semaphore: Any) -> bool:
    """Acquire in turn; who is woken or cancelled wakes as many others as may go on."""
    if not semaphore.locked():
        semaphore._value -= 1
        return True
    if semaphore._waiters is None:
        semaphore._waiters = deque[Any]()
    waiters: Any = semaphore._waiters
    waiter = asyncio.get_running_loop().create_future()
    waiters.append(waiter)
    try:
        try:
            await waiter
        finally:
            waiters.remove(waiter)
    except asyncio.CancelledError:
        if waiter.done() and not waiter.cancelled():
            semaphore._value += 1
        raise
    finally:
        waiting = [other for other in waiters if not other.done()]
        for other in waiting[: max(0, semaphore._value)]:
            semaphore._value -= 1
            other.set_result(True)
    return True


async def leave_group(
    group: Any, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
) -> None:
    """Leave a task group; a cancellation from outside is not lost among the group's own, and is counted once."""
    group._exiting = True
    if kind is not None and group._is_base_error(error) and group._base_error is None:
        group._base_error = error
    cancelled = error if isinstance(error, asyncio.CancelledError) else None
    if kind is not None and not group._aborting:
        group._abort()
    while group._tasks:
        cancelled = await _next_end(group) or cancelled
    if group._base_error is not None:
        raise group._base_error
    if group._parent_cancel_requested and group._parent_task.uncancel() == 0:
        cancelled = None
    if cancelled is not None and not group._errors:
        raise cancelled
    if error is not None and not isinstance(error, asyncio.CancelledError):
        group._errors.append(error)
    if group._errors:
        if group._parent_task.cancelling():
            group._parent_task.uncancel()
            group._parent_task.cancel()
        raise BaseExceptionGroup("unhandled errors in a TaskGroup", group._errors)


async def _next_end(group: Any) -> asyncio.CancelledError | None:
    """Wait until all tasks have ended, or once; give the cancellation that aborted the group meanwhile."""
    if group._on_completed_fut is None:
        group._on_completed_fut = asyncio.get_running_loop().create_future()
    aborted_by: asyncio.CancelledError | None = None
    try:
        await group._on_completed_fut
    except asyncio.CancelledError as error:
        if not group._aborting:
            aborted_by = error
            group._abort()
    group._on_completed_fut = None
    return aborted_by

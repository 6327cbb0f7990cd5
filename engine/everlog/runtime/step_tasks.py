"""Step tasks: attempts in tasks of the user's loop, one after another in one task while none of them waits.

A task costs more than most steps that need not wait. So a task runs attempts until one suspends; from then on it is
that attempt's alone, as if it had been made for it, and those that are left go on in another. Each attempt runs in a
context of its own from its first line to its last.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from types import coroutine
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from everlog.runtime.steps import Dispatch

Body = Callable[["Dispatch"], Coroutine[Any, Any, None]]

_OVER: Final = (StopIteration, asyncio.CancelledError)


def run_in_tasks(loop: asyncio.AbstractEventLoop, waiting: deque[Dispatch], body: Body) -> None:
    """Run `body` of each that is still wanted when its turn comes; called on the loop."""
    if waiting:
        loop.create_task(_one_after_another(loop, waiting, body))


async def _one_after_another(loop: asyncio.AbstractEventLoop, waiting: deque[Dispatch], body: Body) -> None:
    task = asyncio.current_task(loop)
    if task is None:
        raise RuntimeError("a coroutine of a task runs outside of every task")
    while waiting and not task.cancelling():  # by what ran before, which meant itself
        dispatch = waiting.popleft()
        if dispatch.dropped:
            continue
        running, context = body(dispatch), dispatch.operation.context.copy()
        try:
            awaited = context.run(running.send, None)
        except _OVER:
            continue
        except BaseException:
            _hand_on(loop, waiting, body)
            raise
        dispatch.task = task
        _hand_on(loop, waiting, body)
        await _to_the_end(running, context, awaited)
        return
    _hand_on(loop, waiting, body)


def _hand_on(loop: asyncio.AbstractEventLoop, waiting: deque[Dispatch], body: Body) -> None:
    if loop.get_task_factory() is None:
        run_in_tasks(loop, waiting, body)
    elif waiting:  # an eager task would begin within this one
        loop.call_soon(run_in_tasks, loop, waiting, body)


@coroutine
def _to_the_end(running: Coroutine[Any, Any, None], context: Context, awaited: Any) -> Generator[Any, Any, None]:
    """Go on with a coroutine that waits, as `await` does, but in a context of its own."""
    while True:
        try:
            sent = yield awaited
        except GeneratorExit:
            context.run(running.close)
            raise
        except BaseException as error:  # noqa: BLE001 - most likely a cancellation; it is the coroutine's to handle
            resume: Callable[[Any], Any] = running.throw
            sent = error
        else:
            resume = running.send
        try:
            awaited = context.run(resume, sent)
        except StopIteration:
            return

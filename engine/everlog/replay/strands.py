"""Strands: threads that run blocking workflow code, one at a time, each driven by a task of the loop. They hold no log.

Blocking code has the same loop as async code. Its every thread of control is a task, whose coroutine hands control to
a strand and stands still until the strand asks for something that is to be awaited, or ends. What was asked for is
awaited as in any task, and its outcome handed back, a cancellation as well. So of one workflow exactly one thread runs
at any time, the loop alone decides which, and live and replay are as alike as they are in async code.
"""

from __future__ import annotations

import asyncio
import inspect
from _thread import allocate_lock
from asyncio import events
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context, copy_context
from threading import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from everlog.errors import InvalidDefinition, UsageError
from everlog.replay.context import active
from everlog.replay.divergence import CannotGoOn, TornDown
from everlog.replay.origins import note_handled

if TYPE_CHECKING:
    from everlog.replay.execution import Execution

T = TypeVar("T")

_SUSPENDS: Final = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
MOST_STRANDS: Final = 1000
"""So many branches of blocking code may be open in one workflow at once. Part of the log's format."""


class Strand:
    """One thread of control of blocking workflow code."""

    def __init__(self, execution: Execution, function: Callable[[], Any]) -> None:
        self.execution = execution
        self.thread: int | None = None
        """The thread that runs it; None before it has begun and once it has ended."""
        self.task: asyncio.Task[Any] | None = None
        self._function = function
        self._request: Awaitable[Any] | None = None
        self._value: Any = None
        self._error: BaseException | None = None
        # Each is held, but for the moment in which control goes to its side.
        self._strands_turn = allocate_lock()
        self._loops_turn = allocate_lock()
        self._strands_turn.acquire()
        self._loops_turn.acquire()

    async def run(self) -> Any:
        """Run the function to its end; give or raise what it did. The coroutine of a task of the loop."""
        strands = self.execution.strands
        if len(strands) >= MOST_STRANDS:
            raise UsageError(
                f"workflow {self.execution.workflow_id!r} has {MOST_STRANDS} branches of blocking code open at once, "
                "and each holds a thread; give sync.map a limit=, or map a step itself, which needs no thread"
            )
        strands[self] = None
        try:
            self.task = asyncio.current_task()
            self._begin()
            while self._request is not None:
                await self._answer(self._request)
                self._hand_over()
        finally:
            if self.thread is None:  # otherwise the task was dropped with its strand still open
                del strands[self]
        return self._taken()

    # -- on the thread that drains the loop --------------------------------------------------------------------------

    async def _answer(self, request: Awaitable[Any]) -> None:
        self._request = None
        try:
            self._value = await request
        except TornDown as error:
            self._error = error
        except GeneratorExit:  # nobody drives this task any more, and nobody may go on in its strand
            raise
        except asyncio.CancelledError as error:
            self._error = TornDown() if self.execution.torn_down else error
        except BaseException as error:  # noqa: BLE001 - it is for the code that asked
            self._error = error

    def _begin(self) -> None:
        execution, job = self.execution, [(self, copy_context())]
        # What is begun is no thread of the workflow's own: those are refused.
        outer, active.execution = active.execution, None
        try:
            execution.environment.run_strand(lambda: _live(*job.pop()))
        except RuntimeError as error:
            execution.broken = CannotGoOn(
                f"workflow {execution.workflow_id!r} needs a thread for its blocking code, and there is none: {error}"
            )
            raise execution.broken from error
        finally:
            active.execution = outer
        self._wait()

    def _hand_over(self) -> None:
        self._strands_turn.release()
        self._wait()

    def _wait(self) -> None:
        """Stand still while the strand runs. Who is interrupted here leaves it behind: it never gets control again."""
        self.execution.running = self
        try:
            self._loops_turn.acquire()
        finally:
            self.execution.running = None
            self.execution.loop.run_on(get_ident())

    # -- on the strand's own thread ----------------------------------------------------------------------------------

    def ask(self, request: Awaitable[T]) -> T:
        """Have the task of this strand await something; give or raise its outcome."""
        note_handled(self.execution)
        self._request = request
        self._loops_turn.release()
        self._strands_turn.acquire()
        self.execution.loop.run_on(get_ident())
        value: T = self._taken()
        return value

    def live(self, context: Context) -> None:
        """Run the function, as the thread of this strand."""
        loop = self.execution.loop
        self.thread = get_ident()
        active.execution, active.strand = self.execution, self
        events._set_running_loop(loop)
        loop.run_on(self.thread)
        try:
            context.run(self._call)
            del context
        finally:
            active.execution = active.strand = None
            events._set_running_loop(None)
            self.thread = None
            self._request = None

    def end(self) -> Callable[[], None]:
        """Give what hands control back for the last time, and holds nothing of the workflow."""
        return self._loops_turn.release

    def _call(self) -> None:
        value: Any = None
        failure: BaseException | None = None
        try:
            value = self._function()
            if inspect.iscoroutine(value):
                value.close()
                raise InvalidDefinition(
                    f"{self._function!r} is a plain function that returned a coroutine; write async def"
                )
        except BaseException as error:  # noqa: BLE001 - it is for whoever waits for the strand
            failure = error
        try:  # what ends with the function ends here: a generator among it, or among the arguments, may call steps
            if failure is not None:
                _drop_frames(failure)
            del self._function
        finally:
            self._value, self._error = value, failure
            del failure  # this frame is in its traceback

    def _taken(self) -> Any:
        value, error, self._value, self._error = self._value, self._error, None, None
        if error is None:
            return value
        try:
            raise error
        finally:
            del error  # this frame is in its traceback


def _live(strand: Strand, context: Context) -> Callable[[], None]:
    """Be the thread of a strand; give what hands control back, for when this thread is free for the next strand.

    What is held then would be dropped here, beside the engine's thread and as nobody's code: so nothing of the workflow
    is.
    """
    hand_back = strand.end()
    try:
        strand.live(context)
    except BaseException:  # whatever happened: the engine's thread stands still until this
        del strand, context
        hand_back()
        raise
    return hand_back


def _drop_frames(error: BaseException) -> None:
    """Drop what the frames of an error hold, here where they ran: a generator among it may call steps at its end."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        _clear(one.__traceback__)
        left += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            parts: Any = BaseExceptionGroup.exceptions  # what a subclass makes of them may be anything
            left += parts.__get__(one)


def _clear(trace: TracebackType | None) -> None:
    while trace is not None:
        if not trace.tb_frame.f_code.co_flags & _SUSPENDS:
            with suppress(RuntimeError):  # it still runs
                trace.tb_frame.clear()
        trace = trace.tb_next

"""Steps: runs attempts, async ones on the user's loop, plain ones in threads or processes; tells how each ended."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, Final

import msgspec
from msgspec import Struct

from everlog.core.codec import Codec, JsonCodec
from everlog.core.failures import describe
from everlog.core.retry import next_delay
from everlog.errors import InternalError, StepFailed, StepInterrupted, StepTimeout
from everlog.host import Host
from everlog.processes import ProcessDied, ProcessPool, Request
from everlog.replay.attempts import Attempt
from everlog.replay.context import attempt as attempt_variable
from everlog.replay.definitions import Step
from everlog.replay.environment import StepEnd
from everlog.replay.operations import NOT_KEPT, StepOperation
from everlog.replay.sizes import LARGE, check_size
from everlog.runtime.process_steps import failure_of, request_of, result_of, run_here
from everlog.runtime.process_words import publish_said
from everlog.runtime.residents import Resident
from everlog.runtime.step_tasks import run_in_tasks
from everlog.runtime.transactions import Call, Transactions

log: Final = logging.getLogger("everlog")
MOST_CUT_SHORT: Final = 3


class Dispatch(Struct, eq=False):
    """One attempt that is to be run."""

    resident: Resident
    operation: StepOperation
    attempt: Attempt
    task: asyncio.Task[Any] | None = None
    """The task that is its alone, once it has suspended."""
    dropped: bool = False
    """Whether nobody wants the outcome any more: it was cancelled, timed out or given up."""
    request: Request | None = None
    """What was handed to a child process."""
    refused: bool = False
    """Whether there was nothing to run it on, so that it certainly did not begin."""


Report = Callable[[Dispatch, StepEnd | None], None]
"""Called from any thread, once for each attempt; without an end the attempt was cut short and nothing is known."""


class StepRunner:
    """Runs attempts and reports their ends."""

    def __init__(
        self, host: Host, loop: asyncio.AbstractEventLoop, codec: Codec, clock: Callable[[], int], report: Report
    ) -> None:
        self._host = host
        self._loop = loop
        self._codec = codec
        self._is_json = type(codec) is JsonCodec
        self._clock = clock
        self._report = partial(_close, report)
        self.running: dict[StepOperation, Dispatch] = {}
        """The attempts that were handed out and have not been reported, as the engine's thread knows them."""
        self._pool: ProcessPool | None = None
        self.post: Callable[..., Coroutine[Any, Any, None]] | None = None
        """Sends a message from an async step."""
        self.transactions: Transactions | None = None
        """Runs the bodies of steps that have a transaction."""
        self.client: object = None
        """The engine, for async steps."""

    def run(self, dispatches: Sequence[Dispatch]) -> None:
        """Begin attempts; the async ones with one wake-up of the user's loop."""
        on_loop: deque[Dispatch] = deque()
        for dispatch in dispatches:
            operation = dispatch.operation
            self.running[operation] = dispatch
            if isinstance(operation.definition, Step):
                on_loop.append(dispatch)
                continue
            try:
                if operation.definition.process:
                    self._begin_in_process(dispatch)
                else:
                    self._begin_in_thread(dispatch)
            except RuntimeError as error:  # the machine has no thread left
                log.warning("step %r cannot be run now, and is tried again: %s", dispatch.attempt.step, error)
                self._refuse(dispatch)
        begin = partial(run_in_tasks, self._loop, on_loop, self._attempt)
        if on_loop and not self._host.post(self._loop, begin):
            for dispatch in on_loop:
                self._refuse(dispatch)

    def _refuse(self, dispatch: Dispatch) -> None:
        dispatch.refused = True
        self._report(dispatch, None)

    def drop(self, operations: Sequence[StepOperation]) -> None:
        """Cancel the attempts of these operations and forget how they end.

        A process is killed. A thread cannot be stopped: it runs on.
        """
        cancelled: list[Dispatch] = []
        for operation in operations:
            dispatch = self.running.pop(operation, None)
            if dispatch is not None:
                dispatch.dropped = dispatch.attempt.cancelled = True
                if dispatch.request is not None:
                    dispatch.request.withdraw()
                cancelled.append(dispatch)
        if cancelled:
            self._host.post(self._loop, partial(_cancel, cancelled))

    def cut_short(self, operations: Iterable[StepOperation]) -> None:
        """Cancel the attempts of these operations that run, so that they are run again."""
        running = [operation for operation in operations if operation.dispatched]
        self.drop(running)
        for operation in running:
            operation.dispatched = False

    def close(self) -> None:
        """End the processes that run steps; nothing is handed out after this."""
        if self._pool is not None:
            self._pool.close()

    async def _attempt(self, dispatch: Dispatch) -> None:
        operation = dispatch.operation
        started_at = self._clock()
        limit: asyncio.Timeout | None = None
        result: object
        try:
            attempt = dispatch.attempt
            attempt_variable.set(attempt)
            attempt.post, attempt.client = self.post, self.client
            args, kwargs = (operation.args, {}) if operation.args is not None else self._arguments(operation)
            if operation.bound:
                args = (*operation.bound, *args)
            function: Any = operation.definition.__wrapped__
            if operation.definition.transaction is not False:
                call = _call_of(dispatch)
                function = partial(self._in_transaction, call, function)
            if operation.timeout is None:
                result = await function(*args, **kwargs)
            else:
                async with asyncio.timeout(operation.timeout / 1_000_000) as limit:
                    result = await function(*args, **kwargs)
        except KeyboardInterrupt:
            self._report(dispatch, None)
            raise
        except GeneratorExit:  # the task is dropped, with its loop
            raise
        except BaseException as error:  # whatever it is, the workflow waits for it
            if _is_cut_short(operation):
                self._report(dispatch, None)
            else:
                timed_out = limit is not None and limit.expired() and isinstance(error, TimeoutError)
                end = self._failed(operation, started_at, _timeout(operation) if timed_out else error)
                self._report(dispatch, end)
            if isinstance(error, asyncio.CancelledError):
                raise
        else:
            self._report(dispatch, self._returned(operation, started_at, result))

    async def _in_transaction(self, call: Call, function: Callable[..., Any], *args: Any, **kwargs: Any) -> object:
        return await self._transactions().run(call, function, args, kwargs)

    def _transactions(self) -> Transactions:
        if self.transactions is None:
            raise InternalError("a step has a transaction, and this engine was not made to run any")
        return self.transactions

    def _begin_in_thread(self, dispatch: Dispatch) -> None:
        operation = dispatch.operation
        begun_at: list[int] = []

        def work() -> None:
            if not dispatch.dropped:
                begun_at.append(self._clock())
                operation.context.copy().run(self._in_thread, dispatch, begun_at[0])

        self._host.run_in_thread(work)
        if operation.timeout is not None:
            self._host.post(self._loop, partial(self._watch, dispatch, begun_at))

    def _watch(self, dispatch: Dispatch, begun_at: Sequence[int]) -> None:
        """End an attempt in a thread or process that takes too long, counted from when it began there."""
        limit = dispatch.operation.timeout
        if dispatch.dropped or limit is None:
            return
        left = begun_at[0] + limit - self._clock() if begun_at else limit
        if left > 0:
            self._loop.call_later(left / 1_000_000, self._watch, dispatch, begun_at)
        else:
            dispatch.attempt.cancelled = True
            end = self._failed(dispatch.operation, begun_at[0], _timeout(dispatch.operation))
            self._report_once(dispatch, end)
            if dispatch.request is not None:
                dispatch.request.withdraw()

    def _in_thread(self, dispatch: Dispatch, started_at: int) -> None:
        operation = dispatch.operation
        attempt_variable.set(dispatch.attempt)
        try:
            args, kwargs = self._arguments(operation)
            definition: Any = operation.definition
            if definition.transaction is not False:
                call = _call_of(dispatch)
                result = self._transactions().run_blocking(call, definition.run_plainly, args, kwargs)
            else:
                result = definition.run_plainly(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - a thread has nobody else to give it to
            self._report_once(dispatch, self._failed(operation, started_at, error))
        else:
            self._report_once(dispatch, self._returned(operation, started_at, result))

    def _begin_in_process(self, dispatch: Dispatch) -> None:
        operation = dispatch.operation
        begun_at: list[int] = []
        if self._pool is None:
            self._pool = self._host.processes(run_here)
        try:
            payload = request_of(operation.definition, dispatch.attempt, operation.input, self._codec)
        except Exception as error:  # noqa: BLE001 - a user's codec may raise anything; the step has not begun
            self._report_once(dispatch, self._failed(operation, self._clock(), error))
            return
        dispatch.request = Request(
            payload,
            begun=lambda: begun_at.append(self._clock()),
            answered=partial(self._answered, dispatch, begun_at),
            said=partial(publish_said, dispatch.attempt, dispatch.resident.outlet, self._codec),
        )
        self._pool.submit(dispatch.request)
        if operation.timeout is not None:
            self._host.post(self._loop, partial(self._watch, dispatch, begun_at))

    def _answered(self, dispatch: Dispatch, begun_at: Sequence[int], answer: bytes | Exception) -> None:
        """Take what a child process answered; one that died has left its attempt without an outcome."""
        operation = dispatch.operation
        started_at = begun_at[0] if begun_at else self._clock()
        if dispatch.dropped:
            return
        if isinstance(answer, ProcessDied) and (operation.cut_short < MOST_CUT_SHORT or _is_once(operation)):
            self._report(dispatch, None)
        elif isinstance(answer, Exception):
            error = _unanswered(operation, answer)
            self._report_once(dispatch, self._failed(operation, started_at, error))
        else:
            self._report_once(dispatch, self._end_of(operation, started_at, answer))

    def _end_of(self, operation: StepOperation, started_at: int, answer: bytes) -> StepEnd:
        try:
            result = result_of(operation.definition, answer, self._codec)
        except BaseException as error:  # noqa: BLE001 - it is the step's, raised in another process
            failed = self._failed(operation, started_at, error)
            there = failure_of(answer, self._codec)
            return failed if there is None else msgspec.structs.replace(failed, failure=there)
        return StepEnd(started_at=started_at, result=result)

    def _report_once(self, dispatch: Dispatch, end: StepEnd) -> None:
        if not dispatch.dropped:
            dispatch.dropped = dispatch.operation.timeout is not None
            self._report(dispatch, end)

    def _arguments(self, operation: StepOperation) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if operation.args is not None:
            return operation.args, {}
        definition = operation.definition
        what = f"input of step {definition.name}"
        return definition.signature.decode(self._codec, operation.input, what=what, passed=operation.passed)

    def _returned(self, operation: StepOperation, started_at: int, result: object) -> StepEnd:
        signature = operation.definition.signature
        try:
            plain = signature.encode_plain_result(result) if self._is_json else None
            if plain is not None and len(plain) < LARGE:
                return StepEnd(started_at=started_at, result=plain, value=result)
            what = f"result of step {operation.definition.name}"
            encoded = plain or self._codec.encode(result, signature.result_type, what=what)
            if len(encoded) >= LARGE:
                check_size(encoded, what)
        except Exception as error:  # noqa: BLE001 - a user's type may raise anything; the step has run: no retry
            return StepEnd(started_at=started_at, failure=describe(error, self._codec))
        return StepEnd(started_at=started_at, result=encoded, value=NOT_KEPT if plain is None else result)

    def _failed(self, operation: StepOperation, started_at: int, error: BaseException) -> StepEnd:
        try:
            delay = next_delay(operation.retry, operation.attempt, error, self._host.chance())
        except Exception as problem:  # noqa: BLE001 - a user's type may raise anything; the attempt has ended
            delay, error = None, problem
        return StepEnd(
            started_at=started_at,
            failure=describe(error, self._codec),
            retry_at=None if delay is None else self._clock() + delay,
        )


def _call_of(dispatch: Dispatch) -> Call:
    execution, operation = dispatch.resident.execution, dispatch.operation
    return Call(
        operation.definition,
        dispatch.attempt,
        f"{execution.created.seed}/{execution.first_seq}",
        unsure=operation.repeats or operation.cut_short > 0,
    )


def _close(report: Report, dispatch: Dispatch, end: StepEnd | None) -> None:
    """Have nothing more published by an attempt whose end is reported now."""
    dispatch.attempt.over = True
    report(dispatch, end)


def _cancel(dispatches: Sequence[Dispatch]) -> None:
    for dispatch in dispatches:
        if dispatch.task is not None:
            dispatch.task.cancel()


def _is_cut_short(operation: StepOperation) -> bool:
    """Tell whether somebody cancelled the attempt that runs here, say the end of `asyncio.run`: then its error is no
    outcome. What is cancelled again and again cancels itself, and has failed."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0 and operation.cut_short < MOST_CUT_SHORT


def _is_once(operation: StepOperation) -> bool:
    return operation.definition.at_most_once


def _unanswered(operation: StepOperation, why: Exception) -> StepInterrupted | StepFailed:
    if isinstance(why, ProcessDied):
        return StepInterrupted(
            f"the process of step {operation.name!r} died {operation.cut_short + 1} times in attempt "
            f"{operation.attempt}: {why}"
        )
    return StepFailed(
        f"step {operation.name!r} could not be run in a process of its own: {why}. A child imports the program's main "
        'module: what it does beside defining things belongs under if __name__ == "__main__"'
    )


def _timeout(operation: StepOperation) -> StepTimeout:
    limit = (operation.timeout or 0) / 1_000_000
    return StepTimeout(
        f"attempt {operation.attempt} of step {operation.name!r} took longer than its timeout of {limit:g} s"
    )

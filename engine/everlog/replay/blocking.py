"""Blocking: the functions of `everlog.sync` for blocking workflow code. Each has the task of its strand wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AbstractContextManager
from contextvars import Context, copy_context
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeVar, cast, final, overload

from everlog.core.codec import ANY
from everlog.core.durations import SECOND, Duration, microseconds
from everlog.core.names import check_value_name
from everlog.core.numbers import check_count
from everlog.errors import UsageError, WrongContext
from everlog.replay import asking, calling, publishing, receiving, requests, starting
from everlog.replay.asking import NO_DEFAULT
from everlog.replay.compensations import SyncCompensations
from everlog.replay.context import active, attempt
from everlog.replay.definition import Definition
from everlog.replay.functions import is_async
from everlog.replay.operations import Site
from everlog.replay.primitives import handle_of, publishing_attempt, sleeping_time, time_until
from everlog.replay.strands import Strand

if TYPE_CHECKING:
    from typing_extensions import TypeForm

    from everlog.replay.execution import Execution
    from everlog.runtime.blocking_handles import Handle

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
A = TypeVar("A")
D = TypeVar("D")
Branch = Callable[[], Coroutine[Any, Any, Any]]


@overload
def recv(
    topic: str, /, *, timeout: Duration | None = None, title: str | None = None, metadata: object = None
) -> Any: ...
@overload
def recv(
    topic: str, /, *, timeout: Duration, default: object, title: str | None = None, metadata: object = None
) -> Any: ...
@overload
def recv(
    topic: str,
    /,
    *,
    type: TypeForm[T],
    timeout: Duration | None = None,
    title: str | None = None,
    metadata: object = None,
) -> T: ...
@overload
def recv(
    topic: str,
    /,
    *,
    type: TypeForm[T],
    timeout: Duration,
    default: D,
    title: str | None = None,
    metadata: object = None,
) -> T | D: ...
def recv(
    topic: str,
    /,
    *,
    type: Any = ANY,
    timeout: Duration | None = None,
    default: Any = NO_DEFAULT,
    title: str | None = None,
    metadata: object = None,
) -> Any:
    """Wait for the next message on a topic: each is received once, those of one sender in the order sent.

    After `timeout` (seconds or timedelta; durable; 0 only looks) gives `default`, or raises `TimeoutError` where
    there is none. `type` is any type form; a message that does not fit it makes the workflow stuck, not lost.
    With `type=sync.Request[...]` it waits for an ask instead, to be answered; one that does not fit is refused.
    With a `title` the wait is listed by `waits()` of engines and clients while it is open, with `metadata` (any value
    that can be recorded), and may be answered there by its token.
    """
    strand = _strand("recv")
    return strand.ask(
        receiving.receive(
            strand.execution, topic, type, timeout, default, requests=Request, title=title, metadata=metadata
        )
    )


def send(to: str, topic: str, message: object, /, *, key: str | None = None) -> None:
    """Send a message to a workflow. When this returns it is in the other's inbox, exactly once.

    With a `key`, messages of the same key to the same workflow are one. Raises `NotFound` where there is no such
    workflow, or it has ended.
    """
    strand = _strand("send")
    strand.ask(asking.send(strand.execution, to, topic, message, key))


@overload
def ask(to: str, topic: str, message: object, /, *, timeout: Duration, key: str | None = None) -> Any: ...
@overload
def ask(
    to: str, topic: str, message: object, /, *, type: TypeForm[T], timeout: Duration, key: str | None = None
) -> T: ...
def ask(to: str, topic: str, message: object, /, *, type: Any = ANY, timeout: Duration, key: str | None = None) -> Any:
    """Ask a workflow, which takes it by `recv(topic, type=sync.Request[...])`, and give its answer, of this type.

    It is asked exactly once. Raises `AskRefused` where it refuses, or ends without an answer; `TimeoutError` after
    `timeout` (durable); `NotFound` where there is no such workflow, or it has ended. It has no `key`, here.
    """
    strand = _strand("ask")
    return strand.ask(requests.ask(strand.execution, to, topic, message, type, timeout, key))


@final
class Request(requests.AnyRequest[T_co]):
    """What a workflow was asked: got by `sync.recv(topic, type=sync.Request[int])`. Answer it once.

    What is never answered is refused when the workflow ends, however it does.
    """

    def reply(self, answer: object, /) -> None:
        """Answer. When this returns, the answer is durable: whoever asked gets it exactly once.

        That nobody waits for it any more is no error; a second answer is a `UsageError`.
        """
        _strand("Request.reply").ask(self._replied(answer))

    def refuse(self, reason: str, /) -> None:
        """Refuse to answer: whoever asked gets `AskRefused` with this reason. Otherwise as `reply`."""
        _strand("Request.refuse").ask(self._refused(reason))


def set_value(name: str, value: object, /) -> None:
    """Publish a value under a name; anybody reads the last one by `handle.get_value(name)`.

    It is written once, by the next commit: nothing waits for that. In a step it is written soon, in any case before the
    step's outcome, and again when the step runs again; of several values in short order only the last.
    """
    running = publishing_attempt("set_value", blocks=True)
    if running is not None:
        publishing.outlet_of(running).set_value(running, check_value_name(name), value)
        return
    strand = _strand("set_value")
    strand.ask(publishing.set_value(strand.execution, name, value))


def emit(stream: str, /, *items: object) -> None:
    """Append items to a stream; anybody reads it by `handle.stream(stream)`.

    In workflow code each item is written once, by the next commit. In a step they are written soon, in any case before
    the step's outcome; it waits only while many are under way. When the step runs again, they are emitted again, and
    readers are told so by a reset.
    """
    running = publishing_attempt("emit", blocks=True)
    if running is not None:
        publishing.outlet_of(running).emit_blocking(running, stream, items)
        return
    strand = _strand("emit")
    strand.ask(publishing.emit(strand.execution, stream, items))


def close_stream(stream: str, /) -> None:
    """Close a stream: its readers come to an end. The end of the workflow closes all of its streams."""
    strand = _strand("close_stream")
    strand.ask(publishing.close_stream(strand.execution, stream))


def call(fn: Definition[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a step or a workflow, async or plain; what is plain can as well be called as it is.

    Gives what it returned, as decoded from its record, or raises what it raised, a step in its last attempt. A workflow
    runs as a child of this one; who is cancelled while waiting here has it asked to stop.
    """
    strand = _strand("call")
    result: T = strand.ask(calling.call(strand.execution, fn, "sync.call", args, kwargs))
    return result


def start(fn: Definition[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Handle[T]:
    """Start a workflow as a child of this one, and give its handle. When this returns, the start is durable.

    Without an id (`fn.options(id=...)`) it gets one that is made of this workflow's and of the call. With an id it
    starts once: the same id, function and input give the same workflow; another function or input is `IdInUse`.
    What becomes of it when this workflow ends is said by `fn.options(when_parent_ends=...)`: by default it is
    cancelled.
    """
    strand = _strand("start")
    started: Any = strand.ask(starting.start(strand.execution, calling.startable_of(fn), args, kwargs))
    made: Handle[T] = starting.strangers.blocking_handle(started)
    return made


@overload
def handle(id: str, /) -> Handle[Any]: ...
@overload
def handle(id: str, fn: Definition[..., T], /) -> Handle[T]: ...
def handle(id: str, fn: Definition[..., Any] | None = None, /) -> Handle[Any]:
    """Give the handle of a workflow by its id; with `fn`, its result is of that workflow's type. It asks nothing."""
    made: Handle[Any] = starting.strangers.blocking_handle(handle_of(_strand("handle").execution, id, fn))
    return made


def sleep(duration: Duration, /) -> None:
    """Sleep durably, for seconds or a `timedelta`."""
    _strand("sleep").ask(asyncio.sleep(sleeping_time(duration)))


def sleep_until(when: datetime, /) -> None:
    """Sleep durably until a moment; returns at once if it has passed."""
    strand = _strand("sleep_until")
    strand.ask(asyncio.sleep(time_until(when, strand.execution)))


@overload
# The checker resolves the overlap as wanted: an async function matches the first.
def map(fn: Callable[[A], Coroutine[Any, Any, T]], items: Iterable[A], /, *, limit: int | None = None) -> list[T]: ...  # pyright: ignore[reportOverlappingOverload]
@overload
def map(fn: Callable[[A], T], items: Iterable[A], /, *, limit: int | None = None) -> list[T]: ...
def map(fn: Callable[[A], Any], items: Iterable[A], /, *, limit: int | None = None) -> list[Any]:
    """Call a function for each item, in a branch of its own, at most `limit` at once; give the results in order.

    A plain function runs as blocking code, one branch at a time until it waits; a step, a workflow, which is a child,
    or an async function needs no thread. When one raises, the others are cancelled, and it is raised once they have
    ended.
    """
    strand, called_at = _strand("map"), asking.site(1)
    free = None if limit is None else asyncio.Semaphore(check_count(limit, what="limit of sync.map"))
    branches = [_branch(strand.execution, fn, (item,), {}, called_at) for item in items]
    return strand.ask(_all(branches, _label(fn), free, copy_context()))


@overload
def submit(fn: Definition[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...
@overload
# The checker resolves the overlap as wanted: an async function matches here.
def submit(fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...  # pyright: ignore[reportOverlappingOverload]
@overload
def submit(fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...
def submit(fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
    """Begin to call a function in a branch of its own, and go on; see `map` for what it may be.

    It runs when the caller next waits for something. What has not ended when the workflow ends is cancelled.
    """
    strand = _strand("submit")
    branch = _branch(strand.execution, fn, args, kwargs, asking.site(1))
    return Future(strand.execution, strand.execution.loop.create_task(branch(), name=_label(fn)))


@final
class Future(Generic[T_co]):
    """What `submit` has begun. It belongs to the workflow that made it."""

    def __init__(self, execution: Execution, task: asyncio.Task[T_co]) -> None:
        self._execution = execution
        self._task = task

    def __repr__(self) -> str:
        return f"<Future {self._task.get_name()!r}, {'done' if self._task.done() else 'pending'}>"

    def result(self, *, timeout: Duration | None = None) -> T_co:
        """Wait for the end; give what the function returned or raise what it raised.

        Raises `TimeoutError` after `timeout` (seconds or timedelta; durable; 0 only looks): the function goes on.
        Whoever is cancelled while waiting here cancels nothing else.
        """
        strand = self._strand("result")
        seconds = None if timeout is None else microseconds(timeout, what="timeout of result") / SECOND
        return strand.ask(_outcome(self._task, seconds))

    def done(self) -> bool:
        """Tell whether it has ended."""
        self._strand("done")
        return self._task.done()

    def cancel(self) -> bool:
        """Have `asyncio.CancelledError` raised where it waits; False where it has ended."""
        self._strand("cancel")
        return self._task.cancel()

    def _strand(self, what: str) -> Strand:
        strand = _strand(f"Future.{what}")
        if strand.execution is not self._execution:
            raise WrongContext(
                f"sync.Future.{what}: it belongs to workflow {self._execution.workflow_id!r}, and this is workflow "
                f"{strand.execution.workflow_id!r}; send messages between workflows"
            )
        return strand


def timeout(duration: Duration | None, /) -> AbstractContextManager[None]:
    """Raise `TimeoutError` in the block when this time is over; durable. Seconds, a `timedelta`, or None for never."""
    _strand("timeout")
    return _Timeout(None if duration is None else microseconds(duration, what="the duration of timeout") / SECOND)


def compensations() -> SyncCompensations:
    """Open a block whose parts are undone, the last first, if it raises or is cancelled: `undo.add(refund, payment)`.

        with sync.compensations() as undo:
            payment = charge(order)
            undo.add(refund, payment)

    What was added are steps and workflows, recorded as all are: after a crash the rest of them run. No cancellation
    reaches them. One that fails does not hold up the others; it is logged, and noted in the exception, which goes on.
    """
    return SyncCompensations(_strand("compensations").execution)


class _Timeout:
    def __init__(self, seconds: float | None) -> None:
        self._limit = asyncio.timeout(seconds)

    def __enter__(self) -> None:
        _strand("timeout").ask(self._limit.__aenter__())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _strand("timeout").ask(self._limit.__aexit__(kind, error, trace))


def _branch(
    execution: Execution, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], called_at: Site | None
) -> Branch:
    """Give what makes the coroutine of a branch, in the branch."""
    if isinstance(fn, Definition):
        return lambda: _called(execution, cast("Definition[..., Any]", fn), args, kwargs, called_at)
    if not callable(fn):
        raise UsageError(f"sync.map and sync.submit take a function, got {fn!r}")
    function: Callable[..., Any] = fn
    if is_async(function):
        return lambda: function(*args, **kwargs)
    return lambda: Strand(execution, partial(function, *args, **kwargs)).run()


async def _called(
    execution: Execution,
    fn: Definition[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    called_at: Site | None,
) -> Any:
    return await calling.call(execution, fn, "sync.map", args, kwargs, called_at)


async def _all(branches: list[Branch], label: str, free: asyncio.Semaphore | None, context: Context) -> list[Any]:
    try:
        async with asyncio.TaskGroup() as group:

            def begin(branch: Branch) -> asyncio.Task[Any]:
                return group.create_task(_when_free(free, branch), name=label)

            tasks = [context.run(begin, branch) for branch in branches]
    except BaseExceptionGroup as failed:
        first: BaseException = failed.exceptions[0]
    else:
        return [task.result() for task in tasks]
    raise first


async def _when_free(free: asyncio.Semaphore | None, branch: Branch) -> Any:
    if free is None:
        return await branch()
    async with free:
        return await branch()


async def _outcome(task: asyncio.Task[T], seconds: float | None) -> T:
    if not task.done():
        await asyncio.wait([task], timeout=seconds)
    if not task.done():
        raise TimeoutError(f"{task.get_name()!r} has not ended in time; it goes on")
    return task.result()


def _label(fn: Any) -> str:
    if isinstance(fn, Definition):
        return cast("Definition[..., Any]", fn).name
    function = fn.func if isinstance(fn, partial) else fn
    return str(getattr(function, "__name__", type(function).__name__))


def _strand(what: str) -> Strand:
    strand = active.strand
    if strand is not None:
        return strand
    if active.execution is not None:
        hint = _ASYNC.get(what, f'write "await everlog.{what}(...)"')
        raise WrongContext(f"sync.{what} blocks, and this is async code; here {hint}")
    running = attempt.get()
    where = "this is none" if running is None else f"this is a step ({running.step})"
    form = _ELSEWHERE.get(what, _OF_A_FUTURE)
    if running is not None and what in _IN_A_STEP:
        form = _IN_A_STEP[what]
    raise WrongContext(f"sync.{what} works in a def workflow, and {where}; here {form}")


_ASYNC: Final = {
    "handle": 'write "everlog.handle(...)"',
    "map": 'write "await asyncio.gather(...)"',
    "submit": 'write "asyncio.create_task(...)"',
    "timeout": 'write "async with asyncio.timeout(...):"',
    "Request.reply": "take it by everlog.recv(topic, type=everlog.Request[...])",
    "Request.refuse": "take it by everlog.recv(topic, type=everlog.Request[...])",
    "compensations": 'write "async with everlog.compensations() as undo:"',
    "Future.result": "make a task by asyncio.create_task, and await it",
    "Future.done": "make a task by asyncio.create_task",
    "Future.cancel": "make a task by asyncio.create_task",
}

_OF_A_FUTURE: Final = "nothing of the workflow runs; return from it what is wanted"
_IN_A_STEP: Final = {
    "send": 'make the step an async def and write "await everlog.send(id, topic, message)", or return it',
    "ask": 'make the step an async def and write "await everlog.ask(id, topic, message, timeout=...)"',
}
_ELSEWHERE: Final = {
    "recv": "take what is wanted as an argument, or wait for a result by handle.result()",
    "send": 'write "engine.send(id, topic, message)"',
    "ask": 'write "engine.ask(id, topic, message, timeout=...)"',
    "set_value": "keep it where you like; values belong to workflows",
    "emit": "keep the items where you like; streams belong to workflows",
    "close_stream": "leave it to the workflow: its end closes its streams",
    "call": "call the step itself, which is a plain call here, or start a workflow by an engine",
    "start": 'write "engine.start(fn, ...)"',
    "handle": 'write "engine.handle(id, fn)"',
    "sleep": 'write "time.sleep(seconds)"',
    "sleep_until": 'write "time.sleep(seconds)"',
    "map": "use concurrent.futures, or a loop",
    "submit": "use concurrent.futures",
    "compensations": "use contextlib.ExitStack",
    "timeout": "give what waits a timeout of its own",
}

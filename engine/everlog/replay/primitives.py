"""Primitives: the functions of `everlog` that workflow code calls."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from random import Random
from typing import TYPE_CHECKING, Any, Final, NoReturn, ParamSpec, TypeVar, overload

from everlog.core.codec import ANY
from everlog.core.durations import SECOND, Duration, as_datetime, from_datetime, microseconds
from everlog.core.names import check_id, check_name
from everlog.errors import UsageError, WrongContext
from everlog.replay import asking, calling, continuing, publishing, receiving, requests, starting
from everlog.replay.asking import NO_DEFAULT
from everlog.replay.compensations import Compensations
from everlog.replay.context import active, attempt, transaction
from everlog.replay.current import Current
from everlog.replay.definition import Definition
from everlog.replay.queues import Queue, enqueuing
from everlog.replay.tasks import WorkflowTask

if TYPE_CHECKING:
    from typing_extensions import TypeForm

    from everlog.replay.attempts import Attempt
    from everlog.replay.execution import Execution
    from everlog.runtime.handles import Handle

P = ParamSpec("P")
T = TypeVar("T")
D = TypeVar("D")


if TYPE_CHECKING:  # for the checkers coroutine functions, so that they find a forgotten await

    @overload
    async def recv(
        topic: str, /, *, timeout: Duration | None = None, title: str | None = None, metadata: object = None
    ) -> Any: ...
    @overload
    async def recv(
        topic: str, /, *, timeout: Duration, default: object, title: str | None = None, metadata: object = None
    ) -> Any: ...
    @overload
    async def recv(
        topic: str,
        /,
        *,
        type: TypeForm[T],
        timeout: Duration | None = None,
        title: str | None = None,
        metadata: object = None,
    ) -> T: ...
    @overload
    async def recv(
        topic: str,
        /,
        *,
        type: TypeForm[T],
        timeout: Duration,
        default: D,
        title: str | None = None,
        metadata: object = None,
    ) -> T | D: ...
    async def recv(
        topic: str,
        /,
        *,
        type: Any = None,
        timeout: Duration | None = None,
        default: Any = None,
        title: str | None = None,
        metadata: object = None,
    ) -> Any: ...
    async def send(to: str, topic: str, message: object, /, *, key: str | None = None) -> None: ...
    @overload
    async def ask(to: str, topic: str, message: object, /, *, timeout: Duration, key: str | None = None) -> Any: ...
    @overload
    async def ask(
        to: str, topic: str, message: object, /, *, type: TypeForm[T], timeout: Duration, key: str | None = None
    ) -> T: ...
    async def ask(
        to: str, topic: str, message: object, /, *, type: Any = None, timeout: Duration, key: str | None = None
    ) -> Any: ...
    async def set_value(name: str, value: object, /) -> None: ...
    async def emit(stream: str, /, *items: object) -> None: ...
    async def close_stream(stream: str, /) -> None: ...
    async def sleep(duration: Duration, /) -> None: ...
    async def sleep_until(when: datetime, /) -> None: ...
    async def call(fn: Definition[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        raise NotImplementedError

    async def start(fn: Definition[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Handle[T]:
        raise NotImplementedError

else:  # an operation is drawn where it is called, not where it is awaited

    def recv(topic, /, *, type=ANY, timeout=None, default=NO_DEFAULT, title=None, metadata=None):
        """Wait for the next message on a topic: each is received once, those of one sender in the order sent.

        After `timeout` (seconds or timedelta; durable; 0 only looks) gives `default`, or raises `TimeoutError` where
        there is none. `type` is any type form; a message that does not fit it makes the workflow stuck, not lost.
        With `type=Request[...]` it waits for an ask instead, to be answered; one that does not fit is refused.
        With a `title` the wait is listed by `waits()` of engines and clients while it is open, with `metadata` (any
        value that can be recorded), and may be answered there by its token.
        """
        execution = _awaiting("recv")
        return receiving.receive(execution, topic, type, timeout, default, title=title, metadata=metadata)

    def send(to, topic, message, /, *, key=None):
        """Send a message to a workflow. When this returns it is in the other's inbox, exactly once.

        With a `key`, messages of the same key to the same workflow are one. In an async step it is sent whenever the
        step runs, so give it a key there. Raises `NotFound` where there is no such workflow, or it has ended.
        """
        running = attempt.get()
        if active.execution is None and running is not None and running.post is not None:
            return running.post(to, topic, message, key=key)
        return asking.send(_awaiting("send"), to, topic, message, key)

    def ask(to, topic, message, /, *, type=ANY, timeout, key=None):
        """Ask a workflow, which takes it by `recv(topic, type=Request[...])`, and give its answer, of this type.

        It is asked exactly once. Raises `AskRefused` where it refuses, or ends without an answer; `TimeoutError` after
        `timeout` (durable); `NotFound` where there is no such workflow, or it has ended. In an async step it is asked
        whenever the step runs, so give it a `key` there: asks of the same key to the same workflow are one.
        """
        client = _client_of_step()
        if client is not None:
            _refuse_within("ask")
            return client.ask(to, topic, message, type=type, timeout=timeout, key=key)
        return requests.ask(_awaiting("ask"), to, topic, message, type, timeout, key)

    def set_value(name, value, /):
        """Publish a value under a name; anybody reads the last one by `handle.get_value(name)`.

        It is written once, by the next commit: nothing waits for that. In a step it is written soon, in any case before
        the step's outcome, and again when the step runs again; of several values in short order only the last.
        """
        running = publishing_attempt("set_value", blocks=False)
        if running is not None:
            return publishing.later(running, name, value)
        return publishing.set_value(_awaiting("set_value"), name, value)

    def emit(stream, /, *items):
        """Append items to a stream; anybody reads it by `handle.stream(stream)`.

        In workflow code each item is written once, by the next commit. In a step they are written soon, in any case
        before the step's outcome; awaiting waits only while many are under way. When the step runs again, they are
        emitted again, and readers are told so by a reset.
        """
        running = publishing_attempt("emit", blocks=False)
        if running is not None:
            return publishing.emit_in_step(running, stream, items)
        return publishing.emit(_awaiting("emit"), stream, items)

    def close_stream(stream, /):
        """Close a stream: its readers come to an end. The end of the workflow closes all of its streams."""
        return publishing.close_stream(_awaiting("close_stream"), stream)

    def call(fn, /, *args, **kwargs):
        """Call a step or a workflow, async or plain; a plain step runs in a thread, as by `asyncio.to_thread`.

        Gives what it returned, as decoded from its record, or raises what it raised, a step in its last attempt. A
        workflow runs as a child of this one; who is cancelled while waiting here has it asked to stop.
        """
        return calling.call(_awaiting("call"), fn, "everlog.call", args, kwargs)

    def start(fn, /, *args, **kwargs):
        """Start a workflow as a child of this one, and give its handle. When this returns, the start is durable.

        Without an id (`fn.options(id=...)`) it gets one that is made of this workflow's and of the call. With an id it
        starts once: the same id, function and input give the same workflow; another function or input is `IdInUse`.
        What becomes of it when this workflow ends is said by `fn.options(when_parent_ends=...)`: by default it is
        cancelled. In an async step it is no child, and is started whenever the step runs, so give it an id there.
        """
        starter = _starter_of_step()
        if starter is not None:
            return starter.start(fn, *args, **kwargs)
        execution = _awaiting("start")
        return starting.start(execution, calling.startable_of(fn), args, kwargs)

    def sleep(duration, /):
        """Sleep durably: the same as `asyncio.sleep`, but also takes a `timedelta`."""
        _awaiting("sleep")
        return asyncio.sleep(sleeping_time(duration))

    def sleep_until(when, /):
        """Sleep durably until a moment; returns at once if it has passed."""
        return asyncio.sleep(time_until(when, _awaiting("sleep_until")))


@overload
def handle(id: str, /) -> Handle[Any]: ...
@overload
def handle(id: str, fn: Definition[..., T], /) -> Handle[T]: ...
def handle(id: str, fn: Definition[..., Any] | None = None, /) -> Handle[Any]:
    """Give the handle of a workflow by its id; with `fn`, its result is of that workflow's type. It asks nothing.

    In an async step it is the handle that the engine would give.
    """
    client = _client_of_step()
    made: Handle[Any]
    if client is None:
        made = handle_of(_awaiting("handle"), id, fn)
    else:
        made = client.handle(id) if fn is None else client.handle(id, fn)
    return made


def _client_of_step() -> Any:
    """Give the engine that runs this step; None in workflow code, and in a step that runs apart from its loop."""
    running = attempt.get()
    return running.client if active.execution is None and running is not None else None


def _starter_of_step() -> Any:
    """Give what starts workflows for this step, as `_client_of_step`; within its transaction, where it has one."""
    running = attempt.get()
    within = running.within if active.execution is None and running is not None else None
    return _client_of_step() if within is None else within


def _refuse_within(what: str) -> None:
    running = attempt.get()
    if running is not None and running.within is not None:
        raise WrongContext(
            f"everlog.{what} in step {running.step!r} would wait for what comes after its transaction has committed;"
            " do it in the workflow, after the step"
        )


def handle_of(execution: Execution, id: str, fn: Definition[..., Any] | None) -> Any:
    """Make a handle for workflow code."""
    declared = ANY if fn is None else fn.signature.result_type
    return starting.strangers.handle(execution, check_id(id), declared)


def publishing_attempt(what: str, *, blocks: bool) -> Attempt | None:
    """Give the attempt of the step that runs here, None where workflow code does; the function has to fit the place."""
    running = attempt.get()
    if active.execution is not None or running is None or running.outlet is None:
        return None
    has_loop = asyncio._get_running_loop() is not None
    if not has_loop and not blocks:
        raise WrongContext(
            f"everlog.{what} gives something to await, which blocking code cannot: write sync.{what}(...) in the step "
            f"{running.step!r}, after: from everlog import sync"
        )
    if has_loop and blocks and running.post is not None:
        raise WrongContext(
            f"sync.{what} blocks, and this is async code of the step {running.step!r}; "
            f'write "await everlog.{what}(...)"'
        )
    return running


def sleeping_time(duration: Duration) -> float:
    """Give the seconds of a durable sleep."""
    return microseconds(duration, what="the duration of sleep") / SECOND


def time_until(when: datetime, execution: Execution) -> float:
    """Give the seconds until a moment, by the time of the log; 0 if it has passed."""
    due_at = from_datetime(when, what="the moment of sleep_until")
    return max(0, due_at - execution.loop.log_time) / SECOND


def now() -> datetime:
    """Give the time of the log, in UTC: that of the fact being delivered, the same in every replay."""
    return as_datetime(_execution("now").loop.log_time)


def random() -> Random:
    """Give a generator of chance that draws the same in every replay; each branch has its own."""
    execution = _execution("random")
    return execution.random_of(execution.loop.branch())


def uuid4() -> uuid.UUID:
    """Give a random UUID that is the same in every replay."""
    execution = _execution("uuid4")
    return uuid.UUID(int=execution.random_of(execution.loop.branch()).getrandbits(128), version=4)


def patched(name: str, /, *, retired: bool = False) -> bool:
    """Tell whether the workflow goes the new way of a change of its code: `if patched("name"): new() else: old()`.

    It does where it comes to this for the first time, which is recorded; it goes the old way where it was beyond this
    before the code was changed. All calls of a name give a workflow the same answer, until it continues as new. With
    `retired` the code has the new way only, and the answer is always True: a workflow that would need the old one
    is stuck, and says so. `everlog check` tells when no open workflow does, and later when the call may go.
    Raises `WrongContext` outside of workflow code.
    """
    execution = _execution("patched")
    return execution.patches.ask(execution, check_name(name, "the name of a patch"), retired=retired)


@contextmanager
def scope(name: str, /) -> Generator[None]:
    """Open a named branch: what is called inside is named under it, whatever comes before or after."""
    execution = _execution("scope")
    task = asyncio.current_task(execution.loop) if active.strand is None else active.strand.task
    if not isinstance(task, WorkflowTask):
        raise WrongContext("everlog.scope works in a task of a workflow, not in a callback")
    outer = task.branch
    task.branch = outer.child(outer.draw(check_name(name, "the name of a scope")))
    try:
        yield
    finally:
        task.branch = outer


def continue_as_new(fn: Definition[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> NoReturn:
    """Go on as `fn`, called anew: with the same id, and a history that begins again, so that it never grows too long.

    The workflow is the same: its id, inbox, values, streams, children that were started, parent and deadline stay;
    messages that were not received will be. Its result is what `fn` returns. It never returns: it raises through the
    code, so `finally` blocks run, and what is open then is cancelled, as at the end. It is called by the workflow's own
    function. Raises `WrongContext` in a task or branch, and in a block of compensations.
    """
    execution = _execution("continue_as_new")
    raise continuing.continuing(execution, calling.startable_of(fn), args, kwargs)


def compensations() -> Compensations:
    """Open a block whose parts are undone, the last first, if it raises or is cancelled: `undo.add(refund, payment)`.

        async with everlog.compensations() as undo:
            payment = await charge(order)
            undo.add(refund, payment)

    What was added are steps and workflows, recorded as all are: after a crash the rest of them run. No cancellation
    reaches them. One that fails does not hold up the others; it is logged, and noted in the exception, which goes on.
    """
    return Compensations(_awaiting("compensations"))


def current() -> Current:
    """Tell about the running workflow or step; `WrongContext` elsewhere."""
    running = attempt.get()
    if active.execution is None and running is not None:
        return Current(None, running)
    return Current(_execution("current"), None)


@overload
def connection() -> Any: ...
@overload
def connection(*, type: TypeForm[T]) -> T: ...
def connection(*, type: Any = ANY) -> Any:
    """Give the connection, or session, of the transaction in which the body of a step with `transaction=` runs.

    What is executed on it commits together with the step's result, or not at all; leave the commit to the engine. With
    a `type` checkers know what it is, and another is `UsageError`. Raises `WrongContext` elsewhere.
    """
    given = transaction.get()
    if given is None:
        raise WrongContext(
            "everlog.connection() is for the body of a step that has transaction=, while a workflow runs it; in a plain"
            " call of the function there is none"
        )
    if type is not ANY and not isinstance(given, type):
        raise UsageError(f"the transaction of this step is on {given!r}, and a {type!r} was asked for")
    return given


_IN_A_STEP: Final = {
    "send": "sent",
    "ask": "asked",
    "start": "started",
    "handle": "asked",
    "enqueue": "started",
}
_FORMS: Final = {
    "recv": 'take what is wanted as an argument, or wait for a result by "await handle.result()"',
    "send": 'write "await engine.send(id, topic, message)"',
    "ask": 'write "await engine.ask(id, topic, message, timeout=...)"',
    "set_value": "keep it where you like; values belong to workflows",
    "emit": "keep the items where you like; streams belong to workflows",
    "close_stream": "leave it to the workflow: its end closes its streams",
    "call": "call the step itself, which is a plain call here, or start a workflow by an engine",
    "start": 'write "await engine.start(fn, ...)"',
    "enqueue": 'write "await engine.queue(queue).enqueue(fn, ...)"',
    "handle": 'write "engine.handle(id, fn)"',
    "sleep": 'write "await asyncio.sleep(seconds)"',
    "sleep_until": 'write "await asyncio.sleep(seconds)"',
    "now": 'write "datetime.now(UTC)"',
    "random": 'write "random.Random()"',
    "uuid4": 'write "uuid.uuid4()"',
    "patched": "write what is to be done now: only workflows may have begun with other code",
    "scope": "leave it out: it names the calls of a workflow, and there are none",
    "compensations": "use contextlib.AsyncExitStack",
    "continue_as_new": "return; a workflow alone has a history that could begin again",
    "current": "there is nothing that it could tell about",
}


def _awaiting(what: str) -> Execution:
    execution = _execution(what)
    if active.strand is not None and what == "enqueue":
        raise WrongContext(
            "queue.enqueue gives something to await, which blocking code cannot: write "
            "sync.start(fn.options(queue=queue), ...) here"
        )
    if active.strand is not None:
        raise WrongContext(
            f"everlog.{what} gives something to await, which blocking code cannot: write sync.{what}(...) here, "
            "after: from everlog import sync"
        )
    return execution


def _execution(what: str) -> Execution:
    execution = active.execution
    if execution is None:
        running = attempt.get()
        where = "this is none" if running is None else f"this is a step ({running.step})"
        form = _FORMS[what]
        if running is not None and what in _IN_A_STEP:
            form = f"make the step an async def, where it works too, or return what is to be {_IN_A_STEP[what]}"
        places = "a workflow or a step" if what == "current" else "a workflow"
        called = "queue.enqueue" if what == "enqueue" else f"everlog.{what}"
        raise WrongContext(f"{called} works in {places}, and {where}; here {form}")
    return execution


def _enqueue(queue: Queue, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Do what `Queue.enqueue` does."""
    definition: Any = calling.startable_of(fn)
    placed, starter = definition.options(queue=queue), _starter_of_step()
    if starter is not None:
        return starter.start(placed, *args, **kwargs)
    return starting.start(_awaiting("enqueue"), placed, args, kwargs)


enqueuing.start = _enqueue

"""Blocking engine, client, handle and listing: each method has the async one run on a loop aside, and waits for it."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from threading import Event, current_thread, main_thread
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, ParamSpec, Self, TypeVar, Unpack, final, overload

from everlog.core.attributes import GivenAttributes
from everlog.core.codec import ANY, Codec
from everlog.core.durations import Duration
from everlog.core.schedules import Schedule
from everlog.errors import UsageError, WrongContext
from everlog.host import Host, SystemHost
from everlog.replay import starting
from everlog.replay.asking import NO_DEFAULT
from everlog.replay.context import active
from everlog.replay.definitions import AnyWorkflow, Definition
from everlog.replay.queues import Queue
from everlog.replay.strands import Strand
from everlog.runtime import client, engine, handles, inner, listing, queue_handles, schedules, streams
from everlog.runtime.backends import Durability
from everlog.runtime.finding import WorkflowCounts, WorkflowFilters
from everlog.runtime.portal import Portal, refuse_where_nobody_may_block
from everlog.runtime.queue_handles import QueueChanges, QueueCounts, QueueStatus
from everlog.runtime.schedules import ScheduleStatus
from everlog.runtime.status import HistoryEvent, WorkflowStatus
from everlog.runtime.streams import StreamItem, StreamReset
from everlog.runtime.waits import Wait
from everlog.store import Store

if TYPE_CHECKING:
    from typing_extensions import TypeForm

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
D = TypeVar("D")


class Client:
    """A connection to a store for blocking code: `with sync.Client(url) as client`. See `everlog.Client`.

    It may be used from several threads at once; not from workflow code, and not from a thread whose event loop it
    would stall. Ctrl-C interrupts what waits.
    """

    def __init__(
        self,
        url: str | Store,
        /,
        *,
        codec: Codec | None = None,
        durability: Durability = "full",
        host: Host | None = None,
    ) -> None:
        self._take(client.Client(url, codec=codec, durability=durability, host=host))

    def _take(self, wrapped: client.Client) -> None:
        self._client = wrapped
        self._portal = Portal(wrapped.host)

    def __enter__(self) -> Self:
        self._portal.open()
        try:
            self._portal.call(self._client.__aenter__)
        except BaseException:
            self._portal.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._portal.call(lambda: self._client.__aexit__(kind, error, trace))
        finally:
            self._portal.close()

    def start(self, fn: Definition[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Handle[T]:
        """Start a workflow and give its handle. When this returns, the start is durable.

        With an id (`fn.options(id=...)`) it starts once: the same id, function and input give the same workflow;
        another function or input is `IdInUse`. Raises `NotEncodable` for an input that cannot be recorded.
        """
        return Handle(self._portal, self._portal.call(lambda: self._client.start(fn, *args, **kwargs)))

    def run(self, fn: Definition[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Start a workflow and wait for its result; see `start` and `Handle.result`."""
        return self._portal.call(lambda: self._client.run(fn, *args, **kwargs))

    @overload
    def handle(self, id: str, /) -> Handle[Any]: ...
    @overload
    def handle(self, id: str, fn: Definition[..., T], /) -> Handle[T]: ...
    def handle(self, id: str, fn: Definition[..., Any] | None = None, /) -> Handle[Any]:
        """Give the handle of a workflow by its id; with `fn`, its result is of that workflow's type."""
        return Handle(self._portal, self._client.handle(id) if fn is None else self._client.handle(id, fn))

    def send(self, to: str, topic: str, message: object, /, *, key: str | None = None) -> None:
        """Send a message to a workflow; when this returns, it is in its inbox, and will be received once.

        With a `key`, messages of the same key to the same workflow are one, also when sent again later.
        Raises `NotFound` where there is no such workflow, or it has ended.
        """
        self._portal.call(lambda: self._client.send(to, topic, message, key=key))

    @overload
    def ask(self, to: str, topic: str, message: object, /, *, timeout: Duration, key: str | None = None) -> Any: ...
    @overload
    def ask(
        self, to: str, topic: str, message: object, /, *, type: TypeForm[T], timeout: Duration, key: str | None = None
    ) -> T: ...
    def ask(
        self, to: str, topic: str, message: object, /, *, type: Any = ANY, timeout: Duration, key: str | None = None
    ) -> Any:
        """Ask a workflow, which takes it by `recv(topic, type=Request[...])`, and give its answer, of this type.

        Raises `AskRefused` where it refuses, or ends without an answer; `TimeoutError` after `timeout`; `NotFound`
        where there is no such workflow, or it has ended. With a `key`, asks of the same key to the same workflow are
        one: it is taken once, and all have the same answer, also later.
        """
        return self._portal.call(lambda: self._client.ask(to, topic, message, type=type, timeout=timeout, key=key))

    def workflows(self, *, newest_first: bool = True, **filters: Unpack[WorkflowFilters]) -> Listing[WorkflowStatus]:
        """Give the workflows that fit all filters, in the order of their creation; see `WorkflowFilters`.

        Page after page is asked for: one that is created or deleted meanwhile moves no other from page to page.
        `UsageError` for a filter that there is not, or what can be none.
        """
        return Listing(self._portal, self._client.workflows(newest_first=newest_first, **filters))

    def counts(self, **filters: Unpack[WorkflowFilters]) -> WorkflowCounts:
        """Count the workflows that fit all filters, by name and state, in the database; see `WorkflowFilters`."""
        return self._portal.call(lambda: self._client.counts(**filters))

    def waits(self, *, topic: str | None = None, workflow_id: str | None = None) -> Listing[Wait]:
        """Give what workflows wait for that has a title (`recv(topic, title=...)`), the longest first.

        Of one topic or workflow where those are given.
        """
        return Listing(self._portal, self._client.waits(topic=topic, workflow_id=workflow_id))

    def answer(self, token: str, message: object, /) -> None:
        """Bring an answer to just the wait that the token names; when this returns, it is in the workflow's inbox.

        Each wait is answered once: `NotFound` where it was answered or is over. `UsageError` where the answer does not
        fit what is waited for, as far as that can be told here, or the token was changed.
        """
        self._portal.call(lambda: self._client.answer(token, message))

    def queue(self, queue: Queue | str, /) -> QueueHandle:
        """Give the handle of a queue, by its object or its name. It asks nothing."""
        return QueueHandle(self._portal, self._client.queue(queue))

    def queues(self) -> Listing[QueueHandle]:
        """Give the queues of this store, in order of their names."""
        listed = self._client.queues()

        async def page(mark: object) -> tuple[list[QueueHandle], object]:
            found, following = await listed.page(mark)
            return [QueueHandle(self._portal, queue) for queue in found], following

        return Listing(self._portal, listing.Listing(page))

    def cancel(self, *ids: str) -> list[str]:
        """Ask workflows to stop; give the ids of those that had not ended."""
        return self._portal.call(lambda: self._client.cancel(*ids))

    def pause(self, *ids: str) -> list[str]:
        """Pause workflows; give the ids of those that had not ended. See `Handle.pause`."""
        return self._portal.call(lambda: self._client.pause(*ids))

    def resume(self, *ids: str) -> list[str]:
        """Have paused workflows go on; give the ids of those that had not ended."""
        return self._portal.call(lambda: self._client.resume(*ids))

    def retry(self, *ids: str) -> list[str]:
        """Retry workflows; give the ids of those that had failed, were cancelled or stuck. See `Handle.retry`."""
        return self._portal.call(lambda: self._client.retry(*ids))

    def delete(self, *ids: str) -> list[str]:
        """Remove workflows that have ended, with their histories; give the ids of those that had."""
        return self._portal.call(lambda: self._client.delete(*ids))

    def create_schedule(
        self, name: str, schedule: Schedule, fn: Definition[P, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> ScheduleHandle:
        """Have a workflow started by a schedule, each time with these arguments, until it is deleted.

        A schedule of that name that is the same in all is left as it is; another one is `IdInUse`. The first tick is
        the first after now. The workflow of a tick has an id as `NAME@2026-03-29T01:30:00Z`.
        """
        made = self._portal.call(lambda: self._client.create_schedule(name, schedule, fn, *args, **kwargs))
        return ScheduleHandle(self._portal, made)

    def schedule(self, name: str, /) -> ScheduleHandle:
        """Give the handle of a schedule by its name; of one that is declared in code that of its workflow."""
        return ScheduleHandle(self._portal, self._client.schedule(name))

    def schedules(self) -> Listing[ScheduleStatus]:
        """Give all schedules, in order of their names."""
        return Listing(self._portal, self._client.schedules())


@final
class Engine(Client):
    """Runs workflows inside this process: `with sync.Engine("sqlite:///shop.db") as engine`. See `everlog.Engine`.

    Async steps run on an event loop in the background.
    """

    def __init__(
        self,
        url: str | Store,
        /,
        *,
        workflows: Iterable[AnyWorkflow[..., Any]] | None = None,
        queues: Iterable[Queue | str] | None = None,
        concurrency: int = 1000,
        step_threads: int = 64,
        lease: Duration = 10,
        grace: Duration = 30,
        codec: Codec | None = None,
        guards: Literal["off", "warn", "raise"] = "warn",
        durability: Durability = "full",
        host: Host | None = None,
    ) -> None:
        self._take(
            engine.Engine(
                url,
                workflows=workflows,
                queues=queues,
                concurrency=concurrency,
                step_threads=step_threads,
                lease=lease,
                grace=grace,
                codec=codec,
                guards=guards,
                durability=durability,
                host=host,
            )
        )

    def serve(self) -> None:
        """Run workflows until SIGTERM or SIGINT; leaving the block then drains. On the main thread only."""
        refuse_where_nobody_may_block()
        if current_thread() is not main_thread():
            raise UsageError("serve waits for signals, which only the main thread gets; wait there, or in another way")
        stopped = Event()

        def stop(number: int, frame: object) -> None:
            stopped.set()

        numbers = (signal.SIGTERM, signal.SIGINT)
        before = [signal.signal(number, stop) for number in numbers]
        try:
            stopped.wait()
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)


class Handle(Generic[T_co]):
    """One workflow. Making a handle asks nothing; each method says when there is no such workflow by `NotFound`."""

    def __init__(self, portal: Portal, handle: handles.Handle[T_co]) -> None:
        self._portal = portal
        self._handle = handle

    def __repr__(self) -> str:
        return repr(self._handle)

    @property
    def id(self) -> str:
        """The id of the workflow."""
        return self._handle.id

    def result(self, *, timeout: Duration | None = None) -> T_co:
        """Wait for the end and give what the workflow returned.

        Raises `WorkflowFailed` with the original as its cause, `WorkflowCancelled`, or `TimeoutError` when
        `timeout` is over: then the workflow goes on, and the waiter gave up.
        """
        return self._portal.call(lambda: self._handle.result(timeout=timeout))

    def status(self) -> WorkflowStatus:
        """Give where the workflow is, and why."""
        return self._portal.call(self._handle.status)

    def history(self, *, after: int = 0) -> Listing[HistoryEvent]:
        """Give the events with seq > `after`, in order."""
        return Listing(self._portal, self._handle.history(after=after))

    def send(self, topic: str, message: object, /, *, key: str | None = None) -> None:
        """Send the workflow a message; see `Client.send`."""
        self._portal.call(lambda: self._handle.send(topic, message, key=key))

    @overload
    def ask(self, topic: str, message: object, /, *, timeout: Duration, key: str | None = None) -> Any: ...
    @overload
    def ask(
        self, topic: str, message: object, /, *, type: TypeForm[T], timeout: Duration, key: str | None = None
    ) -> T: ...
    def ask(self, topic: str, message: object, /, *, type: Any = ANY, timeout: Duration, key: str | None = None) -> Any:
        """Ask the workflow and give its answer; see `Client.ask`."""
        return self._portal.call(lambda: self._handle.ask(topic, message, type=type, timeout=timeout, key=key))

    @overload
    def get_value(self, name: str, /, *, timeout: Duration | None = None) -> Any: ...
    @overload
    def get_value(self, name: str, /, *, timeout: Duration | None = None, default: object) -> Any: ...
    @overload
    def get_value(self, name: str, /, *, type: TypeForm[T], timeout: Duration | None = None) -> T: ...
    @overload
    def get_value(self, name: str, /, *, type: TypeForm[T], timeout: Duration | None = None, default: D) -> T | D: ...
    def get_value(
        self, name: str, /, *, type: Any = ANY, timeout: Duration | None = None, default: Any = NO_DEFAULT
    ) -> Any:
        """Give the last value that the workflow has set under this name; wait until it has set one.

        Where none comes in time (`timeout`: seconds or timedelta; 0 only looks), or the workflow ends without, gives
        `default`; where there is none, raises `TimeoutError`, or `NotFound` after the end. `type` is any type form.
        """
        get: Any = self._handle.get_value  # its overloads are those of this method
        return self._portal.call(lambda: get(name, type=type, timeout=timeout, default=default))

    def values(self) -> Mapping[str, Any]:
        """Give the last values of all names that the workflow has set, in order of the names."""
        return self._portal.call(self._handle.values)

    @overload
    def stream(self, name: str, /, *, start: int = 0) -> Stream[Any]: ...
    @overload
    def stream(self, name: str, /, *, type: TypeForm[T], start: int = 0) -> Stream[T]: ...
    def stream(self, name: str, /, *, type: Any = ANY, start: int = 0) -> Stream[Any]:
        """Give the items of a stream from the place `start` on, as an iterator; see `Stream`."""
        return Stream(self._portal, self._handle.stream(name, type=type, start=start))

    def cancel(self, *, reason: str = "") -> None:
        """Ask the workflow to stop: `CancelledError` is raised where it waits. Nothing happens if it has ended."""
        self._portal.call(lambda: self._handle.cancel(reason=reason))

    def terminate(self, *, reason: str = "") -> None:
        """End the workflow as it stands: its code gets no turn to clean up. Nothing happens if it has ended.

        Running async steps are cancelled. It also ends what is stuck, or has no code anywhere.
        """
        self._portal.call(lambda: self._handle.terminate(reason=reason))

    def pause(self) -> None:
        """Have nothing of the workflow begin or arrive until `resume`. Nothing happens if it has ended.

        Attempts that run go on to their ends, which are recorded. Messages and timers wait.
        """
        self._portal.call(self._handle.pause)

    def resume(self) -> None:
        """Take `pause` back: what has arrived and come due meanwhile is delivered now."""
        self._portal.call(self._handle.resume)

    def retry(self) -> None:
        """Have a workflow go on that failed, was cancelled, or is stuck. Nothing happens to any other.

        A failed one goes on before the failed step that it ended with, which has all its attempts anew; without one, at
        the last thing that was recorded, for code that was mended. A cancelled one goes on before the request that it
        did not survive. Where compensations have run, it goes on before their block. What was recorded up to there
        stays done; what came after stays in the history, and does not count.
        """
        self._portal.call(self._handle.retry)

    def update(
        self,
        *,
        attributes: GivenAttributes | None = None,
        priority: int | None = None,
        delay: Duration | None = None,
        queue: Queue | str | None = None,
    ) -> None:
        """Change the attributes of the workflow, and move it where it has not begun. When this returns, it is recorded.

        What is left out stays; all that is given is done, or nothing. Attributes are changed name by name; None takes
        one away. Who holds the workflow records that between two facts, so that its code sees it there in each replay.
        One that has not begun can be given another priority, another queue, or a time `delay` from now; one that failed
        or was cancelled, was retried and was not admitted since has not begun in this sense. Raises `UsageError` where
        the workflow has ended: it keeps the attributes that it had; and where it is to be moved and has begun.
        """
        self._portal.call(
            lambda: self._handle.update(attributes=attributes, priority=priority, delay=delay, queue=queue)
        )

    def delete(self) -> None:
        """Remove the workflow, with its history. Raises `UsageError` where it has not ended: end it first."""
        self._portal.call(self._handle.delete)


@final
class QueueHandle:
    """One queue. Making a handle asks nothing; each method says when there is no such queue by `NotFound`.

    A queue that is given as an object is declared by the first of them.
    """

    def __init__(self, portal: Portal, handle: queue_handles.QueueHandle) -> None:
        self._portal = portal
        self._handle = handle

    def __repr__(self) -> str:
        return repr(self._handle)

    @property
    def name(self) -> str:
        """The name of the queue."""
        return self._handle.name

    def enqueue(self, fn: Definition[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Handle[T]:
        """Put a workflow into this queue, and give its handle; the same as `start(fn.options(queue=...), ...)`."""
        return Handle(self._portal, self._portal.call(lambda: self._handle.enqueue(fn, *args, **kwargs)))

    def pause(self) -> None:
        """Have nothing of the queue admitted, and no slot of it taken by a step, until `resume`. What was goes on."""
        self._portal.call(self._handle.pause)

    def resume(self) -> None:
        """Take `pause` back."""
        self._portal.call(self._handle.resume)

    def update(self, **limits: Unpack[QueueChanges]) -> None:
        """Change limits of the queue, for all workers and until its code declares others; what was admitted goes on."""
        self._portal.call(lambda: self._handle.update(**limits))

    def delete(self) -> None:
        """Remove the queue. Raises `UsageError` while a workflow has a place in it, or a step one of its slots."""
        self._portal.call(self._handle.delete)

    def counts(self) -> QueueCounts:
        """Count what is in the queue."""
        return self._portal.call(self._handle.counts)

    def status(self) -> QueueStatus:
        """Give the limits of the queue as they are now, and whether it is paused."""
        return self._portal.call(self._handle.status)


_NEVER_OPEN: Final = Portal(SystemHost())
"""Refuses what is asked of it: in workflow code as that is to be, elsewhere since it is not open."""


@final
class InnerHandle(Handle[T_co]):
    """The handle of a workflow in the blocking code of another. It belongs to the workflow that made it."""

    def __init__(self, handle: inner.InnerHandle[T_co]) -> None:
        super().__init__(_NEVER_OPEN, handle)
        self._inner = handle

    def result(self, *, timeout: Duration | None = None) -> T_co:
        """Wait for the end and give what the workflow returned; durable, the timeout as well. See `Handle.result`.

        Who is cancelled while waiting here cancels nothing else.
        """
        return self._strand("result").ask(self._inner.result(timeout=timeout))

    def status(self) -> WorkflowStatus:
        """Give where the workflow is, and why: as it was when that was first asked for."""
        return self._strand("status").ask(self._inner.status())

    def send(self, topic: str, message: object, /, *, key: str | None = None) -> None:
        """Send the workflow a message; see `sync.send`."""
        self._strand("send").ask(self._inner.send(topic, message, key=key))

    @overload
    def ask(self, topic: str, message: object, /, *, timeout: Duration, key: str | None = None) -> Any: ...
    @overload
    def ask(
        self, topic: str, message: object, /, *, type: TypeForm[T], timeout: Duration, key: str | None = None
    ) -> T: ...
    def ask(self, topic: str, message: object, /, *, type: Any = ANY, timeout: Duration, key: str | None = None) -> Any:
        """Ask the workflow and give its answer; see `sync.ask`."""
        return self._strand("ask").ask(self._inner.ask(topic, message, type=type, timeout=timeout, key=key))

    def cancel(self, *, reason: str = "") -> None:
        """Ask the workflow to stop; when this returns, it is asked. Nothing happens if it has ended."""
        self._strand("cancel").ask(self._inner.cancel(reason=reason))

    def _strand(self, name: str) -> Strand:
        strand = active.strand
        if strand is None:
            raise WrongContext(
                f"{name}() of this handle of {self.id!r} blocks, and works in the def workflow that made it; elsewhere "
                "pass on the id, and make a handle of it there"
            )
        return strand


@final
class ScheduleHandle:
    """One schedule. Making a handle asks nothing; each method says when there is no such schedule by `NotFound`."""

    def __init__(self, portal: Portal, handle: schedules.ScheduleHandle) -> None:
        self._portal = portal
        self._handle = handle

    def __repr__(self) -> str:
        return repr(self._handle)

    @property
    def name(self) -> str:
        """The name of the schedule."""
        return self._handle.name

    def status(self) -> ScheduleStatus:
        """Give where the schedule is, and why."""
        return self._portal.call(self._handle.status)

    def upcoming(self, count: int = 5) -> list[datetime]:
        """Give the next ticks as planned, in the time zone of the schedule; none while it is paused."""
        return self._portal.call(lambda: self._handle.upcoming(count))

    def pause(self) -> None:
        """Have it tick no more until `resume`. What it has started goes on."""
        self._portal.call(self._handle.pause)

    def resume(self) -> None:
        """Take `pause` back. The ticks of the meantime are not made up for; `backfill` makes them."""
        self._portal.call(self._handle.resume)

    def update(self, schedule: Schedule, /) -> None:
        """Have it tick by another schedule from now on; a pause stays.

        What is declared in code ticks as the code says again when the declaration has changed.
        """
        self._portal.call(lambda: self._handle.update(schedule))

    def trigger(self) -> Handle[Any]:
        """Start its workflow now, whether it is paused or not, and give the handle. Its plan stays as it is."""
        return Handle(self._portal, self._portal.call(self._handle.trigger))

    def backfill(self, start: datetime, end: datetime, /) -> list[Handle[Any]]:
        """Make the ticks from `start` to before `end` that were not made, and give the handles of all of them.

        Both lie in the past. A workflow of each tick is there when this returns; where it raises, some may be, and a
        repetition makes the rest. Raises `UsageError` for more than 10,000 ticks: then make them in parts.
        """
        made = self._portal.call(lambda: self._handle.backfill(start, end))
        return [Handle(self._portal, one) for one in made]

    def delete(self) -> None:
        """Remove the schedule; what it has started goes on.

        One that is declared in code is there again when an engine starts that has the code: take it out there, or
        `pause` it.
        """
        self._portal.call(self._handle.delete)


@final
class Listing(Generic[T_co]):
    """Many of one kind, read page by page: `for one in listing`, or `list(listing)`. Each reading asks anew."""

    def __init__(self, portal: Portal, listed: listing.Listing[T_co]) -> None:
        self._portal = portal
        self._listed = listed

    def __iter__(self) -> Iterator[T_co]:
        mark: object = None
        while True:
            items, mark = self._page(mark)
            yield from items
            if mark is None:
                return

    def _page(self, mark: object) -> tuple[Sequence[T_co], object]:
        return self._portal.call(lambda: self._listed.page(mark))


@final
class Stream(Generic[T_co]):
    """The items of a stream as they come: `for item in stream`, or with all that is known of them, `items()`.

    It ends when the stream is closed or its workflow has ended. `offset` is the place of what comes next: given as
    `start`, in this process or any other, reading goes on there, with no gap and no repeat.
    """

    def __init__(self, portal: Portal, stream: streams.Stream[T_co]) -> None:
        self._portal = portal
        self._stream = stream

    def __repr__(self) -> str:
        return repr(self._stream)

    @property
    def offset(self) -> int:
        """The place of what comes next."""
        return self._stream.offset

    def __iter__(self) -> Iterator[T_co]:
        for item in self.items():
            if isinstance(item, StreamItem):
                yield item.value

    def items(self) -> Iterator[StreamItem[T_co] | StreamReset]:
        """Give the items with their places and who emitted them, and the resets of steps that began again."""
        while (page := self._portal.call(self._stream.page)) is not None:
            for item in page:
                self._stream.offset = item.offset + 1
                yield item


starting.strangers.blocking_handle = InnerHandle

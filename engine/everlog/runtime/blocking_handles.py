"""Blocking handles, listings and streams: each method has the async one run on a loop aside, and waits for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeVar, Unpack, final, overload

from everlog.core.attributes import GivenAttributes
from everlog.core.codec import ANY
from everlog.core.durations import Duration
from everlog.core.event_forks import KeptMessages, OpenChildren, Replacements
from everlog.core.schedules import Schedule
from everlog.errors import WrongContext
from everlog.host import SystemHost
from everlog.replay import starting
from everlog.replay.asking import NO_DEFAULT
from everlog.replay.context import active
from everlog.replay.definition import Definition
from everlog.replay.queues import Queue
from everlog.replay.strands import Strand
from everlog.runtime import handles, inner, listing, queue_handles, schedules, streams
from everlog.runtime.fork_previews import ForkPreview
from everlog.runtime.portal import Portal
from everlog.runtime.queue_handles import QueueChanges, QueueCounts, QueueStatus
from everlog.runtime.schedules import ScheduleStatus
from everlog.runtime.status import HistoryEvent, WorkflowStatus
from everlog.runtime.streams import StreamItem, StreamReset

if TYPE_CHECKING:
    from typing_extensions import TypeForm

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
D = TypeVar("D")


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

    def retry(self, *, version: str | None = None) -> None:
        """Have a workflow go on that failed, was cancelled, or is stuck. Nothing happens to any other.

        A failed one goes on before the failed step that it ended with, which has all its attempts anew; without one, at
        the last thing that was recorded, for code that was mended. A cancelled one goes on before the request that it
        did not survive. Where compensations have run, it goes on before their block. What was recorded up to there
        stays done; what came after stays in the history, and does not count.

        With a `version` it goes on with that version of its code, and with no other; so does one that waits for a
        worker with a version that none has. Raises `UsageError` where it is held by a worker, paused or completed.
        """
        self._portal.call(lambda: self._handle.retry(version=version))

    def fork(
        self,
        *,
        at: int | str | None = None,
        replace: Replacements | None = None,
        messages: KeptMessages = "keep",
        children: OpenChildren = "rerun",
        version: str | None = None,
        id: str | None = None,
    ) -> Handle[T_co]:
        """Make a new workflow of the first part of this one's history, and give its handle. This one is not changed.

        `at` is the seq of the last event that the fork has, or an operation (`charge`, `charge#2`, a key), before whose
        outcome it is cut, or `"failure"`: where a retry would go on; without it the fork has all but the end. What is
        open there begins again. `replace` gives other outcomes, by operation or by the seq of the event: results or
        exceptions of steps and children, messages; and of `"input"` other arguments by name. What followed from what is
        replaced is done again, and what did not depend on it is kept; where the code is not known here, all that
        follows is done again.

        `messages="drop"`: the fork has none of those that were received later or are unread. `children="keep"`: it
        waits for the children that are open there, instead of starting its own. The same `id` with the same arguments
        is the same fork, otherwise `IdInUse`. Raises `UsageError` for what is not there, or cannot be replaced.

        With a `version` that version of the code runs it, and no other. Where it is here, what does not fit it is done
        again. `preview_fork` tells before what that is.
        """
        made = self._portal.call(
            lambda: self._handle.fork(
                at=at, replace=replace, messages=messages, children=children, version=version, id=id
            )
        )
        return Handle(self._portal, made)

    def preview_fork(
        self,
        *,
        at: int | str | None = None,
        replace: Replacements | None = None,
        messages: KeptMessages = "keep",
        children: OpenChildren = "rerun",
        version: str | None = None,
    ) -> ForkPreview:
        """Tell what `fork` with these arguments would keep and do again; nothing is made. It raises what that would."""
        return self._portal.call(
            lambda: self._handle.preview_fork(
                at=at, replace=replace, messages=messages, children=children, version=version
            )
        )

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
        """Remove the workflow, with its history. Raises `UsageError` where it has not ended, or is held."""
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

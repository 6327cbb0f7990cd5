"""Handles: one workflow, as a client sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from everlog.core import events
from everlog.core.attributes import GivenAttributes, checked
from everlog.core.codec import ANY
from everlog.core.durations import SECOND, Duration, microseconds
from everlog.core.event_forks import KeptMessages, OpenChildren, Replacements
from everlog.core.events import EndEvent
from everlog.core.failures import opened, rebuild
from everlog.core.redacting import redaction_of
from everlog.errors import EverlogError, NotFound, UsageError, WorkflowCancelled, WorkflowFailed
from everlog.replay.asking import NO_DEFAULT
from everlog.replay.queues import Queue
from everlog.runtime.fork_previews import ForkPreview
from everlog.runtime.forking import fork, preview_fork
from everlog.runtime.listing import Listing
from everlog.runtime.opening import opened_rows
from everlog.runtime.outside import outside
from everlog.runtime.reading import open_stream, read_value, read_values
from everlog.runtime.status import HistoryEvent, WorkflowStatus, full_status, history_event
from everlog.runtime.streams import Stream

if TYPE_CHECKING:
    from typing_extensions import TypeForm

    from everlog.runtime.client import Client

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
D = TypeVar("D")
PAGE = 1000


class Handle(Generic[T_co]):
    """One workflow. Making a handle asks nothing; each method says when there is no such workflow by `NotFound`."""

    def __init__(self, client: Client, workflow_id: str, result_type: object = ANY) -> None:
        self._client = client
        self._id = workflow_id
        self._result_type = result_type

    def __repr__(self) -> str:
        return f"<Handle {self._id!r}>"

    @property
    def id(self) -> str:
        """The id of the workflow."""
        return self._id

    @outside
    async def result(self, *, timeout: Duration | None = None) -> T_co:
        """Wait for the end and give what the workflow returned.

        Raises `WorkflowFailed` with the original as its cause, `WorkflowCancelled`, or `TimeoutError` when
        `timeout` is over: then the workflow goes on, and the waiter gave up.
        """
        limit = None if timeout is None else microseconds(timeout, what="timeout of result") / SECOND
        try:
            async with asyncio.timeout(limit):
                end = await self._client.wait_for_end(self._id)
        except TimeoutError:
            raise TimeoutError(
                f"workflow {self._id!r} has not ended within {limit:g} s, and goes on; status() says where it is"
            ) from None
        result: T_co = self._outcome(end)
        return result

    @outside
    async def status(self) -> WorkflowStatus:
        """Give where the workflow is, and why."""

        def read() -> WorkflowStatus:
            store = self._client.store
            (head,) = store.heads([self._id])
            if head is None:
                raise NotFound(f"there is no workflow {self._id!r} in this store")
            return full_status(store, head)

        return await self._client.on_thread(read)

    @outside
    def history(self, *, after: int = 0) -> Listing[HistoryEvent]:
        """Give the events with seq > `after`, in order."""

        async def page(mark: object) -> tuple[list[HistoryEvent], object]:
            start = mark if isinstance(mark, int) else after
            rows = await self._client.on_thread(partial(self._client.store.read, self._id, after=start, limit=PAGE))
            if not rows and mark is None:
                await self._must_exist()
            return [history_event(row) for row in opened_rows(rows, self._client.codec)], rows[-1].seq if len(
                rows
            ) == PAGE else None

        return Listing(page)

    @outside
    async def send(self, topic: str, message: object, /, *, key: str | None = None) -> None:
        """Send the workflow a message; see `Client.send`."""
        await self._client.send(self._id, topic, message, key=key)

    @overload
    async def ask(self, topic: str, message: object, /, *, timeout: Duration, key: str | None = None) -> Any: ...
    @overload
    async def ask(
        self, topic: str, message: object, /, *, type: TypeForm[T], timeout: Duration, key: str | None = None
    ) -> T: ...
    @outside
    async def ask(
        self, topic: str, message: object, /, *, type: Any = ANY, timeout: Duration, key: str | None = None
    ) -> Any:
        """Ask the workflow and give its answer; see `Client.ask`."""
        return await self._client.ask(self._id, topic, message, type=type, timeout=timeout, key=key)

    @overload
    async def get_value(self, name: str, /, *, timeout: Duration | None = None) -> Any: ...
    @overload
    async def get_value(self, name: str, /, *, timeout: Duration | None = None, default: object) -> Any: ...
    @overload
    async def get_value(self, name: str, /, *, type: TypeForm[T], timeout: Duration | None = None) -> T: ...
    @overload
    async def get_value(
        self, name: str, /, *, type: TypeForm[T], timeout: Duration | None = None, default: D
    ) -> T | D: ...
    @outside
    async def get_value(
        self, name: str, /, *, type: Any = ANY, timeout: Duration | None = None, default: Any = NO_DEFAULT
    ) -> Any:
        """Give the last value that the workflow has set under this name; wait until it has set one.

        Where none comes in time (`timeout`: seconds or timedelta; 0 only looks), or the workflow ends without, gives
        `default`; where there is none, raises `TimeoutError`, or `NotFound` after the end. `type` is any type form.
        """
        return await read_value(self._client, self._id, name, type, timeout, default)

    @outside
    async def values(self) -> Mapping[str, Any]:
        """Give the last values of all names that the workflow has set, in order of the names."""
        return await read_values(self._client, self._id)

    @overload
    def stream(self, name: str, /, *, start: int = 0) -> Stream[Any]: ...
    @overload
    def stream(self, name: str, /, *, type: TypeForm[T], start: int = 0) -> Stream[T]: ...
    @outside
    def stream(self, name: str, /, *, type: Any = ANY, start: int = 0) -> Stream[Any]:
        """Give the items of a stream from the place `start` on, as an async iterator; see `Stream`."""
        return open_stream(self._client, self._id, name, type, start)

    @outside
    async def cancel(self, *, reason: str = "") -> None:
        """Ask the workflow to stop: `CancelledError` is raised where it waits. Nothing happens if it has ended."""
        await self._client.controls.cancel(self._id, reason)

    @outside
    async def terminate(self, *, reason: str = "") -> None:
        """End the workflow as it stands: its code gets no turn to clean up. Nothing happens if it has ended.

        Running async steps are cancelled. It also ends what is stuck, or has no code anywhere.
        """
        await self._client.controls.terminate(self._id, reason)

    @outside
    async def pause(self) -> None:
        """Have nothing of the workflow begin or arrive until `resume`. Nothing happens if it has ended.

        Attempts that run go on to their ends, which are recorded. Messages and timers wait.
        """
        await self._client.controls.pause(self._id)

    @outside
    async def resume(self) -> None:
        """Take `pause` back: what has arrived and come due meanwhile is delivered now."""
        await self._client.controls.resume(self._id)

    @outside
    async def retry(self, *, version: str | None = None) -> None:
        """Have a workflow go on that failed, was cancelled, or is stuck. Nothing happens to any other.

        A failed one goes on before the failed step that it ended with, which has all its attempts anew; without one, at
        the last thing that was recorded, for code that was mended. A cancelled one goes on before the request that it
        did not survive. Where compensations have run, it goes on before their block. What was recorded up to there
        stays done; what came after stays in the history, and does not count.

        With a `version` it goes on with that version of its code, and with no other; so does one that waits for a
        worker with a version that none has. Raises `UsageError` where it is held by a worker, paused or completed.
        """
        if not await self._client.controls.retry(self._id, version) and version is not None:
            raise UsageError(
                f"workflow {self._id!r} has no other version now: a worker holds it, or it is paused or completed; "
                "resume() undoes a pause, and what runs can be forked with version="
            )

    @outside
    async def fork(
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
        made = await fork(
            self._client,
            self._id,
            at=at,
            replace=replace,
            messages=messages,
            children=children,
            version=version,
            workflow_id=id,
        )
        return Handle(self._client, made, self._result_type)

    @outside
    async def preview_fork(
        self,
        *,
        at: int | str | None = None,
        replace: Replacements | None = None,
        messages: KeptMessages = "keep",
        children: OpenChildren = "rerun",
        version: str | None = None,
    ) -> ForkPreview:
        """Tell what `fork` with these arguments would keep and do again; nothing is made. It raises what that would."""
        return await preview_fork(
            self._client, self._id, at=at, replace=replace, messages=messages, children=children, version=version
        )

    @outside
    async def update(
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
        change = None if attributes is None else checked(attributes, what=f"attributes of workflow {self._id!r}")
        await self._client.controls.update(self._id, change, priority=priority, delay=delay, queue=queue)

    @outside
    async def delete(self) -> None:
        """Remove the workflow, with its history. Raises `UsageError` where it has not ended, or is held."""
        if not await self._client.controls.delete(self._id):
            raise UsageError(
                f"workflow {self._id!r} has not ended, or is held, so it is kept; cancel or terminate it first, or"
                " release it"
            )

    async def _must_exist(self) -> None:
        (head,) = await self._client.on_thread(partial(self._client.store.heads, [self._id]))
        if head is None:
            raise NotFound(f"there is no workflow {self._id!r} in this store")

    def _outcome(self, end: EndEvent | EverlogError) -> Any:
        codec = self._client.codec
        if isinstance(end, EndEvent) and end.redacted is not None and isinstance(end, events.WorkflowCompleted):
            raise NotFound(f"the result of workflow {self._id!r} is gone: it was {redaction_of(end)}")
        match end:
            case events.WorkflowCompleted():
                return codec.decode(bytes(end.result), self._result_type, what=f"result of workflow {self._id!r}")
            case events.WorkflowCancelled():
                how = "terminated" if end.terminated else "cancelled"
                message = f"workflow {self._id!r} was {how}" + (end.reason and f": {end.reason}")
                raise WorkflowCancelled(message, workflow_id=self._id, reason=end.reason)
            case events.WorkflowFailed():
                failed, name = opened(end.error, codec), end.error.type.rpartition(":")[2]
                raise WorkflowFailed(
                    f"workflow {self._id!r} failed: {name}: {failed.message}", workflow_id=self._id, error=failed
                ) from rebuild(failed, codec, may_import=self._client.may_import)
            case EverlogError():
                raise end

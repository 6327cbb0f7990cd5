"""Blocking engine and client: each method has the async one run on a loop aside, and waits for it."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from os import PathLike
from threading import Event, current_thread, main_thread
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Self, TypeVar, Unpack, final, overload

from everlog.core.codec import ANY, Codec
from everlog.core.durations import Duration
from everlog.core.keeping import Retention
from everlog.core.schedules import Schedule
from everlog.errors import UsageError
from everlog.host import Host
from everlog.replay.definition import Definition
from everlog.replay.queues import Queue
from everlog.runtime import client, engine, listing
from everlog.runtime.backends import Durability
from everlog.runtime.blocking_handles import Handle, Listing, QueueHandle, ScheduleHandle
from everlog.runtime.blocking_outbox import Outbox
from everlog.runtime.finding import WorkflowCounts, WorkflowFilters
from everlog.runtime.metrics import Metrics
from everlog.runtime.observers import Observer
from everlog.runtime.outbox import open_outbox
from everlog.runtime.portal import Portal, refuse_where_nobody_may_block
from everlog.runtime.retaining import Hold, Pruned
from everlog.runtime.schedules import ScheduleStatus
from everlog.runtime.status import WorkflowStatus
from everlog.runtime.waits import Wait
from everlog.store import Store

if TYPE_CHECKING:
    from typing_extensions import TypeForm

P = ParamSpec("P")
T = TypeVar("T")


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

    def using(self, connection: object, /) -> Outbox:
        """Give what starts, sends and enqueues within the transaction that is open on a connection of yours.

        What is done so is there if and only if you commit; see `Outbox`. The connection is a blocking one of the
        database's driver (`sqlite3.Connection`, `psycopg.Connection`), or an object that has such a one, as a session
        of SQLAlchemy, to the same database. It is used where you call, never by another thread, and left open.
        `UsageError` where it is no such connection, or this store has none (one in memory, or distributed).
        """
        return Outbox(self._portal, open_outbox(self._client, connection, blocking=True))

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

    def metrics(self) -> Metrics:
        """Give numbers: what this engine has done since it was opened, and what is in the database now.

        The database is asked by a connection and a thread of its own, where it was opened by a URL. `UsageError` where
        the store counts nothing.
        """
        return self._portal.call(self._client.metrics)

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

    def retry(self, *ids: str, version: str | None = None) -> list[str]:
        """Retry workflows; give the ids of those that had failed, were cancelled or stuck. See `Handle.retry`.

        With a `version` also those that nobody holds: they wait for another one, perhaps.
        """
        return self._portal.call(lambda: self._client.retry(*ids, version=version))

    def delete(self, *ids: str) -> list[str]:
        """Remove workflows that have ended, with their histories; give the ids of those that had."""
        return self._portal.call(lambda: self._client.delete(*ids))

    def hold(self, *ids: str, reason: str = "") -> list[str]:
        """Keep workflows from being removed or redacted by anybody until `release`; give the ids of those that are now.

        Left out are ids of which there is no workflow, and those that are held already. One that has not ended goes on
        as before, and is kept when it has ended. By filters: `hold(*[one.id async for one in client.workflows(...)])`.
        """
        return self._portal.call(lambda: self._client.hold(*ids, reason=reason))

    def release(self, *ids: str, reason: str = "") -> list[str]:
        """Take holds back; give the ids of those that were held."""
        return self._portal.call(lambda: self._client.release(*ids, reason=reason))

    def holds(self) -> Listing[Hold]:
        """Give all holds, in order of the ids."""
        return Listing(self._portal, self._client.holds())

    def prune(
        self,
        *,
        older_than: Duration | None = None,
        keep_last: int | None = None,
        archive: str | PathLike[str] | None = None,
        dry_run: bool = False,
        batch: int = 100,
        **filters: Unpack[WorkflowFilters],
    ) -> Pruned:
        """Remove workflows that have ended, for good, with all that is kept of them.

        Those that ended longer ago than `older_than`, that are not among the last `keep_last` of their name, and that
        fit all filters. At least one of the two is given. Kept are those that are held, and those that others need; see
        `docs/retention.md`. With `archive`, each is in a file of that folder before it is removed. With `dry_run`
        nothing is written. It removes up to `batch` at once, and what it has removed stays so where it is stopped.
        Raises `UsageError` for what makes no sense, and where the archive cannot be written.
        """
        return self._portal.call(
            lambda: self._client.prune(
                older_than=older_than,
                keep_last=keep_last,
                archive=archive,
                dry_run=dry_run,
                batch=batch,
                **filters,
            )
        )

    def redact(self, id: str, /, *events: int, reason: str = "", keep_links: bool = True) -> int:
        """Take what users gave out of a workflow that has ended, for good, or out of these events of it, by their seqs.

        Gone are inputs, results, messages, values, streams, texts of errors, attributes; what happened and when stays.
        It cannot be replayed past such an event any more. Gives of how many events something was taken. Without
        `keep_links` no digest of what was taken is kept either; see `docs/retention.md`. Raises `NotFound` for what is
        not there, and `UsageError` where it has not ended, or is held.
        """
        return self._portal.call(lambda: self._client.redact(id, *events, reason=reason, keep_links=keep_links))

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
        workflows: Iterable[Definition[..., Any]] | None = None,
        queues: Iterable[Queue | str] | None = None,
        concurrency: int = 1000,
        step_threads: int = 64,
        lease: Duration = 10,
        grace: Duration = 30,
        codec: Codec | None = None,
        guards: Literal["off", "warn", "raise"] = "warn",
        durability: Durability = "full",
        retention: Duration | Retention | None = None,
        archive: str | PathLike[str] | None = None,
        observers: Iterable[Observer] = (),
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
                retention=retention,
                archive=archive,
                observers=observers,
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

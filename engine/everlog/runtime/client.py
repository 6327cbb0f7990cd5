"""The client: starts workflows, sends to them and looks at them. It runs none; `Engine` is a client that does."""

from __future__ import annotations

import platform
from copy import copy
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack, overload

import msgspec

from everlog.core import events
from everlog.core.attributes import AttributeValue
from everlog.core.codec import ANY, SELF, Codec
from everlog.core.durations import Duration
from everlog.core.events import EndEvent
from everlog.core.names import check_id, check_name, check_topic, time_ordered_id
from everlog.core.schedules import Schedule
from everlog.errors import EverlogError, NotFound, WrongContext
from everlog.host import Host
from everlog.replay.calling import startable_of
from everlog.replay.definition import Definition
from everlog.replay.definitions import AnyWorkflow
from everlog.replay.environment import Environment
from everlog.replay.instances import recorded_instance, startable
from everlog.replay.placing import check_placing, checked_queue
from everlog.replay.queues import Queue
from everlog.replay.registry import defining_packages
from everlog.replay.sizes import check_size
from everlog.replay.starting import check_passed
from everlog.runtime import retaining, schedules
from everlog.runtime.asking import ask
from everlog.runtime.backends import Durability
from everlog.runtime.committer import PendingPost
from everlog.runtime.connection import Connection, Resolve
from everlog.runtime.controls import Controls
from everlog.runtime.creations import Creations
from everlog.runtime.finding import WorkflowCounts, WorkflowFilters, countable, counts_in, query_of, shown_states
from everlog.runtime.finding import page as page_of
from everlog.runtime.handles import Handle
from everlog.runtime.listing import Listing
from everlog.runtime.measuring import metrics_of
from everlog.runtime.metrics import Metrics
from everlog.runtime.observers import Observers
from everlog.runtime.outbox import Outbox, open_outbox
from everlog.runtime.outside import outside
from everlog.runtime.queue_controls import QueueControls
from everlog.runtime.queue_handles import QueueHandle, queues_of
from everlog.runtime.residents import Resident
from everlog.runtime.retaining import Hold, Pruned
from everlog.runtime.schedules import ScheduleHandle, ScheduleStatus
from everlog.runtime.sentences import not_posted
from everlog.runtime.status import WorkflowStatus
from everlog.runtime.waits import Wait, answer, list_waits
from everlog.runtime.worker import Worker
from everlog.store import (
    NewMessage,
    PostOutcome,
    Store,
    Undeliverable,
    WorkflowQuery,
)

if TYPE_CHECKING:
    from typing_extensions import TypeForm

P = ParamSpec("P")
T = TypeVar("T")
PAGE = 100


class Client(Connection):
    """A connection to a store: `async with Client(url) as client`.

    `url` names the store (`sqlite:///shop.db`); an open `Store` is taken as it is, and left open at the end.
    `codec`: what makes payloads of values, the same for all who use the store. `durability`: "full" survives loss of
    power, "process" only the death of the process. `host` is for simulations.
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
        super().__init__(url, codec=codec, durability=durability, host=host)
        self._observers = Observers(())
        self.signing_key = ""  # of tokens of waits, once it was asked for
        self._give_parts()

    def _give_parts(self) -> None:
        """Make what acts in the name of this client."""
        self._sent = 0
        self.controls = Controls(self)
        self.queue_controls = QueueControls(self, self._open_shell_here)
        self._creations = Creations(self, self._asked, self._open_shell_here)

    # -- what users call ---------------------------------------------------------------------------------------------

    @outside
    async def start(self, fn: Definition[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Handle[T]:
        """Start a workflow and give its handle. When this returns, the start is durable.

        With an id (`fn.options(id=...)`) it starts once: the same id, function and input give the same workflow;
        another function or input is `IdInUse`. Raises `NotEncodable` for an input that cannot be recorded.
        """
        workflow_id, created, definition = self.start_of(fn, args, kwargs)
        workflow_id = await self._creations.create(workflow_id, created, definition)
        return Handle(self, workflow_id, definition.signature.result_type)

    @outside
    def using(self, connection: object, /) -> Outbox:
        """Give what starts, sends and enqueues within the transaction that is open on a connection of yours.

        What is done so is there if and only if you commit; see `Outbox`. The connection is one of the database's driver
        (`sqlite3.Connection`; `Connection` or `AsyncConnection` of psycopg), or an object that has such a one, as a
        session of SQLAlchemy, to the same database. It is used where you call, never by another thread, and left open.
        `UsageError` where it is no such connection, or this store has none (one in memory, or distributed).
        """
        return open_outbox(self, connection)

    @outside
    async def run(self, fn: Definition[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Start a workflow and wait for its result; see `start` and `Handle.result`."""
        handle = await self.start(fn, *args, **kwargs)
        return await handle.result()

    @overload
    def handle(self, id: str, /) -> Handle[Any]: ...
    @overload
    def handle(self, id: str, fn: Definition[..., T], /) -> Handle[T]: ...
    @outside
    def handle(self, id: str, fn: Definition[..., Any] | None = None, /) -> Handle[Any]:
        """Give the handle of a workflow by its id; with `fn`, its result is of that workflow's type."""
        return Handle(self, check_id(id), ANY if fn is None else fn.signature.result_type)

    @outside
    async def send(self, to: str, topic: str, message: object, /, *, key: str | None = None) -> None:
        """Send a message to a workflow; when this returns, it is in its inbox, and will be received once.

        With a `key`, messages of the same key to the same workflow are one, also when sent again later.
        Raises `NotFound` where there is no such workflow, or it has ended.
        """
        await self.post(self.message(to, check_topic(topic), self.payload_of(topic, message, key), key=key))

    @overload
    async def ask(
        self, to: str, topic: str, message: object, /, *, timeout: Duration, key: str | None = None
    ) -> Any: ...
    @overload
    async def ask(
        self, to: str, topic: str, message: object, /, *, type: TypeForm[T], timeout: Duration, key: str | None = None
    ) -> T: ...
    @outside
    async def ask(
        self, to: str, topic: str, message: object, /, *, type: Any = ANY, timeout: Duration, key: str | None = None
    ) -> Any:
        """Ask a workflow, which takes it by `recv(topic, type=Request[...])`, and give its answer, of this type.

        Raises `AskRefused` where it refuses, or ends without an answer; `TimeoutError` after `timeout`; `NotFound`
        where there is no such workflow, or it has ended. With a `key`, asks of the same key to the same workflow are
        one: it is taken once, and all have the same answer, also later.
        """
        return await ask(self, to, topic, message, type, timeout, key)

    @outside
    def workflows(self, *, newest_first: bool = True, **filters: Unpack[WorkflowFilters]) -> Listing[WorkflowStatus]:
        """Give the workflows that fit all filters, in the order of their creation; see `WorkflowFilters`.

        `async for` asks for page after page: one that is created or deleted meanwhile moves no other from page to page.
        `UsageError` for a filter that there is not, or what can be none.
        """
        first, shown = query_of(filters, newest_first=newest_first, limit=PAGE), shown_states(filters)

        async def page(mark: object) -> tuple[list[WorkflowStatus], object]:
            query = mark if isinstance(mark, WorkflowQuery) else first
            return await self.on_thread(partial(page_of, self.store, query, shown))

        return Listing(page)

    @outside
    async def counts(self, **filters: Unpack[WorkflowFilters]) -> WorkflowCounts:
        """Count the workflows that fit all filters, by name and state, in the database; see `WorkflowFilters`."""
        query = countable(filters)
        return await self.on_thread(partial(counts_in, self.store, query))

    @outside
    async def metrics(self) -> Metrics:
        """Give numbers: what this engine has done since it was opened, and what is in the database now.

        The database is asked by a connection and a thread of its own, where it was opened by a URL. `UsageError` where
        the store counts nothing.
        """
        return await metrics_of(self)

    @outside
    def waits(self, *, topic: str | None = None, workflow_id: str | None = None) -> Listing[Wait]:
        """Give what workflows wait for that has a title (`recv(topic, title=...)`), the longest first.

        Of one topic or workflow where those are given.
        """
        return list_waits(self, topic, workflow_id)

    @outside
    async def answer(self, token: str, message: object, /) -> None:
        """Bring an answer to just the wait that the token names; when this returns, it is in the workflow's inbox.

        Each wait is answered once: `NotFound` where it was answered or is over. `UsageError` where the answer does not
        fit what is waited for, as far as that can be told here, or the token was changed.
        """
        await answer(self, token, message)

    @outside
    def queue(self, queue: Queue | str, /) -> QueueHandle:
        """Give the handle of a queue, by its object or its name. It asks nothing."""
        return QueueHandle(self, checked_queue(queue))

    @outside
    def queues(self) -> Listing[QueueHandle]:
        """Give the queues of this store, in order of their names."""
        return Listing(partial(queues_of, self))

    @outside
    async def cancel(self, *ids: str) -> list[str]:
        """Ask workflows to stop; give the ids of those that had not ended."""
        return [workflow_id for workflow_id in ids if await self.controls.cancel(workflow_id)]

    @outside
    async def pause(self, *ids: str) -> list[str]:
        """Pause workflows; give the ids of those that had not ended. See `Handle.pause`."""
        return [workflow_id for workflow_id in ids if await self.controls.pause(workflow_id)]

    @outside
    async def resume(self, *ids: str) -> list[str]:
        """Have paused workflows go on; give the ids of those that had not ended."""
        return [workflow_id for workflow_id in ids if await self.controls.resume(workflow_id)]

    @outside
    async def retry(self, *ids: str, version: str | None = None) -> list[str]:
        """Retry workflows; give the ids of those that had failed, were cancelled or stuck. See `Handle.retry`.

        With a `version` also those that nobody holds: they wait for another one, perhaps.
        """
        return [workflow_id for workflow_id in ids if await self.controls.retry(workflow_id, version)]

    @outside
    async def delete(self, *ids: str) -> list[str]:
        """Remove workflows that have ended, with their histories; give the ids of those that had."""
        return [workflow_id for workflow_id in ids if await self.controls.delete(workflow_id)]

    @outside
    async def hold(self, *ids: str, reason: str = "") -> list[str]:
        """Keep workflows from being removed or redacted by anybody until `release`; give the ids of those that are now.

        Left out are ids of which there is no workflow, and those that are held already. One that has not ended goes on
        as before, and is kept when it has ended. By filters: `hold(*[one.id async for one in client.workflows(...)])`.
        """
        return await retaining.hold(self, ids, reason)

    @outside
    async def release(self, *ids: str, reason: str = "") -> list[str]:
        """Take holds back; give the ids of those that were held."""
        return await retaining.release(self, ids, reason)

    @outside
    def holds(self) -> Listing[Hold]:
        """Give all holds, in order of the ids."""
        return retaining.holds(self)

    @outside
    async def prune(
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
        return await retaining.prune(
            self,
            older_than=older_than,
            keep_last=keep_last,
            archive=archive,
            dry_run=dry_run,
            batch=batch,
            filters=filters,
        )

    @outside
    async def redact(self, id: str, /, *events: int, reason: str = "", keep_links: bool = True) -> int:
        """Take what users gave out of a workflow that has ended, for good, or out of these events of it, by their seqs.

        Gone are inputs, results, messages, values, streams, texts of errors, attributes; what happened and when stays.
        It cannot be replayed past such an event any more. Gives of how many events something was taken. Without
        `keep_links` no digest of what was taken is kept either; see `docs/retention.md`. Raises `NotFound` for what is
        not there, and `UsageError` where it has not ended, or is held.
        """
        return await retaining.redact(self, id, events, reason, keep_links=keep_links)

    @outside
    async def create_schedule(
        self, name: str, schedule: Schedule, fn: Definition[P, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> ScheduleHandle:
        """Have a workflow started by a schedule, each time with these arguments, until it is deleted.

        A schedule of that name that is the same in all is left as it is; another one is `IdInUse`. The first tick is
        the first after now. The workflow of a tick has an id as `NAME@2026-03-29T01:30:00Z`.
        """
        return await schedules.create_schedule(self, name, schedule, fn, args, kwargs)

    @outside
    def schedule(self, name: str, /) -> ScheduleHandle:
        """Give the handle of a schedule by its name; of one that is declared in code that of its workflow."""
        return ScheduleHandle(self, schedules.check_schedule_name(name))

    @outside
    def schedules(self) -> Listing[ScheduleStatus]:
        """Give all schedules, in order of their names."""
        return schedules.listed(self)

    # -- what handles call -------------------------------------------------------------------------------------------

    def signing_as(self, person: str) -> Client:
        """Give this client as one that signs what it writes with the name of a person; it is open as long as this."""
        other = copy(self)
        other.name = f"{person} ({self.host.token()[:16]})"  # no two may number their messages under one name
        other._give_parts()
        return other

    def worker_here(self) -> Worker | None:
        """Give the worker of this engine, None of a client; on the engine's thread."""
        return self._open_shell_here().worker

    def held_here(self, workflow_id: str) -> Resident | None:
        """Give a workflow that this engine holds in memory; on the engine's thread."""
        worker = self.worker_here()
        return None if worker is None else worker.residents.get(workflow_id)

    def environment(self) -> Environment:
        """Give what workflow code needs that is run against a history here; on the engine's thread."""
        worker = self.worker_here()
        if worker is not None:
            return worker.environment
        python = platform.python_version()
        run_strand = self.host.run_aside
        return Environment(codec=self.codec, may_import=self.may_import, python=python, run_strand=run_strand)

    async def post_control(self, workflow_id: str, topic: str, payload: bytes) -> int:
        """Put an order into the inbox of a workflow, and give the number of the message."""
        message = self.message(workflow_id, topic, payload, control=True)
        await self.post(message)
        return message.number

    async def create(self, workflow_id: str, created: events.WorkflowCreated) -> None:
        """Create a workflow, where there is none of that id."""
        await self._creations.make(workflow_id, created)

    def start_of(
        self, fn: object, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[str, events.WorkflowCreated, AnyWorkflow[..., Any]]:
        """Prepare a start: give the id, the first event, and the definition that is started. It writes nothing."""
        definition = startable_of(fn)
        check_passed(definition, args, kwargs)
        if definition.key is not None:
            raise WrongContext(
                f"workflow {definition.name} has the key {definition.key!r}, which names a child within its parent, "
                "and here is none; give it an id="
            )
        definition = startable(definition)
        check_placing(definition.placing, definition.name)
        workflow_id = definition.id or time_ordered_id(self.host.wall(), self.host.token())
        what = f"input of workflow {definition.name}"
        payload = definition.signature.encode(self.codec, args, kwargs, what=what)
        check_size(payload, what)
        created = events.WorkflowCreated(
            name=definition.name,
            input=msgspec.Raw(payload),
            seed=self.host.token(),
            instance=recorded_instance(definition, self.codec),
            timeout=definition.timeout,
            attributes=self._attributes(definition),
        )
        return workflow_id, created, definition

    def _attributes(self, definition: AnyWorkflow[..., Any]) -> dict[str, AttributeValue]:
        carried = self._observers.carried() if self._observers else {}
        return dict(sorted({**carried, **definition.attributes}.items())) if carried else dict(definition.attributes)

    def payload_of(self, topic: str, message: object, key: str | None) -> bytes:
        """Encode a message that a user sends; refuse what is none, or a key that is none."""
        what = f"message on topic {topic!r}"
        payload = self.codec.encode(message, SELF, what=what)
        check_size(payload, what)
        if key is not None:
            check_name(key, "the key of a message")
        return payload

    def need_queue(self, queue: Queue) -> None:
        """Have a queue declared soon, without waiting for it; from any thread."""
        shell = self._open_shell()
        shell.submit(partial(shell.book.need, queue))

    def expects_queue(self, name: str) -> bool:
        """Tell whether a queue was there when that was last looked for, or is declared soon; from any thread."""
        return self._open_shell().book.expects(name)

    def wrote_schedule(self) -> None:
        """On the engine's thread: take note that a schedule was written."""
        shell = self._open_shell_here()
        if shell.ticker is not None:
            shell.ticker.look_around()

    def wrote(self, workflow_id: str, end: EndEvent | None) -> None:
        """On the engine's thread: take note of what was written to a workflow that nobody holds."""
        shell = self._open_shell_here()
        if end is not None:
            shell.ended(workflow_id, end)
        if shell.worker is not None:
            shell.worker.look_everywhere()

    def may_import(self, package: str) -> bool:
        """Tell whether exceptions of a top-level package may be rebuilt: it defines workflows or steps."""
        return package in defining_packages()

    # -- inside ------------------------------------------------------------------------------------------------------

    async def post(self, message: NewMessage) -> PostOutcome:
        """Put a message into the inbox of a workflow; `NotFound` where there is none that could take it."""
        outcome: PostOutcome = await self._asked(partial(self._post_here, message))
        if isinstance(outcome, Undeliverable):
            raise NotFound(not_posted(message.destination, outcome.reason))
        return outcome

    def _post_here(self, message: NewMessage, resolve: Resolve) -> None:
        shell = self._open_shell_here()

        def answer(outcome: PostOutcome | EverlogError) -> None:
            if shell.worker is not None:
                shell.worker.look_around()
            resolve(outcome)

        shell.committer.post(PendingPost(message, answer))

    def message(
        self, to: str, topic: str, payload: bytes, *, key: str | None = None, control: bool = False
    ) -> NewMessage:
        """Make a message of this client's."""
        self._sent += 1
        return NewMessage(
            destination=check_id(to),
            source=self.name,
            number=self._sent,
            topic=topic,
            payload=payload,
            key=key,
            control=control,
        )

"""The outbox: starts, sends and enqueues within a transaction of the user's, on the user's connection. It runs nothing.

It never asks the engine's thread: while the user's transaction is open, that may be waiting for it, as for the one
write lock of a SQLite file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, final

from everlog.core.events import WorkflowCreated
from everlog.core.names import check_id, check_topic
from everlog.errors import NotFound, UsageError
from everlog.replay.calling import startable_of
from everlog.replay.definition import Definition
from everlog.replay.definitions import AnyWorkflow
from everlog.replay.placing import Placing, checked_queue
from everlog.replay.queues import Queue
from everlog.runtime.amending import first_of, may_be_replaced
from everlog.runtime.births import birth
from everlog.runtime.deduplication import check_holder, started_as
from everlog.runtime.handles import Handle
from everlog.runtime.inputs import different_start
from everlog.runtime.outside import outside
from everlog.runtime.places import in_place
from everlog.runtime.queue_book import unknown_queue
from everlog.runtime.sentences import not_posted
from everlog.store import Batch, Deduplicated, EventRow, Exists, Head, NewMessage, Undeliverable
from everlog.store_outbox import OpenTransaction, SupportsOutbox

if TYPE_CHECKING:
    from everlog.runtime.client import Client

P = ParamSpec("P")
T = TypeVar("T")


@final
class Outbox:
    """What `using(connection)` gives: it writes within the transaction that is open on that connection.

    What is started and sent is there if and only if you commit: workers see it then, as they see what another process
    has started. Until then nobody else does, so wait for no result within the transaction. Every method raises
    `UsageError` where no transaction is open, or the connection is to another database, and `StoreUnavailable`, with
    the driver's error as its cause, where the database refuses; after that, on Postgres, the transaction has failed.
    """

    def __init__(self, client: Client, transaction: OpenTransaction) -> None:
        self._client = client
        self._transaction = transaction
        # A sender of its own: what it sends comes in the order sent, and later than what the client sends meanwhile.
        self._source = f"{client.name}/{client.host.token()[:16]}"
        self._sent = 0

    @outside
    async def start(self, fn: Definition[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Handle[T]:
        """Start a workflow when you commit, and give its handle, which is good from then on.

        As `Client.start`: with an id it starts once, also together with starts that were committed before.
        `if_duplicate="replace"` is refused: it would hold another workflow until you commit. A queue that is given as
        an object is declared beside your transaction, as soon as the database lets this client.
        """
        workflow_id, created, definition = self._client.start_of(fn, args, kwargs)
        return Handle(
            self._client, await self._create(workflow_id, created, definition), definition.signature.result_type
        )

    @outside
    async def send(self, to: str, topic: str, message: object, /, *, key: str | None = None) -> None:
        """Send a message to a workflow when you commit; it is received once, those of one `using` in the order sent.

        With a `key`, messages of the same key to the same workflow are one. Raises `NotFound` where there is no such
        workflow, or it has ended; one that ends before you commit does not read it.
        """
        payload = self._client.payload_of(topic, message, key)
        self._sent += 1
        sent = NewMessage(
            destination=check_id(to),
            source=self._source,
            number=self._sent,
            topic=check_topic(topic),
            payload=payload,
            key=key,
        )
        (outcome,) = (await self._transaction.write(Batch(posts=[sent]))).posts
        if isinstance(outcome, Undeliverable):
            raise NotFound(not_posted(to, outcome.reason))

    @outside
    def queue(self, queue: Queue | str, /) -> OutboxQueue:
        """Give a queue, to enqueue workflows when you commit. It asks nothing."""
        return OutboxQueue(self, checked_queue(queue))

    async def _create(self, workflow_id: str, created: WorkflowCreated, definition: AnyWorkflow[..., Any]) -> str:
        placing = definition.placing
        if placing.if_duplicate == "replace":
            raise UsageError(
                f"workflow {definition.name} is started with if_duplicate='replace' in your transaction, which"
                " would hold the workflow that it replaces until you commit; start it by the engine after the commit,"
                " or choose 'return' or 'raise'"
            )
        if isinstance(placing.queue, Queue):
            self._client.need_queue(placing.queue)
        elif placing.queue is not None:
            await self._find_queue(placing.queue)
        store = self._client.store
        now = store.now()
        made = birth(workflow_id, in_place(created, placing, now), now, self._client.host, None)
        (outcome,) = (await self._transaction.write(Batch(creates=[made.new]))).creates
        if isinstance(outcome, Deduplicated):
            return await self._instead(outcome.head, created, placing)
        if isinstance(outcome, Exists):
            recorded = first_of(workflow_id, await self._first_rows(workflow_id))
            error = different_start(recorded, created, definition, self._client.codec, workflow_id)
            if error is not None:
                raise error
        return workflow_id

    async def _find_queue(self, name: str) -> None:
        if self._client.expects_queue(name):
            return
        if not any(row.name == name for row in await self._transaction.queues()):
            raise NotFound(unknown_queue(name))

    async def _instead(self, found: Head, created: WorkflowCreated, placing: Placing) -> str:
        rows = await self._transaction.read(found.workflow_id, limit=1) if found.first_seq > 1 else ()
        check_holder(found, started_as(found, rows), created, placing)
        return found.workflow_id

    async def _first_rows(self, workflow_id: str) -> Sequence[EventRow]:
        rows = await self._transaction.read(workflow_id, limit=1)
        return await self._transaction.read(workflow_id) if may_be_replaced(rows) else rows


@final
class OutboxQueue:
    """One queue, within a transaction of the user's."""

    def __init__(self, outbox: Outbox, queue: Queue | str) -> None:
        self._outbox = outbox
        self._queue = queue

    @outside
    async def enqueue(self, fn: Definition[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Handle[T]:
        """Put a workflow into this queue when you commit, and give its handle; see `Outbox.start`."""
        definition: Any = startable_of(fn)  # both colours have options
        placed: Definition[P, T] = definition.options(queue=self._queue)
        return await self._outbox.start(placed, *args, **kwargs)


def open_outbox(client: Client, connection: object, *, blocking: bool = False) -> Outbox:
    """Give the outbox on a connection of the user's; `UsageError` where this store has none.

    Of one that is `blocking` no method waits for an event loop: `UsageError` for a connection that would.
    """
    store = client.store
    if not isinstance(store, SupportsOutbox):
        raise UsageError(
            f"this store takes part in no transaction of yours: {type(store).__name__} is no SupportsOutbox; keep the"
            " workflows in the database of your rows, or start them under ids of your own after the commit"
        )
    transaction = store.within(connection)
    if blocking and not transaction.is_blocking:
        raise UsageError(
            "the connection given to using() is one for asyncio, and this is blocking code; give it a blocking one, or"
            " use everlog.Engine, or everlog.Client, in async code"
        )
    return Outbox(client, transaction)

"""Looking: what is read of a store so that people can look at it, page by page. It changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from everlog.core.durations import as_datetime
from everlog.core.event_codec import decode_event
from everlog.core.finding import Place
from everlog.core.published import StreamEnd, StreamQuestion
from everlog.core.rewinding import Stored, folded
from everlog.core.sealed import opened_body
from everlog.core.state import WorkflowState
from everlog.errors import NotFound
from everlog.runtime.finding import page, query_of, shown_states
from everlog.runtime.opening import opened_rows
from everlog.runtime.status import WorkflowStatus, told_status
from everlog.store import EventRow, Head, Store, SupportsStreams, WorkerRow

if TYPE_CHECKING:
    from everlog.runtime.client import Client

LAST_ITEMS: Final = 50
"""So many items of a stream are shown, the last ones."""


class Looked(Struct, frozen=True):
    """A workflow as it was at one moment. `rows` are its events since it last continued as new, as they are stored;
    `history` has them read, `state` is what they say; `now` is the time."""

    head: Head
    status: WorkflowStatus
    rows: Sequence[EventRow]
    history: Sequence[Stored]
    state: WorkflowState
    streams: Sequence[StreamEnd]
    now: int


class WorkerLook(Struct, frozen=True, kw_only=True):
    """A worker that is registered, and until when others believe that it lives."""

    name: str
    lease_until: datetime
    alive: bool


async def look(client: Client, workflow_id: str) -> Looked:
    """Give a workflow with the events that its state follows from. Raises `NotFound`."""

    def read() -> tuple[Head, Sequence[EventRow], Sequence[StreamEnd]]:
        store = client.store
        head = _head(store, workflow_id)
        rows = store.read(workflow_id, after=head.first_seq - 1)
        return head, rows, store.streams(workflow_id) if isinstance(store, SupportsStreams) else ()

    def understand() -> tuple[Sequence[Stored], WorkflowState]:
        history = [(row.seq, row.recorded_at, decode_event(row.payload)) for row in rows]
        return history, folded(history)

    head, stored, streams = await client.on_thread(read)
    rows = await client.aside(lambda: opened_rows(stored, client.codec))
    history, state = await client.aside(understand)  # a long one would keep the engine's thread from its work
    status = await client.on_thread(lambda: told_status(client.store, head, state))
    return Looked(head, status, rows, history, state, streams, await client.on_thread(lambda: client.store.now()))


async def workflows_page(
    client: Client, filters: Mapping[str, Any], *, newest_first: bool, after: Place | None, limit: int
) -> tuple[list[WorkflowStatus], Place | None]:
    """Give a page of workflows, and the place after which the next one begins; None after the last."""
    query = msgspec.structs.replace(query_of(filters, newest_first=newest_first, limit=limit), after=after)
    found, following = await client.on_thread(lambda: page(client.store, query, shown_states(filters)))
    return found, None if following is None else following.after


async def events_page(client: Client, workflow_id: str, *, after: int, limit: int) -> Sequence[EventRow]:
    """Give events of a workflow with seq > `after`, in order and opened; none for an unknown id."""
    rows = await client.on_thread(lambda: client.store.read(workflow_id, after=after, limit=limit))
    return await client.aside(lambda: opened_rows(rows, client.codec))


async def head_of(client: Client, workflow_id: str) -> Head:
    """Give the head of a workflow. Raises `NotFound`."""
    return await client.on_thread(lambda: _head(client.store, workflow_id))


async def workers(client: Client) -> list[WorkerLook]:
    """Give all workers that are registered, those that live first."""

    def read() -> tuple[Sequence[WorkerRow], int]:
        return client.store.workers(), client.store.now()

    rows, now = await client.on_thread(read)
    found = [
        WorkerLook(
            name=row.worker,
            lease_until=as_datetime(row.lease_until),
            alive=not row.gone and row.lease_until > now,
        )
        for row in rows
        if row.process
    ]
    return sorted(found, key=lambda one: (not one.alive, one.name))


async def last_items(client: Client, workflow_id: str, stream: StreamEnd) -> Sequence[bytes]:
    """Give the payloads of the last rows of a stream, as arrays of items."""

    def read() -> Sequence[bytes]:
        store = client.store
        if not isinstance(store, SupportsStreams):
            return ()
        start = max(0, stream.length - LAST_ITEMS)
        question = StreamQuestion(workflow_id=workflow_id, stream=stream.stream, start=start)
        (found,) = store.read_streams([question], limit=LAST_ITEMS)
        return [opened_body(row.payload, client.codec) for row in found.rows if row.kind == "items"]

    return await client.on_thread(read)


async def now_of(client: Client) -> datetime:
    """Give the time of the store's clock."""
    return as_datetime(await client.on_thread(lambda: client.store.now()))


def _head(store: Store, workflow_id: str) -> Head:
    (head,) = store.heads([workflow_id])
    if head is None:
        raise NotFound(f"there is no workflow {workflow_id!r} in this store")
    return head

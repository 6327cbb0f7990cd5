"""Controls: how a client cancels, ends, pauses and retries workflows that it does not run.

Who holds a workflow is sent an order, a control message. What nobody holds is written to here and now, where its code
need not run for that: in one commit, on the condition that its head is as it was seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final

from msgspec import json

from everlog.core import events, orders
from everlog.core.attributes import AttributeChange
from everlog.core.durations import Duration
from everlog.core.event_codec import decode_event
from everlog.core.events import AnyEvent, EndEvent
from everlog.core.heads import State
from everlog.core.names import check_id, check_reason
from everlog.core.rewinding import Stored, folded
from everlog.core.state import WorkflowState
from everlog.core.versions import check_version, versioned, workflow_of
from everlog.errors import Duplicate, NotFound, StoreUnavailable, UsageError
from everlog.replay.placing import AT_ONCE, Placing, placing_of
from everlog.replay.queues import Queue
from everlog.runtime.commits import closing, outside_commit
from everlog.runtime.moving import moved
from everlog.runtime.readers import ChangeReader, has_ended
from everlog.runtime.reopening import reopening
from everlog.runtime.standing import is_standing
from everlog.store import (
    ENDED,
    Batch,
    Busy,
    Deduplicated,
    Done,
    EventRow,
    Head,
    Store,
    SupportsDeletion,
    SupportsInboxes,
)

if TYPE_CHECKING:
    from everlog.runtime.client import Client

TRIES: Final = 200
PAUSE: Final = 0.05
"""Seconds between two tries to write to a workflow whose row others keep locked."""


class _WrittenMeanwhile(Exception):
    """The history does not end where the head said."""


class Seen:
    """A workflow as it was seen. Its history is read only where it is asked for: who is sent an order needs none."""

    def __init__(self, store: Store, head: Head) -> None:
        self.head = head
        self.now = store.now()
        self._store = store

    @cached_property
    def rows(self) -> Sequence[EventRow]:
        """The history, since it last continued as new."""
        rows = self._store.read(self.head.workflow_id, after=self.head.first_seq - 1)
        if not rows or rows[-1].seq != self.head.seq:
            raise _WrittenMeanwhile
        return rows

    @cached_property
    def history(self) -> Sequence[Stored]:
        """The same, as events."""
        return [(row.seq, row.recorded_at, decode_event(row.payload)) for row in self.rows]

    @cached_property
    def folded(self) -> WorkflowState:
        """What it says."""
        return folded(self.history)

    def closing(self, how: str) -> list[AnyEvent]:
        """Give the rows that come with an end."""
        store, workflow_id = self._store, self.head.workflow_id
        unread = store.inbox(workflow_id) if isinstance(store, SupportsInboxes) else ()
        return closing(workflow_id, self.folded, unread, how)


Change = Callable[[Seen], tuple[list[AnyEvent], State] | None]
"""Gives the events that an order is written as and the state that follows; None where it is to be sent."""


class Controls:
    """Gives orders to workflows in the name of a client."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def cancel(self, workflow_id: str, reason: str = "") -> bool:
        """Ask a workflow to stop; False where it has ended."""
        check_reason(reason)

        def change(seen: Seen) -> tuple[list[AnyEvent], State] | None:
            state = seen.head.state
            runs_nowhere = state in ("enqueued", "queued", "stuck") or (state == "waiting" and seen.head.seq == 1)
            if state == "paused":
                runs_nowhere = seen.folded.began_at is None or seen.folded.enqueued
            if seen.head.token is not None or not runs_nowhere:
                return None  # its code is to hear of it
            end = events.WorkflowCancelled(reason=reason, rewind_to=seen.head.seq)
            return [*seen.closing("cancelled"), end], "cancelled"

        return await self._order(workflow_id, orders.CANCEL, change, json.encode(reason))

    async def terminate(self, workflow_id: str, reason: str = "") -> bool:
        """End a workflow; False where it has ended."""
        check_reason(reason)

        def change(seen: Seen) -> tuple[list[AnyEvent], State] | None:
            if seen.head.token is not None and _is_alive(self._client.store, seen):
                return None
            asked = events.TerminateRequested(by=self._client.name, reason=reason)
            end = events.WorkflowCancelled(reason=reason, terminated=True, rewind_to=seen.head.seq)
            return [asked, *seen.closing("terminated"), end], "cancelled"

        return await self._order(workflow_id, orders.TERMINATE, change, json.encode(reason))

    async def pause(self, workflow_id: str) -> bool:
        """Have nothing of a workflow begin or arrive; False where it has ended."""

        def change(seen: Seen) -> tuple[list[AnyEvent], State] | None:
            if seen.head.token is not None or seen.head.state == "paused":
                return None
            return [events.WorkflowPaused(by=self._client.name, asked_at=seen.now)], "paused"

        return await self._order(workflow_id, orders.PAUSE, change)

    async def resume(self, workflow_id: str) -> bool:
        """Take a pause back; False where the workflow has ended."""

        def change(seen: Seen) -> tuple[list[AnyEvent], State] | None:
            if seen.head.token is not None or seen.head.state != "paused":
                return None  # it may be that the order to pause was not read yet
            resumed = events.WorkflowResumed(by=self._client.name, asked_at=seen.now)
            return [resumed], _state_of_resumed(seen)

        return await self._order(workflow_id, orders.RESUME, change)

    async def retry(self, workflow_id: str, version: str | None = None) -> bool:
        """Have a workflow go on that failed, was cancelled or is stuck; False where it is none of these.

        With a version also one that nobody holds: whoever knows that version goes on with it.
        """
        check_version(version)
        movable: tuple[State, ...] = ("failed", "cancelled", "stuck")
        if version is not None:
            movable = (*movable, "queued", "running", "waiting", "enqueued")

        def change(seen: Seen) -> tuple[list[AnyEvent], State] | None:
            if seen.head.token is not None or seen.head.state not in movable:
                return None
            name = None if version is None else versioned(workflow_of(seen.head.name), version)
            return reopening(
                seen.history, seen.folded, by=self._client.name, asked_at=seen.now, now=seen.now, name=name
            )

        return await self._write(workflow_id, change)

    async def update(
        self,
        workflow_id: str,
        attributes: AttributeChange | None,
        *,
        priority: int | None,
        delay: Duration | None,
        queue: Queue | str | None,
    ) -> None:
        """Change a workflow as `Handle.update` promises."""
        wanted = placing_of(AT_ONCE, _given(priority=priority, delay=delay, queue=queue))
        if wanted != AT_ONCE:
            await self._move(workflow_id, wanted, attributes)
        elif attributes is not None:
            await self._change_attributes(workflow_id, attributes)
        else:
            raise UsageError("update() was given nothing to change; give it attributes=, priority=, delay= or queue=")

    async def _move(self, workflow_id: str, wanted: Placing, attributes: AttributeChange | None) -> None:
        if wanted.queue is not None:
            await self._client.queue_controls.know(wanted.queue)

        def change(seen: Seen) -> tuple[list[AnyEvent], State] | None:
            if seen.head.state in ENDED:
                raise UsageError(f"workflow {workflow_id!r} has ended, and is in no queue")
            if seen.head.token is not None and is_standing(seen.folded, seen.now):
                raise _WrittenMeanwhile  # it obeys an order at this moment
            placed = moved(seen.folded, wanted, by=self._client.name, now=seen.now)
            if seen.head.token is not None or placed is None:
                raise UsageError(f"workflow {workflow_id!r} has begun, so that it is in no queue any more")
            rows: list[AnyEvent] = [placed]
            if attributes is not None:
                rows.append(events.AttributesChanged(by=self._client.name, attributes=dict(attributes)))
            if seen.head.state == "paused":
                return rows, "paused"
            return rows, "waiting" if placed.place is None else "enqueued"

        await self._write(workflow_id, change)

    async def _change_attributes(self, workflow_id: str, change: AttributeChange) -> None:
        seq = 0

        def write(seen: Seen) -> tuple[list[AnyEvent], State] | None:
            nonlocal seq
            seq = seen.head.seq
            if seen.head.state in ENDED:
                raise has_ended(workflow_id)
            if seen.head.token is not None and _is_alive(self._client.store, seen):
                return None
            return [events.AttributesChanged(by=self._client.name, attributes=dict(change))], seen.head.state

        if await self._write(workflow_id, write):
            return
        try:
            number = await self._client.post_control(workflow_id, orders.ATTRIBUTES, json.encode(change))
        except NotFound as error:
            raise has_ended(workflow_id) from error
        await self._client.wait_for(partial(ChangeReader, workflow_id, self._client.name, number, seq))

    async def delete(self, workflow_id: str) -> bool:
        """Remove a workflow that has ended; False where it has not."""
        store, client = self._client.store, self._client
        if not isinstance(store, SupportsDeletion):
            raise UsageError(f"this store cannot delete workflows: {type(store).__name__} has no delete()")
        deletes: SupportsDeletion = store
        (head,) = await client.on_thread(lambda: store.heads([check_id(workflow_id)]))
        if head is None:
            raise NotFound(f"there is no workflow {workflow_id!r} in this store")
        return bool(await client.on_thread(lambda: deletes.delete([workflow_id])))

    # -- inside ------------------------------------------------------------------------------------------------------

    async def _order(self, workflow_id: str, topic: str, change: Change, said: bytes | None = None) -> bool:
        """Write an order, or else send it, with what is said in it: by default when it was asked for."""
        asked_at = await self._client.on_thread(self._client.store.now)
        if await self._write(workflow_id, lambda seen: None if seen.head.state in ENDED else change(seen)):
            return True
        (head,) = await self._client.on_thread(lambda: self._client.store.heads([workflow_id]))
        if head is None or head.state in ENDED:
            return False
        try:
            await self._client.post_control(workflow_id, topic, orders.said_now(asked_at) if said is None else said)
        except NotFound:
            return False
        return True

    async def _write(self, workflow_id: str, change: Change) -> bool:
        """Write what the change says; False where it says nothing."""
        check_id(workflow_id)
        for _ in range(TRIES):
            written = await self._client.on_thread(lambda: self._write_here(workflow_id, change))
            if not isinstance(written, Busy):
                return written
            await asyncio.sleep(PAUSE)
        raise StoreUnavailable(
            f"workflow {workflow_id!r} could not be written to within {TRIES * PAUSE:g} s: another transaction, idle "
            "perhaps, has locked its row of the database; end that transaction, or try again"
        )

    def _write_here(self, workflow_id: str, change: Change) -> bool | Busy:
        """On the engine's thread. Who was refused looks again: somebody else has written meanwhile."""
        store = self._client.store
        (head,) = store.heads([workflow_id])
        if head is None:
            raise NotFound(f"there is no workflow {workflow_id!r} in this store")
        seen = Seen(store, head)
        try:
            changed = change(seen)
            if changed is None:
                return False
            written, state = changed
            commit = outside_commit(head, seen.history, written, state, seen.now)
        except _WrittenMeanwhile:
            return Busy()
        (outcome,) = store.commit(Batch(commits=[commit])).commits
        if isinstance(outcome, Deduplicated):
            raise Duplicate(
                f"workflow {workflow_id!r} has a dedup_key that {outcome.head.workflow_id!r} has in that queue",
                workflow_id=outcome.head.workflow_id,
            )
        if not isinstance(outcome, Done):
            return Busy()
        self._client.wrote(workflow_id, written[-1] if isinstance(written[-1], EndEvent) else None)
        return True


def _given(**options: object) -> dict[str, object]:
    return {name: value for name, value in options.items() if value is not None}


def _state_of_resumed(seen: Seen) -> State:
    if seen.folded.enqueued:
        return "enqueued"
    if seen.folded.began_at is not None:
        return "running"
    return "queued" if seen.folded.begins_at is None else "waiting"


def _is_alive(store: Store, seen: Seen) -> bool:
    """Tell whether the holder of a workflow can be expected to obey."""
    workers = [worker for worker in store.workers() if worker.worker == seen.head.worker]
    return any(not worker.gone and worker.lease_until > seen.now for worker in workers)

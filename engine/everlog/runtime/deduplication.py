"""Deduplication: what becomes of a start whose `dedup_key` another workflow of its queue has. It creates nothing.

The key is free once the workflow that has it has ended. A start that replaces gives its input to that one, if it stands
in the queue still, and puts it off; if it was admitted meanwhile, the new one takes the key and stands for itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto

from msgspec import structs

from everlog.core import events
from everlog.core.event_codec import decode_event
from everlog.core.events import WorkflowCreated
from everlog.core.rewinding import Stored, folded
from everlog.core.versions import workflow_of
from everlog.errors import Duplicate
from everlog.replay.placing import Placing
from everlog.runtime.commits import outside_commit
from everlog.store import ENDED, Batch, Done, EventRow, Head, Store


class Otherwise(Enum):
    """What is to be done where no other workflow stands for the new one."""

    TAKE_KEY = auto()
    AGAIN = auto()


def holder_of_key(
    store: Store, found: Head, created: WorkflowCreated, placing: Placing, *, by: str, operation: str | None = None
) -> str | Otherwise:
    """Give the workflow that stands for the one which is to be created, its input replaced if that is wanted.

    `by` is who starts it: a client, or a workflow with the operation that does. Raises `Duplicate` where none may stand
    for it, and `StoreError`.
    """
    rows = store.read(found.workflow_id, limit=1) if found.first_seq > 1 else ()
    check_holder(found, started_as(found, rows), created, placing)
    if placing.if_duplicate != "replace":
        return found.workflow_id
    return _replaced(store, found.workflow_id, created, placing, by, operation)


def check_holder(found: Head, name: str, created: WorkflowCreated, placing: Placing) -> None:
    """Raise `Duplicate` where a workflow that has the key, and was started under this name, may not stand for it."""
    is_same = workflow_of(name) == workflow_of(created.name)
    if placing.if_duplicate == "replace":  # its input is for one version
        is_same = name == created.name
    if not is_same or placing.if_duplicate == "raise":
        another = "" if is_same else f", which is a {name!r} and not a {created.name!r}"
        raise Duplicate(
            f"the dedup_key {placing.dedup_key!r} of queue {placing.queue_name()!r} is that of workflow "
            f"{found.workflow_id!r}{another}, until it ends; wait for its end, or choose another key",
            workflow_id=found.workflow_id,
        )


def started_as(head: Head, rows: Sequence[EventRow]) -> str:
    """Give the name under which a workflow was started, whatever it has continued as: then by its first event."""
    first = decode_event(rows[0].payload) if rows and head.first_seq > 1 else None
    return first.name if isinstance(first, WorkflowCreated) else head.name


def _replaced(
    store: Store, workflow_id: str, created: WorkflowCreated, placing: Placing, by: str, operation: str | None
) -> str | Otherwise:
    (head,) = store.heads([workflow_id])
    if head is None or head.state in ENDED:
        return Otherwise.AGAIN
    history = [(row.seq, row.recorded_at, decode_event(row.payload)) for row in store.read(workflow_id)]
    if operation is not None and _was_replaced(history, by, operation):
        return workflow_id
    place = folded(history).place
    if head.state not in ("enqueued", "paused") or place is None or not folded(history).enqueued:
        return Otherwise.TAKE_KEY
    now = store.now()
    latest = now if placing.max_delay is None else history[0][1] + placing.max_delay
    due_at = now + (placing.delay or 0)
    replaced = events.InputReplaced(
        by=by,
        operation=operation,
        input=created.input,
        instance=created.instance,
        place=structs.replace(place, due_at=due_at if placing.max_delay is None else max(now, min(due_at, latest))),
    )
    if head.token is not None or history[-1][0] != head.seq:  # it obeys an order at this moment
        return Otherwise.AGAIN
    (outcome,) = store.commit(Batch(commits=[outside_commit(head, history, [replaced], head.state, now)])).commits
    return workflow_id if isinstance(outcome, Done) else Otherwise.AGAIN


def _was_replaced(history: Sequence[Stored], by: str, operation: str) -> bool:
    """Tell whether this start did so before, and nobody heard of it."""
    return any(
        isinstance(event, events.InputReplaced) and (event.by, event.operation) == (by, operation)
        for _, _, event in history
    )

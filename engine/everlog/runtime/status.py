"""Statuses and history events, as users see them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal, get_args

import msgspec

from everlog.core import versions
from everlog.core.attributes import NO_ATTRIBUTES, Attributes, kept, taken_apart
from everlog.core.durations import as_datetime
from everlog.core.event_codec import decode_event
from everlog.core.explain import why, why_enqueued
from everlog.core.rewinding import folded
from everlog.core.state import WorkflowState
from everlog.store import EventRow, Head, State, Store, SupportsFinding, SupportsQueues

ShownState = Literal[
    "queued", "delayed", "running", "waiting", "paused", "stuck", "completed", "failed", "cancelled"
]  # fmt: skip
"""The states of a workflow as users see them: it is `queued` or `delayed` whether it stands in a queue or in none."""

SHOWN: Final[tuple[ShownState, ...]] = get_args(ShownState)


class StepCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many steps of a workflow completed, how many failed for good, and how many are not over."""

    completed: int
    failed: int
    open: int


class WorkflowStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Where a workflow is. `why` is a sentence; `error` says what is wrong where it failed or is stuck.

    `state` is one of queued, delayed, running, waiting, paused, stuck, completed, failed, cancelled. `queue` is the
    last one that it was put into, `history_length` the number of events since it last continued as new, or of all,
    `worker` the one that holds it, None where nobody does. `attributes` are empty in listings of a store that keeps
    none, and `parent_id`, the workflow that started it, is None there. `steps` counts what the history has of them
    since it last continued as new; a listing, which reads no histories, gives None. `forked_from` is the workflow of
    which it is a fork, as far as `parent_id` is known. `version` is that of its code which alone runs it, None: any.
    Histories hold statuses: a new field has a default.
    """

    id: str
    name: str
    state: ShownState
    why: str
    queue: str | None = None
    error: str | None
    created_at: datetime
    ended_at: datetime | None
    history_length: int
    worker: str | None
    # What came later has a default: statuses that workflows asked for are in their histories.
    parent_id: str | None = None
    attributes: Attributes = {}
    steps: StepCounts | None = None
    forked_from: str | None = None
    version: str | None = None


class HistoryEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a history; `data` is its body as JSON data."""

    seq: int
    type: str
    recorded_at: datetime
    data: dict[str, Any]


def full_status(store: Store, head: Head) -> WorkflowStatus:
    """Give the status of a head; `why` says what it waits for. Reads its history, and what its queue is like."""
    return told_status(store, head, folded_history(store.read(head.workflow_id, after=head.first_seq - 1)))


def told_status(store: Store, head: Head, folded: WorkflowState) -> WorkflowStatus:
    """Give the same by what its history says, which was read already."""
    now = store.now()
    unfinished = sum(one.kind == "step" for one in folded.open.values())
    steps = StepCounts(completed=folded.steps_completed, failed=folded.steps_failed, open=unfinished)
    attributes = kept(folded.attributes, folded.parent, folded.forked_from)
    return _status(head, shown_state(head, folded, now), full_reason(store, head, folded, now), attributes, steps)


def full_reason(store: Store, head: Head, folded: WorkflowState, now: int) -> str:
    """Say why a workflow is where it is."""
    place = folded.place
    if head.state != "enqueued" or place is None or not isinstance(store, SupportsQueues):
        return why(head.state, head.why, folded, now)
    row = next((row for row in store.queues() if row.name == place.queue), None)
    (counts,) = store.count_queues([place.queue]) if row is not None and place.due_at <= now else (None,)
    return why_enqueued(place.queue, place.due_at, row, counts, now)


def shown_state(head: Head, folded: WorkflowState, now: int) -> ShownState:
    """Give the state of a workflow as users see it."""
    if head.state == "enqueued":
        return "delayed" if folded.place is not None and folded.place.due_at > now else "queued"
    if head.state == "waiting" and folded.status == "created":
        return "delayed"
    return head.state


def statuses_of(store: Store, heads: Sequence[Head]) -> list[WorkflowStatus]:
    """Give the statuses of heads, in their order, without reading histories: `why` is short.

    One that is delayed, stands in no queue, and was written to since it was created, is told as waiting.
    """
    now, enqueued = store.now(), [head.workflow_id for head in heads if head.state == "enqueued"]
    due_at: dict[str, int] = {}
    if enqueued and isinstance(store, SupportsQueues):
        rows = store.places(enqueued)
        due_at = {row.workflow_id: row.place.due_at for row in rows if row is not None}
    kept_of: Sequence[Attributes] = [NO_ATTRIBUTES] * len(heads)
    if isinstance(store, SupportsFinding) and heads:
        kept_of = store.attributes([head.workflow_id for head in heads])
    found: list[WorkflowStatus] = []
    for head, attributes in zip(heads, kept_of, strict=True):
        if head.state == "enqueued":
            state: ShownState = "delayed" if due_at.get(head.workflow_id, 0) > now else "queued"
        else:
            state = "delayed" if head.state == "waiting" and head.seq == 1 else head.state
        found.append(_status(head, state, head.why or short_reason(head, state), attributes))
    return found


def short_reason(head: Head, state: ShownState) -> str:
    """Say in a few words what a head alone tells of why it is in a state."""
    if head.state == "queued" and head.token is None and versions.version_of(head.name) is not None:
        return f"for a worker that knows {versions.told(head.name)}"
    return state


def states_of(shown: ShownState) -> list[State]:
    """Give the states of heads of which some are shown as this one."""
    match shown:
        case "queued":
            return ["queued", "enqueued"]
        case "delayed":
            return ["enqueued", "waiting"]
        case _:
            return [shown]


def _status(
    head: Head, state: ShownState, reason: str, found: Attributes, steps: StepCounts | None = None
) -> WorkflowStatus:
    attributes, parent, forked_from = taken_apart(found)
    name, version = versions.taken_apart(head.name)
    return WorkflowStatus(
        id=head.workflow_id,
        name=name,
        version=version,
        state=state,
        why=reason,
        queue=head.queue,
        error=head.why if head.state in ("failed", "stuck") else None,
        created_at=as_datetime(head.created_at),
        ended_at=None if head.ended_at is None else as_datetime(head.ended_at),
        history_length=head.seq - head.first_seq + 1,
        worker=head.worker,
        parent_id=parent,
        attributes=attributes,
        steps=steps,
        forked_from=forked_from,
    )


def folded_history(history: Sequence[EventRow]) -> WorkflowState:
    """Give the state that stored events make."""
    return folded([(row.seq, row.recorded_at, decode_event(row.payload)) for row in history])


def history_event(row: EventRow) -> HistoryEvent:
    """Give a stored event as users see it."""
    data: dict[str, Any] = msgspec.json.decode(row.payload)
    data.pop("type", None)
    return HistoryEvent(seq=row.seq, type=row.type, recorded_at=as_datetime(row.recorded_at), data=data)

"""Statuses and history events, as users see them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from everlog.core.attributes import NO_ATTRIBUTES, Attributes, taken_apart
from everlog.core.durations import as_datetime
from everlog.core.events import decode_event
from everlog.core.explain import why
from everlog.core.rewinding import folded
from everlog.core.state import EMPTY, WorkflowState
from everlog.store import EventRow, Head, State


class StepCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many steps of a workflow completed, how many failed for good, and how many are not over."""

    completed: int
    failed: int
    open: int


class WorkflowStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Where a workflow is. `why` is a sentence; `error` says what is wrong where it failed or is stuck.

    `state` is one of queued, running, waiting, stuck, completed, failed, cancelled. `history_length` is the number of
    events, `worker` the one that holds it, None where nobody does. `attributes` are empty in listings of a store that
    keeps none, and `parent_id`, the workflow that started it, is None there. `steps` counts what the history has of
    them; a listing, which reads no histories, gives None.
    """

    id: str
    name: str
    state: State
    why: str
    error: str | None
    created_at: datetime
    ended_at: datetime | None
    history_length: int
    worker: str | None
    # What came later has a default: statuses that workflows asked for are in their histories.
    parent_id: str | None = None
    attributes: Attributes = {}
    steps: StepCounts | None = None


class HistoryEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a history; `data` is its body as JSON data."""

    seq: int
    type: str
    recorded_at: datetime
    data: dict[str, Any]


def status_of(
    head: Head, history: Sequence[EventRow] | None, now: int, found: Attributes = NO_ATTRIBUTES
) -> WorkflowStatus:
    """Give the status of a head; with its history, `why` says what it waits for. `found` is what the store keeps."""
    steps: StepCounts | None = None
    attributes, parent = taken_apart(found)
    if history is None:
        state = msgspec.structs.replace(EMPTY, name=head.name, created_at=head.created_at, ended_at=head.ended_at)
        reason = head.why or head.state
    else:
        state = folded_history(history)
        reason = why(head.state, head.why, state, now)
        attributes, parent = dict(state.attributes), state.parent
        unfinished = sum(one.kind == "step" for one in state.open.values())
        steps = StepCounts(completed=state.steps_completed, failed=state.steps_failed, open=unfinished)
    return WorkflowStatus(
        id=head.workflow_id,
        name=head.name,
        state=head.state,
        why=reason,
        error=head.why if head.state in ("failed", "stuck") else None,
        created_at=as_datetime(head.created_at),
        ended_at=None if head.ended_at is None else as_datetime(head.ended_at),
        history_length=head.seq,
        worker=head.worker,
        parent_id=parent,
        attributes=attributes,
        steps=steps,
    )


def folded_history(history: Sequence[EventRow]) -> WorkflowState:
    """Give the state that stored events make."""
    return folded([(row.seq, row.recorded_at, decode_event(row.payload)) for row in history])


def history_event(row: EventRow) -> HistoryEvent:
    """Give a stored event as users see it."""
    data: dict[str, Any] = msgspec.json.decode(row.payload)
    data.pop("type", None)
    return HistoryEvent(seq=row.seq, type=row.type, recorded_at=as_datetime(row.recorded_at), data=data)

"""Reunions: how a workflow that had ended, and was opened again, finds the children that were open where it goes on.

While it had ended nobody told it anything, and they may have been asked to stop by its own end. A child that has
returned is heard of now. One that has failed or was cancelled meanwhile, or because of that end, is opened again too,
as a step that failed is run again: once for each time that the parent is.
"""

from __future__ import annotations

from collections.abc import Sequence

from everlog.core import events
from everlog.core.event_codec import decode_event, encode_event
from everlog.core.events import EndEvent
from everlog.core.heads import ENDED, InboxRow
from everlog.core.names import CHILD_ENDED
from everlog.core.rewinding import Lived, Stored, folded, since_continued
from everlog.replay.children import Child
from everlog.replay.execution import Execution
from everlog.runtime.births import inherited
from everlog.runtime.commits import outside_commit
from everlog.runtime.reopening import reopening
from everlog.runtime.residents import Resident
from everlog.store import Batch, Done, Head, Store


def look_for_children(resident: Resident, store: Store) -> bool:
    """Look where the children are of which that is not certain; tell whether any was opened again.

    Where a child is written to by others at this moment, it is looked at again the next time.
    """
    children, inbox = resident.execution.children, resident.inbox
    told = {row.source for row in inbox.on(CHILD_ENDED) if children.is_doubtful(row)}
    wanted = [child for child in children.uncertain.values() if not child.looked_at or child.id in told]
    if not wanted:
        return False
    heads = store.heads([child.id for child in wanted])
    opened = [_look(resident, child, head, store) for child, head in zip(wanted, heads, strict=True)]
    return any(opened)


def _look(resident: Resident, child: Child, head: Head | None, store: Store) -> bool:
    execution = resident.execution
    if head is None:
        lost = execution.children.lost.get(child.id)
        _hear(resident, child, lost or events.WorkflowCancelled(reason="it was deleted"), child.ends_after + 1, 0)
        return False
    if head.state not in ENDED:
        child.looked_at, child.ends_after = True, head.seq
        return False
    history = [(row.seq, row.recorded_at, decode_event(row.payload)) for row in store.read(child.id)]
    end = history[-1][2] if history and history[-1][0] == head.seq else None
    if not isinstance(end, EndEvent):  # it was written to between two looks
        child.looked_at = False
        return False
    if not _is_to_go_on(execution, child, head, history, end):
        _hear(resident, child, end, head.seq, history[-1][1])
        return False
    now = store.now()
    rows, state = reopening(
        history,
        folded(history),
        by=execution.workflow_id,
        asked_at=execution.children.reopened_at,
        now=now,
        deadline=inherited(execution, child.when_parent_ends),
    )
    (outcome,) = store.commit(Batch(commits=[outside_commit(head, history, rows, state, now)])).commits
    child.looked_at, child.ends_after = isinstance(outcome, Done), head.seq
    return child.looked_at


def _is_to_go_on(execution: Execution, child: Child, head: Head, history: Sequence[Stored], end: EndEvent) -> bool:
    if isinstance(end, events.WorkflowCompleted) or child.asked:
        return False
    if any(event.redacted is not None for _, _, event in history):
        return False  # nobody could replay it
    parent, reopened_at = execution.workflow_id, execution.children.reopened_at
    if any(
        isinstance(event, events.WorkflowRewound) and (event.by, event.asked_at) == (parent, reopened_at)
        for _, _, event in history
    ):
        return False
    return (head.ended_at or 0) <= reopened_at or _was_stopped_by(parent, history)


def _was_stopped_by(parent: str, history: Sequence[Stored]) -> bool:
    asked = [
        event.by
        for _, _, event in Lived(since_continued(history)).rows
        if isinstance(event, events.CancelRequested | events.TerminateRequested)
    ]
    return asked[-1:] == [parent]


def _hear(resident: Resident, child: Child, end: EndEvent, number: int, arrived_at: int) -> None:
    """Have the end heard: by the message that tells it, or by one that the store does not have."""
    del resident.execution.children.uncertain[child.id]
    child.ends_after = number - 1
    if any((row.source, row.number) == (child.id, number) for row in resident.inbox.on(CHILD_ENDED)):
        return
    row = InboxRow(
        row=resident.inbox.before_all(),
        destination=resident.workflow_id,
        source=child.id,
        number=number,
        topic=CHILD_ENDED,
        payload=encode_event(end),
        control=False,
        arrived_at=arrived_at,
    )
    resident.inbox.add(row)

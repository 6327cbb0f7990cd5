"""Claims: how a workflow that was taken becomes an execution again, from its history. They take nothing themselves."""

from __future__ import annotations

from msgspec import structs

from everlog.core.events import InputReplaced, WorkflowBegan, WorkflowCreated, WorkflowRewound, decode_event
from everlog.errors import CorruptLog
from everlog.replay.execution import Execution
from everlog.runtime.residents import History
from everlog.store import Claimed, Head, Store


def whole_history(claimed: Claimed, store: Store) -> History:
    """Give the history of what was claimed, read by itself where the claim had no room for it; `CorruptLog`."""
    head = claimed.head
    rows = claimed.history or store.read(head.workflow_id)
    if not rows or rows[-1].seq != head.seq:
        raise CorruptLog(f"the history of {head.workflow_id!r} does not end at its head's seq {head.seq}")
    return [(row.seq, row.recorded_at, decode_event(row.payload)) for row in rows]


def creation(workflow_id: str, history: History) -> WorkflowCreated:
    """Give the first event of a history, with the input that the workflow began with, or is to begin with.

    `CorruptLog` where it is another.
    """
    created = history[0][2]
    if not isinstance(created, WorkflowCreated):
        raise CorruptLog(f"the history of {workflow_id!r} does not begin with its creation; restore a backup")
    for _, _, event in history:
        if isinstance(event, InputReplaced):
            created = structs.replace(created, input=event.input, instance=event.instance)
        elif isinstance(event, WorkflowBegan):
            break
    return created


def rebuild(execution: Execution, history: History, head: Head | None) -> None:
    """Apply a history. Without a head it was just created here; otherwise others may have run what is open."""
    is_new = len(history) <= 2 and not isinstance(history[-1][2], WorkflowRewound)
    if is_new and (head is None or not head.takeovers):
        for seq, recorded_at, event in history:
            execution.apply(seq, recorded_at, event)
        if head is not None:
            execution.may_repeat()
    else:
        # A death is a takeover only where the head says `running`.
        counted = head is not None and head.state == "running" and not head.takeovers
        execution.replay(history, starts_first=not counted)

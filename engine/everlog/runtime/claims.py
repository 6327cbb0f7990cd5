"""Claims: how a workflow that was taken becomes an execution again, from its history. They take nothing themselves."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from everlog.core.event_codec import decode_event
from everlog.core.events import InputReplaced, OpeningEvent, WorkflowBegan, WorkflowContinued, WorkflowCreated
from everlog.core.rewinding import since_continued
from everlog.errors import CorruptLog
from everlog.replay.definitions import AnyWorkflow
from everlog.replay.environment import Environment
from everlog.replay.execution import Execution
from everlog.runtime.residents import History
from everlog.store import Claimed, Head, Store


def whole_history(claimed: Claimed, store: Store) -> tuple[History, int]:
    """Give the history of what was claimed, since it last continued as new, and its bytes; `CorruptLog`.

    It is read by itself where the claim had no room for it.
    """
    head = claimed.head
    rows = claimed.history or store.read(head.workflow_id, after=head.first_seq - 1)
    if not rows or rows[-1].seq != head.seq:
        raise CorruptLog(f"the history of {head.workflow_id!r} does not end at its head's seq {head.seq}")
    history = [(row.seq, row.recorded_at, decode_event(row.payload)) for row in rows]
    return since_continued(history), sum([len(row.payload) for row in rows])


def creation(workflow_id: str, history: History) -> WorkflowCreated:
    """Give how a workflow was created, or last continued as new, with the input that it began or is to begin with.

    `CorruptLog` where its history has nothing to begin with.
    """
    life = since_continued(history)
    return last_named(first_creation(workflow_id, life), life)


def first_creation(workflow_id: str, history: History) -> WorkflowCreated:
    """Give the same of a history that begins so, whatever became of the workflow later."""
    begins = history[0][2]
    created = begins.created if isinstance(begins, WorkflowContinued) else begins
    if not isinstance(created, WorkflowCreated):
        raise CorruptLog(f"the history of {workflow_id!r} does not begin with its creation; restore a backup")
    for _, _, event in history:
        if isinstance(event, InputReplaced):
            created = structs.replace(created, input=event.input, instance=event.instance)
        elif isinstance(event, WorkflowBegan):
            break
    return created


def last_named(created: WorkflowCreated, history: History) -> WorkflowCreated:
    """Give how a workflow was created, with the name that it was last given: it says which version runs it."""
    for _, _, event in reversed(history):
        if isinstance(event, OpeningEvent) and event.name is not None:
            return structs.replace(created, name=event.name)
    return created


def execution_of(
    workflow_id: str, history: History, definition: AnyWorkflow[..., Any], environment: Environment
) -> Execution:
    """Make what runs a workflow, to which its history is to be applied."""
    created, first_seq = creation(workflow_id, history), history[0][0]
    execution = Execution(workflow_id, created, definition, environment, first_seq=first_seq)
    execution.now = history[-1][1]
    return execution


def rebuild(execution: Execution, history: History, head: Head | None) -> None:
    """Apply a history. Without a head it was just created here; otherwise others may have run what is open."""
    is_new = len(history) <= 2 and not isinstance(history[-1][2], OpeningEvent)
    if is_new and (head is None or not head.takeovers):
        for seq, recorded_at, event in history:
            execution.apply(seq, recorded_at, event)
        if head is not None:
            execution.may_repeat()
    else:
        # A death is a takeover only where the head says `running`.
        counted = head is not None and head.state == "running" and not head.takeovers
        execution.replay(history, starts_first=not counted)

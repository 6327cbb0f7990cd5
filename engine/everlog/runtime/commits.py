"""Commits: how the draft of a workflow becomes what the store is asked to write. Decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from everlog.core import events
from everlog.core.attributes import NO_ATTRIBUTES
from everlog.core.events import (
    TAGS,
    AnyEvent,
    AttributesChanged,
    EndEvent,
    WhenParentEnds,
    encode_event,
    type_of,
)
from everlog.core.heads import ENDED, State
from everlog.core.rewinding import Stored, folded
from everlog.core.state import WorkflowState
from everlog.errors import InternalError
from everlog.replay.drafting import Draft
from everlog.runtime.claims import creation
from everlog.runtime.farewells import farewells
from everlog.runtime.residents import Resident
from everlog.runtime.streams import Placed, place
from everlog.store import Claimed, Commit, EventRow, Head, NewMessage, NewWorkflow, ValueRow


def commit_of(resident: Resident, drafted: Draft, creates: Sequence[NewWorkflow], *, release: bool) -> Commit:
    """Give the commit that writes a draft and creates what it starts; with `release` it lets go of the workflow."""
    before = seq = resident.seq
    recorded_at = drafted.recorded_at
    rows: list[EventRow] = []
    placed = place(drafted.parts, resident.stream_ends or {}, drafted.recorded_at) if drafted.parts else None
    if placed is not None:
        drafted.stream_ends = placed.ends
    for event in drafted.rows if placed is None else _in_place(drafted.rows, placed):
        seq += 1
        rows.append(EventRow(seq, TAGS[type(event)], recorded_at, encode_event(event)))
    return Commit(
        workflow_id=resident.workflow_id,
        token=resident.token,
        seq=before,
        events=rows,
        state=drafted.state,
        wake_at=drafted.wake_at,
        topics=drafted.topics,
        consumed=[row for row in drafted.consumed if row > 0]
        if drafted.consumed
        else (),  # others were taken before a rewinding
        creates=creates,
        messages=_messages(resident, drafted, rows) if drafted.sends or drafted.state in ENDED else (),
        values=_values(drafted, rows) if drafted.published else (),
        items=() if placed is None else placed.rows,
        attributes=drafted.attributes,
        release=release,
        progress=drafted.progress,
        why=_summary(drafted.rows[-1]) if drafted.state in _EXPLAINED else None,
    )


def stuck_commit(workflow_id: str, token: str, seq: int, *, build: str, why: str) -> Commit:
    """Give the commit that marks a workflow as stuck with a build, and lets go of it; its history stays as it is."""
    return Commit(
        workflow_id=workflow_id,
        token=token,
        seq=seq,
        state="stuck",
        build=build,
        why=why,
        release=True,
        progress=False,
    )


def going_on(claimed: Claimed, token: str) -> tuple[Commit, Claimed]:
    """Give the commit by which a workflow, stuck or left by a dead worker, runs again, and what is claimed then."""
    takeovers = 0 if claimed.head.state == "stuck" else claimed.head.takeovers
    head = msgspec.structs.replace(claimed.head, state="running", takeovers=takeovers, why=None)
    commit = state_commit(head.workflow_id, token, head.seq, head.state)
    return commit, msgspec.structs.replace(claimed, head=head)


def state_commit(workflow_id: str, token: str, seq: int, state: State, *, release: bool = False) -> Commit:
    """Give the commit that changes only what the head says."""
    return Commit(workflow_id=workflow_id, token=token, seq=seq, state=state, release=release, progress=False)


def outside_commit(head: Head, history: Sequence[Stored], events: Sequence[AnyEvent], state: State, now: int) -> Commit:
    """Give the commit that writes events from outside, on a head as it was seen: the workflow is not run here.

    Where the state stays, all that the head says of what it waits for does.
    """
    at = max([now, *(recorded_at for _, recorded_at, _ in history[-1:])])
    rows = [
        EventRow(head.seq + position, type_of(event), at, encode_event(event))
        for position, event in enumerate(events, start=1)
    ]
    end = events[-1]
    stays = state == head.state
    return Commit(
        workflow_id=head.workflow_id,
        token=head.token,
        seq=head.seq,
        state=state,
        events=rows,
        wake_at=head.wake_at if stays else None,
        topics=head.topics if stays else (),
        messages=_farewells(head, history, end, rows[-1].seq) if isinstance(end, EndEvent) else (),
        attributes=end.attributes if isinstance(end, AttributesChanged) else NO_ATTRIBUTES,
        progress=not stays,
        build=head.build if stays else None,
        why=head.why if stays else _summary(end) if state in _EXPLAINED else None,
    )


def _farewells(head: Head, history: Sequence[Stored], end: EndEvent, seq: int) -> list[NewMessage]:
    left: list[tuple[str, WhenParentEnds]] = [
        (one.child, one.when_parent_ends) for one in folded(history).children.values() if not one.asked
    ]
    return farewells(head.workflow_id, creation(head.workflow_id, history), left, end, seq)


def closing(state: WorkflowState) -> list[AnyEvent]:
    """Give the rows that close what is open in a history."""
    return [_CLOSING[operation.kind](operation=operation.operation) for operation in state.open.values()]


_CLOSING: Final[dict[str, Callable[..., AnyEvent]]] = {
    "step": events.StepCancelled,
    "timer": events.TimerCancelled,
    "wait": events.WaitCancelled,
}


def _messages(resident: Resident, drafted: Draft, rows: Sequence[EventRow]) -> list[NewMessage]:
    """Give the messages of a draft; the seq of its row makes each unique for this source and destination."""
    if drafted.state in ENDED:
        end, execution = drafted.rows[-1], resident.execution
        if not isinstance(end, EndEvent):
            raise InternalError(f"the last commit of workflow {resident.workflow_id!r} does not end with its end")
        return farewells(resident.workflow_id, execution.created, execution.children.left(), end, rows[-1].seq)
    seqs = {
        event.operation: row.seq
        for event, row in zip(drafted.rows, rows, strict=True)
        if isinstance(event, events.MessageSent)
    }
    return [
        NewMessage(
            destination=operation.to,
            source=resident.workflow_id,
            number=seqs[operation.identity],
            topic=operation.topic,
            payload=operation.payload,
            control=operation.control,
            key=operation.key,
            optional=operation.optional,
        )
        for operation in drafted.sends
    ]


def _in_place(rows: Sequence[AnyEvent], placed: Placed) -> Iterator[AnyEvent]:
    """Give the rows; those of streams tell where in the stream what they tell of lies."""
    for event in rows:
        if isinstance(event, events.ItemsEmitted | events.StreamClosed):
            yield msgspec.structs.replace(event, offset=placed.begins[event.operation])
        else:
            yield event


def _values(drafted: Draft, rows: Sequence[EventRow]) -> list[ValueRow]:
    """Give the last value of each name."""
    values = {
        event.name: ValueRow(name=event.name, seq=row.seq, recorded_at=row.recorded_at, payload=bytes(event.value))
        for event, row in zip(drafted.rows, rows, strict=True)
        if isinstance(event, events.ValueSet)
    }
    return list(values.values())


_EXPLAINED: Final[frozenset[State]] = frozenset({"failed", "cancelled"})


def _summary(last: AnyEvent) -> str | None:
    if isinstance(last, events.WorkflowFailed):
        return f"{last.error.type.rpartition(':')[2]}: {last.error.message}"[:500]
    if isinstance(last, events.WorkflowCancelled):
        return f"terminated: {last.reason}".removesuffix(": ") if last.terminated else last.reason or None
    return None

"""Commits: how the draft of a workflow becomes what the store is asked to write. Decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import msgspec

from everlog.core import events
from everlog.core.asks import ASK, ask_topic
from everlog.core.attributes import AttributeValue
from everlog.core.event_codec import TAGS, encode_event, type_of
from everlog.core.event_parts import WhenParentEnds
from everlog.core.events import AnyEvent, AttributesChanged, EndEvent, OpeningEvent, ReplyEvent
from everlog.core.heads import ENDED, State
from everlog.core.rewinding import Stored, folded
from everlog.core.sealed import shown_text
from everlog.core.state import WorkflowState, fold, row_of
from everlog.errors import InternalError
from everlog.replay.drafting import Draft
from everlog.replay.execution import Execution
from everlog.replay.operations import WaitOperation
from everlog.replay.requests import asked_message, not_answered, refused
from everlog.runtime.claims import creation
from everlog.runtime.farewells import farewells
from everlog.runtime.lives import continuation, parting_words
from everlog.runtime.places import place_of
from everlog.runtime.replies import replies_of
from everlog.runtime.residents import Resident
from everlog.runtime.streams import Placed, place
from everlog.store import Claimed, Commit, EventRow, Head, InboxRow, NewMessage, NewWorkflow, Place, ValueRow, WaitRow


def commit_of(resident: Resident, drafted: Draft, creates: Sequence[NewWorkflow], *, release: bool) -> Commit:
    """Give the commit that writes a draft and creates what it starts; with `release` it lets go of the workflow."""
    before = resident.seq
    if drafted.only_rows and not release:
        rows = _event_rows(drafted.rows, before, drafted.recorded_at)
        return Commit(workflow_id=resident.workflow_id, token=resident.token, seq=before, state="running", events=rows)
    placed = place(drafted.parts, resident.stream_ends or {}, drafted.recorded_at) if drafted.parts else None
    if placed is not None:
        drafted.stream_ends = placed.ends
    in_place = drafted.rows if placed is None else _in_place(drafted.rows, placed)
    rows = _event_rows(in_place, before, drafted.recorded_at)
    begins = continuation(drafted, rows)
    messages = _messages(resident, drafted, rows) if drafted.sends or drafted.state in ENDED else []
    if begins is not None:
        messages = parting_words(resident, begins)
    values = _values(drafted, rows) if drafted.published else []
    if drafted.replies:
        answers, kept = replies_of(resident.workflow_id, drafted.rows, rows, resident.execution.requests.told)
        messages, values = [*messages, *answers], [*values, *kept]
    execution = resident.execution
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
        messages=messages,
        values=values,
        items=() if placed is None else placed.rows,
        waits=list(_listed(drafted.rows, rows)) if execution.waits.lists else (),
        closes=list(_unlisted(execution, drafted.rows)) if execution.waits.lists else (),
        attributes=drafted.attributes,
        release=release,
        progress=drafted.progress,
        why=_summary(drafted.rows[-1]) if drafted.state in _EXPLAINED else None,
        first_seq=None if begins is None else begins.seq,
        name=None if drafted.continues is None else drafted.continues.created.name,
    )


def _event_rows(rows: Iterable[AnyEvent], seq: int, recorded_at: int) -> list[EventRow]:
    """Give the rows that follow a seq as they are stored."""
    stored: list[EventRow] = []
    for event in rows:
        seq += 1
        stored.append(EventRow(seq, TAGS[type(event)], recorded_at, encode_event(event)))
    return stored


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


def outside_commit(
    head: Head, history: Sequence[Stored], written: Sequence[AnyEvent], state: State, now: int
) -> Commit:
    """Give the commit that writes events from outside, on a head as it was seen: the workflow is not run here.

    Where the state stays, and the place, all that the head says of what it waits for does.
    """
    at = max([now, *(recorded_at for _, recorded_at, _ in history[-1:])])
    rows = [
        EventRow(head.seq + position, type_of(event), at, encode_event(event))
        for position, event in enumerate(written, start=1)
    ]
    end = written[-1] if written else None
    answers, values = replies_of(head.workflow_id, written, rows, told_in(history))
    reopens = isinstance(end, EndEvent | OpeningEvent)
    open_before = fold(history).open.values() if reopens else ()
    stays = state == head.state and not any(isinstance(event, events.PlacingEvent) for event in written)
    begins_at = _begins_at(history, written) if state == "waiting" and not stays else None
    return Commit(
        workflow_id=head.workflow_id,
        token=head.token,
        seq=head.seq,
        state=state,
        events=rows,
        wake_at=head.wake_at if stays else begins_at,
        topics=head.topics if stays else (),
        place=_new_place(written),
        messages=[*_farewells(head, history, end, rows[-1].seq), *answers] if isinstance(end, EndEvent) else answers,
        values=values,
        closes=[one.listed.seq for one in open_before if one.listed is not None],
        attributes=_attributes(written),
        progress=not stays,
        build=head.build if stays else None,
        why=head.why if stays else _summary(end) if end is not None and state in _EXPLAINED else None,
        name=end.name if isinstance(end, OpeningEvent) else None,
    )


def _attributes(written: Sequence[AnyEvent]) -> dict[str, AttributeValue | None]:
    """Give what these events change of attributes."""
    change: dict[str, AttributeValue | None] = {}
    for event in written:
        if isinstance(event, AttributesChanged):
            change.update(event.attributes)
    return change


def _new_place(written: Sequence[AnyEvent]) -> Place | None:
    """Give the place that these events put a workflow into; None where it keeps what it has."""
    places = [event.place for event in written if isinstance(event, events.PlacingEvent) and event.place is not None]
    return place_of(places[-1]) if places else None


def _begins_at(history: Sequence[Stored], written: Sequence[AnyEvent]) -> int | None:
    """Give the time for which a workflow waits that has not begun and stands in no queue."""
    last = [(head + 1, 0, event) for head, event in enumerate(written, start=len(history))]
    return fold(last, folded(history)).begins_at


def _farewells(head: Head, history: Sequence[Stored], end: EndEvent, seq: int) -> list[NewMessage]:
    left: list[tuple[str, WhenParentEnds]] = [
        (one.child, one.when_parent_ends) for one in folded(history).children.values() if not one.asked
    ]
    return farewells(head.workflow_id, creation(head.workflow_id, history), left, end, seq)


def told_in(history: Sequence[Stored]) -> set[tuple[str, int]]:
    """Give the asks, by source and number, that were answered or refused."""
    told = {(event.source, event.number) for _, _, event in history if isinstance(event, ReplyEvent)}
    carried = [
        event.told for _, _, event in history if isinstance(event, events.WorkflowContinued | events.WorkflowForked)
    ]
    return told.union(*carried)


def closing(workflow_id: str, state: WorkflowState, unread: Iterable[InboxRow], how: str) -> list[AnyEvent]:
    """Give the rows that close what is open in a history, and refuse what is not answered, read or not."""
    closings = [_CLOSING[operation.kind](operation=operation.operation) for operation in state.open.values()]
    reason = not_answered(workflow_id, how)
    taken = [
        events.RequestRefused(
            topic=one.topic, source=one.source, number=one.number, reason=reason, reply_to=one.reply_to
        )
        for one in state.requests.values()
    ]
    return [*closings, *taken, *(refused(row, reason) for row in unread if is_ask(row))]


def is_ask(message: InboxRow) -> bool:
    """Tell whether a message asks something."""
    return message.topic.startswith(ASK) and not message.control


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
            topic=ask_topic(operation.topic) if operation.ask else operation.topic,
            payload=asked_message(operation.payload) if operation.ask else operation.payload,
            control=operation.control,
            key=operation.key,
            optional=operation.optional,
        )
        for operation in drafted.sends
    ]


def _listed(drafted: Sequence[AnyEvent], rows: Sequence[EventRow]) -> Iterator[WaitRow]:
    for event, row in zip(drafted, rows, strict=True):
        if isinstance(event, events.WaitStarted) and event.title is not None:
            yield row_of(event, row.seq, row.recorded_at)


def _unlisted(execution: Execution, drafted: Sequence[AnyEvent]) -> Iterator[int]:
    for event in drafted:
        if isinstance(event, events.MessageReceived | events.WaitExpired | events.WaitCancelled):
            wait = execution.operations.get(event.operation) or execution.cancelled.get(event.operation)
            if isinstance(wait, WaitOperation) and wait.opened_as:
                yield wait.opened_as


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
        return f"{last.error.type.rpartition(':')[2]}: {shown_text(last.error.message)}"[:500]
    if isinstance(last, events.WorkflowCancelled):
        return f"terminated: {last.reason}".removesuffix(": ") if last.terminated else last.reason or None
    return None

"""State: what a history says about its workflow, as a fold over its events. Nothing else makes a state.

Theory of operation. A history begins with `workflow_created`, goes on with `workflow_began`, and ends, if it has,
with one of the three end events. Between them operations open and close. An operation is opened by its started row
(`step_started`, `timer_set`, `wait_started`) or by a failed attempt, and closed by its fact or its cancelled row;
what began and ended between two commits has its fact alone. A child that was started is open until its end is heard of,
which may be after the end of its parent, and then is never. What workflow code publishes, values and streams, opens
nothing. An ask is open from the `message_received` that took it until it is answered or refused, which the end does
at the latest. `workflow_paused`, `workflow_resumed` and `attributes_changed` may stand anywhere before the end;
`cancel_requested` ends no pause, so the row that does stands before it. `workflow_placed` and `input_replaced` stand
where the workflow does not run: before it began, the former also after a rewinding. `workflow_continued` stands where
an end could, and `workflow_began` follows as after `workflow_created`: what was open is closed, and asks that were
taken are refused, but children, values and streams go on, and so does the slot of a queue. After the end nothing
follows but `workflow_rewound`, which opens the history again: what was open at the row that it names is open anew, and
its opening rows are written anew. `workflow_forked` does the same where a fork begins, for what is open at the end of
the rows that it has from another workflow; it may stand anywhere but after an end.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, assert_never

import msgspec

from everlog.core import asks, events
from everlog.core.attributes import Attributes, changed
from everlog.core.event_parts import CarriedChild, QueuePlace, WhenParentEnds
from everlog.core.events import AnyEvent
from everlog.core.failures import Failure
from everlog.core.waits import WaitRow

Status = Literal["created", "begun", "completed", "failed", "cancelled"]


class OpenOperation(msgspec.Struct, frozen=True, kw_only=True):
    """An operation whose opening row is in the history and whose closing row is not."""

    kind: Literal["step", "timer", "wait"]
    operation: str
    name: str
    since: int
    attempt: int = 1
    due_at: int | None = None
    failure: Failure | None = None
    asked: str | None = None
    """The workflow whose answer is waited for."""
    listed: WaitRow | None = None
    """The wait, where it is listed for people."""


class OpenRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the workflow was asked, took, and has not answered."""

    topic: str
    source: str
    number: int
    since: int
    reply_to: str | None


class OpenChild(msgspec.Struct, frozen=True, kw_only=True):
    """A child that was started here and is not known to have ended."""

    child: str
    operation: str
    name: str
    since: int
    when_parent_ends: WhenParentEnds
    asked: bool = False
    """Whether it was asked to stop."""


class PublishedValue(msgspec.Struct, frozen=True, kw_only=True):
    """The last value of a name, as it was recorded."""

    seq: int
    recorded_at: int
    value: msgspec.Raw


class OwnStream(msgspec.Struct, frozen=True, kw_only=True):
    """What workflow code did with a stream; what steps emit is not in the history."""

    items: int = 0
    closed: bool = False
    until: int = 0
    """The place after the last of it. What was written before a rewinding may be told of again, and counts once."""


class WorkflowState(msgspec.Struct, frozen=True, kw_only=True):
    """What a history says. Times are those of the rows."""

    status: Status = "created"
    name: str = ""
    parent: str | None = None
    forked_from: str | None = None
    attributes: Attributes = {}
    seq: int = 0
    created_at: int = 0
    began_at: int | None = None
    began_seq: int | None = None
    ended_at: int | None = None
    continued_seq: int | None = None
    """The seq of the last `workflow_continued`. Status, counts and what is open are of what follows it."""
    continued_at: int | None = None
    first_began_at: int | None = None
    """When it began for the first time."""
    open: dict[str, OpenOperation] = {}
    children: dict[str, OpenChild] = {}
    """By id."""
    steps_completed: int = 0
    steps_failed: int = 0
    messages_received: int = 0
    requests: dict[tuple[str, int], OpenRequest] = {}
    """By source and number."""
    replies: dict[str, PublishedValue] = {}
    """The answers that lie beside the log, by the names of their rows; `value` is what the row holds."""
    values: dict[str, PublishedValue] = {}
    streams: dict[str, OwnStream] = {}
    cancel_requested: bool = False
    paused_at: int | None = None
    place: QueuePlace | None = None
    """The last place that it had in a queue."""
    enqueued: bool = False
    """Whether nothing shows that it was admitted since it got its place."""
    begins_at: int | None = None
    """A time before which it does not begin, where it has no place."""
    timeout: int | None = None
    deadline: int | None = None
    """The time at which it is cancelled; None once it has come."""
    keeps_deadline: bool = False
    """Whether it has continued, so that its timeout does not count anew when it begins."""
    error: Failure | None = None


EMPTY: Final = WorkflowState()

Steering = (
    events.CancelRequested
    | events.TerminateRequested
    | events.WorkflowPaused
    | events.WorkflowResumed
    | events.WorkflowRewound
    | events.WorkflowForked
)


def fold(history: Iterable[tuple[int, int, AnyEvent]], state: WorkflowState = EMPTY) -> WorkflowState:
    """Give the state after a history of (seq, recorded_at, event), begun from `state`.

    The same as `evolve` for each, but that thousands of children are not copied for each of their events.
    """
    children = dict(state.children)
    for seq, recorded_at, event in history:
        if isinstance(event, _OF_CHILDREN):
            _note(children, event, recorded_at)
            state = msgspec.structs.replace(state, seq=seq)
            continue
        state = evolve(state, seq, recorded_at, event)
        if isinstance(event, events.WorkflowContinued):
            children = dict(state.children)
    return msgspec.structs.replace(state, children=children)


def evolve(state: WorkflowState, seq: int, at: int, event: AnyEvent) -> WorkflowState:  # long: a case for each event
    """Give the state after one more event."""
    change = msgspec.structs.replace
    state = change(state, seq=seq, enqueued=state.enqueued and isinstance(event, _OF_PLACES))
    match event:
        case events.WorkflowCreated():
            state = change(
                state,
                name=event.name,
                parent=event.parent,
                forked_from=event.forked_from,
                attributes=event.attributes,
                created_at=at,
                timeout=event.timeout,
                deadline=event.deadline,
            )
            return _placed(state, event.place, event.begins_at)
        case events.InputReplaced():
            return _placed(state, event.place, None)
        case events.WorkflowPlaced():
            return _placed(state, event.place, event.begins_at)
        case events.WorkflowBegan():
            return change(
                state,
                status="begun",
                began_at=at,
                began_seq=state.seq,
                first_began_at=at if state.first_began_at is None else state.first_began_at,
                deadline=state.deadline if state.keeps_deadline else earlier(at, state.timeout, state.deadline),
            )
        case events.StepStarted():
            return _opened(state, "step", event.operation, event.step, at, attempt=event.attempt)
        case events.StepAttemptFailed():
            return _opened(
                state,
                "step",
                event.operation,
                event.step,
                at,
                attempt=event.attempt + 1,
                due_at=event.retry_at,
                failure=event.error,
            )
        case events.StepCompleted():
            return change(_closed(state, event.operation), steps_completed=state.steps_completed + 1)
        case events.StepFailed():
            return change(_closed(state, event.operation), steps_failed=state.steps_failed + 1)
        case events.TimerSet():
            return _opened(state, "timer", event.operation, "timer", at, due_at=event.due_at)
        case events.WaitStarted():
            listed = row_of(event, seq, at) if event.title is not None else None
            return _opened(
                state, "wait", event.operation, event.topic, at, due_at=event.due_at, asked=event.asked, listed=listed
            )
        case events.MessageReceived():
            return _received(state, at, event)
        case events.TimerFired() | events.WaitExpired():
            return _closed(state, event.operation)
        case events.StepCancelled() | events.TimerCancelled() | events.WaitCancelled():
            return _closed(state, event.operation)
        case events.ChildStarted() | events.ChildEnded() | events.MessageSent():
            return change(state, children=_note(dict(state.children), event, at))
        case events.SendFailed() | events.StartFailed() | events.PatchMarked():
            return state
        case events.RequestAnswered() | events.RequestRefused():
            return _replied(state, at, event)
        case events.AttributesChanged():
            return change(state, attributes=changed(state.attributes, event.attributes))
        case events.ValueSet() | events.ItemsEmitted() | events.StreamClosed():
            return _published(state, at, event)
        case (
            events.CancelRequested()
            | events.TerminateRequested()
            | events.WorkflowPaused()
            | events.WorkflowResumed()
            | events.WorkflowRewound()
            | events.WorkflowForked()
        ):
            return _steered(state, at, event)
        case events.WorkflowContinued():
            return _continued(state, at, event)
        case events.WorkflowCompleted():
            return change(state, status="completed", ended_at=at)
        case events.WorkflowFailed():
            return change(state, status="failed", ended_at=at, error=event.error)
        case events.WorkflowCancelled():
            return change(state, status="cancelled", ended_at=at)
        case _:
            assert_never(event)


_OF_PLACES: Final = (
    events.InputReplaced,
    events.WorkflowPlaced,
    events.WorkflowPaused,
    events.WorkflowResumed,
    events.AttributesChanged,
)


def _placed(state: WorkflowState, place: QueuePlace | None, begins_at: int | None) -> WorkflowState:
    return msgspec.structs.replace(state, place=place, enqueued=place is not None, begins_at=begins_at)


def _received(state: WorkflowState, at: int, event: events.MessageReceived) -> WorkflowState:
    state = msgspec.structs.replace(_closed(state, event.operation), messages_received=state.messages_received + 1)
    if not event.topic.startswith(asks.ASK):
        return state
    request = OpenRequest(
        topic=asks.spoken_topic(event.topic),
        source=event.source,
        number=event.number,
        since=at,
        reply_to=asks.asked_of(bytes(event.message)).reply_to,
    )
    return msgspec.structs.replace(state, requests={**state.requests, (event.source, event.number): request})


def _replied(state: WorkflowState, at: int, event: events.ReplyEvent) -> WorkflowState:
    ended = (event.source, event.number)
    requests = {name: one for name, one in state.requests.items() if name != ended}
    replies = state.replies
    if event.reply_to is not None and event.reply_to not in replies:  # the first answer stands
        said = PublishedValue(seq=state.seq, recorded_at=at, value=msgspec.Raw(body_of(event)))
        replies = {**replies, event.reply_to: said}
    return msgspec.structs.replace(state, requests=requests, replies=replies)


def row_of(event: events.WaitStarted, seq: int, at: int) -> WaitRow:
    """Give the row of a wait that is listed."""
    return WaitRow(
        seq=seq,
        operation=event.operation,
        topic=event.topic,
        title=event.title or "",
        opened_at=at,
        due_at=event.due_at,
        metadata=bytes(event.metadata) or None,
        schema=bytes(event.schema) or None,
    )


def body_of(event: events.ReplyEvent) -> bytes:
    """Give what whoever asked is told by an answer or a refusal."""
    if isinstance(event, events.RequestAnswered):
        return asks.encode(asks.Answered(answer=event.answer))
    return asks.encode(asks.Answered(refused=event.reason))


def _published(
    state: WorkflowState, at: int, event: events.ValueSet | events.ItemsEmitted | events.StreamClosed
) -> WorkflowState:
    if isinstance(event, events.ValueSet):
        value = PublishedValue(seq=state.seq, recorded_at=at, value=event.value)
        return msgspec.structs.replace(state, values={**state.values, event.name: value})
    before = state.streams.get(event.stream, OwnStream())
    if event.offset < before.until:
        return state
    emitted = event.count if isinstance(event, events.ItemsEmitted) else 0
    after = OwnStream(items=before.items + emitted, closed=not emitted, until=event.offset + max(1, emitted))
    return msgspec.structs.replace(state, streams={**state.streams, event.stream: after})


def _steered(state: WorkflowState, at: int, event: Steering) -> WorkflowState:
    change = msgspec.structs.replace
    match event:
        case events.CancelRequested():
            deadline = state.deadline if event.due_at is None else None
            return change(state, cancel_requested=True, deadline=deadline)
        case events.TerminateRequested():
            return state
        case events.WorkflowPaused():
            return change(state, paused_at=at)
        case events.WorkflowResumed():
            return change(state, paused_at=None)
        case events.WorkflowRewound():
            return _opened_anew(state, event, event.to)
        case events.WorkflowForked():
            return change(_opened_anew(state, event, event.at), replies={}, cancel_requested=state.cancel_requested)


def earlier(began_at: int, timeout: int | None, deadline: int | None) -> int | None:
    """Give the time at which a workflow is to be cancelled that began then; None: never."""
    times = [] if timeout is None else [began_at + timeout]
    return min([*times, *([] if deadline is None else [deadline])], default=None)


def _opened_anew(state: WorkflowState, event: events.OpeningEvent, at: int) -> WorkflowState:
    begun = state.began_seq is not None and state.began_seq <= at
    return msgspec.structs.replace(
        state,
        status="begun" if begun else "created",
        began_at=state.began_at if begun else None,
        began_seq=state.began_seq if begun else None,
        ended_at=None,
        open={},
        cancel_requested=False,
        paused_at=None,
        deadline=event.deadline,
        name=event.name or state.name,
        place=event.place or state.place,
        enqueued=event.place is not None,
        keeps_deadline=False,
        error=None,
    )


def _continued(state: WorkflowState, at: int, event: events.WorkflowContinued) -> WorkflowState:
    return WorkflowState(
        name=event.created.name,
        parent=event.created.parent,
        forked_from=event.created.forked_from,
        attributes=event.created.attributes,
        seq=state.seq,
        created_at=state.created_at,
        continued_seq=state.seq,
        continued_at=at,
        first_began_at=event.began_at,
        children={one.child: _carried(one) for one in event.children},
        replies=state.replies,
        values=state.values,
        streams=state.streams,
        place=event.created.place,
        timeout=event.created.timeout,
        deadline=event.created.deadline,
        keeps_deadline=True,
    )


def _carried(one: CarriedChild) -> OpenChild:
    return OpenChild(
        child=one.child,
        operation=one.operation,
        name=one.name,
        since=one.since,
        when_parent_ends=one.when_parent_ends,
        asked=one.asked,
    )


def _opened(
    state: WorkflowState,
    kind: Literal["step", "timer", "wait"],
    operation: str,
    name: str,
    at: int,
    *,
    attempt: int = 1,
    due_at: int | None = None,
    failure: Failure | None = None,
    asked: str | None = None,
    listed: WaitRow | None = None,
) -> WorkflowState:
    opened = OpenOperation(
        kind=kind,
        operation=operation,
        name=name,
        since=at,
        attempt=attempt,
        due_at=due_at,
        failure=failure,
        asked=asked,
        listed=listed,
    )
    return msgspec.structs.replace(state, open={**state.open, operation: opened})


_OF_CHILDREN: Final = (events.ChildStarted, events.ChildEnded, events.MessageSent)


def _note(
    children: dict[str, OpenChild], event: events.ChildStarted | events.ChildEnded | events.MessageSent, at: int
) -> dict[str, OpenChild]:
    """Change the open children, in place, as an event says, and give them; most messages are about none of them."""
    match event:
        case events.ChildStarted():
            if not event.existed:
                children[event.child] = OpenChild(
                    child=event.child,
                    operation=event.operation,
                    name=event.name,
                    since=at,
                    when_parent_ends=event.when_parent_ends,
                )
        case events.ChildEnded():
            children.pop(event.child, None)
        case events.MessageSent():
            if event.control and event.to in children:
                children[event.to] = msgspec.structs.replace(children[event.to], asked=True)
    return children


def _closed(state: WorkflowState, operation: str) -> WorkflowState:
    if operation not in state.open:
        return state
    return msgspec.structs.replace(state, open={name: one for name, one in state.open.items() if name != operation})

"""State: what a history says about its workflow, as a fold over its events. Nothing else makes a state.

Theory of operation. A history begins with `workflow_created`, goes on with `workflow_began`, and ends, if it has,
with one of the three end events. Between them operations open and close. An operation is opened by its started row
(`step_started`, `timer_set`, `wait_started`) or by a failed attempt, and closed by its fact or its cancelled row;
what began and ended between two commits has its fact alone. A child that was started is open until its end is heard of,
which may be after the end of its parent, and then is never. What workflow code publishes, values and streams, opens
nothing. `workflow_paused`, `workflow_resumed` and `attributes_changed` may stand anywhere before the end;
`cancel_requested` ends no pause, so the row that does stands before it. After the end nothing follows but
`workflow_rewound`, which opens the history again: what was open at the row that it names is open anew, and its opening
rows are written anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, assert_never

import msgspec

from everlog.core import events
from everlog.core.attributes import Attributes, changed
from everlog.core.events import AnyEvent
from everlog.core.failures import Failure

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


class OpenChild(msgspec.Struct, frozen=True, kw_only=True):
    """A child that was started here and is not known to have ended."""

    child: str
    operation: str
    name: str
    since: int
    when_parent_ends: events.WhenParentEnds
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
    attributes: Attributes = {}
    seq: int = 0
    created_at: int = 0
    began_at: int | None = None
    began_seq: int | None = None
    ended_at: int | None = None
    open: dict[str, OpenOperation] = {}
    children: dict[str, OpenChild] = {}
    """By id."""
    steps_completed: int = 0
    steps_failed: int = 0
    messages_received: int = 0
    values: dict[str, PublishedValue] = {}
    streams: dict[str, OwnStream] = {}
    cancel_requested: bool = False
    paused_at: int | None = None
    timeout: int | None = None
    deadline: int | None = None
    """The time at which it is cancelled; None once it has come."""
    error: Failure | None = None


EMPTY: Final = WorkflowState()

Steering = (
    events.CancelRequested
    | events.TerminateRequested
    | events.WorkflowPaused
    | events.WorkflowResumed
    | events.WorkflowRewound
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
        else:
            state = evolve(state, seq, recorded_at, event)
    return msgspec.structs.replace(state, children=children)


def evolve(state: WorkflowState, seq: int, at: int, event: AnyEvent) -> WorkflowState:  # long: a case for each event
    """Give the state after one more event."""
    change = msgspec.structs.replace
    state = change(state, seq=seq)
    match event:
        case events.WorkflowCreated():
            return change(
                state,
                name=event.name,
                parent=event.parent,
                attributes=event.attributes,
                created_at=at,
                timeout=event.timeout,
                deadline=event.deadline,
            )
        case events.WorkflowBegan():
            return change(
                state,
                status="begun",
                began_at=at,
                began_seq=state.seq,
                deadline=earlier(at, state.timeout, state.deadline),
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
            return _opened(state, "wait", event.operation, event.topic, at, due_at=event.due_at)
        case events.MessageReceived():
            return change(_closed(state, event.operation), messages_received=state.messages_received + 1)
        case events.TimerFired() | events.WaitExpired():
            return _closed(state, event.operation)
        case events.StepCancelled() | events.TimerCancelled() | events.WaitCancelled():
            return _closed(state, event.operation)
        case events.ChildStarted() | events.ChildEnded() | events.MessageSent():
            return change(state, children=_note(dict(state.children), event, at))
        case events.SendFailed() | events.StartFailed():
            return state
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
        ):
            return _steered(state, at, event)
        case events.WorkflowCompleted():
            return change(state, status="completed", ended_at=at)
        case events.WorkflowFailed():
            return change(state, status="failed", ended_at=at, error=event.error)
        case events.WorkflowCancelled():
            return change(state, status="cancelled", ended_at=at)
        case _:
            assert_never(event)


def _published(state: WorkflowState, at: int, event: events.Publication) -> WorkflowState:
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
            return _rewound(state, event)


def earlier(began_at: int, timeout: int | None, deadline: int | None) -> int | None:
    """Give the time at which a workflow is to be cancelled that began then; None: never."""
    times = [] if timeout is None else [began_at + timeout]
    return min([*times, *([] if deadline is None else [deadline])], default=None)


def _rewound(state: WorkflowState, event: events.WorkflowRewound) -> WorkflowState:
    begun = state.began_seq is not None and state.began_seq <= event.to
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
        error=None,
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
) -> WorkflowState:
    opened = OpenOperation(
        kind=kind, operation=operation, name=name, since=at, attempt=attempt, due_at=due_at, failure=failure
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

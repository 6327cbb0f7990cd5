"""State: what a history says about its workflow, as a fold over its events. Nothing else makes a state.

Theory of operation. A history begins with `workflow_created`, goes on with `workflow_began`, and ends, if it has,
with one of the three end events. Between them operations open and close. An operation is opened by its started row
(`step_started`, `timer_set`, `wait_started`) or by a failed attempt, and closed by its fact or its cancelled row;
what began and ended between two commits has its fact alone. A child that was started is open until its end is heard of,
which may be after the end of its parent, and then is never. After the end nothing follows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, assert_never

import msgspec

from everlog.core import events
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


class WorkflowState(msgspec.Struct, frozen=True, kw_only=True):
    """What a history says. Times are those of the rows."""

    status: Status = "created"
    name: str = ""
    seq: int = 0
    created_at: int = 0
    began_at: int | None = None
    ended_at: int | None = None
    open: dict[str, OpenOperation] = {}
    children: dict[str, OpenChild] = {}
    """By id."""
    steps_completed: int = 0
    steps_failed: int = 0
    messages_received: int = 0
    cancel_requested: bool = False
    error: Failure | None = None


EMPTY: Final = WorkflowState()


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


def evolve(state: WorkflowState, seq: int, at: int, event: AnyEvent) -> WorkflowState:
    """Give the state after one more event."""
    change = msgspec.structs.replace
    state = change(state, seq=seq)
    match event:
        case events.WorkflowCreated():
            return change(state, name=event.name, created_at=at)
        case events.WorkflowBegan():
            return change(state, status="begun", began_at=at)
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
        case events.CancelRequested():
            return change(state, cancel_requested=True)
        case events.WorkflowCompleted():
            return change(state, status="completed", ended_at=at)
        case events.WorkflowFailed():
            return change(state, status="failed", ended_at=at, error=event.error)
        case events.WorkflowCancelled():
            return change(state, status="cancelled", ended_at=at)
        case _:
            assert_never(event)


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

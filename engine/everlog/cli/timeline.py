"""The timeline: a history as one line for each operation, with how long it took and how it ended. It prints nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

import msgspec

from everlog.core import events
from everlog.core.asks import REPLY, spoken_topic
from everlog.core.durations import as_datetime
from everlog.core.event_parts import ABSENT, LargeInput, QueuePlace
from everlog.core.events import AnyEvent
from everlog.core.failures import Failure
from everlog.core.sealed import shown_text

Stored = tuple[int, int, AnyEvent]
"""Seq, time of recording and event."""


class Entry(msgspec.Struct, kw_only=True):
    """One operation, or one moment of the workflow itself. `ended_at` None: it is not over."""

    seq: int
    """The last event of it: the one with its outcome, where it has one."""
    began_at: int
    ended_at: int | None
    what: str
    outcome: str = ""


def timeline(history: Iterable[Stored]) -> list[Entry]:
    """Give the entries of a history in the order in which they opened."""
    entries: list[Entry] = []
    open_now: dict[str, Entry] = {}
    for seq, at, event in history:
        # What is published is a moment, also of a step that goes on.
        operation: str | None = None if isinstance(event, events.Publication) else getattr(event, "operation", None)
        entry = None if operation is None else open_now.get(operation)
        if entry is None:
            entry = Entry(seq=seq, began_at=_began(event, at), ended_at=at, what=_what(event))
            entries.append(entry)
        entry.began_at = min(entry.began_at, _began(event, at))  # a row that opens is written a little later
        entry.outcome = _outcome(event)
        entry.seq, entry.ended_at = seq, at
        if operation is not None:
            if _opens(event):
                entry.ended_at = None
                open_now[operation] = entry
            else:
                open_now.pop(operation, None)
    return entries


def summary(failure: Failure) -> str:
    """Give a failure as Python would end a traceback."""
    name = failure.type.rpartition(":")[2]
    return f"{name}: {shown_text(failure.message)}" if failure.message else name


def _opens(event: AnyEvent) -> bool:
    opening = events.StepStarted | events.StepAttemptFailed | events.TimerSet | events.WaitStarted
    return isinstance(event, opening) or (isinstance(event, events.ChildStarted) and not event.existed)


def _began(event: AnyEvent, at: int) -> int:
    if isinstance(event, events.StepCompleted | events.StepFailed | events.StepAttemptFailed):
        return event.started_at
    return at


def _what(event: AnyEvent) -> str:  # long: a case for each event
    match event:
        case events.StepStarted() | events.StepAttemptFailed() | events.StepCompleted() | events.StepFailed():
            return f"step {event.operation}"
        case events.StepCancelled():
            return f"step {event.operation}"
        case events.TimerSet() | events.TimerFired() | events.TimerCancelled():
            return f"sleep {event.operation}"
        case events.WaitStarted() | events.MessageReceived() | events.WaitExpired():
            return "answer" if event.topic.startswith(REPLY) else f"recv {spoken_topic(event.topic)}"
        case events.WaitCancelled():
            return f"recv {event.operation}"
        case events.MessageSent() | events.SendFailed():
            return _sent(event)
        case events.RequestAnswered() | events.RequestRefused():
            answer = "reply" if isinstance(event, events.RequestAnswered) else "refuse"
            return f"{answer} {event.topic} to {event.source}"
        case events.ChildStarted() | events.StartFailed():
            return f"child {event.name} {event.child}"
        case events.ChildEnded():
            return f"child {event.child}"
        case events.ValueSet():
            return f"set {event.name}"
        case events.ItemsEmitted():
            return f"emit to {event.stream}"
        case events.StreamClosed():
            return f"close {event.stream}"
        case events.PatchMarked():
            return f"patch {event.patch}"
        case events.CancelRequested():
            return "cancel requested" if event.due_at is None else "deadline"
        case events.TerminateRequested():
            return "terminate requested"
        case events.WorkflowPaused():
            return "paused"
        case events.WorkflowResumed():
            return "resumed"
        case events.AttributesChanged():
            return "attributes changed"
        case events.WorkflowRewound():
            return "retried"
        case events.WorkflowForked():
            return "forked"
        case events.WorkflowContinued():
            return "continued"
        case events.WorkflowCreated():
            return "created"
        case events.InputReplaced():
            return "input replaced"
        case events.WorkflowPlaced():
            return "placed"
        case events.WorkflowBegan():
            return "began"
        case events.WorkflowCompleted():
            return "returned"
        case events.WorkflowFailed():
            return "failed"
        case events.WorkflowCancelled():
            return "cancelled"
        case _:
            assert_never(event)


def _outcome(event: AnyEvent) -> str:  # long: a case for each event
    match event:
        case events.StepStarted():
            return "running" if event.attempt == 1 else f"running, attempt {event.attempt}"
        case events.StepAttemptFailed():
            again = f"{as_datetime(event.retry_at):%H:%M:%S}"
            return f"attempt {event.attempt} failed, again at {again}: {summary(event.error)}"
        case events.StepCompleted():
            return _tried(event.attempt) + (_text(event.result) or "done")
        case events.StepFailed():
            return _tried(event.attempt) + summary(event.error)
        case events.SendFailed() | events.StartFailed() | events.WorkflowFailed():
            return summary(event.error)
        case events.ChildStarted():
            return "was there before" if event.existed else "goes on"
        case events.ChildEnded():
            return _ended(event.outcome)
        case events.StepCancelled() | events.TimerCancelled() | events.WaitCancelled():
            return "cancelled"
        case events.TimerSet() | events.WaitStarted():
            return _until(event)
        case events.TimerFired():
            return "over"
        case events.WaitExpired():
            return "nothing came in time"
        case events.MessageReceived() | events.MessageSent():
            return _text(event.message)
        case events.RequestAnswered():
            return _text(event.answer)
        case events.ValueSet():
            return _text(event.value) + (f", by step {event.operation}" if event.attempt else "")
        case events.ItemsEmitted():
            items = "1 item" if event.count == 1 else f"{event.count} items"
            return f"{items} from {event.offset} on: {_text(event.items) or _preview(event.large_items)}"
        case events.StreamClosed():
            return f"at {event.offset}"
        case (
            events.CancelRequested()
            | events.TerminateRequested()
            | events.WorkflowCancelled()
            | events.RequestRefused()
        ):
            return event.reason
        case events.PatchMarked():
            return "the new way"
        case events.WorkflowPaused() | events.WorkflowResumed():
            return ""
        case events.AttributesChanged():
            return msgspec.json.encode(event.attributes).decode()
        case events.WorkflowRewound():
            return f"goes on from seq {event.to}; what is between does not count"
        case events.WorkflowForked():
            return f"from {event.source}, whose events are those up to seq {event.at}"
        case events.WorkflowContinued():
            return f"as {event.created.name} {_text(event.created.input)}"
        case events.WorkflowCreated() | events.InputReplaced():
            return _text(event.input)
        case events.WorkflowPlaced():
            return _where(event.place, event.begins_at)
        case events.WorkflowBegan():
            return f"on Everlog {event.everlog}, Python {event.python}"
        case events.WorkflowCompleted():
            return _text(event.result)
        case _:
            assert_never(event)


def _where(place: QueuePlace | None, begins_at: int | None) -> str:
    due_at = begins_at or 0 if place is None else place.due_at
    until = f"not before {as_datetime(due_at):%Y-%m-%d %H:%M:%S}" if due_at else ""
    return until if place is None else f"in queue {place.queue} with priority {place.priority}, {until}"


def _sent(event: events.MessageSent | events.SendFailed) -> str:
    if event.control:
        return f"{event.topic} {event.to}"
    return f"{'ask' if event.ask else 'send'} {event.topic} to {event.to}"


def _until(event: events.TimerSet | events.WaitStarted) -> str:
    until = "" if event.due_at is None else f"until {as_datetime(event.due_at):%Y-%m-%d %H:%M:%S}"
    title = event.title if isinstance(event, events.WaitStarted) else None
    return until if title is None else f"{title} {until}".rstrip()


def _ended(outcome: events.EndEvent) -> str:
    match outcome:
        case events.WorkflowCompleted():
            return _text(outcome.result) or "done"
        case events.WorkflowFailed():
            return f"failed: {summary(outcome.error)}"
        case events.WorkflowCancelled():
            return f"cancelled: {outcome.reason}" if outcome.reason else "cancelled"


def _tried(attempt: int) -> str:
    return "" if attempt == 1 else f"at attempt {attempt}: "


def _preview(large: LargeInput | None) -> str:
    return "" if large is None else f"{large.preview} ..."


def _text(raw: msgspec.Raw) -> str:
    return "" if raw is ABSENT else bytes(raw).decode(errors="replace")

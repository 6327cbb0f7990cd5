"""Arriving: which messages and due times become facts of the next commit, in which order. It writes no draft."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from msgspec import Raw

from everlog.core import events
from everlog.core.asks import AGAIN, ANSWER, REPLY
from everlog.core.durations import as_datetime
from everlog.core.events import AnyEvent
from everlog.core.names import CHILD_ENDED
from everlog.core.orders import CANCEL
from everlog.replay.execution import Execution
from everlog.replay.inbox import Inbox
from everlog.replay.obeying import reason_of
from everlog.replay.operations import (
    DeadlineOperation,
    Phase,
    StepOperation,
    TimerOperation,
    WaitOperation,
)
from everlog.replay.requests import refused_at_once
from everlog.replay.rests import is_due


def arrivals(execution: Execution, now: int, inbox: Inbox, consumed: list[int]) -> Iterator[AnyEvent]:
    """Give what has arrived or is due. A message can only be the first fact of a commit: one that is delivered before
    it may cancel the wait, and the message, taken from the inbox already, would be lost."""
    delivers = False
    for message in inbox.reaching(_awaited(execution, inbox)):
        for fact in _due(execution, min(now, message.arrived_at - 1)):
            delivers = True
            yield fact
        if message.control:
            if message.topic == CANCEL:
                consumed.append(message.row)
                delivers = True
                yield events.CancelRequested(by=message.source, reason=reason_of(message))
            continue
        if message.topic == CHILD_ENDED:
            if execution.children.is_doubtful(message):
                continue
            consumed.append(message.row)
            ended = execution.children.heard(message)
            if ended is not None:
                delivers = True
                yield ended
            continue
        wait = _first_wait(execution, message.topic)
        if wait is None:
            if message.topic.startswith((REPLY, ANSWER)):  # what it was for is over
                consumed.append(message.row)
        else:
            if delivers:
                return
            refused = refused_at_once(execution, wait, message)
            if refused is not None:
                consumed.append(message.row)
                yield refused
                continue
            delivers = True
            wait.phase = Phase.CLOSING
            consumed.append(message.row)
            yield events.MessageReceived(
                operation=wait.identity,
                topic=wait.topic,
                due_at=wait.due_at,
                source=message.source,
                number=message.number,
                arrived_at=message.arrived_at,
                message=Raw(message.payload),
                just_this=message.topic.startswith((ANSWER, AGAIN)),
            )
    yield from _due(execution, now)


def _due(execution: Execution, until: int) -> Iterator[AnyEvent]:
    """Give the facts of what is due until then; a step whose back-off is over is only made dispatchable."""
    heap = execution.due
    while heap and heap[0][0] <= until:
        due_at, number, operation = heapq.heappop(heap)
        if not is_due(due_at, number, operation):
            continue
        if isinstance(operation, StepOperation):
            operation.retry_at = None
            execution.undispatched.append(operation)
            continue
        operation.phase = Phase.CLOSING
        if isinstance(operation, TimerOperation):
            yield events.TimerFired(operation=operation.identity, due_at=operation.due_at)
        elif isinstance(operation, WaitOperation) and operation.due_at is not None:
            yield events.WaitExpired(operation=operation.identity, topic=operation.topic, due_at=operation.due_at)
        elif isinstance(operation, DeadlineOperation):
            whose = (
                f"the deadline of its parent {execution.created.parent!r}" if operation.inherited else "its deadline"
            )
            reason = f"timeout: {whose}, {as_datetime(due_at):%Y-%m-%d %H:%M:%S} UTC, has come"
            yield events.CancelRequested(by="", reason=reason, due_at=due_at)


def _awaited(execution: Execution, inbox: Inbox) -> dict[str, int | None]:
    """Give the topics on which something is awaited, with how many messages are: more would reach nobody."""
    awaited: dict[str, int | None] = {CHILD_ENDED: None}
    for wait in execution.waits.values():
        if wait.phase is Phase.OPEN:
            for topic in wait.takes_topics():
                awaited[topic] = (awaited.get(topic) or 0) + 1
    for topic in inbox.addressed:
        awaited.setdefault(topic, None)  # it is consumed, also where what it was for is over
    return awaited


def _first_wait(execution: Execution, topic: str) -> WaitOperation | None:
    for wait in execution.waits.values():
        if wait.phase is Phase.OPEN and wait.takes_message(topic):
            return wait
    return None

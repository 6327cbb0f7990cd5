"""Drafting: what the next commit of a workflow says. Decides which ready things become facts, and in which order.

The order, which is then only read: rows of what the workflow published, values that steps set, rows that open what is
still open, rows that close what was cancelled, failed attempts, then the facts: messages and due timers merged by
arrival and due time (a message before a timer of the same time, timers of one time by creation; ends of children are
messages in this), ended steps as they came, sends and starts as they were asked for. Each is one row.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Raw, Struct

from everlog.core import events
from everlog.core.attributes import NO_ATTRIBUTES, AttributeChange
from everlog.core.durations import as_datetime
from everlog.core.events import ABSENT, AnyEvent
from everlog.core.failures import Failure
from everlog.core.heads import InboxRow, State
from everlog.core.names import CHILD_ENDED
from everlog.core.orders import CANCEL
from everlog.replay.endings import take_carried
from everlog.replay.execution import Environment, Execution, StepEnd
from everlog.replay.obeying import Obeyed, obey, reason_of
from everlog.replay.operations import (
    AskingOperation,
    DeadlineOperation,
    Operation,
    Phase,
    SendOperation,
    StartOperation,
    StepOperation,
    TimerOperation,
    WaitOperation,
)
from everlog.replay.publishing import Part
from everlog.replay.rests import PAUSED, RUNNING, Rest, attention_at, head_state, is_due

MOST_STARTS: Final = 500
"""So many children come to be by one commit: one that is larger would hold up all other workflows of the engine."""


class Draft(Struct, kw_only=True):
    """The next commit of a workflow: rows that continue its history, and what follows from them."""

    rows: list[AnyEvent]
    recorded_at: int
    consumed: Sequence[int]
    sends: list[SendOperation]
    starts: list[StartOperation]
    published: int
    """So many rows, the first ones, are of values and streams."""
    parts: Sequence[Part]
    """What is appended to streams."""
    stream_ends: dict[str, int] | None = None
    """How long the streams are after that, once it has its places."""
    state: State
    wake_at: int | None
    topics: Sequence[str]
    progress: bool
    """Whether a fact, or the end, is among the rows."""
    attributes: AttributeChange = NO_ATTRIBUTES


def draft(
    execution: Execution, now: int, inbox: Sequence[InboxRow] = (), *, settle: bool = False, starting: bool = True
) -> Draft | None:
    """Give the next commit, or None where nothing asks for one.

    `now` is the store's time, `inbox` the unread messages in order. With `settle`, open operations get their rows
    even if they are new. Without `starting` no attempt is begun after this commit: then none is recorded as begun that
    could not run again. What is chosen as a fact is marked, so that it is chosen once.
    """
    recorded_at = max(now, execution.loop.log_time)
    obeyed = obey(execution, inbox) if inbox else None
    if obeyed is not None:
        return _after_order(execution, obeyed, recorded_at)
    if execution.paused:
        return _while_paused(execution, recorded_at, settle=settle)
    if execution.outcome is not None:
        last, left = _take_published(execution)
        rows = [*last, *_closings(execution), execution.outcome]
        return _drafted(execution, rows, recorded_at, published=(len(last), left), ended=True)
    if execution.began is None:
        return _before_it_begins(execution, inbox, recorded_at)
    consumed: list[int] = []
    facts: list[AnyEvent] = []
    failed: list[AnyEvent] = []
    parts: list[Part] = []
    published: list[AnyEvent] = []
    if execution.published.is_wanted():
        published, parts = _take_published(execution)
    if execution.carried:
        facts.extend(take_carried(execution))
    elif inbox or (execution.due and execution.due[0][0] <= now):
        facts.extend(_arrivals(execution, now, inbox, consumed))
    if execution.ended_steps:
        _take_ended_steps(execution, facts, failed)
    asked = _take_asked(execution, facts) if execution.sends else []
    wanted = facts or failed or consumed or published or parts or settle
    if not (wanted or (starting and _must_open(execution)) or attention_at(execution) <= now):
        return None
    rows = _in_order(execution, published, failed, facts, starting=starting)
    if not rows and not consumed and not parts and not settle:
        return None
    return _drafted(
        execution, rows, recorded_at, consumed, asked, published=(len(published), parts), progress=bool(facts)
    )


def _before_it_begins(execution: Execution, inbox: Sequence[InboxRow], recorded_at: int) -> Draft:
    request = next((row for row in inbox if row.control and row.topic == CANCEL), None)
    if request is not None:  # its code has not run, and need not
        execution.outcome = events.WorkflowCancelled(reason=reason_of(request), rewind_to=execution.seq)
        return _drafted(execution, [execution.outcome], recorded_at, ended=True)
    return _drafted(execution, [beginning(execution.environment)], recorded_at)


def _in_order(
    execution: Execution, published: list[AnyEvent], failed: list[AnyEvent], facts: list[AnyEvent], *, starting: bool
) -> list[AnyEvent]:
    rows = [*failed, *facts] if failed else facts
    if execution.cancelled:
        rows = [*_closings(execution), *rows]
    if execution.unrecorded or execution.undispatched:
        rows = [*_openings(execution, starting), *rows]
    return [*published, *rows] if published else rows


def _after_order(execution: Execution, obeyed: Obeyed, recorded_at: int) -> Draft:
    drafted = _drafted(execution, list(obeyed.rows), recorded_at, obeyed.consumed, progress=False)
    if obeyed.rows and isinstance(obeyed.rows[-1], events.AttributesChanged):
        drafted.attributes = obeyed.rows[-1].attributes
        drafted.state, drafted.wake_at, drafted.topics = PAUSED if execution.paused else RUNNING
    elif obeyed.rows:
        rest = _REST_AFTER.get(type(obeyed.rows[-1]), RUNNING)
        drafted.state, drafted.wake_at, drafted.topics = rest
        drafted.progress = rest is not PAUSED
    return drafted


def _while_paused(execution: Execution, recorded_at: int, *, settle: bool) -> Draft | None:
    """Give the outcomes of the attempts that still ran. The code sees them; what it asks for then waits."""
    facts: list[AnyEvent] = []
    failed: list[AnyEvent] = []
    published, parts = _take_published(execution)
    _take_ended_steps(execution, facts, failed)
    if not (published or parts or facts or failed or settle):
        return None
    rows = [*published, *failed, *facts]
    return _drafted(execution, rows, recorded_at, published=(len(published), parts), progress=bool(facts))


def beginning(environment: Environment) -> events.WorkflowBegan:
    """Give the first fact of a workflow that is begun here."""
    return events.WorkflowBegan(
        format=events.FORMAT,
        everlog=environment.everlog,
        python=environment.python,
        build=environment.build,
        worker=environment.worker,
    )


def wants_draft(execution: Execution) -> bool:
    """Tell whether the last drain left something that is to be committed now; what becomes due is told by an alarm."""
    return bool(
        execution.outcome is not None
        or execution.began is None
        or execution.sends
        or execution.ended_steps
        or execution.published.is_wanted()
        or execution.carried
        or execution.children.must_look()
        or execution.paused
        or (execution.undispatched and _must_open(execution))
    )


def take_dispatches(execution: Execution) -> list[StepOperation]:
    """Give the steps whose next attempt may run now: asked for, wanted, begun in the history where that must be."""
    if execution.paused:
        return []
    ready: list[StepOperation] = []
    later: list[StepOperation] = []
    for operation in execution.undispatched:
        if operation.phase is not Phase.OPEN or operation.dispatched:
            continue
        if operation.must_start and operation.started_attempt != operation.attempt:
            later.append(operation)
            continue
        operation.dispatched = True
        ready.append(operation)
    execution.undispatched = later
    return ready


def _drafted(
    execution: Execution,
    rows: list[AnyEvent],
    recorded_at: int,
    consumed: Sequence[int] = (),
    asked: Sequence[AskingOperation] = (),
    *,
    published: tuple[int, Sequence[Part]] = (0, ()),
    progress: bool = True,
    ended: bool = False,
) -> Draft:
    state, wake_at, topics = RUNNING if progress and not execution.paused else head_state(execution)
    if ended and execution.outcome is not None:
        state = _END_STATES[type(execution.outcome)]
    return Draft(
        rows=rows,
        recorded_at=recorded_at,
        consumed=consumed,
        sends=[operation for operation in asked if isinstance(operation, SendOperation)] if asked else [],
        starts=[operation for operation in asked if isinstance(operation, StartOperation)] if asked else [],
        published=published[0],
        parts=published[1],
        state=state,
        wake_at=wake_at,
        topics=topics,
        progress=progress,
    )


_REST_AFTER: Final[dict[type[object], Rest]] = {
    events.WorkflowPaused: PAUSED,
    events.WorkflowCancelled: ("cancelled", None, ()),
}

_END_STATES: Final[dict[type[object], State]] = {
    events.WorkflowCompleted: "completed",
    events.WorkflowFailed: "failed",
    events.WorkflowCancelled: "cancelled",
}


def _arrivals(execution: Execution, now: int, inbox: Sequence[InboxRow], consumed: list[int]) -> Iterator[AnyEvent]:
    """Give what has arrived or is due. A message can only be the first fact of a commit: one that is delivered before
    it may cancel the wait, and the message, taken from the inbox already, would be lost."""
    delivers = False
    for message in inbox:
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
        if wait is not None:
            if delivers:
                return
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


def _first_wait(execution: Execution, topic: str) -> WaitOperation | None:
    for wait in execution.waits.values():
        if wait.topic == topic and wait.phase is Phase.OPEN:
            return wait
    return None


def _take_ended_steps(execution: Execution, facts: list[AnyEvent], failed: list[AnyEvent]) -> None:
    for operation, end in execution.ended_steps:
        if operation.phase is not Phase.OPEN:
            continue
        operation.phase = Phase.CLOSING
        execution.unrecorded.pop(operation.identity, None)  # this row has its input, so that none need open it
        if end.failure is None:
            operation.result = end.value
            facts.append(
                events.StepCompleted(
                    operation=operation.identity,
                    step=operation.name,
                    attempt=operation.attempt,
                    started_at=end.started_at,
                    result=Raw(end.result or b"null"),
                    input=ABSENT if operation.recorded or operation.large_input else Raw(operation.input),
                    large_input=None if operation.recorded else operation.large_input,
                )
            )
        elif end.retry_at is not None:
            failed.append(_attempt_failed(operation, end, end.failure, end.retry_at))
        else:
            facts.append(
                events.StepFailed(
                    operation=operation.identity,
                    step=operation.name,
                    attempt=operation.attempt,
                    started_at=end.started_at,
                    error=end.failure,
                    **operation.input_fields(),
                )
            )
    execution.ended_steps.clear()


def _attempt_failed(operation: StepOperation, end: StepEnd, failure: Failure, retry_at: int) -> AnyEvent:
    return events.StepAttemptFailed(
        operation=operation.identity,
        step=operation.name,
        attempt=operation.attempt,
        started_at=end.started_at,
        retry_at=retry_at,
        error=failure,
        **operation.input_fields(),
    )


def _take_asked(execution: Execution, facts: list[AnyEvent]) -> list[AskingOperation]:
    """Give what is asked of others in this commit; of two starts under one id the second waits for the next, and so
    does what follows after many starts, in its order."""
    asked: list[AskingOperation] = []
    later: list[AskingOperation] = []
    children: set[str] = set()
    for position, operation in enumerate(execution.sends):
        if len(children) >= MOST_STARTS:
            later.extend(execution.sends[position:])
            break
        if operation.phase is not Phase.OPEN:
            continue
        if isinstance(operation, StartOperation):
            if operation.child in children:
                later.append(operation)
                continue
            children.add(operation.child)
        operation.phase = Phase.CLOSING
        facts.append(_asked(operation))
        asked.append(operation)
    execution.sends = later
    return asked


def _asked(operation: AskingOperation) -> AnyEvent:
    if isinstance(operation, StartOperation):
        return events.ChildStarted(**operation.fields(), when_parent_ends=operation.definition.when_parent_ends)
    return events.MessageSent(
        operation=operation.identity,
        to=operation.to,
        topic=operation.topic,
        message=Raw(operation.payload),
        key=operation.key,
        control=operation.control,
    )


def _take_published(execution: Execution) -> tuple[list[AnyEvent], list[Part]]:
    """Give the rows and the parts of streams that say what was published: what a step did is not told late."""
    of_steps, parts = execution.published.take_of_steps(execution)
    rows, own = execution.published.take()
    return [*rows, *of_steps], [*parts, *own]


def _must_open(execution: Execution) -> bool:
    return any(_waits_for_its_row(operation) for operation in execution.undispatched)


def _waits_for_its_row(operation: StepOperation) -> bool:
    return (
        operation.must_start
        and operation.phase is Phase.OPEN
        and operation.started_attempt != operation.attempt
        and not operation.dispatched
    )


def _openings(execution: Execution, starting: bool) -> list[AnyEvent]:
    openings: list[AnyEvent] = []
    for operation in execution.unrecorded.values():
        if operation.phase is Phase.OPEN and (starting or not _is_not_begun(operation)):
            opening = operation.opening()
            if opening is not None:
                openings.append(opening)
    openings.extend(
        operation.opening()
        for operation in execution.undispatched
        if operation.recorded and _waits_for_its_row(operation) and (starting or not _is_not_begun(operation))
    )
    return openings


def _is_not_begun(operation: Operation) -> bool:
    """Tell whether a row that says it began would be wrong, and would keep the step from ever running."""
    return isinstance(operation, StepOperation) and operation.definition.at_most_once and not operation.dispatched


def _closings(execution: Execution) -> list[AnyEvent]:
    """Give the rows that close what was cancelled; what the history knows nothing of is forgotten."""
    closings: list[AnyEvent] = []
    for operation in list[Operation](execution.cancelled.values()):
        if operation.recorded:
            closings.append(operation.closing())
        else:
            del execution.cancelled[operation.identity]
    return closings

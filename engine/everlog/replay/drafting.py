"""Drafting: what the next commit of a workflow says. Decides which ready things become facts, and in which order.

The order, which is then only read: rows of what the workflow published, values that steps set, rows that open what is
still open, rows that close what was cancelled, failed attempts, then the facts: messages and due timers merged by
arrival and due time (a message before a timer of the same time, timers of one time by creation; ends of children are
messages in this), ended steps as they came, sends and starts as they were asked for. Each is one row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Raw, Struct, field

from everlog.core import events
from everlog.core.asks import answer_topic
from everlog.core.attributes import NO_ATTRIBUTES, AttributeChange
from everlog.core.event_parts import ABSENT
from everlog.core.events import AnyEvent, WorkflowContinued
from everlog.core.failures import Failure
from everlog.core.heads import State
from everlog.core.orders import CANCEL
from everlog.replay.arriving import arrivals
from everlog.replay.continuing import carrying
from everlog.replay.endings import take_carried
from everlog.replay.environment import Environment, StepEnd
from everlog.replay.execution import Execution
from everlog.replay.inbox import Inbox
from everlog.replay.obeying import Obeyed, obey, reason_of
from everlog.replay.operations import (
    AskingOperation,
    Operation,
    Phase,
    ReplyOperation,
    SendOperation,
    StartOperation,
    StepOperation,
)
from everlog.replay.patches import is_marking
from everlog.replay.publishing import Part
from everlog.replay.requests import not_answered_before, refused_as_taken, refused_at_end
from everlog.replay.rests import PAUSED, RUNNING, Rest, attention_at, head_state

MOST_STARTS: Final = 500
"""So many children come to be by one commit: one that is larger would hold up all other workflows of the engine."""


_EMPTY: Final = Inbox()


class Draft(Struct, kw_only=True):
    """The next commit of a workflow: rows that continue its history, and what follows from them."""

    rows: list[AnyEvent]
    recorded_at: int
    consumed: Sequence[int] = ()
    sends: list[SendOperation] = field(default_factory=list)
    starts: list[StartOperation] = field(default_factory=list)
    replies: bool = False
    """Whether rows of it answer or refuse what the workflow was asked."""
    published: int = 0
    """So many rows, the first ones, are of values and streams."""
    parts: Sequence[Part] = ()
    """What is appended to streams."""
    stream_ends: dict[str, int] | None = None
    """How long the streams are after that, once it has its places."""
    state: State = "running"
    wake_at: int | None = None
    topics: Sequence[str] = ()
    progress: bool = True
    """Whether a fact, or the end, is among the rows."""
    only_rows: bool = False
    """Whether all else is as it is by default: the usual draft, of which nobody need ask more."""
    continues: WorkflowContinued | None = None
    """The row with which the workflow continues as new, where there is one: the last."""
    attributes: AttributeChange = NO_ATTRIBUTES


def draft(
    execution: Execution, now: int, inbox: Inbox = _EMPTY, *, settle: bool = False, starting: bool = True
) -> Draft | None:
    """Give the next commit, or None where nothing asks for one.

    `now` is the store's time, `inbox` the unread messages in order. With `settle`, open operations get their rows
    even if they are new. Without `starting` no attempt is begun after this commit: then none is recorded as begun that
    could not run again. What is chosen as a fact is marked, so that it is chosen once.
    """
    recorded_at = max(now, execution.loop.log_time)
    obeyed = obey(execution, inbox) if inbox.orders else None
    if obeyed is not None:
        return _after_order(execution, obeyed, recorded_at)
    if execution.paused:
        return _while_paused(execution, recorded_at, settle=settle)
    if execution.outcome is not None:
        return _last(execution, inbox, recorded_at, settle=settle)
    if execution.began is None:
        return _before_it_begins(execution, inbox, recorded_at)
    consumed: list[int] = []
    facts: list[AnyEvent] = []
    failed: list[AnyEvent] = []
    published: Sequence[AnyEvent] = ()
    parts: Sequence[Part] = ()
    if execution.published.is_wanted():
        published, parts = _take_published(execution)
    if execution.carried:
        facts.extend(take_carried(execution))
    elif inbox or (execution.due and execution.due[0][0] <= now):
        facts.extend(arrivals(execution, now, inbox, consumed))
    if execution.ended_steps:
        _take_ended_steps(execution, facts, failed)
    asked = _take_asked(execution, facts) if execution.sends else ()
    more = consumed or asked or failed or published or parts or settle or execution.waits.lists
    opens = execution.unrecorded or execution.undispatched or execution.cancelled
    if facts and not (more or opens):
        return Draft(rows=facts, recorded_at=recorded_at, only_rows=True)
    wanted = facts or consumed or asked or failed or published or parts or settle or execution.waits.untold
    if not (wanted or (starting and _must_open(execution)) or attention_at(execution) <= now):
        return None
    rows = _in_order(execution, published, failed, facts, starting=starting)
    if not rows and not consumed and not parts and not settle:
        return None
    return _drafted(
        execution, rows, recorded_at, consumed, asked, published=(len(published), parts), progress=bool(facts)
    )


def _last(execution: Execution, inbox: Inbox, recorded_at: int, *, settle: bool) -> Draft | None:
    """Give what ends it, or what it continues with: not before it is known of all its children where they are."""
    outcome = execution.outcome
    if isinstance(outcome, WorkflowContinued):
        if execution.children.must_look():
            return _drafted(execution, [], recorded_at, progress=False) if settle else None
        execution.outcome = outcome = carrying(execution, outcome, list(inbox.returned()))
    consumed: list[int] = []
    published, parts = _take_published(execution)
    refused = _refused(execution, outcome, inbox, consumed)
    rows = [*published, *_closings(execution), *refused, *([] if outcome is None else [outcome])]
    drafted = _drafted(execution, rows, recorded_at, consumed, published=(len(published), parts), ended=True)
    drafted.continues = outcome if isinstance(outcome, WorkflowContinued) else None
    return drafted


def _refused(
    execution: Execution, outcome: object, inbox: Inbox, consumed: list[int]
) -> Sequence[events.RequestRefused]:
    """Give the rows that refuse what nobody will answer; what was not taken is for whom the workflow continues as."""
    if isinstance(outcome, WorkflowContinued):
        return refused_as_taken(execution, not_answered_before(execution.workflow_id))
    return refused_at_end(execution, inbox, consumed, _END_STATES[type(outcome)])


def _before_it_begins(execution: Execution, inbox: Inbox, recorded_at: int) -> Draft:
    request = next((order for order in inbox.orders if order.topic == CANCEL), None)
    if request is not None:  # its code has not run, and need not
        execution.outcome = events.WorkflowCancelled(reason=reason_of(request), rewind_to=execution.seq)
        consumed: list[int] = []
        rows: list[AnyEvent] = [*refused_at_end(execution, inbox, consumed, "cancelled"), execution.outcome]
        return _drafted(execution, rows, recorded_at, consumed, ended=True)
    return _drafted(execution, [beginning(execution.environment)], recorded_at)


def _in_order(
    execution: Execution,
    published: Sequence[AnyEvent],
    failed: list[AnyEvent],
    facts: list[AnyEvent],
    *,
    starting: bool,
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
    published = execution.published
    return bool(
        execution.outcome is not None
        or execution.began is None
        or execution.sends
        or execution.ended_steps
        or ((published.pending or published.parts or published.values) and published.is_wanted())
        or execution.carried
        or execution.waits.untold
        or (execution.children.uncertain and execution.children.must_look())
        or execution.paused
        or (execution.undispatched and _must_open(execution))
    )


def take_dispatches(execution: Execution) -> list[StepOperation]:
    """Give the steps whose next attempt may run now: asked for, wanted, with a slot and begun in the history where that
    must be."""
    if execution.paused or (execution.published.pending and is_marking(execution)):
        return []
    ready: list[StepOperation] = []
    later: list[StepOperation] = []
    for operation in execution.undispatched:
        if operation.phase is not Phase.OPEN or operation.dispatched:
            continue
        if operation.needs_slot() or (operation.must_start and operation.started_attempt != operation.attempt):
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
    if topics and execution.waits.lists:
        topics = _with_new(execution, rows, topics)
    return Draft(
        rows=rows,
        recorded_at=recorded_at,
        consumed=consumed,
        sends=[operation for operation in asked if isinstance(operation, SendOperation)] if asked else [],
        starts=[operation for operation in asked if isinstance(operation, StartOperation)] if asked else [],
        replies=any(type(row) in _REPLIES for row in rows),
        published=published[0],
        parts=published[1],
        state=state,
        wake_at=wake_at,
        topics=topics,
        progress=progress,
    )


def _with_new(execution: Execution, rows: Sequence[AnyEvent], topics: Sequence[str]) -> Sequence[str]:
    """Give the topics with those of the waits that these rows list: they are known by the seqs that the rows get."""
    listed = {
        answer_topic(execution.seq + place)
        for place, row in enumerate(rows, start=1)
        if isinstance(row, events.WaitStarted) and row.title is not None
    }
    return sorted({*topics, *listed})


_REPLIES: Final[frozenset[type[object]]] = frozenset({events.RequestAnswered, events.RequestRefused})

_REST_AFTER: Final[dict[type[object], Rest]] = {
    events.WorkflowPaused: PAUSED,
    events.WorkflowCancelled: ("cancelled", None, ()),
}

_END_STATES: Final[dict[type[object], State]] = {
    events.WorkflowCompleted: "completed",
    events.WorkflowFailed: "failed",
    events.WorkflowCancelled: "cancelled",
    events.WorkflowContinued: "queued",
}


def _take_ended_steps(execution: Execution, facts: list[AnyEvent], failed: list[AnyEvent]) -> None:
    for operation, end in execution.ended_steps:
        if operation.phase is not Phase.OPEN:
            continue
        operation.phase = Phase.CLOSING
        identity = operation.identity
        execution.unrecorded.pop(identity, None)  # this row has its input, so that none need open it
        if end.failure is None:
            operation.result = end.value
            large_input = operation.large_input
            facts.append(
                events.StepCompleted(
                    operation=identity,
                    step=operation.name,
                    attempt=operation.attempt,
                    started_at=end.started_at,
                    result=Raw(end.result or b"null"),
                    input=ABSENT if operation.recorded or large_input else Raw(operation.input),
                    large_input=None if operation.recorded else large_input,
                )
            )
        elif end.retry_at is not None:
            failed.append(_attempt_failed(operation, end, end.failure, end.retry_at))
        else:
            facts.append(
                events.StepFailed(
                    operation=identity,
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
    """Give what is asked of others in this commit; of two starts under one id or `dedup_key` the second waits for the
    next, and so does what follows after many starts, in its order."""
    asked: list[AskingOperation] = []
    later: list[AskingOperation] = []
    children: set[str] = set()
    keys: set[tuple[str | None, str]] = set()
    for position, operation in enumerate(execution.sends):
        if len(children) >= MOST_STARTS:
            later.extend(execution.sends[position:])
            break
        if operation.phase is not Phase.OPEN:
            continue
        if isinstance(operation, StartOperation):
            placing = operation.definition.placing
            key = None if placing.dedup_key is None else (placing.queue_name(), placing.dedup_key)
            if operation.child in children or key in keys:
                later.append(operation)
                continue
            children.add(operation.child)
            if key is not None:
                keys.add(key)
        operation.phase = Phase.CLOSING
        facts.append(operation.row() if isinstance(operation, ReplyOperation) else _asked(operation))
        if not (isinstance(operation, StartOperation) and operation.failure is not None):
            asked.append(operation)
    execution.sends = later
    return asked


def _asked(operation: SendOperation | StartOperation) -> AnyEvent:
    if isinstance(operation, StartOperation):
        if operation.failure is not None:
            return events.StartFailed(**operation.fields(), error=operation.failure)
        return events.ChildStarted(
            **operation.fields(),
            when_parent_ends=operation.definition.when_parent_ends,
            queue=operation.definition.placing.queue_name(),
            needs_our_slot=operation.needs_our_slot,
        )
    return events.MessageSent(
        operation=operation.identity,
        to=operation.to,
        topic=operation.topic,
        message=Raw(operation.payload),
        key=operation.key,
        control=operation.control,
        ask=operation.ask,
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
        and not operation.needs_slot()
    )


def _openings(execution: Execution, starting: bool) -> list[AnyEvent]:
    openings: list[AnyEvent] = []
    for operation in execution.unrecorded.values():
        if operation.phase is Phase.OPEN and _may_open(operation, starting):
            opening = operation.opening()
            if opening is not None:
                openings.append(opening)
    openings.extend(
        operation.opening()
        for operation in execution.undispatched
        if operation.recorded and _waits_for_its_row(operation) and _may_open(operation, starting)
    )
    return openings


def _may_open(operation: Operation, starting: bool) -> bool:
    """Tell whether a row that says it began is right, and would not keep the step from ever running."""
    if not isinstance(operation, StepOperation) or operation.dispatched:
        return True
    return not operation.needs_slot() and (starting or not operation.definition.at_most_once)


def _closings(execution: Execution) -> list[AnyEvent]:
    """Give the rows that close what was cancelled; what the history knows nothing of is forgotten."""
    closings: list[AnyEvent] = []
    for operation in list[Operation](execution.cancelled.values()):
        if operation.recorded:
            closings.append(operation.closing())
        else:
            del execution.cancelled[operation.identity]
    return closings

"""Applying: what each event of a history means for the execution that it is applied to, and where the two part.

Divergence is found at the first row, opening or closing, that fits no operation asked for so far, or whose name, kind
or input differs. A completion of an operation that was asked for and cancelled is consumed silently.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn

from everlog.core import events
from everlog.core.attributes import changed
from everlog.core.events import AnyEvent, EndEvent, StepEvent
from everlog.core.sealed import shown_text
from everlog.core.versions import workflow_of
from everlog.errors import EverlogError, InternalError, PayloadUnavailable
from everlog.replay.continuing import take_up
from everlog.replay.divergence import CannotGoOn, divergence
from everlog.replay.endings import terminate
from everlog.replay.instances import with_instance
from everlog.replay.matching import same_answer, same_arguments, same_input, same_object, same_result, same_start
from everlog.replay.operations import (
    Operation,
    Phase,
    ReplyOperation,
    SendOperation,
    StartOperation,
    StepOperation,
    TimerOperation,
    WaitOperation,
)
from everlog.replay.patches import never_asked
from everlog.replay.unreadable import cannot_read

if TYPE_CHECKING:
    from everlog.replay.execution import Execution


def _created(execution: Execution, event: events.WorkflowCreated) -> None:
    if execution.seq != 1 or workflow_of(event.name) != workflow_of(execution.definition.name):
        _diverge(execution, event, f"workflow {execution.definition.name!r}, seq {execution.seq}")


def _continued(execution: Execution, event: events.WorkflowContinued) -> None:
    if execution.seq == execution.first_seq:
        if workflow_of(event.created.name) != workflow_of(execution.definition.name):
            _diverge(execution, event, f"workflow {execution.definition.name!r}")
        take_up(execution, event)
        return
    outcome, definition = execution.outcome, execution.goes_on_as
    if not isinstance(outcome, events.WorkflowContinued) or definition is None:
        _diverge(execution, event, "the code does not continue as new: " + (execution.open_now() or "it goes on"))
    now, recorded, codec = outcome.created, event.created, execution.environment.codec
    same_name_and_object = workflow_of(now.name) == workflow_of(recorded.name) and same_object(
        bytes(recorded.instance), bytes(now.instance)
    )
    if not same_name_and_object or not same_arguments(definition, bytes(recorded.input), bytes(now.input), codec):
        _diverge(execution, event, _told(outcome))


def _began(execution: Execution, event: events.WorkflowBegan) -> None:
    if event.format > events.FORMAT:
        raise CannotGoOn(
            f"workflow {execution.workflow_id!r} was begun by Everlog {event.everlog} under rules {event.format}; this "
            f"version knows rules up to {events.FORMAT}. Upgrade Everlog, and it goes on by itself."
        )
    definition, codec = execution.definition, execution.environment.codec
    try:
        definition = execution.definition = with_instance(definition, bytes(execution.created.instance), codec)
        args, kwargs = definition.signature.decode(
            codec,
            bytes(execution.created.input),
            what=f"input of workflow {execution.workflow_id!r}",
        )
    except PayloadUnavailable as error:
        raise cannot_read(execution, error) from error
    except EverlogError as error:
        why = execution.environment.said(error)
        raise CannotGoOn(f"the recorded input no longer fits workflow {definition.name!r}: {why}") from error
    execution.begin(event, args, kwargs)


def _step_started(execution: Execution, event: events.StepStarted) -> None:
    operation = _step_of(execution, event)
    execution.opened(operation)
    operation.attempt = operation.started_attempt = event.attempt


def _attempt_failed(execution: Execution, event: events.StepAttemptFailed) -> None:
    operation = _step_of(execution, event)
    execution.opened(operation)
    operation.attempt = event.attempt + 1
    operation.retry_at = event.retry_at
    operation.dispatched = False
    operation.cut_short = 0
    if operation.phase is not Phase.CANCELLED:
        operation.phase = Phase.OPEN
        execution.push_due(event.retry_at, operation)


def _step_ended(execution: Execution, event: events.StepCompleted | events.StepFailed) -> None:
    execution.deliver(_step_of(execution, event), event)


def _timer_set(execution: Execution, event: events.TimerSet) -> None:
    execution.opened(_timer_of(execution, event))


def _timer_fired(execution: Execution, event: events.TimerFired) -> None:
    operation = _timer_of(execution, event)
    execution.deliver(operation, event, partial(execution.loop.make_ready, operation.handle))


def _wait_started(execution: Execution, event: events.WaitStarted) -> None:
    operation = _wait_of(execution, event)
    execution.opened(operation)
    if operation.title is not None:
        operation.opened_as = execution.seq
        execution.waits.untold.pop(operation.identity, None)


def _wait_ended(execution: Execution, event: events.MessageReceived | events.WaitExpired) -> None:
    operation = _wait_of(execution, event)
    if isinstance(event, events.MessageReceived):
        execution.requests.took(event)
    execution.deliver(operation, event)


def _send_ended(execution: Execution, event: events.MessageSent | events.SendFailed) -> None:
    operation = _find(execution, event, event.operation)
    if (
        not isinstance(operation, SendOperation)
        or (operation.to, operation.topic, operation.key) != (event.to, event.topic, event.key)
        or (operation.control, operation.ask) != (event.control, event.ask)
        or not same_input(operation, bytes(event.message), None, execution.environment.codec)
    ):
        _diverge(execution, event, operation.describe(), operation)
    if isinstance(event, events.MessageSent):
        execution.children.sent(event)
        operation.sent_as = event.sent_as or execution.seq
    execution.deliver(operation, event)


def _replied(execution: Execution, event: events.ReplyEvent) -> None:
    if not event.operation:
        execution.requests.replied(event)
        return
    operation = _find(execution, event, event.operation)
    if not isinstance(operation, ReplyOperation) or not _same_reply(execution, operation, event):
        _diverge(execution, event, operation.describe(), operation)
    execution.requests.replied(event)
    execution.deliver(operation, event)


def _same_reply(execution: Execution, operation: ReplyOperation, event: events.ReplyEvent) -> bool:
    if (operation.source, operation.number, operation.topic) != (event.source, event.number, event.topic):
        return False
    if operation.answer is None or isinstance(event, events.RequestRefused):
        return operation.answer is None and isinstance(event, events.RequestRefused)
    return same_answer(operation, bytes(event.answer), execution.environment.codec)


def _start_ended(execution: Execution, event: events.ChildStarted | events.StartFailed) -> None:
    operation = _find(execution, event, event.operation)
    if not isinstance(operation, StartOperation) or not same_start(operation, event, execution.environment.codec):
        _diverge(execution, event, operation.describe(), operation)
    at = execution.loop.log_time
    child = execution.children.started(event, at) if isinstance(event, events.ChildStarted) else None
    is_given_up = operation.phase is Phase.CANCELLED and operation.is_call
    execution.deliver(operation, event)
    if child is not None and is_given_up:
        execution.children.give_up(execution, child)


def _child_ended(execution: Execution, event: events.ChildEnded) -> None:
    child = execution.children.open.get(event.child)
    if child is None or child.operation != event.operation:
        _diverge(execution, event, f"no child {event.child!r} is open; " + execution.open_now())
    execution.children.deliver(execution, child, event.outcome)


def _value_set(execution: Execution, event: events.ValueSet) -> None:
    if not event.attempt:
        _published(execution, event)
        return
    operation = _find(execution, event, event.operation)
    if not isinstance(operation, StepOperation):
        _diverge(execution, event, operation.describe(), operation)


def _patch_marked(execution: Execution, event: events.PatchMarked) -> None:
    if event.operation in execution.published.pending:
        _published(execution, event)
    elif not execution.patches.pass_over(event):
        _diverge(execution, event, never_asked(event))


def _published(execution: Execution, event: events.Publication) -> None:
    pending = execution.published.pending
    if event.operation not in pending:
        _diverge(execution, event, f"published nothing called {event.operation!r} here")
    in_order = execution.seq > execution.gaps_until
    operation = next(iter(pending.values())) if in_order else pending[event.operation]
    if operation.identity != event.operation or not operation.is_said_by(event):
        _diverge(execution, event, operation.describe(), operation)
    del pending[operation.identity]
    operation.phase = Phase.ENDED
    if isinstance(event, events.StreamClosed):
        execution.published.sealed.add(event.stream)


_FROM_OUTSIDE: Final = (
    events.WorkflowPaused,
    events.WorkflowResumed,
    events.TerminateRequested,
    events.AttributesChanged,
    events.WorkflowPlaced,
)


def check_none_is_missing(execution: Execution, recorded_at: int, event: AnyEvent) -> None:
    """Raise `CannotGoOn` where the row proves that what the code has published is not in the history.

    It is written in the commit that follows, before all else. So what may come first are the facts of the commit whose
    fact it answered, which all bear one time; and what others wrote meanwhile.
    """
    if isinstance(event, events.Publication) and not (isinstance(event, events.ValueSet) and event.attempt):
        return
    if isinstance(event, _FROM_OUTSIDE):
        return
    operation = next(iter(execution.published.pending.values()))
    is_fact = type(event) in events.FACTS
    if not is_fact or recorded_at > operation.applied_at:
        _diverge(execution, event, operation.describe(), operation)


def _closed(execution: Execution, event: events.StepCancelled | events.TimerCancelled | events.WaitCancelled) -> None:
    operation = _find(execution, event, event.operation)
    if operation.phase is not Phase.CANCELLED or type(operation.closing()) is not type(event):
        _diverge(execution, event, f"{operation.describe()} is still wanted", operation)
    execution.cancelled.pop(operation.identity, None)


def _cancel_requested(execution: Execution, event: events.CancelRequested) -> None:
    execution.cancel_request = event
    execution.cancel_requests.append(execution.seq)
    if event.due_at is not None and execution.deadline is not None:
        execution.deadline.phase = Phase.ENDED
    if isinstance(execution.outcome, events.WorkflowContinued):  # and nothing of what follows has begun
        execution.outcome = events.WorkflowCancelled(reason=event.reason, rewind_to=execution.seq - 1)
    elif execution.outcome is None and execution.main is not None:
        execution.drain(execution.main.cancel)


def _placed(execution: Execution, event: events.WorkflowPlaced | events.InputReplaced) -> None:
    """Take note of the place; what the input is was read before."""
    execution.place = event.place


def _paused(execution: Execution, event: events.WorkflowPaused | events.WorkflowResumed) -> None:
    execution.paused = isinstance(event, events.WorkflowPaused)
    execution.ordered_at = event.asked_at


def _attributes_changed(execution: Execution, event: events.AttributesChanged) -> None:
    execution.attributes = changed(execution.attributes, event.attributes)


def _opened_anew(execution: Execution, event: events.OpeningEvent) -> None:
    raise InternalError(f"workflow {execution.workflow_id!r} was opened anew at seq {execution.seq}, while it was run")


def _ended(execution: Execution, event: EndEvent) -> None:
    outcome = execution.outcome
    if outcome is None and execution.began is None:
        execution.outcome = event  # it was ended before its code had a turn
        return
    if outcome is None:
        _diverge(execution, event, "the code goes on: " + (execution.open_now() or "it has not ended"))
    if isinstance(outcome, events.WorkflowContinued) or not _same_end(execution, outcome, event):
        _diverge(execution, event, f"the code ended otherwise: {_told(outcome)}")


def _step_of(execution: Execution, event: StepEvent) -> StepOperation:
    operation = execution.operations.get(event.operation) or _find(execution, event, event.operation)
    if not isinstance(operation, StepOperation) or operation.name != event.step:
        _diverge(execution, event, operation.describe(), operation)
    recorded = bytes(event.input) or None
    if recorded == operation.input or (recorded is None and event.large_input is None):
        return operation
    if not same_input(operation, recorded, event.large_input, execution.environment.codec):
        _diverge(execution, event, operation.describe(), operation)
    return operation


def _timer_of(execution: Execution, event: events.TimerSet | events.TimerFired) -> TimerOperation:
    operation = _find(execution, event, event.operation)
    if not isinstance(operation, TimerOperation) or operation.due_at != event.due_at:
        _diverge(execution, event, operation.describe(), operation)
    return operation


def _wait_of(
    execution: Execution, event: events.WaitStarted | events.MessageReceived | events.WaitExpired
) -> WaitOperation:
    operation = _find(execution, event, event.operation)
    if not isinstance(operation, WaitOperation) or (operation.topic, operation.due_at) != (event.topic, event.due_at):
        _diverge(execution, event, operation.describe(), operation)
    return operation


def _find(execution: Execution, event: AnyEvent, identity: str) -> Operation:
    operation = execution.operations.get(identity) or execution.cancelled.get(identity)
    if operation is None:
        if execution.outcome is not None:
            _diverge(execution, event, f"the code had ended: {_told(execution.outcome)}")
        what = execution.open_now() or "nothing is open"
        _diverge(execution, event, f"asked for nothing called {identity!r}; {what}")
    return operation


def _diverge(execution: Execution, event: AnyEvent, found: str, operation: Operation | None = None) -> NoReturn:
    where = f" at {operation.place()}" if operation is not None and operation.called_at is not None else ""
    raise divergence(
        execution.workflow_id,
        execution.seq,
        event,
        found=found + where,
        recorded_under=execution.began.python if execution.began else "",
        running_under=execution.environment.python,
    )


def _same_end(execution: Execution, one: EndEvent, other: EndEvent) -> bool:
    if isinstance(one, events.WorkflowCompleted) and isinstance(other, events.WorkflowCompleted):
        return same_result(execution, bytes(other.result), bytes(one.result))
    if isinstance(one, events.WorkflowFailed) and isinstance(other, events.WorkflowFailed):
        return one.error.type == other.error.type
    return type(one) is type(other)


def _told(outcome: EndEvent | events.WorkflowContinued) -> str:
    match outcome:
        case events.WorkflowContinued():
            given = bytes(outcome.created.input)[:200].decode(errors="replace")
            return f"continued as new, as {outcome.created.name!r} with {given}"
        case events.WorkflowCompleted():
            return f"returned {bytes(outcome.result)[:200].decode(errors='replace')}"
        case events.WorkflowFailed():
            return f"raised {outcome.error.type}: {shown_text(outcome.error.message)}"
        case events.WorkflowCancelled():
            return "was terminated" if outcome.terminated else "was cancelled"


APPLY: Final[dict[type[Any], Callable[[Execution, Any], None]]] = {
    events.WorkflowCreated: _created,
    events.InputReplaced: _placed,
    events.WorkflowPlaced: _placed,
    events.WorkflowBegan: _began,
    events.StepStarted: _step_started,
    events.StepAttemptFailed: _attempt_failed,
    events.StepCompleted: _step_ended,
    events.StepFailed: _step_ended,
    events.StepCancelled: _closed,
    events.TimerSet: _timer_set,
    events.TimerFired: _timer_fired,
    events.TimerCancelled: _closed,
    events.WaitStarted: _wait_started,
    events.MessageReceived: _wait_ended,
    events.WaitExpired: _wait_ended,
    events.WaitCancelled: _closed,
    events.MessageSent: _send_ended,
    events.SendFailed: _send_ended,
    events.RequestAnswered: _replied,
    events.RequestRefused: _replied,
    events.ChildStarted: _start_ended,
    events.StartFailed: _start_ended,
    events.ChildEnded: _child_ended,
    events.ValueSet: _value_set,
    events.ItemsEmitted: _published,
    events.StreamClosed: _published,
    events.PatchMarked: _patch_marked,
    events.CancelRequested: _cancel_requested,
    events.TerminateRequested: terminate,
    events.WorkflowPaused: _paused,
    events.WorkflowResumed: _paused,
    events.AttributesChanged: _attributes_changed,
    events.WorkflowRewound: _opened_anew,
    events.WorkflowForked: _opened_anew,
    events.WorkflowContinued: _continued,
    events.WorkflowCompleted: _ended,
    events.WorkflowFailed: _ended,
    events.WorkflowCancelled: _ended,
}
"""By the type of an event: checks it against what the code asked for, and delivers it if it is a fact.

Raises `CannotGoOn`.
"""

"""Endings: how an execution ends, and what deadlines, termination and rewinding do to it. They draft nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec import Raw, structs

from everlog.core import events
from everlog.core.attributes import changed
from everlog.core.event_parts import ABSENT
from everlog.core.events import AnyEvent, EndEvent
from everlog.core.failures import describe
from everlog.core.names import another_id
from everlog.core.rewinding import Stored
from everlog.core.state import earlier
from everlog.errors import NotEncodable
from everlog.replay.continuing import continued, continuing_in
from everlog.replay.divergence import CannotGoOn
from everlog.replay.matching import same_input, same_start
from everlog.replay.operations import (
    DeadlineOperation,
    Phase,
    SendOperation,
    StartOperation,
    StepOperation,
    TimerOperation,
    WaitOperation,
)
from everlog.replay.origins import after_cancellation, after_failure, cancellation_of
from everlog.replay.sizes import LARGE, check_size

if TYPE_CHECKING:
    from everlog.replay.execution import Execution
    from everlog.replay.tasks import WorkflowTask

Carried = events.StepCompleted | events.MessageSent | events.ChildStarted
"""Outcomes that are written again for what was open where a workflow was rewound to: they are not to happen twice."""


# -- deadlines ---------------------------------------------------------------------------------------------------------


def begin_deadline(execution: Execution) -> None:
    """Have the workflow cancelled when its deadline comes; one that has continued as new keeps the one it had."""
    given, continued = execution.given_deadline, execution.continued
    if continued is not None and not execution.rewound_at:
        _set_deadline(execution, given, inherited=continued.inherited)
        return
    due_at = earlier(execution.loop.log_time, execution.created.timeout, given)
    _set_deadline(execution, due_at, inherited=due_at == given)


def _set_deadline(execution: Execution, due_at: int | None, *, inherited: bool) -> None:
    if execution.deadline is not None:
        execution.deadline.phase = Phase.ENDED
    execution.deadline = None
    if due_at is not None:
        execution.deadline = deadline = DeadlineOperation(
            execution, "deadline", None, phase=Phase.OPEN, due_at=due_at, inherited=inherited
        )
        execution.push_due(due_at, deadline)


# -- the end of the code -----------------------------------------------------------------------------------------------


def finish(execution: Execution, main: WorkflowTask[Any]) -> None:
    """Cancel what the code left behind, oldest first, and make the last event."""
    execution.ending = True
    execution.cancel_leftovers()
    for operation in list(execution.operations.values()):
        execution.cancel_operation(operation)
    execution.sends.clear()
    execution.ended_steps.clear()
    execution.undispatched.clear()
    execution.report_never_awaited()
    if main.cancelled():
        reason = execution.cancel_request.reason if execution.cancel_request else ""
        to = after_cancellation(execution, cancellation_of(main))
        execution.outcome = events.WorkflowCancelled(reason=reason, rewind_to=to)
        return
    error = main.exception()
    continuing = continuing_in(error)
    if continuing is not None:
        execution.outcome = continued(execution, continuing)
    elif isinstance(error, CannotGoOn):
        execution.broken = error
    elif isinstance(error, MemoryError | RecursionError):
        execution.broken = CannotGoOn(
            f"workflow {execution.workflow_id!r} could not be run on: {type(error).__name__}: "
            f"{execution.environment.said(error)}"
        )
    elif error is not None:
        to = after_failure(execution, error)
        execution.outcome = events.WorkflowFailed(error=describe(error, execution.environment.codec), rewind_to=to)
    else:
        execution.outcome = _completed(execution, main.result())


def _completed(execution: Execution, result: object) -> EndEvent:
    codec, what = execution.environment.codec, f"result of workflow {execution.definition.name}"
    try:
        encoded = codec.encode(result, execution.definition.signature.result_type, what=what)
        if len(encoded) >= LARGE:
            check_size(encoded, what, silent=execution.replaying)
    except NotEncodable as error:
        return events.WorkflowFailed(error=describe(error, codec), rewind_to=execution.seq)
    return events.WorkflowCompleted(result=Raw(encoded))


# -- termination -------------------------------------------------------------------------------------------------------


def terminate(execution: Execution, event: events.TerminateRequested) -> None:
    """End the workflow without giving its code a turn: nothing that it waits for will wake it."""
    execution.ending = True
    for operation in list(execution.operations.values()):
        execution.cancel_operation(operation)
    for waiting in (execution.sends, execution.ended_steps, execution.undispatched, execution.carried):
        waiting.clear()
    execution.published.pending.clear()
    execution.outcome = events.WorkflowCancelled(reason=event.reason, terminated=True)


# -- rewinding ---------------------------------------------------------------------------------------------------------


def rewind(execution: Execution, recorded_at: int, event: events.WorkflowRewound, void: Sequence[Stored]) -> None:
    """Open anew what is open where the workflow was rewound to, steps with all their attempts."""
    _open_anew(execution, event)
    timeout = execution.created.timeout
    inherited = event.by == execution.created.parent and (
        timeout is None or event.deadline is None or event.deadline < recorded_at + timeout
    )
    _set_deadline(execution, event.deadline, inherited=inherited)
    for _, _, row in void:
        if isinstance(row, events.AttributesChanged):  # what others said of it holds, whatever became of its code
            execution.attributes = changed(execution.attributes, row.attributes)
    execution.children.rewound(event, execution.seq, void)
    execution.requests.rewound(void)
    _note_streams(execution, void)
    _carry(execution, void)


def fork(execution: Execution, event: events.WorkflowForked, left_out: Sequence[Stored]) -> None:
    """Open anew what is open where another history ends and the workflow's own begins.

    What was left out of that was done by another workflow, or for something else: none of it is carried over.
    """
    _open_anew(execution, event)
    _set_deadline(execution, event.deadline, inherited=False)
    execution.requests.told.update(event.told)
    _note_streams(execution, left_out)


def _open_anew(execution: Execution, event: events.OpeningEvent) -> None:
    execution.paused = False
    if event.place is not None:
        execution.place = event.place
    execution.rewound_at = event.asked_at
    execution.cancelled.clear()
    execution.unrecorded = {
        identity: operation
        for identity, operation in execution.operations.items()
        if isinstance(operation, StepOperation | TimerOperation | WaitOperation)
    }
    for operation in execution.unrecorded.values():
        operation.recorded = False
        operation.issued_at = execution.now
        if isinstance(operation, WaitOperation) and operation.opened_as:
            operation.opened_before = (*operation.opened_before, operation.opened_as)
            operation.opened_as = 0
        if isinstance(operation, StepOperation):
            operation.attempt, operation.started_attempt, operation.cut_short = 1, 0, 0
            operation.retry_at, operation.dispatched = None, False
    execution.undispatched = list(execution.steps.values())
    execution.given_deadline = event.deadline


def _note_streams(execution: Execution, void: Sequence[Stored]) -> None:
    """Take note of what is in the streams already: it is not written there twice."""
    for _, _, event in void:
        if isinstance(event, events.ItemsEmitted | events.StreamClosed):
            execution.published.void.setdefault(event.operation, []).append(event)


def _carry(execution: Execution, void: Sequence[Stored]) -> None:
    """Find the outcomes, in what is void, of what is open now: of a step only if its input is the same."""
    inputs: dict[str, Any] = {}
    for seq, _, event in void:
        identity = getattr(event, "operation", None)
        operation = execution.operations.get(identity) if isinstance(identity, str) else None
        if isinstance(operation, StepOperation) and isinstance(event, events.StepEvent):
            if bytes(event.input) or event.large_input is not None:
                inputs[operation.identity] = event
            opening = inputs.get(operation.identity)
            if isinstance(event, events.StepCompleted) and _is_same(execution, operation, event, opening):
                execution.carried.append(event)
        elif isinstance(operation, SendOperation) and isinstance(event, events.MessageSent):
            recorded = (event.to, event.topic, event.key, event.ask, bytes(event.message))
            if recorded == (operation.to, operation.topic, operation.key, operation.ask, operation.payload):
                sent_as = event.sent_as or seq if event.ask else None
                execution.carried.append(structs.replace(event, sent_as=sent_as))
        elif isinstance(operation, StartOperation) and isinstance(event, events.ChildStarted):
            if same_start(operation, event, execution.environment.codec):
                execution.carried.append(event)
            elif operation.definition.id is None:
                operation.child = another_id(operation.child, execution.seq)


def _is_same(
    execution: Execution, operation: StepOperation, event: events.StepCompleted, opening: events.StepEvent | None
) -> bool:
    if event.step != operation.name:
        return False
    if opening is None:  # the row that has it is not void, and was compared
        return True
    recorded = bytes(opening.input) or None
    return same_input(operation, recorded, opening.large_input, execution.environment.codec)


def take_carried(execution: Execution) -> list[AnyEvent]:
    """Give the outcomes that are to be written again, of what is still open."""
    facts: list[AnyEvent] = []
    for event in execution.carried:
        operation = execution.operations.get(event.operation)
        if operation is None or operation.phase is not Phase.OPEN:
            continue
        operation.phase = Phase.CLOSING
        execution.unrecorded.pop(operation.identity, None)  # this row has its input, so that none need open it
        if isinstance(operation, StepOperation) and isinstance(event, events.StepCompleted):
            facts.append(structs.replace(event, **{**_NO_INPUT, **operation.input_fields()}))
        else:
            facts.append(event)
    execution.carried.clear()
    return facts


_NO_INPUT: Final[dict[str, Any]] = {"input": ABSENT, "large_input": None}

"""Endings: what deadlines, termination and rewinding do to an execution, and where a retry begins. Drafts nothing."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, structs

from everlog.core import events
from everlog.core.events import AnyEvent
from everlog.core.failures import AROSE
from everlog.core.rewinding import Stored
from everlog.core.state import earlier
from everlog.replay.matching import same_input
from everlog.replay.operations import DeadlineOperation, Phase, SendOperation, StepOperation

if TYPE_CHECKING:
    from everlog.replay.execution import Execution

Carried = events.StepCompleted | events.MessageSent
"""Outcomes that are written again for what was open where a workflow was rewound to: they are not to happen twice."""


# -- deadlines ---------------------------------------------------------------------------------------------------------


def begin_deadline(execution: Execution) -> None:
    """Have the workflow cancelled when its deadline comes."""
    created = execution.created
    _set_deadline(execution, earlier(execution.began_at, created.timeout, created.deadline))


def _set_deadline(execution: Execution, due_at: int | None) -> None:
    if execution.deadline is not None:
        execution.deadline.phase = Phase.ENDED
    execution.deadline = None
    if due_at is not None:
        execution.deadline = deadline = DeadlineOperation(execution, due_at)
        execution.push_due(due_at, deadline)


# -- termination -------------------------------------------------------------------------------------------------------


def terminate(execution: Execution, event: events.TerminateRequested) -> None:
    """End the workflow without giving its code a turn: nothing that it waits for will wake it."""
    execution.ending = True
    for operation in list(execution.operations.values()):
        execution.cancel_operation(operation)
    for waiting in (execution.sends, execution.ended_steps, execution.undispatched, execution.carried):
        waiting.clear()
    execution.outcome = events.WorkflowCancelled(reason=event.reason, terminated=True)


# -- rewinding ---------------------------------------------------------------------------------------------------------


def rewind(execution: Execution, event: events.WorkflowRewound, void: Sequence[Stored]) -> None:
    """Open anew what is open where the workflow was rewound to, steps with all their attempts."""
    execution.paused = False
    execution.rewound_at = event.asked_at
    execution.cancelled.clear()
    execution.unrecorded = {
        identity: operation
        for identity, operation in execution.operations.items()
        if not isinstance(operation, SendOperation)
    }
    for operation in execution.unrecorded.values():
        operation.recorded = False
        operation.issued_at = execution.now
        if isinstance(operation, StepOperation):
            operation.attempt, operation.started_attempt, operation.cut_short = 1, 0, 0
            operation.retry_at, operation.dispatched = None, False
    execution.undispatched = list(execution.steps.values())
    _set_deadline(execution, event.deadline)
    _carry(execution, void)


def _carry(execution: Execution, void: Sequence[Stored]) -> None:
    """Find the outcomes, in what is void, of what is open now: of a step only if its input is the same."""
    inputs: dict[str, Any] = {}
    for _, _, event in void:
        identity = getattr(event, "operation", None)
        operation = execution.operations.get(identity) if isinstance(identity, str) else None
        if isinstance(operation, StepOperation) and isinstance(event, events.StepEvent):
            if bytes(event.input) or event.large_input is not None:
                inputs[operation.identity] = event
            opening = inputs.get(operation.identity)
            if isinstance(event, events.StepCompleted) and _is_same(execution, operation, event, opening):
                execution.carried.append(event)
        elif isinstance(operation, SendOperation) and isinstance(event, events.MessageSent):
            recorded = (event.to, event.topic, event.key, bytes(event.message))
            if recorded == (operation.to, operation.topic, operation.key, operation.payload):
                execution.carried.append(event)


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


_NO_INPUT: Final[dict[str, Any]] = {"input": events.ABSENT, "large_input": None}


# -- where a retry begins ----------------------------------------------------------------------------------------------


class Arose(Struct):
    """What an exception carries of where in a history it arose: seqs of the facts that were delivered then."""

    seed: str
    """Of the workflow: an exception object may be seen by several."""
    recorded: int | None = None
    """It is the outcome of an operation."""
    handled: int | None = None
    """It was there already."""
    undone: int | None = None
    """What it broke off, and what was undone for that, began then."""


def note_recorded(execution: Execution, error: BaseException) -> None:
    """Keep in an exception that it came from the fact that is being delivered."""
    _arose(execution, error).recorded = execution.seq


def note_handled(execution: Execution) -> None:
    """Keep in the exception that is being handled here, if any, that it had arisen by now."""
    error = sys.exc_info()[1]
    if error is not None:
        note_arisen(execution, error)


def note_arisen(execution: Execution, error: BaseException) -> None:
    """Keep in an exception that it had arisen by now."""
    arose = _arose(execution, error)
    if arose.handled is None:
        arose.handled = execution.seq


def note_undone(execution: Execution, error: BaseException, since: int) -> None:
    """Keep in an exception that what began at this seq was undone because of it."""
    arose = _arose(execution, error)
    arose.undone = since if arose.undone is None else min(arose.undone, since)


def _arose(execution: Execution, error: BaseException) -> Arose:
    seed = execution.created.seed
    try:
        kept = vars(error)
        arose = kept.get(AROSE)
        if not isinstance(arose, Arose) or arose.seed != seed:
            kept[AROSE] = arose = Arose(seed)
    except Exception:  # noqa: BLE001 - a class of the user's may have a `__dict__` of its own, that raises anything
        return Arose(seed)
    return arose


def after_failure(execution: Execution, error: BaseException) -> int:
    """Give the seq from which a retry of a workflow goes on that this error has ended.

    That is before the failed operation whose exception it was, or from which or in whose handling it arose; and before
    what was undone because of it. Otherwise it is where the exception arose: what was recorded before stays, and the
    code goes on from there, mended perhaps.
    """
    points = list(_led_to(execution, error, set()))
    return max(1, min(points)) if points else _arose(execution, error).handled or execution.seq


def after_cancellation(execution: Execution, cancellation: BaseException | None) -> int:
    """Give the seq from which a retry of a cancelled workflow goes on: before the request that it did not survive.

    And before what was undone because of that.
    """
    arisen, points, seen = execution.seq, list[int](), set[int]()
    while isinstance(cancellation, asyncio.CancelledError) and id(cancellation) not in seen:
        seen.add(id(cancellation))
        arose = _arose(execution, cancellation)
        arisen = min(arisen, arose.handled or arisen)
        if arose.undone is not None:
            points.append(arose.undone - 1)
        cancellation = cancellation.__context__
    requests = [seq for seq in execution.cancel_requests if seq <= arisen]
    return max(1, min([*points, requests[-1] - 1 if requests else arisen]))


def _led_to(execution: Execution, error: BaseException, seen: set[int]) -> Iterator[int]:
    """Give the seqs before what failed, or was undone, and led to this error."""
    if id(error) in seen:
        return
    seen.add(id(error))
    arose = _arose(execution, error)
    if arose.undone is not None:
        yield arose.undone - 1
    if arose.recorded is not None:
        yield arose.recorded - 1
    elif isinstance(error, BaseExceptionGroup):
        parts: Sequence[BaseException] = vars(BaseExceptionGroup)["exceptions"].__get__(error)
        for part in parts:
            yield from _led_to(execution, part, seen)
    else:
        earlier_one = error.__cause__ or error.__context__
        if earlier_one is not None:
            yield from _led_to(execution, earlier_one, seen)


def cancellation_of(task: asyncio.Task[Any]) -> BaseException | None:
    """Give the exception with which a cancelled task ended."""
    try:
        task.result()
    except asyncio.CancelledError as error:
        return error
    return None

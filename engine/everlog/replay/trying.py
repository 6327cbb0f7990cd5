"""Trying: which rows of a history still fit its code where some of them hold something else. Nothing of it is written.

The code is run against the history, as in a replay. A row that does not fit is left out, with all that belongs to the
same operation, and the code goes on with the next: so what does not depend on what was changed keeps its outcome, and
what does runs again. An operation keeps its outcome only where it was asked for, with the same input, by the place that
the row has in the history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from everlog.core import events
from everlog.core.codec import SELF
from everlog.core.events import AnyEvent
from everlog.core.forking import Outcome, Replacement, operation_of, replaced
from everlog.core.rewinding import Lived, Stored
from everlog.errors import UsageError
from everlog.replay.definitions import AnyWorkflow
from everlog.replay.divergence import CannotGoOn
from everlog.replay.environment import Environment
from everlog.replay.execution import Execution
from everlog.replay.operations import StepOperation
from everlog.replay.registry import registered_workflows


class Tried(Struct):
    """What came of it."""

    rows: dict[int, AnyEvent]
    """The rows that hold something else, by seq."""
    left_out: list[int]
    """The seqs of the rows that do not fit any more."""
    again: list[str]
    """The operations that they belong to."""


def try_out(
    workflow_id: str,
    created: events.WorkflowCreated,
    definition: AnyWorkflow[..., Any],
    environment: Environment,
    history: Sequence[Stored],
    replacements: Mapping[int, Replacement],
) -> Tried:
    """Run the code against a history in which outcomes are replaced; `UsageError` where it cannot be run at all."""
    execution = Execution(workflow_id, created, definition, environment, first_seq=history[0][0])
    execution.now = history[-1][1]
    execution.replaying = True
    execution.gaps_until = history[-1][0]
    tried, again = Tried({}, [], []), dict[str, None]()
    alive = Lived(history)
    execution.patches.foresee(alive.rows)
    try:
        for seq, recorded_at, recorded in alive.rows:
            event = recorded
            if seq in replacements and isinstance(recorded, Outcome):
                value, declared = replacements[seq].value, _declared(execution, recorded)
                event = tried.rows[seq] = replaced(recorded, value, environment.codec, declared)
            if not _fits(execution, alive, (seq, recorded_at, event), again):
                tried.left_out.append(seq)
                execution.patches.leave_out(event)
                again[operation_of(event) or ""] = None
    finally:
        execution.tear_down()
    tried.again = list(again)
    return tried


def _fits(execution: Execution, alive: Lived, row: Stored, again: Mapping[str, None]) -> bool:
    seq, recorded_at, event = row
    operation, log_time = operation_of(event), execution.loop.log_time
    if operation in again or _has_other_large_input(execution, event):
        return False
    try:
        execution.apply_in(alive, seq, recorded_at, event)
    except CannotGoOn as error:
        if execution.broken is not None or operation is None:
            raise UsageError(f"the fork could not go on with that: {error}") from error
        execution.loop.log_time = log_time
        return False
    return True


def _has_other_large_input(execution: Execution, event: AnyEvent) -> bool:
    """Tell whether an input that was not kept whole is another one: elsewhere that is let pass."""
    if not isinstance(event, events.StepEvent) or event.large_input is None:
        return False
    operation = execution.operations.get(event.operation)
    if not isinstance(operation, StepOperation):
        return False
    return operation.large_input is None or operation.large_input.digest != event.large_input.digest


def _declared(execution: Execution, event: Outcome) -> object:
    """Give the type that is declared for an outcome, as far as it is known here."""
    operation = execution.operations.get(event.operation)
    if isinstance(operation, StepOperation):
        return operation.definition.signature.result_type
    if isinstance(event, events.ChildEnded):
        child = execution.children.known.get(event.child)
        known = None if child is None else registered_workflows().get(child.name)
        return SELF if known is None else known.signature.result_type
    return SELF

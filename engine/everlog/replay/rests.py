"""Rests: what a workflow waits for that has nothing to commit, and when it is looked at again. Drafts nothing."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Final

from everlog.core.heads import State
from everlog.core.names import CHILD_ENDED
from everlog.replay.execution import Execution
from everlog.replay.operations import Operation, Phase, StepOperation

Rest = tuple[State, int | None, Sequence[str]]
"""State, wake-up time and topics."""

RUNNING: Final[Rest] = ("running", None, ())
"""What a head says of a workflow that is not at rest."""

PAUSED: Final[Rest] = ("paused", None, ())

SETTLE: Final = 100_000
"""An operation that is open for so long (microseconds) gets its row without waiting for another commit."""

SURE_AFTER: Final = 1_000_000
"""So long (microseconds) after an ask was sent, its message is seen by whoever ends the workflow that was asked."""


def attention_at(execution: Execution) -> float:
    """Give when the next draft is due if nothing else happens: a timer, or a row that is to be settled."""
    earliest = float("inf")
    heap = execution.due
    while heap and not is_due(*heap[0]):
        heapq.heappop(heap)
    if heap:
        earliest = heap[0][0]
    for operation in execution.unrecorded.values():  # the first is the oldest
        if isinstance(operation, StepOperation) and operation.needs_slot():
            continue
        earliest = min(earliest, operation.issued_at + SETTLE)
        break
    for wait in execution.waits.unsure.values():  # the first is the oldest
        earliest = min(earliest, wait.issued_at + SURE_AFTER)
        break
    if execution.cancelled and any(operation.recorded for operation in execution.cancelled.values()):
        earliest = min(earliest, execution.now + SETTLE)
    return earliest


def head_state(execution: Execution) -> Rest:
    """Give state, wake-up time and topics of a workflow that is at rest."""
    if execution.paused:
        return PAUSED
    if execution.outcome is not None:
        return RUNNING
    for operation in execution.steps.values():
        if operation.retry_at is None or operation.dispatched or operation.cut_short:  # only memory knows of the last
            return RUNNING
    if execution.published.is_wanted():
        return RUNNING
    if (
        execution.children.must_look()
        or execution.waits.unsure
        or execution.sends
        or execution.ended_steps
        or execution.carried
        or (execution.loop.has_ready() and not execution.operations)
    ):
        return RUNNING
    while execution.due and not is_due(*execution.due[0]):
        heapq.heappop(execution.due)
    wake_at = execution.due[0][0] if execution.due else None
    topics = {topic for wait in execution.waits.values() for topic in wait.topics()}
    if execution.children.awaited:
        topics.add(CHILD_ENDED)
    return "waiting", wake_at, sorted(topics)


def is_due(due_at: int, _: int, operation: Operation) -> bool:
    """Tell whether an entry of the heap still holds: of a step's back-offs only the last does."""
    if isinstance(operation, StepOperation) and operation.retry_at != due_at:
        return False
    return operation.phase is Phase.OPEN

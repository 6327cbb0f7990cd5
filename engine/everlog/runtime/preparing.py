"""Preparing: whether the queue of a start in workflow code can be had, before the start is drafted. It drafts nothing.

A queue that is given as an object is declared; one that is named and unknown fails the start. So does a call whose
child would wait for a slot that this workflow keeps, or one that waits for it: it could take for ever.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from everlog.core.failures import describe
from everlog.core.queues import QueueLimits
from everlog.errors import EverlogError, NotFound, StoreUnavailable, UsageError
from everlog.replay.execution import Execution
from everlog.replay.operations import Phase, StartOperation
from everlog.replay.placing import Placing
from everlog.replay.starting import would_never_end
from everlog.runtime.queue_book import QueueBook, unknown_queue
from everlog.runtime.residents import Resident


def prepare(execution: Execution, residents: Mapping[str, Resident], book: QueueBook) -> None:
    """Have what workflow code starts prepared; `StoreUnavailable` where that cannot be done now."""
    for operation in execution.sends:
        if isinstance(operation, StartOperation) and not operation.is_prepared and operation.phase is Phase.OPEN:
            if operation.definition.placing.queue is not None:
                _prepare(operation, residents, book)
            operation.is_prepared = True


def can_prepare(resident: Resident, residents: Mapping[str, Resident], book: QueueBook) -> bool:
    """Do the same where it can be done now; tell whether it was."""
    try:
        prepare(resident.execution, residents, book)
    except StoreUnavailable:
        return False
    return True


def _prepare(operation: StartOperation, residents: Mapping[str, Resident], book: QueueBook) -> None:
    execution, placing = operation.execution, operation.definition.placing
    assert placing.queue is not None
    name = placing.queue_name()
    error: EverlogError | None = None
    try:
        row = book.use(placing.queue)
    except UsageError as refused:
        error = refused
    else:
        if row is None:
            error = NotFound(unknown_queue(name or ""))
        else:
            operation.needs_our_slot = any(
                _keeps_slot(one, placing, row.limits) for one in _waiting(execution, residents)
            )
            if operation.needs_our_slot and operation.is_call:
                what = f"its child {operation.name}"
                error = UsageError(would_never_end(execution.workflow_id, what, name))
    if error is not None:
        operation.failure = describe(error, execution.environment.codec, traceback=False)


def _keeps_slot(one: Execution, placing: Placing, limits: QueueLimits) -> bool:
    """Tell whether a workflow keeps a slot for which another of this placing may have to wait."""
    if one.place is None or one.place.queue != placing.queue_name():
        return False
    in_partition = limits.partition_concurrency is not None and one.place.partition == (placing.partition or "")
    return limits.concurrency is not None or in_partition


def _waiting(execution: Execution, residents: Mapping[str, Resident]) -> Iterator[Execution]:
    """Give a workflow, and those above it that are here and wait for it."""
    yield execution
    while execution.created.parent is not None:
        above = residents.get(execution.created.parent)
        child = None if above is None else above.execution.children.known.get(execution.workflow_id)
        if above is None or child is None or not child.waits:
            return
        execution = above.execution
        yield execution

"""Amending: what follows where the store could not give a commit all that it asks of others."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from everlog.core.event_codec import decode_event
from everlog.core.events import WorkflowCreated
from everlog.core.failures import describe
from everlog.errors import CorruptLog, Duplicate, EverlogError, NotFound, StoreUnavailable
from everlog.replay.drafting import Draft
from everlog.replay.environment import Environment
from everlog.replay.redrafting import not_created, undeliverable
from everlog.runtime.births import created_by
from everlog.runtime.claims import first_creation
from everlog.runtime.deduplication import Otherwise, holder_of_key
from everlog.runtime.inputs import different_start
from everlog.runtime.sentences import not_delivered
from everlog.store import ChildDeduplicated, ChildExists, EventRow, Store, Undeliverable


def amend(
    drafted: Draft, outcome: Undeliverable | ChildExists | ChildDeduplicated, store: Store, environment: Environment
) -> None:
    """Put into the draft what became of the one thing that could not be had. Raises `CorruptLog` of a reading."""
    if not isinstance(outcome, Undeliverable):
        amended = _amend_start if isinstance(outcome, ChildExists) else _deduplicate
        with suppress(StoreUnavailable):  # the same commit has the same answer, some time
            amended(drafted, outcome, store, environment)
        return
    operation = drafted.sends[outcome.index]
    if operation.control and outcome.reason == "ended":  # what was asked of it has come to be
        operation.optional = True
        return
    error = NotFound(not_delivered(operation.to, outcome.reason, control=operation.control))
    undeliverable(drafted, outcome.index, describe(error, environment.codec, traceback=False))


def _amend_start(
    drafted: Draft, outcome: ChildExists | ChildDeduplicated, store: Store, environment: Environment
) -> None:
    operation = drafted.starts[outcome.index]
    recorded = first_event(store, operation.child)
    now = created_by(operation)
    error: EverlogError | None = different_start(
        recorded, now, operation.definition, environment.codec, operation.child
    )
    failure = None if error is None else describe(error, environment.codec, traceback=False)
    parent = operation.execution
    is_own = recorded.parent == parent.workflow_id and operation.child in parent.children.lost
    not_created(drafted, outcome.index, failure, is_own=is_own)


def _deduplicate(
    drafted: Draft, outcome: ChildExists | ChildDeduplicated, store: Store, environment: Environment
) -> None:
    operation = drafted.starts[outcome.index]
    created, placing = created_by(operation), operation.definition.placing
    by = operation.execution.workflow_id
    try:
        found = holder_of_key(store, outcome.head, created, placing, by=by, operation=operation.identity)
    except Duplicate as error:
        not_created(drafted, outcome.index, describe(error, environment.codec, traceback=False))
        return
    if isinstance(found, str):
        not_created(drafted, outcome.index, None, instead=found)
    else:
        operation.takes_key = found is Otherwise.TAKE_KEY


def first_event(store: Store, workflow_id: str) -> WorkflowCreated:
    """Read how a workflow that is there was created, with the input that counts."""
    rows = store.read(workflow_id, limit=1)
    return first_of(workflow_id, store.read(workflow_id) if may_be_replaced(rows) else rows)


def may_be_replaced(rows: Sequence[EventRow]) -> bool:
    """Tell whether a workflow that begins with this row may have been given another input before it began."""
    created = decode_event(rows[0].payload) if rows else None
    return isinstance(created, WorkflowCreated) and created.place is not None and created.place.dedup_key is not None


def first_of(workflow_id: str, rows: Sequence[EventRow]) -> WorkflowCreated:
    """Give how a workflow was created, of all its rows, or of the first one where its input was never replaced."""
    if not rows:
        raise CorruptLog(f"the history of {workflow_id!r} does not begin with its creation; restore a backup")
    return first_creation(workflow_id, [(row.seq, row.recorded_at, decode_event(row.payload)) for row in rows])

"""Births: how a workflow comes to be. Held here at once where there is room, so that no database is asked for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from msgspec import Raw, Struct
from msgspec.json import encode

from everlog.core.attributes import Attributes, kept
from everlog.core.codec import digest
from everlog.core.event_codec import encode_event, type_of
from everlog.core.event_parts import WhenParentEnds
from everlog.core.events import WorkflowCreated
from everlog.host import Host
from everlog.replay.drafting import Draft, beginning
from everlog.replay.execution import Execution
from everlog.replay.inbox import Inbox
from everlog.replay.operations import Phase, StartOperation
from everlog.runtime.places import in_place, place_of
from everlog.store import EventRow, NewWorkflow

if TYPE_CHECKING:
    from everlog.runtime.worker import Worker


class Birth(Struct, eq=False):
    """A workflow that is being created."""

    new: NewWorkflow
    settle: Callable[[bool], None]
    """To be called once, with whether it was created."""


def birth(
    workflow_id: str,
    created: WorkflowCreated,
    now: int,
    host: Host,
    worker: Worker | None,
    *,
    takes_key: bool = False,
) -> Birth:
    """Prepare a creation: held by the worker and begun, where that has its code and room for it, otherwise queued.

    One that has a place stands there, and one that is delayed waits. With `takes_key` it takes its `dedup_key` from one
    that was admitted.
    """
    rows = [EventRow(1, type_of(created), now, encode_event(created))]
    if created.place is not None or created.begins_at is not None:
        return _later(workflow_id, created, rows, worker, takes_key=takes_key)
    definition = None if worker is None else worker.settings.workflows().get(created.name)
    if worker is None or definition is None or not worker.reserve(definition):
        queued = NewWorkflow(
            workflow_id=workflow_id, name=created.name, state="queued", events=rows, attributes=_kept(created)
        )
        return Birth(queued, lambda done: worker.look_around() if worker is not None and done else None)
    began = beginning(worker.environment)
    rows.append(EventRow(2, type_of(began), now, encode_event(began)))
    token = host.token()
    held = NewWorkflow(
        workflow_id=workflow_id,
        name=created.name,
        state="running",
        events=rows,
        token=token,
        worker=worker.settings.worker,
        attributes=_kept(created),
    )

    def settle(done: bool) -> None:
        worker.expected -= 1
        if done:
            worker.adopt(workflow_id, token, [(1, now, created), (2, now, began)], Inbox(), definition)

    return Birth(held, settle)


def _later(
    workflow_id: str, created: WorkflowCreated, rows: Sequence[EventRow], worker: Worker | None, *, takes_key: bool
) -> Birth:
    place = None if created.place is None else place_of(created.place, takes_key=takes_key)
    new = NewWorkflow(
        workflow_id=workflow_id,
        name=created.name,
        state="waiting" if place is None else "enqueued",
        events=rows,
        place=place,
        wake_at=created.begins_at,
        attributes=_kept(created),
    )

    def settle(done: bool) -> None:
        if worker is not None and done:
            if place is None:
                worker.look_around()  # the next claim tells when it is due
            else:
                worker.admission.wanted = True

    return Birth(new, settle)


def _kept(created: WorkflowCreated) -> Attributes:
    return kept(created.attributes, created.parent, created.forked_from)


def births_of(drafted: Draft, host: Host, worker: Worker) -> Sequence[Birth]:
    """Prepare the creations that a draft asks for, in order."""
    return [
        birth(
            operation.child,
            in_place(created_by(operation), operation.definition.placing, drafted.recorded_at),
            drafted.recorded_at,
            host,
            worker,
            takes_key=operation.takes_key,
        )
        for operation in drafted.starts
    ]


def created_by(operation: StartOperation) -> WorkflowCreated:
    """Give the first event of a child, which draws its chance from that of its parent."""
    parent = operation.execution
    return WorkflowCreated(
        name=operation.name,
        input=Raw(operation.input),
        seed=digest(encode(f"{parent.created.seed}/{operation.identity}")),
        instance=operation.instance,
        parent=parent.workflow_id,
        parent_operation=operation.identity,
        timeout=operation.definition.timeout,
        attributes=dict(operation.definition.attributes),
        deadline=_deadline_of(operation),
    )


def _deadline_of(operation: StartOperation) -> int | None:
    """Give the deadline of the parent, save to what undoes what it did."""
    return None if operation.undoes else inherited(operation.execution, operation.definition.when_parent_ends)


def inherited(parent: Execution, when_parent_ends: WhenParentEnds) -> int | None:
    """Give the deadline that a child has from its parent."""
    deadline = parent.deadline
    ends_with_it = deadline is not None and deadline.phase is Phase.OPEN and when_parent_ends != "leave"
    return deadline.due_at if deadline is not None and ends_with_it else None

"""Lives: what a workflow is from one `continue_as_new` to the next. How one ends and the next begins. Writes nothing.

Where its code is here the next life is begun in the commit that ends the last, and held by the same token; otherwise
the workflow is queued, for whoever has the code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import json

from everlog.core.events import WorkflowContinued
from everlog.replay.children import ASKED_WITH
from everlog.replay.drafting import Draft, beginning
from everlog.store import EventRow, NewMessage

if TYPE_CHECKING:
    from everlog.runtime.residents import Resident
    from everlog.runtime.worker import Worker


def begin_next(resident: Resident, drafted: Draft, worker: Worker) -> bool:
    """Have the next life begun by the commit that ends this one, where its code is here; otherwise True: let go."""
    if drafted.continues is None:
        return False
    if worker.may_start and not worker.draining:
        resident.successor = worker.settings.workflows().get(drafted.continues.created.name)
    if resident.successor is not None:
        drafted.rows.append(beginning(worker.environment))
        drafted.state = "running"
    return resident.successor is None


def continuation(drafted: Draft, rows: Sequence[EventRow]) -> EventRow | None:
    """Give the row with which the workflow continues as new, where there is one."""
    if drafted.continues is None:
        return None
    place = next(place for place, event in enumerate(drafted.rows) if isinstance(event, WorkflowContinued))
    return rows[place]


def parting_words(resident: Resident, row: EventRow) -> list[NewMessage]:
    """Give the messages to children whose calls the end of a life has given up; those that were started go on."""
    workflow_id = resident.workflow_id
    return [
        NewMessage(
            destination=child.id,
            source=workflow_id,
            number=row.seq,
            topic=ASKED_WITH[child.when_parent_ends],
            payload=json.encode(f"its call in {workflow_id!r} was given up"),
            control=True,
            optional=True,
        )
        for child in resident.execution.children.to_be_asked()
    ]


def succeed(resident: Resident, drafted: Draft, worker: Worker) -> None:
    """Let go of a life whose end is durable, and hold the next one where it was begun here."""
    first = resident.seq - len(drafted.rows) + 1
    rows = [(seq, drafted.recorded_at, event) for seq, event in enumerate(drafted.rows, start=first)]
    begins = next(place for place, (_, _, event) in enumerate(rows) if isinstance(event, WorkflowContinued))
    worker.let_go(resident)
    if resident.successor is None:
        worker.claim_wanted = True
        return
    inbox = resident.inbox
    inbox.take([message.row for message in inbox.returned()])  # they are in the row that continues it
    worker.adopt(resident.workflow_id, resident.token, rows[begins:], inbox, resident.successor)

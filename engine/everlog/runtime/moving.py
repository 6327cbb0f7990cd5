"""Moving: the event that gives a workflow which has not begun another place. It writes nothing itself."""

from __future__ import annotations

from msgspec import structs

from everlog.core.events import WorkflowPlaced
from everlog.core.state import WorkflowState
from everlog.errors import UsageError
from everlog.replay.placing import Placing
from everlog.runtime.places import queue_place


def moved(state: WorkflowState, wanted: Placing, *, by: str, now: int) -> WorkflowPlaced | None:
    """Give the event; None where the workflow has begun. What is not wanted otherwise stays as it is.

    Raises `UsageError` for a priority of one that is in no queue.
    """
    name = wanted.queue_name()
    if not state.enqueued and state.status != "created":
        return None
    if not state.enqueued or state.place is None:
        if name is None and wanted.priority is not None:
            raise UsageError(f"a workflow {state.name!r} that is in no queue has no priority; give it queue= as well")
        begins_at = state.begins_at or now if wanted.delay is None else now + wanted.delay
        if name is None:
            return WorkflowPlaced(by=by, begins_at=begins_at)
        return WorkflowPlaced(by=by, place=queue_place(wanted, name, begins_at))
    place = structs.replace(
        state.place,
        queue=name or state.place.queue,
        priority=state.place.priority if wanted.priority is None else wanted.priority,
        due_at=state.place.due_at if wanted.delay is None else now + wanted.delay,
    )
    return WorkflowPlaced(by=by, place=place)

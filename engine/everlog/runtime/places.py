"""Places: where a workflow that is started stands, as its history says it and as a store is told. They ask no store."""

from __future__ import annotations

from msgspec import structs

from everlog.core.event_parts import QueuePlace
from everlog.core.events import WorkflowCreated
from everlog.core.queues import Place
from everlog.replay.placing import Placing


def in_place(created: WorkflowCreated, placing: Placing, now: int) -> WorkflowCreated:
    """Give the first event of a workflow that is started now with these options."""
    due_at, name = now + (placing.delay or 0), placing.queue_name()
    if name is not None:
        return structs.replace(created, place=queue_place(placing, name, due_at))
    return structs.replace(created, begins_at=due_at) if placing.delay else created


def queue_place(placing: Placing, name: str, due_at: int) -> QueuePlace:
    """Give the place in a queue that the options of a start say."""
    return QueuePlace(
        queue=name,
        partition=placing.partition or "",
        priority=placing.priority or 0,
        due_at=due_at,
        dedup_key=placing.dedup_key,
    )


def place_of(recorded: QueuePlace, *, takes_key: bool = False) -> Place:
    """Give a place as a store is told it."""
    return Place(
        queue=recorded.queue,
        partition=recorded.partition,
        priority=recorded.priority,
        due_at=recorded.due_at,
        dedup_key=recorded.dedup_key,
        takes_key=takes_key,
    )


def place_anew(recorded: QueuePlace, now: int) -> QueuePlace:
    """Give the place of a workflow that stands in its queue again: behind the others of its priority.

    Its `dedup_key` was free while it had ended, and is not taken back: another may have it.
    """
    return structs.replace(recorded, due_at=max(now, recorded.due_at), dedup_key=None)

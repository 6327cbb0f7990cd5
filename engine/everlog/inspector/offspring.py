"""Offspring: what is read of the children of a workflow for its timeline, within bounds. It changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from everlog.core.event_codec import decode_event
from everlog.core.events import WorkflowBegan
from everlog.core.rewinding import Stored
from everlog.inspector.waterfall import Child
from everlog.runtime.client import Client
from everlog.store import Head

MOST_CHILDREN: Final = 50
"""Of so many children it is told how long they waited to begin."""
MOST_INSIDE: Final = 10
"""So many are shown with what they do."""
_FIRST: Final = 4
"""A child has begun within its first events, unless it was moved about before."""
_MOST_EVENTS: Final = 500


async def children_of(client: Client, ids: Sequence[str], inside: Collection[str]) -> dict[str, Child]:
    """Give what is known of the first of these children; those that are not there are left out."""
    ids = [*ids[:MOST_CHILDREN], *(one for one in ids[MOST_CHILDREN:] if one in inside)]

    def read() -> list[tuple[Head, Sequence[Stored]]]:
        store = client.store
        return [
            (
                head,
                [
                    (row.seq, row.recorded_at, decode_event(row.payload))
                    for row in store.read(
                        head.workflow_id,
                        after=head.first_seq - 1,
                        limit=_MOST_EVENTS if head.workflow_id in inside else _FIRST,
                    )
                ],
            )
            for head in store.heads(ids)
            if head is not None
        ]

    return {head.workflow_id: _child(head, rows, inside) for head, rows in await client.on_thread(read)}


def _child(head: Head, rows: Sequence[Stored], inside: Collection[str]) -> Child:
    began = next((at for _, at, event in rows if isinstance(event, WorkflowBegan)), None)
    if began is None and head.seq > _FIRST:  # it was moved about before, so that when it began is further on
        began = head.created_at
    return Child(
        workflow_id=head.workflow_id,
        created_at=head.created_at,
        began_at=began,
        ended_at=head.ended_at,
        history=rows if head.workflow_id in inside else None,
    )

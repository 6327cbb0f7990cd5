"""Farewells: what a workflow that ends has to say, in its last commit, to its parent and to the children that go on."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from everlog.core.event_codec import encode_event
from everlog.core.event_parts import WhenParentEnds
from everlog.core.events import EndEvent, WorkflowCreated
from everlog.core.names import CHILD_ENDED
from everlog.replay.children import ASKED_WITH
from everlog.store import NewMessage


def farewells(
    workflow_id: str, created: WorkflowCreated, children: Iterable[tuple[str, WhenParentEnds]], end: EndEvent, seq: int
) -> list[NewMessage]:
    """Give the messages that go with the end, which has this seq. Who has ended meanwhile misses nothing by it."""
    messages: list[NewMessage] = []
    if created.parent is not None:
        told = NewMessage(
            destination=created.parent,
            source=workflow_id,
            number=seq,
            topic=CHILD_ENDED,
            payload=encode_event(end),
            optional=True,
        )
        messages.append(told)
    reason = msgspec.json.encode(f"its parent {workflow_id!r} has ended")
    for child, when_parent_ends in children:
        if when_parent_ends in ASKED_WITH:
            asked = NewMessage(
                destination=child,
                source=workflow_id,
                number=seq,
                topic=ASKED_WITH[when_parent_ends],
                payload=reason,
                control=True,
                optional=True,
            )
            messages.append(asked)
    return messages

"""Siblings: what a fork has in the place of the children that were open where it was cut. They are written elsewhere.

A child belongs to the workflow that started it: its end is told there, and it ends with that. So the fork starts one of
its own, as it runs a step again; or it waits for the same one as for any workflow that it did not start.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from msgspec import Struct, structs
from msgspec.json import encode

from everlog.core.attributes import kept
from everlog.core.codec import digest
from everlog.core.event_codec import encode_event, type_of
from everlog.core.event_forks import OpenChildren
from everlog.core.events import ChildStarted, WorkflowCreated
from everlog.errors import CorruptLog
from everlog.replay.starting import child_id
from everlog.runtime.amending import first_event
from everlog.runtime.places import place_anew, place_of
from everlog.store import EventRow, NewWorkflow, Store


class Sibling(Struct, frozen=True):
    """What stands for one child."""

    seq: int
    """The seq of the row that started it."""
    child: str
    event: ChildStarted
    """What that row says in the fork."""
    new: NewWorkflow | None
    """What the fork starts; None where it waits for the same child."""


def siblings_of(
    store: Store,
    workflow_id: str,
    started: Mapping[str, tuple[int, ChildStarted]],
    wanted: OpenChildren,
    asked: Collection[str],
    deadline: int | None,
    now: int,
) -> list[Sibling]:
    """Give what stands for each of these children. One whose id was chosen is there once, so it is always kept.

    Of those that are kept the `asked` stay as they are: they were asked to stop, and nobody waits for them.
    """
    heads = dict(zip(started, store.heads(list(started)), strict=True))
    siblings: list[Sibling] = []
    for child, (seq, event) in started.items():
        created = _created(store, child, event) if heads[child] is not None else None
        if heads[child] is not None and (wanted == "keep" or created is None or not _is_named_by_us(child, created)):
            kept_one = structs.replace(event, existed=True, needs_our_slot=False)
            siblings.append(Sibling(seq, child, event if child in asked else kept_one, None))
            continue
        other = child_id(workflow_id, event.operation)
        ends_with_it = event.when_parent_ends != "leave"
        again = structs.replace(
            created or _as_started(event),
            parent=workflow_id,
            parent_operation=event.operation,
            deadline=deadline if ends_with_it else None,
            begins_at=None,
            forked_from=None,
        )
        again = structs.replace(again, place=None if again.place is None else place_anew(again.place, now))
        siblings.append(Sibling(seq, child, structs.replace(event, child=other), _new(other, again, now)))
    return siblings


def _created(store: Store, child: str, event: ChildStarted) -> WorkflowCreated | None:
    try:
        return first_event(store, child)
    except CorruptLog:  # it was deleted just now
        return None


def _is_named_by_us(child: str, created: WorkflowCreated) -> bool:
    """Tell whether the id of a child was made from that of its parent."""
    if created.parent is None or created.parent_operation is None:
        return False
    made = child_id(created.parent, created.parent_operation)
    return child == made or child.startswith(f"{made}~")


def _as_started(event: ChildStarted) -> WorkflowCreated:
    """Give the creation of a child of which nothing else is known any more."""
    seed = digest(encode(f"{event.child}/{event.operation}"))
    return WorkflowCreated(name=event.name, input=event.input, seed=seed, instance=event.instance)


def _new(workflow_id: str, created: WorkflowCreated, now: int) -> NewWorkflow:
    return NewWorkflow(
        workflow_id=workflow_id,
        name=created.name,
        state="queued" if created.place is None else "enqueued",
        events=[EventRow(1, type_of(created), now, encode_event(created))],
        place=None if created.place is None else place_of(created.place),
        attributes=kept(created.attributes, created.parent),
    )

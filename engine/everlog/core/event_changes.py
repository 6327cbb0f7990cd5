"""The events by which a workflow meets other code than the one it began with. What code there is is not known here."""

from __future__ import annotations

from everlog.core.event_parts import Event, QueuePlace


class PatchMarked(Event, frozen=True, gc=False, kw_only=True, tag="patch_marked"):
    """Workflow code that asked for a patch goes the new way: written before all else by the commit that ends its drain.

    Where a history has none, and went on, the code goes the old way. One that is `retired` was written by code that has
    only the new way any more, so that code may pass over it which asks for nothing. Not a fact.
    """

    operation: str
    patch: str
    retired: bool = False


class WorkflowRewound(Event, frozen=True, gc=False, kw_only=True, tag="workflow_rewound"):
    """Follows an end, or a moment at which it was stuck: the workflow goes on from seq `to`. Not a fact.

    What lies between stays in the history, and is void for replay. What was open at `to` is open anew.
    """

    to: int
    by: str
    asked_at: int
    deadline: int | None = None
    """The time at which it is cancelled, which takes the place of every earlier one."""
    place: QueuePlace | None = None
    """Where it stands until it is admitted again."""
    name: str | None = None
    """Its name in the log from here on, where that has another version than before."""

"""Children: what one workflow in memory knows of the workflows that it started. It asks for nothing by itself, but that
a child whose call was given up be told so.

The end of a child becomes a fact as soon as it is heard of, whether somebody awaits it or not, and is kept: so any
number of ends can share a commit, and none is lost where the wait for it was cancelled meanwhile. Who asks for the
result of a child whose end is known has it at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from msgspec import json

from everlog.core import events
from everlog.core.event_codec import decode_event
from everlog.core.event_parts import CarriedChild, WhenParentEnds
from everlog.core.events import EndEvent
from everlog.core.heads import InboxRow
from everlog.core.orders import CANCEL, TERMINATE
from everlog.core.rewinding import Stored
from everlog.errors import CorruptLog
from everlog.replay.operations import EndOperation, Phase, SendOperation

if TYPE_CHECKING:
    from everlog.replay.execution import Execution

ASKED_WITH: Final[dict[WhenParentEnds, str]] = {"cancel": CANCEL, "terminate": TERMINATE}
"""What a child is asked, by what is to become of it; one that is left is asked nothing."""


class Child:
    """A workflow that was started here."""

    __slots__ = (
        "asked",
        "chosen",
        "end",
        "ends_after",
        "given_up",
        "heard_at",
        "id",
        "looked_at",
        "name",
        "needs_our_slot",
        "operation",
        "queue",
        "since",
        "waits",
        "when_parent_ends",
    )

    def __init__(self, event: events.ChildStarted | CarriedChild, since: int) -> None:
        self.since = since
        self.id = event.child
        self.name = event.name
        self.operation = event.operation
        self.when_parent_ends: WhenParentEnds = event.when_parent_ends
        self.queue, self.needs_our_slot = event.queue, event.needs_our_slot
        self.waits: dict[EndOperation, None] = {}
        self.chosen = False
        """Whether its end was chosen for a commit."""
        self.end: EndEvent | None = None
        self.heard_at = 0
        """The seq of the row that says it."""
        self.asked = False
        """Whether it was asked to stop."""
        self.given_up = False
        """Whether its call was given up."""
        self.looked_at = False
        """Whether somebody has looked where it is, if that must be."""
        self.ends_after = 0
        """What tells of an end up to this seq of its history tells of one that it was brought back from."""

    def is_to_be_asked(self) -> bool:
        """Tell whether it is to be asked to stop, since its call was given up and nobody has asked it yet."""
        return self.given_up and not self.asked and self.end is None and self.when_parent_ends in ASKED_WITH


class Children:
    """The children of one execution, which it does not hold: nothing is left to the garbage collector."""

    def __init__(self) -> None:
        self.known: dict[str, Child] = {}
        self.open: dict[str, Child] = {}
        """Those whose end is not known."""
        self.awaited = 0
        """So many waits for an end are open."""
        self.uncertain: dict[str, Child] = {}
        """Those that are open, and may have ended, or been made to end, while this workflow had ended."""
        self.reopened_at = 0
        """When it was asked for that this workflow, which had ended, go on."""
        self.lost: dict[str, EndEvent | None] = {}
        """Those whose start is void, or whose end is, with that."""
        self.void_starts: dict[str, int] = {}
        """Operations that started a child in what is void, by the seq of the row that says so."""

    def started(self, event: events.ChildStarted, at: int) -> Child | None:
        """Take note of a start; None where it only found a workflow that somebody else had started."""
        if not event.existed:
            self.known[event.child] = self.open[event.child] = child = Child(event, at)
            if event.child in self.lost:
                self.uncertain[event.child] = child
        return self.known.get(event.child)

    def carried(self, event: CarriedChild) -> None:
        """Take note of one that was started before the workflow continued as new."""
        self.known[event.child] = self.open[event.child] = child = Child(event, event.since)
        child.asked, child.ends_after = event.asked, event.ends_after

    def to_be_asked(self) -> list[Child]:
        """Give those whose calls were given up by the end of the code, which are to be asked to stop."""
        return [child for child in self.open.values() if child.is_to_be_asked()]

    def rewound(self, event: events.WorkflowRewound, seq: int, void: Sequence[Stored]) -> None:
        """Take note of what was told in what is void; where this workflow had ended, nobody told it anything more."""
        for _, _, row in void:
            if isinstance(row, events.ChildEnded):
                self.lost[row.child] = row.outcome
            elif isinstance(row, events.ChildStarted) and not row.existed:
                self.lost.setdefault(row.child, None)
                self.void_starts[row.operation] = seq
        if any(isinstance(row, EndEvent) for _, _, row in void):
            self.reopened_at = event.asked_at
            self.uncertain = dict(self.open)

    def must_look(self) -> bool:
        """Tell whether somebody has to look where some of them are."""
        return any(not child.looked_at for child in self.uncertain.values())

    def is_doubtful(self, message: InboxRow) -> bool:
        """Tell whether somebody has to look what a message about an end means."""
        child = self.uncertain.get(message.source)
        return child is not None and message.number > child.ends_after

    def heard(self, message: InboxRow) -> events.ChildEnded | None:
        """Give the fact that a message about the end of a child is; None where it says nothing new."""
        child = self.known.get(message.source)
        if child is None or child.chosen or child.end is not None or message.number <= child.ends_after:
            return None
        try:
            outcome = decode_event(message.payload)
        except CorruptLog:
            return None
        if not isinstance(outcome, EndEvent):
            return None
        child.chosen = True
        return events.ChildEnded(operation=child.operation, child=child.id, outcome=outcome)

    def wait(self, execution: Execution, operation: EndOperation) -> None:
        """Have an operation ended by the end of its child, at once where that is known."""
        child = operation.child
        if child.end is None:
            child.waits[operation] = None
            self.awaited += 1
            return
        operation.phase = Phase.ENDED
        execution.forget(operation)
        operation.end(child.end)

    def forget(self, operation: EndOperation) -> None:
        """Forget a wait that is over."""
        if operation in operation.child.waits:
            del operation.child.waits[operation]
            self.awaited -= 1

    def deliver(self, execution: Execution, child: Child, end: EndEvent) -> None:
        """End all waits for the end of a child, first come first, and drain; without one there is nothing to run."""
        child.end, child.heard_at = end, execution.seq
        del self.open[child.id]
        self.uncertain.pop(child.id, None)
        waits = list(child.waits)
        for operation in waits:
            operation.phase = Phase.ENDED
            execution.forget(operation)
        if waits:
            execution.loop.progress += 1
            execution.drain(partial(_end_all, waits, end))

    def give_up(self, execution: Execution, child: Child) -> None:
        """Ask a child to stop whose call was given up, as it would be when its parent ends."""
        child.given_up = True
        topic = ASKED_WITH.get(child.when_parent_ends)
        identity = f"{child.operation}/{topic}"
        if topic is None or child.end is not None or child.asked or identity in execution.operations:
            return
        reason = f"its call in {execution.workflow_id!r} was given up"
        execution.ask(
            SendOperation(
                execution,
                identity,
                None,
                to=child.id,
                topic=topic,
                payload=json.encode(reason),
                declared=str,
                control=True,
                optional=True,
            )
        )

    def sent(self, event: events.MessageSent) -> None:
        """Take note that a child was asked to stop."""
        child = self.known.get(event.to) if event.control else None
        if child is not None:
            child.asked = True

    def left(self) -> list[tuple[str, WhenParentEnds]]:
        """Give the children that go on and were not asked to stop, and what is to become of each."""
        return [(child.id, child.when_parent_ends) for child in self.open.values() if not child.asked]


def _end_all(operations: Sequence[EndOperation], end: EndEvent) -> None:
    for operation in operations:
        operation.end(end)

"""Obeying: the rows that come of orders from outside, and of a paused workflow. Cancellations are facts, and not here.

Orders are obeyed one by one, each in a commit of its own, before anything else is drafted. One that was overtaken is
void: by a pause or resumption that was asked for later and written at once, or by a rewinding, as it was meant for what
had ended.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from msgspec import Struct, json

from everlog.core import events, orders
from everlog.core.attributes import AttributeValue
from everlog.core.events import AnyEvent
from everlog.core.heads import InboxRow
from everlog.replay.execution import Execution
from everlog.replay.inbox import Inbox
from everlog.replay.requests import refused_at_end

log: Final = logging.getLogger("everlog")


class Obeyed(Struct, frozen=True, kw_only=True):
    """What comes of an order: rows of the history, perhaps none, and messages that are done with."""

    rows: Sequence[AnyEvent]
    consumed: Sequence[int]


def obey(execution: Execution, inbox: Inbox) -> Obeyed | None:
    """Give what comes of the first order that is to be obeyed now; None where there is none."""
    for message in inbox.orders:
        # Whoever changes attributes was told if the workflow ended before, and waits in all other cases.
        is_change = message.topic == orders.ATTRIBUTES
        if message.arrived_at < (execution.children.reopened_at if is_change else execution.rewound_at):
            return Obeyed(rows=(), consumed=[message.row])
        if message.topic == orders.TERMINATE:
            consumed = [message.row]
            return Obeyed(rows=_terminated(execution, message, inbox, consumed), consumed=consumed)
        if is_change:
            return Obeyed(rows=[attributes_changed(message)], consumed=[message.row])
    for message in inbox.orders:
        obeyed = _pausing(execution, message)
        if obeyed is not None:
            return obeyed
    return None


_change: Final = json.Decoder(dict[str, AttributeValue | None]).decode


def attributes_changed(message: InboxRow) -> events.AttributesChanged:
    """Give the row that obeys an order to change attributes."""
    return events.AttributesChanged(by=message.source, number=message.number, attributes=_change(message.payload))


def reason_of(message: InboxRow) -> str:
    """Give the reason that came with an order."""
    return json.decode(message.payload, type=str)


def _pausing(execution: Execution, message: InboxRow) -> Obeyed | None:
    match message.topic:
        case orders.CANCEL:
            # It goes on first: what a cancellation does to it is for its code to say.
            resumed = events.WorkflowResumed(by=message.source, asked_at=message.arrived_at)
            return Obeyed(rows=[resumed], consumed=()) if execution.paused else None
        case orders.PAUSE | orders.RESUME if orders.asked_at(message) < execution.ordered_at:
            return Obeyed(rows=(), consumed=[message.row])
        case orders.PAUSE if not execution.paused and execution.outcome is None:
            paused = events.WorkflowPaused(by=message.source, asked_at=orders.asked_at(message))
            return Obeyed(rows=[paused], consumed=[message.row])
        case orders.RESUME if execution.paused:
            resumed = events.WorkflowResumed(by=message.source, asked_at=orders.asked_at(message))
            return Obeyed(rows=[resumed], consumed=[message.row])
        case orders.PAUSE | orders.RESUME:
            return Obeyed(rows=(), consumed=[message.row])
        case _:
            log.warning(
                "workflow %r was ordered to %r, which this version does not know", message.destination, message.topic
            )
            return Obeyed(rows=(), consumed=[message.row])


def _terminated(execution: Execution, message: InboxRow, inbox: Inbox, consumed: list[int]) -> list[AnyEvent]:
    """Give all rows of the end at once: the request, what closes what is open, and the end."""
    reason = reason_of(message)
    open_now = [*execution.operations.values(), *execution.cancelled.values()]
    return [
        events.TerminateRequested(by=message.source, reason=reason),
        *(operation.closing() for operation in open_now if operation.recorded),
        *refused_at_end(execution, inbox, consumed, "terminated"),
        events.WorkflowCancelled(reason=reason, terminated=True, rewind_to=execution.seq),
    ]

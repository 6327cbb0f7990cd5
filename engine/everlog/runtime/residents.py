"""Residents: the workflows that this engine holds in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from everlog.core.asks import answered_again
from everlog.core.events import AnyEvent, MessageReceived
from everlog.core.rewinding import Returned, returned
from everlog.replay.definitions import AnyWorkflow
from everlog.replay.drafting import Draft
from everlog.replay.execution import Execution
from everlog.replay.inbox import Inbox
from everlog.runtime.outlets import Outlet
from everlog.store import InboxRow, State

History = Sequence[tuple[int, int, AnyEvent]]
"""Events with their seq and the time at which they were recorded."""

NEVER: Final = float("inf")
"""A store time that does not come."""


class Resident:
    """A workflow that this engine holds: its execution, and what ties it to its head."""

    __slots__ = (
        "alarm_at",
        "execution",
        "head",
        "in_flight",
        "inbox",
        "lost",
        "outlet",
        "releasing",
        "seq",
        "size",
        "stream_ends",
        "successor",
        "token",
        "workflow_id",
    )

    def __init__(self, execution: Execution, *, token: str, seq: int, outlet: Outlet) -> None:
        self.execution = execution
        self.outlet = outlet
        """Takes what its steps publish."""
        self.stream_ends: dict[str, int] | None = None
        """How long its streams are; None: nobody has looked yet."""
        self.workflow_id = execution.workflow_id
        self.token = token
        self.seq = seq
        """The seq that the head has, so far as is known here."""
        self.inbox = Inbox()
        self.in_flight: Draft | None = None
        self.releasing = False
        self.head: tuple[State, int | None, Sequence[str]] = ("running", None, ())
        """State, wake-up time and topics that the head has."""
        self.alarm_at = NEVER
        """Store time at which the workflow is looked at again though nothing happens."""
        self.successor: AnyWorkflow[..., Any] | None = None
        """The code with which it goes on as new, from the commit in flight on."""
        self.size = 0
        """The bytes of its history, since it last continued as new."""
        self.lost = False
        """Whether it was refused, released or ended: nothing of it matters any more."""

    def note(self, drafted: Draft) -> None:
        """Take note that what a draft says beside its rows is durable."""
        self.head = (drafted.state, drafted.wake_at, drafted.topics)
        if drafted.consumed:
            self.inbox.take(drafted.consumed)


def received_again(workflow_id: str, history: History) -> list[InboxRow]:
    """Give messages that a rewinding has made unread, as rows that the store does not have: there they were taken.

    Their numbers are below 0, which no store gives.
    """
    back = returned(history)
    return [
        InboxRow(
            row=position,
            destination=workflow_id,
            source=message.source,
            number=message.number,
            topic=_topic_of(message),
            payload=bytes(message.message),
            control=False,
            arrived_at=message.arrived_at,
        )
        for position, message in enumerate(back, start=-len(back))
    ]


def _topic_of(message: Returned) -> str:
    if isinstance(message, MessageReceived) and message.just_this:
        return answered_again(message.operation)
    return message.topic

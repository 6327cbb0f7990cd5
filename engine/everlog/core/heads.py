"""Heads and inboxes: the words for them that both the store and the runtime use."""

from __future__ import annotations

from typing import Final, Literal, get_args

from msgspec import Struct

State = Literal["enqueued", "queued", "running", "waiting", "paused", "stuck", "completed", "failed", "cancelled"]
"""The states a head can have; in the last three the workflow has ended. One that is `enqueued` stands in a queue."""

STATES: Final[tuple[State, ...]] = get_args(State)

ENDED: Final[frozenset[State]] = frozenset({"completed", "failed", "cancelled"})


class InboxRow(Struct, frozen=True, gc=False, kw_only=True):
    """An unread message. `row` grows in the order in which rows became visible to readers of this store."""

    row: int
    destination: str
    source: str
    number: int
    topic: str
    payload: bytes
    control: bool
    arrived_at: int

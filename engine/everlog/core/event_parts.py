"""What events are made of: their base, and small structs that some of them carry. No events themselves."""

from __future__ import annotations

from typing import Final, Literal

import msgspec
from msgspec import Raw

ABSENT: Final = Raw()
"""Stands for what another row carries, or none as a whole."""


class Redaction(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """That what users gave was taken out of an event: by whom, when and why. `link` is the one it had in the chain."""

    by: str
    at: int
    reason: str = ""
    link: str | None = None


class Event(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, tag_field="type"):
    """Base of all events: written once, never changed, save that what users gave may be redacted in the end."""

    redacted: Redaction | None = None


class LargeInput(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Stands for a step input over the size that is kept whole."""

    digest: str
    size: int
    preview: str


WhenParentEnds = Literal["cancel", "terminate", "leave"]
"""What becomes of a child that has not ended when its parent ends, or when the call that awaits it is given up."""


class QueuePlace(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Where a workflow stands in a queue; see `everlog.core.queues.Place`."""

    queue: str
    partition: str = ""
    priority: int = 0
    due_at: int = 0
    dedup_key: str | None = None


class CarriedChild(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A child that goes on while its parent continues: what the parent knows of it from then on."""

    child: str
    operation: str
    """The operation that started it, before."""
    name: str
    since: int
    when_parent_ends: WhenParentEnds = "cancel"
    asked: bool = False
    """Whether it was asked to stop."""
    ends_after: int = 0
    """What tells of an end up to this seq of its history tells of one that it was brought back from."""
    queue: str | None = None
    """The queue in which it stands."""
    needs_our_slot: bool = False
    """Whether it may wait for a slot that its parent, or who waits for that, keeps."""


class CarriedMessage(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A message that is unread and in no inbox any more: a retry took back that it was received."""

    source: str
    number: int
    topic: str
    arrived_at: int
    message: Raw

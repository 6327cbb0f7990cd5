"""Orders: the topics of the control messages by which others steer a workflow. What they do is the replay's matter."""

from __future__ import annotations

from typing import Final

from msgspec import DecodeError, json

from everlog.core.heads import InboxRow

CANCEL: Final = "cancel"
TERMINATE: Final = "terminate"
PAUSE: Final = "pause"
RESUME: Final = "resume"
ATTRIBUTES: Final = "attributes"
"""Carries a change of attributes as JSON. Its sender waits until it was obeyed, or the workflow has ended."""

_moment: Final = json.Decoder(int).decode


def said_now(now: int) -> bytes:
    """Give what an order to pause or to resume carries: when it was asked for, by the store's time."""
    return json.encode(now)


def asked_at(message: InboxRow) -> int:
    """Give when an order to pause or to resume was asked for. It may arrive after one that was asked for later, if the
    connection of its sender was lost while the database went on; one that does not say counts from its arrival."""
    try:
        return _moment(message.payload)
    except DecodeError:
        return message.arrived_at

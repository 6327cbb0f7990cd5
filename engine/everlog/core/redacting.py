"""Redacting: events whose payloads were taken out of a history that has ended, and how one is told from tampering.

An event that is redacted stays what it was, in its place and with its time: what happened can still be told. Gone are
the values that users gave: inputs, results, messages, texts of errors, attributes, reasons. In their place stands
`MARK`, and the event says who took them out and when. It may keep the link that it had in the chain of its history
(`everlog.runtime.digests`), so that a seal still tells of all that is around it. An event that says so, and holds
anything nevertheless, was not made here. Whoever needs what it held, a replay for one, cannot go on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from everlog.core import asks
from everlog.core.durations import as_datetime
from everlog.core.event_codec import decode_event
from everlog.core.event_parts import ABSENT, CarriedMessage, Event, LargeInput, QueuePlace, Redaction
from everlog.core.events import AnyEvent, MessageReceived
from everlog.core.failures import Failure
from everlog.errors import CorruptLog

MARK: Final = b'{"everlog":"redacted"}'
"""Stands where a value was."""
WORD: Final = "redacted"
"""Stands where a text was."""
_LINK_LENGTH: Final = 64
REDACTED: Final = b'"redacted":{'
"""What the body of every event has that was redacted; of others, those that hold such a text."""


def _raw(held: Raw) -> Raw:
    return held if bytes(held) == b"" else Raw(MARK)


def _failure(held: Failure) -> Failure:
    parts = tuple(_failure(part) for part in held.parts)
    cause = None if held.cause is None else _failure(held.cause)
    return Failure(type=held.type, message=WORD, cause=cause, parts=parts)


def _large(held: LargeInput | None) -> LargeInput | None:
    return None if held is None else LargeInput(digest="", size=held.size, preview="")


def _text(held: str | None) -> str | None:
    return WORD if held else held


def _place(held: QueuePlace | None) -> QueuePlace | None:
    if held is None:
        return None
    return msgspec.structs.replace(held, partition=_text(held.partition), dedup_key=_text(held.dedup_key))


def _messages(held: tuple[CarriedMessage, ...]) -> tuple[CarriedMessage, ...]:
    return tuple(msgspec.structs.replace(one, message=Raw(_message(one.topic, bytes(one.message)))) for one in held)


def _message(topic: str, held: bytes) -> bytes:
    """Give what stands in the place of a message: an ask stays one, since whom it is to be answered is no payload."""
    if topic.startswith(asks.ASK):
        return asks.encode(msgspec.structs.replace(asks.asked_of(held), message=Raw(MARK)))
    return MARK


def _event(held: Any) -> Any:
    return emptied(held)


ERASED: Final[Mapping[str, Callable[[Any], Any]]] = {
    "input": _raw,
    "instance": _raw,
    "result": _raw,
    "message": _raw,
    "answer": _raw,
    "value": _raw,
    "metadata": _raw,
    "schema": _raw,
    "items": lambda held: ABSENT,
    "error": _failure,
    "large_input": _large,
    "large_items": _large,
    "attributes": lambda held: {},
    "reason": _text,
    "title": _text,
    "key": _text,
    "place": _place,
    "messages": lambda held: held if isinstance(held, str) else _messages(held),
    "outcome": _event,
    "created": _event,
}
"""What becomes of the fields that hold what users gave, by name. All others say what happened, and stay."""


def emptied(event: AnyEvent) -> AnyEvent:
    """Give an event without what users gave."""
    if isinstance(event, MessageReceived):
        message = Raw(_message(event.topic, bytes(event.message)))
        return msgspec.structs.replace(event, message=message)
    changes = {name: ERASED[name](getattr(event, name)) for name in event.__struct_fields__ if name in ERASED}
    return msgspec.structs.replace(event, **changes)


def holds_something(event: AnyEvent) -> bool:
    """Tell whether an event holds anything that can be redacted, or that one that was redacted must not hold."""
    return emptied(event) != event


def redacted(event: AnyEvent, redaction: Redaction) -> AnyEvent:
    """Give an event without what users gave, that says who took it out."""
    return msgspec.structs.replace(emptied(event), redacted=redaction)


def kept_link(payload: bytes) -> str | None:
    """Give the link that an event had before it was redacted; None where it was not, keeps none, or holds anything."""
    if REDACTED not in payload:
        return None
    try:
        event = decode_event(payload)
    except CorruptLog:
        return None
    if event.redacted is None or event.redacted.link is None or holds_something(event):
        return None
    link = event.redacted.link
    return link if len(link) == _LINK_LENGTH and set(link) <= set("0123456789abcdef") else None


def redaction_of(event: Event) -> str:
    """Say who redacted an event, when and why; empty where nobody did."""
    by = event.redacted
    if by is None:
        return ""
    return f"{WORD} by {by.by} at {as_datetime(by.at):%Y-%m-%d %H:%M:%S} UTC" + (by.reason and f": {by.reason}")


def cannot_be_replayed(workflow_id: str, seq: int, event: Event) -> str:
    """Say why a replay cannot go on at an event that was redacted."""
    return (
        f"workflow {workflow_id!r} cannot be replayed past seq {seq}: that event was {redaction_of(event)}, and what it"
        " held is gone; a fork that is cut before it can go on (docs/retention.md)"
    )

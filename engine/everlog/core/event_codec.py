"""Events as they are stored: the tag of each type, and one line of JSON for each event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, get_args

import msgspec

from everlog.core.events import AnyEvent, Event
from everlog.core.upcast import upcast
from everlog.errors import CorruptLog

TAGS: Final[dict[type[Event], str]] = {kind: str(kind.__struct_config__.tag) for kind in get_args(AnyEvent)}
"""The tag under which events of each type are stored."""

_decoder: Final = msgspec.json.Decoder(AnyEvent)


def type_of(event: AnyEvent) -> str:
    """Give the tag under which the event is stored."""
    return TAGS[type(event)]


encode_event: Final[Callable[[AnyEvent], bytes]] = msgspec.json.Encoder().encode
"""Gives the event as one line of JSON, the form in which it is stored."""


def decode_event(payload: bytes) -> AnyEvent:
    """Rebuild an event of this or any earlier format; `CorruptLog` where the bytes are no event."""
    try:
        event: AnyEvent = _decoder.decode(upcast(payload))
        return event
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CorruptLog(
            f"this is no event that Everlog can read: {payload[:120]!r} ({error}); if a newer version wrote it, "
            "use that version"
        ) from error

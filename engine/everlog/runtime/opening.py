"""Opening: events that are read for people to look at, with what is sealed in them opened as far as that can be."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from everlog.core.codec import Codec
from everlog.core.sealed import Sealing, opened_body
from everlog.store import EventRow


def opened_rows(rows: Sequence[EventRow], codec: Codec | None) -> Sequence[EventRow]:
    """Give the rows with plain payloads and texts; what the codec cannot open stays as it is."""
    if not isinstance(codec, Sealing):
        return rows
    return [replace(row, payload=opened_body(row.payload, codec)) for row in rows]

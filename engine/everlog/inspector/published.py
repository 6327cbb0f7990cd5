"""Published: the values and streams of a workflow, and the messages that it has not read, as they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from everlog.core.asks import spoken_topic
from everlog.core.durations import as_datetime
from everlog.core.heads import InboxRow
from everlog.core.published import StreamEnd
from everlog.core.sealed import HIDDEN, opened_body
from everlog.errors import PayloadUnavailable
from everlog.inspector.site import Site
from everlog.runtime import looking
from everlog.runtime.client import Client
from everlog.store import SupportsInboxes, SupportsStreams

UNREAD: Final = 50
"""So many unread messages are shown, the first ones."""


class Unread(msgspec.Struct, frozen=True, kw_only=True):
    """A message that a workflow has not read."""

    topic: str
    source: str
    at: datetime
    text: str


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """A stream, and its last items."""

    name: str
    length: int
    closed: bool
    items: Sequence[str]
    start: int
    """The place of the first item that is shown, from 1 on."""


async def published_of(site: Site, workflow_id: str, streams: Sequence[StreamEnd]) -> dict[str, Any]:
    """Give what the part of a page about what is published is made of."""
    try:
        values = await site.client.handle(workflow_id).values()
    except PayloadUnavailable as error:  # the rest of the page can be shown without the key
        values = {HIDDEN: str(error)}
    inbox = await _inbox(site.client, workflow_id)
    return {
        "values": {name: site.payloads.pretty(name, value) for name, value in values.items()},
        "streams": [await _stream(site, workflow_id, one) for one in streams],
        "unread": [_unread(site, row) for row in inbox[:UNREAD]],
        "more_unread": max(0, len(inbox) - UNREAD),
    }


async def ends_of(client: Client, workflow_id: str) -> Sequence[StreamEnd]:
    """Give how long the streams of a workflow are now. Steps write to them while the log stands still."""

    def read() -> Sequence[StreamEnd]:
        store = client.store
        return store.streams(workflow_id) if isinstance(store, SupportsStreams) else ()

    return await client.on_thread(read)


async def _inbox(client: Client, workflow_id: str) -> Sequence[InboxRow]:
    def read() -> Sequence[InboxRow]:
        store = client.store
        return store.inbox(workflow_id) if isinstance(store, SupportsInboxes) else ()

    return [row for row in await client.on_thread(read) if not row.control]


def _unread(site: Site, row: InboxRow) -> Unread:
    data: Any = msgspec.json.decode(opened_body(row.payload, site.client.codec))
    return Unread(
        topic=spoken_topic(row.topic),
        source=row.source,
        at=as_datetime(row.arrived_at),
        text=site.payloads.brief("message", data),
    )


async def _stream(site: Site, workflow_id: str, stream: StreamEnd) -> Stream:
    found = await looking.last_items(site.client, workflow_id, stream)
    opened = [msgspec.json.decode(opened_body(payload, site.client.codec)) for payload in found]
    items = [item for one in opened for item in one][-looking.LAST_ITEMS :]
    return Stream(
        name=stream.stream,
        length=stream.length,
        closed=stream.closed,
        items=[site.payloads.brief(stream.stream, item) for item in items],
        start=stream.length - len(items) + 1,
    )

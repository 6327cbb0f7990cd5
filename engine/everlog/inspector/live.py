"""Live: the events of a workflow as they are written, sent to its page. The id of each message is the seq that it
reaches, so that who connects anew goes on there: with no event missed, and none twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from everlog.core.published import StreamEnd
from everlog.errors import NotFound, StoreError
from everlog.inspector.event_rows import log_rows
from everlog.inspector.published import ends_of, published_of
from everlog.inspector.security import Refused
from everlog.inspector.site import MOST_LIVE, Site
from everlog.inspector.workflow_pages import id_of, number_in, summary_of, timeline_of
from everlog.runtime import looking
from everlog.store import ENDED

PAUSE: Final = 0.5
"""Seconds between two looks at the store."""
QUIET: Final = 30
"""So many looks without news are followed by a sign of life."""
TOGETHER: Final = 200
DRAWN: Final = 2000
"""With more events than this the bars are not drawn anew; loading the page does so."""


async def live_page(site: Site, request: Request) -> Response:
    """Answer with the events after the one that the page has seen, and go on until the workflow has ended."""
    workflow_id = id_of(request)
    after = _seen(request)
    await looking.head_of(site.client, workflow_id)
    if site.live >= MOST_LIVE:
        raise Refused(503, f"{MOST_LIVE} pages are kept up to date already.")
    return StreamingResponse(
        _counted(site, _messages(site, request, workflow_id, after)), media_type="text/event-stream"
    )


def _seen(request: Request) -> int:
    """Give the seq that the page has: the browser names the last message when it connects anew."""
    last = request.headers.get("last-event-id", "")
    if last.isascii() and last.isdigit() and len(last) < 16:
        return int(last)
    return number_in(request, "after") or 0


async def _counted(site: Site, messages: AsyncIterator[str]) -> AsyncIterator[str]:
    site.live += 1
    try:
        async for message in messages:
            yield message
    finally:
        site.live -= 1


async def _messages(site: Site, request: Request, workflow_id: str, after: int) -> AsyncIterator[str]:
    yield "retry: 1000\n\n"
    state, quiet = "", 0
    shown: Sequence[StreamEnd] = ()
    while True:
        try:
            head = await looking.head_of(site.client, workflow_id)
            ends = await ends_of(site.client, workflow_id)
            if head.seq > after or head.state != state:
                rows = await looking.events_page(site.client, workflow_id, after=after, limit=TOGETHER)
                parts = {
                    "rows": site.part(request, "_log.html", rows=log_rows(rows, site.payloads), workflow_id=workflow_id)
                }
                after = rows[-1].seq if rows else after
                if after >= head.seq:
                    parts |= await _upper_parts(site, request, workflow_id)
                    state, shown = head.state, ends
                yield _message("events", after, parts)
                quiet = 0
            elif ends != shown:  # steps emit items while the log stands still
                yield _message("events", after, {"rows": "", **await _published_part(site, request, workflow_id)})
                shown = ends
                quiet = 0
            elif head.state in ENDED:
                yield _message("end", after, {})
                return
            else:
                quiet += 1
                if quiet % QUIET == 0:
                    yield ": still here\n\n"
        except NotFound:  # it was deleted
            yield _message("end", after, {})
            return
        except StoreError:  # the database is away for a while; the page shows what it has
            quiet += 1
        if quiet:
            await asyncio.sleep(PAUSE)


async def _upper_parts(site: Site, request: Request, workflow_id: str) -> dict[str, str]:
    looked = await looking.look(site.client, workflow_id)
    parts = {"summary": site.part(request, "_summary.html", **await summary_of(site, looked))}
    parts |= await _published_part(site, request, workflow_id)
    if len(looked.rows) <= DRAWN:
        parts["timeline"] = site.part(request, "_timeline.html", **await timeline_of(site, request, looked))
    return parts


async def _published_part(site: Site, request: Request, workflow_id: str) -> dict[str, str]:
    ends = await ends_of(site.client, workflow_id)
    return {"published": site.part(request, "_published.html", **await published_of(site, workflow_id, ends))}


def _message(kind: str, seq: int, parts: dict[str, str]) -> str:
    return f"event: {kind}\nid: {seq}\ndata: {msgspec.json.encode(parts).decode()}\n\n"

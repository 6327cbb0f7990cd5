"""Queue pages: what is in each queue and its partitions, what of it went wrong, and schedules. They change nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from everlog.core.durations import as_datetime
from everlog.core.finding import WorkflowQuery
from everlog.errors import UsageError
from everlog.inspector.site import Site
from everlog.runtime import looking
from everlog.runtime.listing import Listing
from everlog.store import State, Store, SupportsQueues

T = TypeVar("T")
OLDEST: Final = 1000
"""So many of the oldest that stand in queues are looked at: no store counts partitions, and the page is never slow."""
NEWEST: Final = 1000
"""So many of the newest that failed or are stuck are looked at."""
TICKS: Final = 10


class Standing(msgspec.Struct, kw_only=True):
    """Who stands in a partition of a queue: how many, and which came first."""

    partition: str
    number: int
    oldest: str
    since: datetime


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked at of all queues. Where `is_all` is false there are more, and numbers are of the oldest."""

    standing: dict[str, list[Standing]]
    is_all: bool
    wrong: dict[str, dict[State, int]]
    is_all_wrong: bool


async def queues_page(site: Site, request: Request) -> Response:
    """Show the queues with their limits, what is in them, and what of it went wrong."""
    handles = await or_none(site.client.queues())
    found = [(await handle.status(), await handle.counts()) for handle in handles]
    return site.page(
        request,
        "queues.html",
        queues=found,
        looked=await site.client.on_thread(lambda: _look(site.client.store)),
        oldest=OLDEST,
        newest=NEWEST,
        now=await looking.now_of(site.client),
        done=request.query_params.get("done", ""),
    )


def _look(store: Store) -> Looked:
    heads = store.workflows(WorkflowQuery(states=["enqueued"], newest_first=False, limit=OLDEST))
    standing: dict[str, dict[str, Standing]] = {}
    places = store.places([head.workflow_id for head in heads]) if isinstance(store, SupportsQueues) else ()
    for head, row in zip(heads, places, strict=False):
        if row is None:
            continue
        partitions = standing.setdefault(row.place.queue, {})
        first = Standing(
            partition=row.place.partition, number=0, oldest=head.workflow_id, since=as_datetime(head.created_at)
        )
        partitions.setdefault(row.place.partition, first).number += 1
    failed = store.workflows(WorkflowQuery(states=["failed", "stuck"], newest_first=True, limit=NEWEST))
    wrong: dict[str, dict[State, int]] = {}
    for head in failed:
        if head.queue is not None:
            counts = wrong.setdefault(head.queue, {})
            counts[head.state] = counts.get(head.state, 0) + 1
    return Looked(
        standing={queue: [found[name] for name in sorted(found)] for queue, found in standing.items()},
        is_all=len(heads) < OLDEST,
        wrong=wrong,
        is_all_wrong=len(failed) < NEWEST,
    )


async def schedules_page(site: Site, request: Request) -> Response:
    """Show the schedules with their next ticks."""
    found = await or_none(site.client.schedules())
    upcoming: dict[str, list[datetime]] = {}
    for one in found:
        try:
            upcoming[one.name] = await site.client.schedule(one.name).upcoming(TICKS)
        except UsageError:  # what reads its expression is not installed here
            upcoming[one.name] = []
    done: Any = request.query_params.get("done", "")
    return site.page(request, "schedules.html", schedules=found, upcoming=upcoming, done=done)


async def or_none(listing: Listing[T]) -> Sequence[T]:
    """Give a listing; nothing where the store has no such things."""
    try:
        return list(await listing)
    except UsageError:
        return []

"""Sifting: pages of workflows by what no store finds them by, the queue and the text of an error. It changes nothing.

A store answers these by no index. So the workflows that fit all the rest are looked through, a bounded number for each
page, and the page says how far that went: it is never slow, and never claims to have seen what it has not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from everlog.core.durations import from_datetime
from everlog.core.finding import Place
from everlog.inspector.filters import Asked, Sieve
from everlog.runtime import looking
from everlog.runtime.client import Client
from everlog.runtime.status import WorkflowStatus

LOOKED_THROUGH: Final = 1000
"""So many workflows are looked through for one page."""
_TOGETHER: Final = 250

Shown = Callable[[WorkflowStatus], str]
"""Gives the error of a workflow as it may be shown: what is kept from people cannot be sought by them either."""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page of workflows, and where the next one begins, None after the last. `looked` is how many were looked
    through for it, None where the store has found all of them itself."""

    found: list[WorkflowStatus]
    following: Place | None
    looked: int | None = None


async def workflows_page(client: Client, wanted: Asked, shown: Shown, *, limit: int) -> Page:
    """Give the page of workflows that a URL asks for."""
    if wanted.sieve is None:
        found, following = await looking.workflows_page(
            client, wanted.filters, newest_first=wanted.newest_first, after=wanted.after, limit=limit
        )
        return Page(found=found, following=following)
    passed: list[WorkflowStatus] = []
    after, looked = wanted.after, 0
    while looked < LOOKED_THROUGH:
        found, after = await looking.workflows_page(
            client, wanted.filters, newest_first=wanted.newest_first, after=after, limit=_TOGETHER
        )
        for one in found:
            looked += 1
            if passes(wanted.sieve, one, shown):
                passed.append(one)
            if len(passed) == limit:
                return Page(found=passed, following=_place(one), looked=looked)
        if after is None:
            break
    return Page(found=passed, following=after, looked=looked)


def passes(sieve: Sieve, one: WorkflowStatus, shown: Shown) -> bool:
    """Tell whether a workflow has what is sought of its queue and its error."""
    if sieve.queue and one.queue != sieve.queue:
        return False
    return not sieve.error or (one.error is not None and sieve.error.casefold() in shown(one).casefold())


def _place(one: WorkflowStatus) -> Place:
    return from_datetime(one.created_at, what="created_at"), one.id

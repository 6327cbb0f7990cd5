"""Other pages: the overview, the list of workflows, the inbox, workers and definitions. They change nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from everlog.inspector import sifting
from everlog.inspector.filters import TIMES, asked, mark_of
from everlog.inspector.forms import fields_of
from everlog.inspector.rendering import counted
from everlog.inspector.site import Site
from everlog.replay.registry import registered_workflows
from everlog.runtime import looking
from everlog.runtime.finding import WorkflowCounts
from everlog.runtime.status import SHOWN, ShownState, WorkflowStatus

PAGE: Final = 50
BRIEF: Final = 200
"""Characters of a reason in the list; the page of the workflow has all of it."""
PATIENCE: Final = timedelta(seconds=5)
"""A worker that knows a workflow takes it sooner than this."""
STANDING: Final[tuple[ShownState, ...]] = ("queued", "running", "waiting", "paused", "stuck")


async def overview_page(site: Site, request: Request) -> Response:
    """Show how things stand."""
    client = site.client
    now = await looking.now_of(client)
    found = await site.counts.get()
    counts = found.all
    oldest, _ = await looking.workflows_page(client, {"state": "queued"}, newest_first=False, after=None, limit=1)
    failed, _ = await looking.workflows_page(
        client, {"state": ["failed", "stuck"]}, newest_first=True, after=None, limit=8
    )
    workers = await looking.workers(client)
    first_wait, _ = await client.waits().page(None)
    return site.page(
        request,
        "overview.html",
        counts=counts,
        states=SHOWN,
        created=found.created.total,
        ended={state: found.ended.by_state.get(state, 0) for state in ("completed", "failed", "cancelled")},
        oldest=oldest[0] if oldest else None,
        failed=failed,
        reasons=[site.payloads.text("why", one.why) for one in failed],
        workers=workers,
        waits=len(first_wait),
        warnings=await _warnings(
            site, counts, oldest[0] if oldest else None, sum(worker.alive for worker in workers), now
        ),
        counted_at=found.at,
        now=now,
    )


async def _warnings(
    site: Site, counts: WorkflowCounts, oldest: WorkflowStatus | None, alive: int, now: datetime
) -> list[str]:
    found: list[str] = []
    could_go_on = sum(counts.by_state.get(state, 0) for state in ("queued", "running"))
    if could_go_on and not alive:
        found.append(f"No worker is running, and {counted(could_go_on, 'workflow')} could go on: start an engine.")
    elif oldest is not None and now - oldest.created_at > PATIENCE:
        status = await site.client.handle(oldest.id).status()
        number = counts.by_state.get("queued", 0)
        verb = "waits" if number == 1 else "wait"
        why = f": {site.payloads.text('why', status.why)}" if status.state == "queued" else "."
        found.append(f"{counted(number, 'workflow')} {verb} to begin. The oldest is {oldest.id}{why}")
    stuck = counts.by_state.get("stuck", 0)
    if stuck:
        found.append(f"{counted(stuck, 'workflow')} cannot go on with the code that runs; each says why on its page.")
    return found


async def workflows_page(site: Site, request: Request) -> Response:
    """Show the workflows that a URL asks for."""
    wanted = asked(request.query_params)
    found = await sifting.workflows_page(site.client, wanted, site.shown_error, limit=PAGE)
    return site.page(
        request,
        "workflows.html",
        found=found.found,
        looked=found.looked,
        reasons=[_brief_reason(site, one.state, one.why) for one in found.found],
        asked=wanted,
        states=SHOWN,
        times=TIMES,
        following=None if found.following is None else mark_of(found.following),
        now=await looking.now_of(site.client),
        done=request.query_params.get("done", ""),
    )


def _brief_reason(site: Site, state: str, why: str) -> str:
    text = "" if why == state else site.payloads.text("why", why)
    return text if len(text) <= BRIEF else f"{text[:BRIEF]} …"


async def inbox_page(site: Site, request: Request) -> Response:
    """Show what workflows wait for that people are to answer."""
    topic = request.query_params.get("topic") or None
    waits, more = await site.client.waits(topic=topic).page(None)
    return site.page(
        request,
        "inbox.html",
        waits=[(wait, fields_of(wait.schema), site.payloads.pretty("metadata", wait.metadata)) for wait in waits],
        more=more is not None,
        topic=topic,
        now=await looking.now_of(site.client),
        done=request.query_params.get("done", ""),
    )


async def workers_page(site: Site, request: Request) -> Response:
    """Show the workers and their leases."""
    return site.page(
        request, "workers.html", workers=await looking.workers(site.client), now=await looking.now_of(site.client)
    )


async def definitions_page(site: Site, request: Request) -> Response:
    """Show the workflow functions: those that the store has workflows of, and those whose code is here."""
    counts = (await site.counts.get()).all
    known = registered_workflows()
    names = sorted({*counts.by_name, *known})
    rows = [(name, _place(known.get(name)), counts.by_name.get(name, _NONE)) for name in names]
    return site.page(request, "definitions.html", definitions=rows, states=STANDING)


_NONE: Final[Mapping[str, int]] = {}


def _place(definition: Any) -> str:
    """Say where the code of a workflow is, empty where that is not here."""
    fn = getattr(definition, "fn", None)
    return "" if fn is None else f"{getattr(fn, '__module__', '?')}.{getattr(fn, '__qualname__', '?')}"

"""Many: one thing done to many workflows, after their number was shown. Who may do it is checked elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from everlog.cli.choosing import Chosen
from everlog.cli.many_forks import ManyForks, fork_id
from everlog.errors import EverlogError, StoreError, UsageError
from everlog.inspector import sifting
from everlog.inspector.filters import asked
from everlog.inspector.security import form_of
from everlog.inspector.site import Site
from everlog.runtime import looking
from everlog.runtime.client import Client
from everlog.runtime.fork_previews import ForkPreview
from everlog.runtime.fork_sources import FAILURE

MOST_AT_ONCE: Final = 10_000
SHOWN_OF_MANY: Final = 20
FORKED: Final = ManyForks(
    filters={},
    at=FAILURE,
    replace={},
    messages="keep",
    children="rerun",
    version=None,
    limit=0,
    dry_run=False,
    yes=True,
)
"""A fork of many, as the command line makes it: where a retry would go on, with nothing replaced."""

Does = Callable[[str], Awaitable[Any]]
"""Does it to one workflow."""


class Refusal(msgspec.Struct, frozen=True):
    """A workflow to which it could not be done, and why."""

    workflow_id: str
    why: str


async def chosen_ids(site: Site, request: Request, query: str) -> Sequence[str]:
    """Give the ids that a form chooses: those that it names, or all that fit its filters. Raises `UsageError`."""
    ids = await _fitting(site, query) if "all" in form_of(request) else form_of(request).get("id", [])
    if not ids:
        raise UsageError("no workflow was chosen")
    return ids


async def asked_first(site: Site, request: Request, action: str, ids: Sequence[str], query: str) -> Response:
    """Ask whether it is meant: how many they are, and which the first are."""
    shown = ids[:SHOWN_OF_MANY]
    previews = await _previews(site.client, shown if action == "fork" else ())
    return site.page(
        request,
        "many.html",
        action=action,
        ids=ids,
        shown=shown,
        previews=previews,
        all_that_fit="all" in form_of(request),
        query=query,
    )


async def done_to(site: Site, request: Request, action: str, ids: Sequence[str], does: Does, query: str) -> Response:
    """Do it to each, and say to how many it was done, and to which it could not be done."""
    done, refused = 0, list[Refusal]()
    for workflow_id in ids:
        try:
            done += bool(await site.recorded(request, action, workflow_id, partial(does, workflow_id)))
        except StoreError:
            raise
        except EverlogError as error:
            refused.append(Refusal(workflow_id, site.payloads.text("problem", str(error))))
    if not refused:
        return site.go(request, "/workflows", done=f"{action}:{done}")
    return site.page(request, "many_done.html", action=action, done=done, refused=refused, query=query)


async def fork_as_it_is(client: Client, workflow_id: str) -> str:
    """Fork a workflow where a retry would go on. What was forked so, and has not changed since, is not forked twice."""
    head = await looking.head_of(client, workflow_id)
    new_id = fork_id(FORKED, Chosen(workflow_id, head.name, head.state, "", head.seq))
    return (await client.handle(workflow_id).fork(at=FAILURE, id=new_id)).id


async def _previews(client: Client, ids: Sequence[str]) -> Mapping[str, ForkPreview | str]:
    """Say of each what a fork of it keeps and does again, or why there can be none."""
    found: dict[str, ForkPreview | str] = {}
    for workflow_id in ids:
        try:
            found[workflow_id] = await client.handle(workflow_id).preview_fork(at=FAILURE)
        except StoreError:
            raise
        except EverlogError as error:
            found[workflow_id] = str(error)
    return found


async def _fitting(site: Site, query: str) -> Sequence[str]:
    wanted = asked(QueryParams(query))
    found: list[str] = []
    looked = 0
    async for status in site.client.workflows(newest_first=wanted.newest_first, **wanted.filters):
        looked += 1
        if wanted.sieve is None or sifting.passes(wanted.sieve, status, site.shown_error):
            found.append(status.id)
        if looked > MOST_AT_ONCE:
            raise UsageError(f"more than {MOST_AT_ONCE:,} workflows fit: choose fewer by state, name or time")
    return found

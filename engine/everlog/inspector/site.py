"""Site: what the pages of one inspector share: the client, the settings, and how a page is made and linked to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from everlog.errors import EverlogError
from everlog.inspector.payloads import Payloads
from everlog.inspector.people import Role, Visitor
from everlog.inspector.remembered import Remembered
from everlog.inspector.rendering import SHAPES, environment
from everlog.inspector.security import FORM_TOKEN, visitor_of
from everlog.inspector.settings import Change, Settings
from everlog.inspector.tickets import form_token
from everlog.runtime import looking
from everlog.runtime.client import Client
from everlog.runtime.finding import WorkflowCounts
from everlog.runtime.status import WorkflowStatus

audit: Final = logging.getLogger("everlog.inspector")

NAVIGATION: Final = (
    ("/", "Overview"),
    ("/workflows", "Workflows"),
    ("/inbox", "Inbox"),
    ("/queues", "Queues"),
    ("/schedules", "Schedules"),
    ("/workers", "Workers"),
    ("/definitions", "Definitions"),
)
REPLAYS_AT_ONCE: Final = 2
MOST_LIVE: Final = 200
"""So many pages are kept up to date at once."""


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How many workflows there are, and how many of them were created and ended in the last hour."""

    all: WorkflowCounts
    created: WorkflowCounts
    ended: WorkflowCounts
    at: datetime


class Site:
    """One inspector."""

    def __init__(self, client: Client, settings: Settings) -> None:
        self.client = client
        self.settings = settings
        self.payloads = Payloads(settings)
        self.replays = asyncio.Semaphore(REPLAYS_AT_ONCE)
        self.live = 0
        self.counts = Remembered(self._counts, client.host.monotonic)
        self._templates = environment()

    async def _counts(self) -> Counts:
        now = await looking.now_of(self.client)
        hour_ago = now - timedelta(hours=1)
        return Counts(
            all=await self.client.counts(),
            created=await self.client.counts(created_after=hour_ago),
            ended=await self.client.counts(ended_after=hour_ago),
            at=now,
        )

    def page(self, request: Request, template: str, *, answers: int = 200, **context: Any) -> Response:
        """Make a page of a template; `answers` is the status of the answer."""
        return HTMLResponse(self.part(request, template, **context), status_code=answers)

    def part(self, request: Request, template: str, **context: Any) -> str:
        """Make a part of a page. Who sent the request may not be known, if it was refused."""
        visitor: Visitor | None = getattr(request.state, "visitor", None)
        root = str(request.scope.get("root_path", ""))

        def url(path: str, **query: Any) -> str:
            return url_of(root, path, query)

        def can(role: Role) -> bool:
            return self.may(visitor, role)

        return self._templates.get_template(template).render(
            url=url,
            visitor=visitor,
            can=can,
            read_only=self.settings.read_only,
            payloads=self.payloads,
            navigation=NAVIGATION,
            shapes=SHAPES,
            form_token_name=FORM_TOKEN,
            form_token="" if visitor is None else form_token(self.settings.secret, visitor),
            **context,
        )

    def shown_error(self, one: WorkflowStatus) -> str:
        """Give what is wrong with a workflow as it may be shown."""
        return "" if one.error is None else self.payloads.text("why", one.error)

    def may(self, visitor: Visitor | None, role: Role) -> bool:
        """Tell whether somebody may do what the role may here."""
        if visitor is None or (self.settings.read_only and role != "viewer"):
            return False
        return visitor.may(role)

    def go(self, request: Request, path: str, **query: Any) -> Response:
        """Send the visitor to another page of ours."""
        return RedirectResponse(url_of(str(request.scope.get("root_path", "")), path, query), status_code=303)

    def acting(self, request: Request) -> Client:
        """Give the client that signs with the visitor's name."""
        return self.client.signing_as(visitor_of(request).name)

    async def recorded(self, request: Request, action: str, target: str, does: Callable[[], Awaitable[Any]]) -> Any:
        """Do something in the name of the visitor, and record that, whether it came to be or not."""
        by = visitor_of(request).name
        try:
            found = await does()
        except EverlogError as error:
            self._record(Change(by=by, action=action, target=target, problem=str(error)))
            raise
        self._record(Change(by=by, action=action, target=target))
        return found

    def _record(self, change: Change) -> None:
        outcome = "done" if change.problem is None else f"refused: {change.problem}"
        audit.info("%r: %s %r, %s", change.by, change.action, change.target, outcome)
        if self.settings.on_change is not None:
            self.settings.on_change(change)


Handler = Callable[[Site, Request], Awaitable[Response]]


def url_of(root: str, path: str, query: Mapping[str, Any]) -> str:
    """Give the URL of a page below the place where the inspector is mounted."""
    given = [(name, value) for name, value in query.items() if value not in (None, "", [])]
    return f"{root}{path}" + (f"?{urlencode(given, doseq=True)}" if given else "")

"""The application: the inspector as something that can be served or mounted. What its pages are is not known here."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from everlog.errors import EverlogError, NotFound, StoreError, UsageError
from everlog.inspector.actions import ACTIONS
from everlog.inspector.live import live_page
from everlog.inspector.observed_pages import OBSERVED
from everlog.inspector.other_pages import (
    definitions_page,
    inbox_page,
    overview_page,
    workers_page,
    workflows_page,
)
from everlog.inspector.people import Authenticate
from everlog.inspector.portable_pages import export_page, import_page, test_page
from everlog.inspector.queue_pages import queues_page, schedules_page
from everlog.inspector.rendering import static_file
from everlog.inspector.security import STATIC, Guard, Refused, path_of
from everlog.inspector.settings import Change, Settings, hosts_of
from everlog.inspector.site import Handler, Site
from everlog.inspector.workflow_pages import compare_page, conversation_page, event_page, fork_page, workflow_page
from everlog.runtime.client import Client
from everlog.runtime.code_state import Redact

log: Final = logging.getLogger("everlog.inspector")
MOST_BODY: Final = 1_000_000

PAGES: Final[Mapping[str, Handler]] = {
    "/": overview_page,
    "/workflows": workflows_page,
    "/workflow": workflow_page,
    "/event": event_page,
    "/conversation": conversation_page,
    "/export": export_page,
    "/test": test_page,
    "/import": import_page,
    "/fork": fork_page,
    "/compare": compare_page,
    "/inbox": inbox_page,
    "/queues": queues_page,
    "/schedules": schedules_page,
    "/workers": workers_page,
    "/definitions": definitions_page,
    "/live": live_page,
    **OBSERVED,
}


def inspector(
    client: Client,
    /,
    *,
    auth: Authenticate,
    hosts: Iterable[str] | None = None,
    read_only: bool = False,
    hide_payloads: bool = False,
    redact: Redact | None = None,
    max_body: int = MOST_BODY,
    secret: str | None = None,
    on_change: Callable[[Change], object] | None = None,
) -> ASGIApp:
    """Give an ASGI application that shows what the engine or client sees: `app.mount("/everlog", inspector(...))`.

    `auth(request)` gives the `Visitor` who sent a request, None refuses it; it may be async. `hosts` are the names by
    which it may be reached, by default those of this machine alone. `read_only` changes nothing for anybody.
    `hide_payloads` shows nothing that users gave. `redact(name, value)` gives what is shown in the place of a value; it
    is asked for each member of an object as well. `max_body`: bytes of a form. `secret` signs forms: processes that
    serve one inspector share it, by default each has its own. `on_change` is told of all that anybody did.
    The engine or client is open as long as the application is served.
    """
    if not isinstance(client, Client):  # pyright: ignore[reportUnnecessaryIsInstance] - users without a type checker
        raise UsageError(f"an inspector is given an Engine or a Client, got {type(client).__name__}")
    if not callable(auth):
        raise UsageError(f"auth must be a function that gives a Visitor or None, got {auth!r}")
    key = secret if secret is not None else client.host.token() + client.host.token()
    if len(key) < 16:
        raise UsageError("secret must have at least 16 characters that nobody can guess")
    settings = Settings(
        hosts=hosts_of(hosts),
        read_only=read_only,
        hide_payloads=hide_payloads,
        redact=redact,
        max_body=max_body,
        secret=hashlib.sha256(b"everlog inspector forms " + key.encode()).digest(),
        on_change=on_change,
    )
    site = Site(client, settings)

    def refuse(request: Request, status: int, why: str) -> Response:
        return site.page(request, "problem.html", answers=status, code=status, problem=why)

    return Guard(_Pages(site), settings, auth, refuse)


class _Pages:
    """Finds the page for a path, and says what went wrong in words."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        response = await self._response(request)
        await response(scope, receive, send)

    async def _response(self, request: Request) -> Response:
        path = path_of(request.scope) or "/"
        if path.startswith(STATIC):
            found = static_file(path.removeprefix(STATIC))
            return PlainTextResponse("not found", 404) if found is None else Response(found[0], media_type=found[1])
        handler = (ACTIONS if request.method == "POST" else PAGES).get(path)
        if handler is None:
            return self._problem(request, 404, "There is no such page.")
        try:
            return await handler(self._site, request)
        except Refused as refused:
            return self._problem(request, refused.status, str(refused))
        except NotFound as error:
            return self._problem(request, 404, self._told(error))
        except StoreError as error:
            return self._problem(request, 503, self._told(error))
        except EverlogError as error:
            return self._problem(request, 400, self._told(error))

    def _told(self, error: EverlogError) -> str:
        return (
            self._site.payloads.text("problem", str(error)) if not self._site.payloads.hides else type(error).__name__
        )

    def _problem(self, request: Request, status: int, why: str) -> Response:
        return self._site.page(request, "problem.html", answers=status, code=status, problem=why)

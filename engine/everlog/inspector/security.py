"""Security: what every request must pass before a page is made, and what every answer says. It knows no pages.

In this order: the host is one of ours, the method is known, no other site sent it, somebody is recognised. What would
change something must come from a form of ours, in one small body, from somebody who may change anything at all.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, MutableMapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from everlog.inspector.people import Authenticate, Visitor, checked
from everlog.inspector.settings import Settings
from everlog.inspector.tickets import StartToken, is_form_token

STATIC: Final = "/static/"
FORM_TOKEN: Final = "form_token"
MOST_FIELDS: Final = 2000

_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # "no-referrer" would have browsers send forms with the Origin "null"
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
    "X-Robots-Tag": "noindex",
}

_HOST: Final = re.compile(r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", re.ASCII)
"""A host as browsers send it: a name or an address, and perhaps a port."""

Refuse = Callable[[Request, int, str], Response]
"""Makes the page that says why a request is refused."""


class Refused(Exception):
    """A request that does not pass, with the status and the sentence of the answer."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Guard:
    """Stands before the pages. It hands on who sent a request, and the fields of its form, in the scope."""

    def __init__(self, app: ASGIApp, settings: Settings, auth: Authenticate, refuse: Refuse) -> None:
        self._app = app
        self._settings = settings
        self._auth = auth
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        answer = _with_headers(send)
        try:
            response = await self._checked(request)
        except Refused as refused:
            response = self._refuse(request, refused.status, str(refused))
        await (response or self._app)(scope, receive, answer)

    async def _checked(self, request: Request) -> Response | None:
        """Note who sent a request and what; give the answer where it goes no further."""
        headers, state = request.headers, request.scope.setdefault("state", {})
        self._check_host(headers)
        if request.method not in ("GET", "HEAD", "POST"):
            raise Refused(405, "Only GET and POST are known here.")
        _check_site(request)
        if path_of(request.scope).startswith(STATIC) and request.method != "POST":
            return None
        if isinstance(self._auth, StartToken) and request.method == "GET":
            exchanged = self._auth.exchange(request)
            if exchanged is not None:
                return exchanged
        visitor = await self._visitor(request)
        state["visitor"] = visitor
        if request.method == "POST":
            state["form"] = await self._form(request, visitor)
        return None

    def _check_host(self, headers: Headers) -> None:
        given = headers.getlist("host")
        found = _HOST.fullmatch(given[0].lower()) if len(given) == 1 else None
        if found is None or self._settings.hosts.isdisjoint((found[0], found[1])):
            raise Refused(421, "This host is not one that the inspector answers for; see hosts= or --allow-host.")

    async def _visitor(self, request: Request) -> Visitor:
        found = self._auth(request)
        if inspect.isawaitable(found):
            found = await found
        visitor = checked(found)
        if visitor is None:
            raise Refused(401, "Nobody was recognised. Open the address that `everlog ui` printed, with its token.")
        return visitor

    async def _form(self, request: Request, visitor: Visitor) -> MutableMapping[str, list[str]]:
        if self._settings.read_only:
            raise Refused(403, "This inspector is read-only.")
        if not visitor.may("approver"):
            raise Refused(403, f"{visitor.name} is a viewer here, and changes nothing.")
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise Refused(415, "A form is expected, as application/x-www-form-urlencoded.")
        body = await _body(request, self._settings.max_body)
        try:
            pairs = parse_qsl(
                body.decode(),
                keep_blank_values=True,
                strict_parsing=bool(body),
                max_num_fields=MOST_FIELDS,
                errors="strict",
            )
        except ValueError:
            raise Refused(400, "The form cannot be read.") from None
        fields: dict[str, list[str]] = {}
        for name, value in pairs:
            fields.setdefault(name, []).append(value)
        given = fields.pop(FORM_TOKEN, [""])
        if len(given) != 1 or not is_form_token(given[0], self._settings.secret, visitor):
            raise Refused(
                403, "The form is not one of this server, or from before it was started again: load the page anew."
            )
        return fields


def path_of(scope: Scope) -> str:
    """Give the path below the place where the inspector is mounted."""
    return str(scope["path"]).removeprefix(str(scope.get("root_path", "")))


def _check_site(request: Request) -> None:
    """Refuse what another site has sent. Browsers say so; a POST must come from a page of ours."""
    headers, host = request.headers, request.headers.get("host", "").lower()
    site = headers.get("sec-fetch-site", "same-origin")
    if request.method == "POST":
        origin = urlsplit(headers.get("origin", ""))
        if origin.scheme not in ("http", "https") or origin.netloc.lower() != host or site != "same-origin":
            raise Refused(403, "The form was sent by another site.")
    elif site not in ("same-origin", "none"):
        # A link on another site may lead here; nothing of ours is shown, read or run inside of it.
        is_link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        if not is_link:
            raise Refused(403, "Another site has asked for this page.")
    elif "origin" in headers and urlsplit(headers["origin"]).netloc.lower() != host:
        raise Refused(403, "Another site has asked for this page.")


async def _body(request: Request, most: int) -> bytes:
    too_large = Refused(413, f"More than {most} bytes were sent.")
    told = request.headers.get("content-length", "0")
    if not told.isascii() or not told.isdigit() or int(told[:20]) > most:
        raise too_large
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise too_large
        parts.append(part)
    return b"".join(parts)


def _with_headers(send: Send) -> Send:
    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
        await send(message)

    return answer


def visitor_of(request: Request) -> Visitor:
    """Give who sent a request that has passed."""
    found: Any = request.state.visitor
    assert isinstance(found, Visitor), found
    return found


def form_of(request: Request) -> MutableMapping[str, list[str]]:
    """Give the fields of its form."""
    found: MutableMapping[str, list[str]] = request.state.form
    return found

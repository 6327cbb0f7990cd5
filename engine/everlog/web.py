"""Web: the key of a request that is sent again, as the id of a workflow. Pure ASGI; it stores nothing itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any, Final

from everlog.errors import Duplicate, IdInUse, UsageError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADER: Final = "idempotency-key"
LONGEST: Final = 255
_PLACE: Final = "everlog.workflow_id"


class IdempotencyKeys:
    """ASGI middleware: requests with one `Idempotency-Key` start one workflow, and all get the result of that.

    The handler starts its workflow under `workflow_id(request)`, which is the same for the same caller, method, path
    and key: an id starts a workflow once. Of requests with these `methods`, one without a key is answered 400 where it
    is `required`, as is one whose key cannot be read; where the id is in use for another function or other arguments,
    or for a workflow that must not be doubled, and the handler lets that error pass, the answer is 422 or 409. Bodies
    of these answers are `application/problem+json`.

    `caller` tells of the scope of a request who sends it, so that nobody gets another's result by guessing a key:
    give it wherever there are several callers, and put what finds out about them before this.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        methods: Collection[str] = ("POST", "PATCH"),
        required: bool = True,
        caller: Callable[[Scope], str] | None = None,
    ) -> None:
        if isinstance(methods, str):
            raise UsageError(f"methods takes names of methods, as in ('POST',), got {methods!r}")
        self._app = app
        self._methods = frozenset(method.upper() for method in methods)
        self._required = required
        self._caller = caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] not in self._methods:
            await self._app(scope, receive, send)
            return
        given = [value for name, value in scope["headers"] if name.lower() == HEADER.encode()]
        key = _key_of(given)
        if key is None:
            if given or self._required:
                why = "cannot be read: give one, of at most 255 visible characters" if given else "is required here"
                await _refuse(send, 400, f"Idempotency-Key {why}")
            else:
                await self._app(scope, receive, send)
            return
        who = "" if self._caller is None else self._caller(scope)
        scope[_PLACE] = _id_of(who, scope["method"], scope["path"], key)
        await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except (IdInUse, Duplicate) as error:
            if begun:
                raise
            if isinstance(error, IdInUse):
                await _refuse(send, 422, "this Idempotency-Key was used for another request; take a new key")
            else:
                await _refuse(send, 409, "what this asks for is under way already")


def workflow_id(request: Any) -> str:
    """Give the id under which a request's workflow is to be started: of its ASGI scope, or what has one as `scope`.

    `UsageError` where the request did not come with a key through `IdempotencyKeys`.
    """
    scope: Any = getattr(request, "scope", request)
    found: str | None = scope.get(_PLACE)
    if found is None:
        raise UsageError(
            f"this request has no id of a workflow: it came without {HEADER}, its method is not among those of "
            "IdempotencyKeys, or that middleware is not there; add it, with required=True and this method"
        )
    return found


def id_for_key(key: str, *, caller: str = "", method: str = "POST", path: str) -> str:
    """Give the id for a key where there is no ASGI, such as in Flask or Django: the same as the middleware gives.

    `UsageError` where the key is none: empty, too long, or not of visible characters.
    """
    read = _key_of([key.encode("utf-8", "replace")])
    if read is None:
        raise UsageError(f"an Idempotency-Key has 1 to {LONGEST} visible characters of ASCII, got {key[:300]!r}")
    return _id_of(caller, method.upper(), path, read)


def _key_of(given: Collection[bytes]) -> str | None:
    """Give the one key; None where there is none, or it is no key. Quotes around it belong to the header."""
    if len(given) != 1:
        return None
    (value,) = given
    text = value.decode("latin-1").strip()
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = text[1:-1]
    is_key = 0 < len(text) <= LONGEST and text.isascii() and text.isprintable()
    return text if is_key else None


def _id_of(who: str, method: str, path: str, key: str) -> str:
    said = json.dumps([who, method, path, key], separators=(",", ":"))
    return f"request-{hashlib.sha256(said.encode()).hexdigest()[:40]}"


async def _refuse(send: Send, status: int, why: str) -> None:
    body = json.dumps({"title": why, "status": status}).encode()
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

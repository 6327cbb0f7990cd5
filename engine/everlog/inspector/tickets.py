"""Tickets: the start token of a server and the cookie that it is exchanged for, and the tokens of forms.

Nothing is stored: all of them are HMACs, so that a server that is started again with the same token knows its visitors.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from everlog.core.durations import SECOND
from everlog.inspector.people import Visitor

LASTS: Final = 12 * 3600
"""Seconds for which a cookie is good."""
_PARAMETER: Final = "token"


def form_token(secret: bytes, visitor: Visitor) -> str:
    """Give what the forms of a visitor carry, so that other sites cannot send them."""
    return _signed(secret, f"form {visitor.role} {visitor.name}")


def is_form_token(given: str, secret: bytes, visitor: Visitor) -> bool:
    """Tell whether a form carries that."""
    return hmac.compare_digest(given.encode(), form_token(secret, visitor).encode())


class StartToken:
    """Recognises one visitor by a token in the URL, once, and by a cookie from then on.

    `clock` gives microseconds since 1970. The cookie is strict: no other site can have it sent.
    """

    def __init__(self, token: str, visitor: Visitor, clock: Callable[[], int]) -> None:
        self._token = token.encode()
        self._visitor = visitor
        self._clock = clock
        self._key = hashlib.sha256(b"everlog inspector " + self._token).digest()
        # Cookies are shared by all ports of a host: each server has a name of its own.
        self.cookie: Final = f"everlog_{hashlib.sha256(self._key).hexdigest()[:12]}"

    def __call__(self, request: Request) -> Visitor | None:
        until, _, signature = request.cookies.get(self.cookie, "").partition(".")
        if not (until.isascii() and until.isdigit() and len(until) < 20):
            return None
        good = hmac.compare_digest(signature.encode(), _signed(self._key, f"until {until}").encode())
        return self._visitor if good and int(until) * SECOND > self._clock() else None

    def exchange(self, request: Request) -> Response | None:
        """Give the answer to a request that carries the right token: the same page without it, and the cookie."""
        given = request.query_params.get(_PARAMETER)
        if given is None or not hmac.compare_digest(given.encode(), self._token):
            return None
        until = self._clock() // SECOND + LASTS
        rest = [(name, value) for name, value in request.query_params.multi_items() if name != _PARAMETER]
        place = request.url.path + (f"?{urlencode(rest)}" if rest else "")
        answer = RedirectResponse("/" + place.lstrip("/"), status_code=303)  # two slashes would name another host
        answer.set_cookie(
            self.cookie,
            f"{until}.{_signed(self._key, f'until {until}')}",
            max_age=LASTS,
            path=str(request.scope.get("root_path", "")) or "/",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return answer


def _signed(key: bytes, text: str) -> str:
    return base64.urlsafe_b64encode(hmac.digest(key, text.encode(), hashlib.sha256)).rstrip(b"=").decode()

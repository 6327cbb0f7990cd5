"""Observed pages: numbers and health beside the inspector's pages, for whoever may see those. They make no page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from everlog.inspector.site import Handler, Site
from everlog.observing.endpoints import ANSWERS, Answer
from everlog.runtime.client import Client


def _page(answer: Callable[[Client], Awaitable[Answer]]) -> Handler:
    async def page(site: Site, request: Request) -> Response:
        told = await answer(site.client)
        return Response(told.body, told.status, {"content-type": told.kind})

    return page


OBSERVED: Final[Mapping[str, Handler]] = {path: _page(answer) for path, answer in ANSWERS.items()}

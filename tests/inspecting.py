"""What the tests of the inspector share: visits to it, without a server, and the fields of its forms."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from typing import Any

import httpx
from starlette.requests import Request
from starlette.types import ASGIApp

from everlog import Client, Wait
from everlog.inspector import Visitor, inspector
from tests.support import until

HOST = "http://localhost"
ADA = Visitor("ada", "operator")


def as_ada(_: Request) -> Visitor:
    return ADA


def visiting(app: ASGIApp, **options: Any) -> httpx.AsyncClient:
    """Give a browser, nearly: one that says of its own forms where they come from."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=HOST, **options)


def visiting_as(client: Client, visitor: Visitor = ADA, **settings: Any) -> httpx.AsyncClient:
    """Give a browser in which somebody looks at what a client sees."""
    return visiting(inspector(client, auth=lambda request: visitor, **settings))


async def form_token(browser: httpx.AsyncClient, page: str = "/workflows") -> str:
    """Give the token that the forms of a page carry."""
    found = re.search(r'name="form_token" value="([^"]+)"', (await browser.get(page)).text)
    assert found is not None, f"{page} has no form"
    return unescape(found[1])


async def post(browser: httpx.AsyncClient, path: str, page: str = "/workflows", **fields: Any) -> httpx.Response:
    """Send a form as a browser does from a page of ours."""
    token = await form_token(browser, page)
    return await browser.post(path, data={"form_token": token, **fields}, headers={"Origin": HOST})


async def open_waits(client: Client, number: int = 1, **filters: Any) -> list[Wait]:
    """Give the waits once there are so many."""
    found: list[Wait] = []

    async def are_there() -> bool:
        found[:] = await client.waits(**filters)
        return len(found) == number

    await until(are_there)
    return found


class Parts(HTMLParser):
    """The elements of a page, with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

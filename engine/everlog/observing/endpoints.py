"""Endpoints: `/metrics`, `/health` and `/ready` as an ASGI application without dependencies. It knows nobody, and hides
nothing: who may reach it is up to where it is mounted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final, NamedTuple

import msgspec

from everlog.errors import EverlogError, StoreError, UsageError
from everlog.observing.health import Health, live, ready
from everlog.observing.prometheus import CONTENT_TYPE, prometheus_text
from everlog.runtime.client import Client

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

TEXT: Final = "text/plain; charset=utf-8"
JSON: Final = "application/json"


class Answer(NamedTuple):
    """What is sent: status, type and content."""

    status: int
    kind: str
    body: bytes


async def metrics_answer(client: Client) -> Answer:
    """Give the numbers as text; 503 where the database cannot be asked."""
    try:
        return Answer(200, CONTENT_TYPE, prometheus_text(await client.metrics()).encode())
    except (StoreError, UsageError) as error:
        return _problem(503, error)


async def health_answer(client: Client) -> Answer:
    """Give 200 where the engine lives, otherwise 503."""
    return _told(await live(client))


async def ready_answer(client: Client) -> Answer:
    """Give 200 where the engine can do its work, otherwise 503."""
    return _told(await ready(client))


ANSWERS: Final[Mapping[str, Callable[[Client], Awaitable[Answer]]]] = {
    "/metrics": metrics_answer,
    "/health": health_answer,
    "/ready": ready_answer,
}


def endpoints(client: Client, /) -> Application:
    """Give an ASGI application with `/metrics`, `/health` and `/ready`: `app.mount("/ops", endpoints(engine))`.

    `/metrics` is text for Prometheus. `/health` is 200 while the engine's thread answers, `/ready` while the database
    answers and the engine holds its lease; otherwise they are 503, and say why. Of a client they tell of the database.
    It lets in everybody, and shows the names of workflows, steps, queues and workers.
    """
    if not isinstance(client, Client):  # pyright: ignore[reportUnnecessaryIsInstance] - users without a type checker
        raise UsageError(f"endpoints are given an Engine or a Client, got {type(client).__name__}")

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live_through(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await _send(await _answer(client, scope), scope, send)

    return application


async def _answer(client: Client, scope: Scope) -> Answer:
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    within = path.removeprefix(root) if root and path.startswith(f"{root}/") else path
    answer = ANSWERS.get(within)
    if answer is None:
        return Answer(404, TEXT, f"there is {', '.join(ANSWERS)} here\n".encode())
    if scope["method"] not in ("GET", "HEAD"):
        return Answer(405, TEXT, b"only GET and HEAD are known here\n")
    return await answer(client)


async def _send(answer: Answer, scope: Scope, send: Send) -> None:
    headers = [
        (b"content-type", answer.kind.encode()),
        (b"content-length", str(len(answer.body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    body = b"" if scope["method"] == "HEAD" else answer.body
    await send({"type": "http.response.body", "body": body})


async def _live_through(receive: Receive, send: Send) -> None:
    """Say to a server that there is nothing to begin and nothing to end."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _told(health: Health) -> Answer:
    return Answer(200 if health.ok else 503, JSON, msgspec.json.encode(health) + b"\n")


def _problem(status: int, error: EverlogError) -> Answer:
    return Answer(status, TEXT, f"{' '.join(str(error).split())}\n".encode())

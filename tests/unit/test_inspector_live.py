"""The page of a workflow is told of each event once, in order, also across restarts of the server."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import uvicorn
from starlette.types import ASGIApp

import everlog
from everlog import Client, Engine, workflow
from everlog.inspector import inspector, live
from everlog.inspector.serving import Serving, serve
from everlog_sqlite import open_store
from tests.inspecting import as_ada, visiting_as

PATIENCE = 30
TOKEN = "0123456789abcdef0123456789abcdef"


@workflow(name="inspector_counts")
async def counts() -> int:
    number = 0
    while (await everlog.recv("next", type=str)) != "stop":
        number += 1
    return number


class Message(NamedTuple):
    """One message of a stream of events."""

    kind: str
    id: int
    parts: dict[str, str]

    @property
    def seqs(self) -> list[int]:
        return [int(found) for found in re.findall(r'data-seq="(\d+)"', self.parts.get("rows", ""))]


@asynccontextmanager
async def serving(app: ASGIApp, listening: socket.socket) -> AsyncIterator[None]:
    """Serve until the block ends, and then cut off who still reads."""
    config = uvicorn.Config(app, log_level="critical", lifespan="off", ws="none", timeout_graceful_shutdown=0)
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined,method-assign]
    task = asyncio.create_task(server._serve([listening]))
    try:
        while not server.started:  # noqa: ASYNC110 - it has no event for that
            await asyncio.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        await task


async def messages(browser: httpx.AsyncClient, url: str, last: int) -> AsyncIterator[Message]:
    """Read a stream as a browser does, from the last message that it had on."""
    headers = {"Last-Event-ID": str(last)} if last else {}
    async with browser.stream("GET", url, headers=headers) as answer:
        assert answer.status_code == 200
        fields: dict[str, str] = {}
        async for line in answer.aiter_lines():
            name, _, value = line.partition(": ")
            if line:
                fields[name] = value
            elif "event" in fields:
                yield Message(fields["event"], int(fields["id"]), msgspec.json.decode(fields["data"]))
                fields = {}
            else:
                fields = {}


def test_no_event_is_missed_or_doubled_when_the_server_is_started_again(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(live, "PAUSE", 0.01)

    async def program() -> None:
        url = f"sqlite:///{tmp_path}/live.db"
        async with Engine(url, durability="process") as engine:
            handle = await engine.start(counts.options(id="live"))
            seen: list[int] = []
            last = 0
            for life in range(4):
                with socket.create_server(("127.0.0.1", 0)) as listening:
                    port = listening.getsockname()[1]
                    browser = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE)
                    store = open_store(url, create=False)
                    async with Client(store) as looking, browser:
                        stream = messages(browser, "/live?id=live&after=0", last)
                        async with serving(inspector(looking, auth=as_ada), listening):
                            for _ in range(1 if life == 3 else 3):
                                await handle.send("next", "go" if life < 3 else "stop")
                                async for message in stream:
                                    seen += message.seqs
                                    last = message.id
                                    if message.kind == "end" or "received" in message.parts["rows"]:
                                        break
                        await stream.aclose()  # type: ignore[attr-defined]
                    store.close()
                    # What happens now is heard of by nobody until the next server is there.
                    if life < 3:
                        await handle.send("next", "unheard")
            while last < (await handle.status()).history_length:
                async with visiting_as(engine) as again:
                    found = [one async for one in messages(again, "/live?id=live", last)]
                seen += [seq for message in found for seq in message.seqs]
                last = found[-1].id
                assert found[-1].kind == "end"
            await handle.result()
            assert seen == list(range(1, (await handle.status()).history_length + 1))

    asyncio.run(asyncio.wait_for(program(), PATIENCE))


def test_the_upper_parts_come_with_the_events(monkeypatch: Any) -> None:
    monkeypatch.setattr(live, "PAUSE", 0.01)

    async def program() -> None:
        async with Engine("memory://") as engine:
            handle = await engine.start(counts.options(id="live-2"))
            await handle.send("next", "stop")
            await handle.result()
            async with visiting_as(engine) as browser:
                found = [one async for one in messages(browser, "/live?id=live-2", 0)]
                assert [one.kind for one in found] == ["events", "end"]
                assert "completed" in found[0].parts["summary"]
                assert "bars" in found[0].parts["timeline"]
                assert found[0].seqs == list(range(1, found[0].id + 1))
                assert (await browser.get("/live?id=nobody")).status_code == 404
                again = [one async for one in messages(browser, "/live?id=live-2", found[0].id)]
                assert [one.seqs for one in again if one.kind == "events"] in ([], [[]])

    asyncio.run(asyncio.wait_for(program(), PATIENCE))


def test_no_more_pages_are_live_than_are_allowed(monkeypatch: Any) -> None:
    monkeypatch.setattr(live, "MOST_LIVE", 0)

    async def program() -> None:
        async with Engine("memory://") as engine:
            await engine.start(counts.options(id="live-3"))
            async with visiting_as(engine) as browser:
                assert (await browser.get("/live?id=live-3")).status_code == 503

    asyncio.run(asyncio.wait_for(program(), PATIENCE))


def test_a_database_is_served_to_who_has_the_address(tmp_path: Path) -> None:
    async def program() -> None:
        url = f"sqlite:///{tmp_path}/served.db"
        async with Engine(url, durability="process") as engine:
            await engine.start(counts.options(id="served"))
        told: asyncio.Queue[str] = asyncio.Queue()
        task = asyncio.create_task(serve(Serving(url=url, port=0, token=TOKEN), told.put_nowait))
        address = await told.get()
        async with httpx.AsyncClient(follow_redirects=True) as browser:
            for _ in range(100):
                try:
                    page = await browser.get(address)
                    break
                except httpx.ConnectError:
                    await asyncio.sleep(0.05)
            assert "Overview" in page.text
            assert TOKEN not in str(page.url)
            assert "served" in (await browser.get(page.url.join("/workflows"))).text
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(asyncio.wait_for(program(), PATIENCE))

"""How fast the pages of the inspector are, on SQLite: 100,000 workflows with 1,000,000 events, one of them with 10,000.

python -m benchmarks.inspector [WORKFLOWS]
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlencode

import httpx
import msgspec

from everlog import Client
from everlog.core import events
from everlog.core.event_codec import encode_event, type_of
from everlog.core.events import AnyEvent
from everlog.core.failures import Failure
from everlog.core.heads import State
from everlog.inspector import Visitor, inspector
from everlog.store import Batch, EventRow, NewWorkflow
from everlog_sqlite import open_store

EVENTS = 10
LONG = 10_000
TOGETHER = 1000
TRIES = 7
ENDS: tuple[State, ...] = ("completed", "completed", "completed", "failed", "waiting", "queued")


def history(number: int, length: int, state: State) -> list[EventRow]:
    """Give a history of steps that is so long."""
    at = 1_700_000_000_000_000 + number * 1_000_000
    written: list[AnyEvent] = [
        events.WorkflowCreated(name=f"flow_{number % 7}", input=msgspec.Raw(b'{"order":17}'), seed="0"),
        events.WorkflowBegan(format=1, everlog="0.1.0", python="3.11.7", build="b", worker="w"),
    ]
    for place in range(length - 3):
        step = events.StepCompleted(
            operation=f"charge#{place + 1}",
            step="charge",
            started_at=at + place * 900,
            result=msgspec.Raw(b'{"payment":"pay-7","cents":100}'),
        )
        written.append(step)
    if state == "completed":
        written.append(events.WorkflowCompleted(result=msgspec.Raw(b'"done"')))
    elif state == "failed":
        written.append(events.WorkflowFailed(error=Failure(type="builtins:ValueError", message="no such luck")))
    return [EventRow(seq, type_of(event), at + seq * 1000, encode_event(event)) for seq, event in enumerate(written, 1)]


def fill(url: str, workflows: int) -> None:
    """Write them, many in one transaction."""
    store = open_store(url, durability="process")
    for begin in range(0, workflows, TOGETHER):
        created: list[NewWorkflow] = []
        for number in range(begin, min(begin + TOGETHER, workflows)):
            length = LONG if number == 0 else EVENTS
            state = ENDS[number % len(ENDS)]
            rows = history(number, length, state)
            created.append(
                NewWorkflow(
                    workflow_id=f"order-{number:06}", name=f"flow_{number % 7}", state=state, events=rows,
                    attributes={"region": f"r{number % 50}"},
                )
            )  # fmt: skip
        store.commit(Batch(creates=created))
    store.close()


async def measure(url: str, workflows: int) -> None:
    """Print the time of each page, and the size of what it answers."""
    last = f"order-{workflows - 1:06}"
    pages = {
        "overview": "/",
        "workflows": "/workflows",
        "by state": "/workflows?state=failed",
        "by state, name": "/workflows?state=completed&name=flow_3",
        "by attribute": "/workflows?attribute=region%3Dr7",
        "by id": "/workflows?id_prefix=order-0999",
        "a later page": "/workflows?" + urlencode({"after": f"{1_700_000_000_001_000 + workflows // 2 * 1_000_000}~x"}),
        "one workflow": f"/workflow?id={last}",
        "one event": f"/event?id={last}&seq=5",
        "10,000 events": "/workflow?id=order-000000",
        "inbox": "/inbox",
        "queues": "/queues",
        "workers": "/workers",
        "definitions": "/definitions",
    }
    store = open_store(url, create=False)
    async with Client(store) as client:
        app = inspector(client, auth=lambda request: Visitor("ada", "operator"))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://localhost") as browser:
            for name, path in pages.items():
                print(await line(browser, name, path), flush=True)
    store.close()


async def line(browser: httpx.AsyncClient, name: str, path: str) -> str:
    """Visit a page some times, and give its line."""
    took: list[float] = []
    size = 0
    for _ in range(TRIES):
        begin = time.perf_counter()
        answer = await browser.get(path)
        took.append(time.perf_counter() - begin)
        assert answer.status_code == 200, (path, answer.status_code)
        size = len(answer.content)
    shown = f"{statistics.median(took) * 1000:8.0f} ms {max(took) * 1000:8.0f} ms {size / 1000:8.0f} KB"
    return f"{name:<18}{shown}"


def main(arguments: Sequence[str]) -> None:
    """Fill a database, and visit it."""
    workflows = int(arguments[0]) if arguments else 100_000
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'inspected.db'}"
        begin = time.perf_counter()
        fill(url, workflows)
        print(f"{workflows:,} workflows written in {time.perf_counter() - begin:.0f} s")
        print(f"{'page':<18}{'median':>11} {'worst':>11} {'size':>11}")
        asyncio.run(measure(url, workflows))


if __name__ == "__main__":
    main(sys.argv[1:])

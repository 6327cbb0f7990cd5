"""Records the golden histories of this version: python -m tests.golden.record

Histories of a released version are never recorded again: what is there is left alone.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from everlog import Engine, Schedule, WorkflowCancelled
from everlog.core.version import VERSION
from everlog.memory import MemoryStore
from everlog.testing.simulation import SimulatedHost
from tests.golden import workflows
from tests.property.recording import ROOT, history

FOLDER = Path(__file__).parent / ".".join(VERSION.split(".")[:2])
STARTED: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "golden-checkout": (workflows.checkout, (workflows.ORDER,)),
    "golden-reminders": (workflows.reminders, ()),
    "golden-branches": (workflows.branches, ()),
    "golden-clean-up": (workflows.clean_up, ()),
    "golden-failure": (workflows.failure, ("on purpose",)),
    "golden-cancel": (workflows.cancel, ()),
    "golden-values": (workflows.values, ()),
    "golden-blocking": (workflows.blocking, ([3, 1, 2],)),
    "golden-ending": (workflows.ending.options(timeout=30), ()),
    "golden-terminated": (workflows.terminated, ()),
    "golden-children": (workflows.children, ()),
    "golden-lives": (workflows.lives, (1, [])),
    "golden-talking": (workflows.talking.options(attributes={"kind": "talk"}), ()),
    "golden-asking": (workflows.asking, ()),
    "golden-enqueuing": (workflows.enqueuing, ()),
    "golden-advice": (workflows.advice, ("Ada",)),
    "golden-patched": (workflows.patched, ()),
    "golden-waiting": (workflows.waiting, ()),
}
CHILDREN = ("golden-child", "golden-queued-1", "golden-queued-2", "golden-fork", "golden-schedule@2023-11-14T23:00:00Z")
"""Histories that are kept of what the others started."""


def record() -> list[dict[str, Any]]:
    """Run all the workflows beside each other; give their histories."""
    host = SimulatedHost(seed=1)
    store = MemoryStore(clock=host.wall)

    async def main() -> None:
        async with Engine(store, host=host, guards="off") as engine:
            handles = [await engine.start(flow.options(id=one), *args) for one, (flow, args) in STARTED.items()]
            await asyncio.sleep(3)
            await engine.cancel("golden-cancel")
            await end_and_go_on(engine)
            await talk(engine)
            await fork(engine)
            await tick(engine)
            await asyncio.gather(*[handle.result() for handle in handles[:-1]], return_exceptions=True)

    host.run(main())
    return [history(store, one) for one in (*STARTED, *CHILDREN)]


async def end_and_go_on(engine: Engine) -> None:
    """Have one be paused, time out and be retried, and another be terminated."""
    handle = engine.handle("golden-ending")
    await engine.handle("golden-terminated").terminate(reason="enough")
    await handle.pause()
    await handle.send("topic", "received twice")
    await asyncio.sleep(1)
    await handle.resume()
    with suppress(WorkflowCancelled):
        await handle.result()
    await handle.retry()
    await handle.send("go on", "went on")


async def talk(engine: Engine) -> None:
    """Change what one is found by, and answer it."""
    await engine.handle("golden-talking").update(attributes={"kind": None, "amount": 1.5})
    await engine.handle("golden-talking").send("decision", True)


async def fork(engine: Engine) -> None:
    """Fork one with another result."""
    advice = engine.handle("golden-advice")
    await advice.send("decision", "taken")
    await advice.result()
    await (await advice.fork(replace={"measure": 7}, messages="keep", id="golden-fork")).result()


async def tick(engine: Engine) -> None:
    """Have a schedule start one."""
    await engine.create_schedule("golden-schedule", Schedule(every=3600), workflows.queued, 9)
    await asyncio.sleep(3601)


def as_text(recorded: dict[str, Any]) -> str:
    """Give a history as JSON with a line for each row."""
    rows = ",\n".join(json.dumps([*row[:2], without_paths(row[2])]) for row in recorded["rows"])
    head = {name: value for name, value in recorded.items() if name != "rows"}
    return json.dumps({**head, "everlog": VERSION})[:-1] + f', "rows": [\n{rows}\n]}}\n'


def without_paths(payload: str) -> str:
    """Give a row without what its tracebacks say about this machine."""
    return payload.replace(f"{ROOT}/", "").replace(f"{sys.prefix}/", "").replace(f"{sys.base_prefix}/", "")


def stem(workflow_id: str) -> str:
    """Give the name of the file: that of a tick has no time of day in it."""
    return workflow_id.partition("@")[0]


def main() -> None:
    """Write what is not there yet."""
    FOLDER.mkdir(exist_ok=True)
    for recorded in record():
        path = FOLDER / f"{stem(recorded['id'])}.json"
        if path.exists():
            print(f"{path.name}: there already, left alone")
            continue
        path.write_text(as_text(recorded))
        print(f"{path.name}: {recorded['state']}, {len(recorded['rows'])} rows")


if __name__ == "__main__":
    main()

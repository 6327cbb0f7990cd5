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

from everlog import Engine, WorkflowCancelled
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
    "golden-patched": (workflows.patched, ()),
    "golden-waiting": (workflows.waiting, ()),
}
CHILDREN = ("golden-child",)
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


def as_text(recorded: dict[str, Any]) -> str:
    """Give a history as JSON with a line for each row."""
    rows = ",\n".join(json.dumps([*row[:2], without_paths(row[2])]) for row in recorded["rows"])
    head = {name: value for name, value in recorded.items() if name != "rows"}
    return json.dumps({**head, "everlog": VERSION})[:-1] + f', "rows": [\n{rows}\n]}}\n'


def without_paths(payload: str) -> str:
    """Give a row without what its tracebacks say about this machine."""
    return payload.replace(f"{ROOT}/", "").replace(f"{sys.prefix}/", "").replace(f"{sys.base_prefix}/", "")


def main() -> None:
    """Write what is not there yet."""
    FOLDER.mkdir(exist_ok=True)
    for recorded in record():
        path = FOLDER / f"{recorded['id']}.json"
        if path.exists():
            print(f"{path.name}: there already, left alone")
            continue
        path.write_text(as_text(recorded))
        print(f"{path.name}: {recorded['state']}, {len(recorded['rows'])} rows")


if __name__ == "__main__":
    main()

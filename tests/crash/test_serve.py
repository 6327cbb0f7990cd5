"""`Engine.serve` in a real process: it runs until a signal, then lets the running step end and leaves."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from everlog import Client, HistoryEvent, WorkflowStatus

PROGRAM = """
import asyncio, sys
from everlog import Engine, step, workflow


@step
async def work() -> str:
    print("working", flush=True)
    await asyncio.sleep(1)
    return "worked"


@workflow
async def shift() -> str:
    done = await work()
    await asyncio.sleep(3600)
    return done


async def main() -> None:
    async with Engine(sys.argv[1]) as engine:
        await engine.start(shift.options(id="monday"))
        await engine.serve()
    print("left", flush=True)


asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_ends_at_a_signal_and_the_running_step_is_recorded(number: signal.Signals, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/everlog.db"
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        time.sleep(0.2)
        process.send_signal(number)
        output, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, output, errors) == (0, "left\n", "")

    status, history = asyncio.run(_look(url))
    assert [event.type for event in history if event.type.startswith("step")] == ["step_started", "step_completed"]
    assert status.worker is None
    assert status.state in ("running", "waiting")


async def _look(url: str) -> tuple[WorkflowStatus, list[HistoryEvent]]:
    async with Client(url) as client:
        handle = client.handle("monday")
        return await handle.status(), await handle.history()

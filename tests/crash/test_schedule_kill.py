"""Two real processes tick one schedule, and are killed in turn: each second has its workflow, and none has two."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from everlog import Client, WorkflowStatus
from tests.postgres import needs_postgres, new_schema

PROGRAM = Path(__file__).with_name("ticking.py")
LONG = os.environ.get("EVERLOG_LONG") == "1"
PATIENCE = 60.0

on_both_databases = pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=needs_postgres)])


@on_both_databases
def test_no_tick_is_lost_or_doubled_by_processes_that_are_killed(kind: str, tmp_path: Path) -> None:
    chance = Random(7)
    url = new_schema() if kind == "postgres" else f"sqlite:///{tmp_path}/everlog.db"
    notes = tmp_path / "notes"
    notes.touch()
    command = [sys.executable, str(PROGRAM), url, str(notes)]

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def wait_for_ticks(count: int) -> None:
        lines, until = len(notes.read_text().splitlines()), time.monotonic() + PATIENCE
        while len(notes.read_text().splitlines()) < lines + count:
            assert time.monotonic() < until
            time.sleep(0.01)

    processes = [start(), start()]
    try:
        for _ in range(10 if LONG else 2):
            wait_for_ticks(2)
            time.sleep(chance.uniform(0, 1))
            dying = processes.pop(0)
            dying.send_signal(signal.SIGKILL)
            dying.communicate()
            processes.append(start())
        wait_for_ticks(2)
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        said = [process.communicate(timeout=PATIENCE) for process in processes]
    # One that was told before it served was not yet asked to be told.
    assert all(process.returncode in (0, -signal.SIGTERM) for process in processes), said
    assert [errors for _, errors in said] == ["", ""]
    finish(command, url)
    statuses = asyncio.run(read(url))
    ticks = sorted(datetime.fromisoformat(status.id.removeprefix("ticking@")) for status in statuses)
    assert len(ticks) == len(set(ticks))
    assert ticks == [ticks[0] + timedelta(seconds=number) for number in range(len(ticks))]
    assert len(ticks) >= 6
    noted = {datetime.fromisoformat(line) for line in notes.read_text().splitlines()}
    done = {datetime.fromisoformat(one.id.removeprefix("ticking@")) for one in statuses if one.state == "completed"}
    assert done <= noted <= set(ticks)


def finish(command: list[str], url: str) -> None:
    """Have what the last process left behind run to its end."""
    last, before = subprocess.Popen(command), datetime.now(UTC)
    try:
        until = time.monotonic() + PATIENCE
        while any(one.state != "completed" for one in asyncio.run(read(url)) if one.created_at < before):
            assert time.monotonic() < until
            time.sleep(0.1)
    finally:
        last.send_signal(signal.SIGTERM)
        last.wait(PATIENCE)


async def read(url: str) -> list[WorkflowStatus]:
    async with Client(url) as client:
        return await client.workflows(name="ticking")

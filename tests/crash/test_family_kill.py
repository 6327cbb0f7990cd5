"""Parents and children in real processes that are killed again and again: none is lost, none is there twice."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

from everlog import Client
from tests.postgres import needs_postgres, new_schema

PROGRAM = Path(__file__).with_name("family.py")
LONG = os.environ.get("EVERLOG_LONG") == "1"
PARENTS, CHILDREN = 4, 15
PATIENCE = 60.0

on_both_databases = pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=needs_postgres)])


@on_both_databases
def test_a_family_that_is_killed_again_and_again_is_whole_in_the_end(kind: str, tmp_path: Path) -> None:
    chance = Random(7)
    url = new_schema() if kind == "postgres" else f"sqlite:///{tmp_path}/everlog.db"
    notes = tmp_path / "notes"
    command = [sys.executable, str(PROGRAM), url, str(notes), str(PARENTS), str(CHILDREN)]
    kills = 0
    for _ in range(40 if LONG else 3):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        lines = notes.read_text().count("\n") if notes.exists() else 0
        until = time.monotonic() + PATIENCE
        while process.poll() is None and (notes.read_text() if notes.exists() else "").count("\n") <= lines:
            assert time.monotonic() < until
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    assert kills > 0
    last = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    one = sum(2 * value + 1 for value in [1000, *range(CHILDREN)])
    assert (last.stdout.strip(), last.returncode) == (str(PARENTS * one), 0), last.stderr
    histories = asyncio.run(read(url))
    assert len(histories) == PARENTS * (CHILDREN + 2)
    started: Counter[str] = Counter()
    for workflow_id, events in histories.items():
        types = Counter(event.type for event in events)
        assert types["workflow_completed"] == 1
        started.update(event.data["child"] for event in events if event.type == "child_started")
        if "/" in workflow_id:
            assert types["step_completed"] == 2
        else:
            assert types["child_started"] == types["child_ended"] == CHILDREN + 1
    assert started == Counter(workflow_id for workflow_id in histories if "/" in workflow_id)


async def read(url: str) -> dict[str, Any]:
    """Give all histories, by id."""
    async with Client(url) as client:
        return {one.id: await client.handle(one.id).history() for one in await client.workflows()}

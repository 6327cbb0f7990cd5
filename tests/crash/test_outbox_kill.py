"""A process that writes rows of its own and workflows in one transaction is killed: both are there, or neither."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash import ordering
from tests.postgres import needs_postgres, new_schema

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill so")
PROGRAM = Path(__file__).with_name("ordering.py")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=needs_postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return new_schema() if request.param == "postgres" else f"sqlite:///{tmp_path}/shop.db"


def take_orders_until(url: str, first: int, word: str, count: int) -> list[str]:
    """Have orders taken, and kill who takes them as soon as that was said so often; give all that was said."""
    command = [sys.executable, str(PROGRAM), url, str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said: list[str] = []
        while count:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            said.append(line.strip())
            count -= line.startswith(word)
        process.kill()
        return [*said, *process.stdout.read().splitlines()]


def test_the_row_and_the_workflow_are_there_both_or_neither(url: str) -> None:
    asyncio.run(ordering.prepare(url))
    chance = random.Random(5)
    said: list[str] = []
    for time, word in enumerate(["inserted", "started", "sent", "committed"]):
        said += take_orders_until(url, 1000 * time, word, chance.randrange(2, 10))
    orders, results = asyncio.run(ordering.outcome(url))
    assert results == {order: f"paid {order}" for order in orders}
    committed = {line.removeprefix("committed ") for line in said if line.startswith("committed ")}
    begun = {line.removeprefix("sent ") for line in said if line.startswith("sent ")}
    assert committed <= orders <= begun
    assert len(orders) < sum(line.startswith("inserted") for line in said), "none was killed within a transaction"

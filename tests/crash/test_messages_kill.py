"""Messages between workflows of two processes that are killed: each is received once, in its sender's order."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.crash import posting
from tests.postgres import needs_postgres, new_schema

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill so")
PROGRAM = Path(__file__).with_name("posting.py")
Worker = tuple[subprocess.Popen[bytes], Path]
"""A process, and where what it says is kept."""


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=needs_postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return new_schema() if request.param == "postgres" else f"sqlite:///{tmp_path}/posting.db"


@pytest.fixture
def start(url: str, tmp_path: Path) -> Iterator[Callable[[], Worker]]:
    started: list[subprocess.Popen[bytes]] = []

    def start_one() -> Worker:
        path = tmp_path / f"worker-{len(started)}"
        with open(path, "wb") as told:
            process = subprocess.Popen(
                [sys.executable, str(PROGRAM), url], stdin=subprocess.PIPE, stdout=told, stderr=subprocess.STDOUT
            )
        started.append(process)
        return process, path

    yield start_one
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("senders", "receivers", "messages", "kills", "life"),
    [
        pytest.param(5, 10, 400, 3, 0.6, id="short"),
        pytest.param(20, 50, 5000, 20, 5.0, id="100,000 messages", marks=pytest.mark.long),
    ],
)
def test_each_message_is_received_once_and_in_the_order_of_its_sender(
    url: str,
    start: Callable[[], Worker],
    senders: int,
    receivers: int,
    messages: int,
    kills: int,
    life: float,
) -> None:
    """Of many messages a process reads for a while before it does anything: if five die sooner, workflows are stuck."""
    chance = random.Random(11)
    asyncio.run(posting.begin(url, senders, receivers, messages))
    living = [start(), start()]
    killed = 0
    until = time.monotonic() + 60 + senders * messages / 100
    while asyncio.run(posting.left(url)):
        assert time.monotonic() < until, f"waited in vain; {asyncio.run(posting.left(url))} workflows are left"
        time.sleep(chance.uniform(0.4, 1.6) * life)
        if killed < kills:
            victim, _ = living.pop(chance.randrange(2))
            victim.kill()
            victim.communicate()
            living.append(start())
            killed += 1
    assert killed, "it was over before the first was killed"
    while not all(posting.SERVING in told.read_text() for _, told in living):
        assert time.monotonic() < until, "a worker does not begin to serve"
        time.sleep(0.02)
    for process, _ in living:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    everything = asyncio.run(posting.received(url, receivers))
    each = messages // receivers
    assert all(posting.as_sent(received, senders, each) for received in everything)

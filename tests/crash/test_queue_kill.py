"""Queues under real processes: limits hold while four race, and documents survive two kills, none done twice."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from everlog import Client, named
from everlog.core.event_codec import decode_event
from everlog.core.events import StepCompleted
from everlog.store import Store, WorkflowQuery
from tests.postgres import needs_postgres, new_schema

PROGRAM = Path(__file__).with_name("queueing.py")
PATIENCE = 600.0

on_both_databases = pytest.mark.parametrize(
    "race", ["sqlite", pytest.param("postgres", marks=needs_postgres)], indirect=True
)


class Race:
    """Processes of the program on one database, and what they have noted."""

    def __init__(self, folder: Path, url: str) -> None:
        self.url = url
        self.notes = folder / "notes"
        self.notes.touch()
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM), self.url, str(self.notes), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def noted(self, what: str) -> list[list[str]]:
        lines = [line.split() for line in self.notes.read_text().splitlines()]
        return [line for line in lines if line[1] == what]

    def wait_for(self, condition: Callable[[], object]) -> None:
        until = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < until, f"what the test waits for did not come; noted: {self.notes.read_text()}"
            assert all(process.poll() in (None, -signal.SIGKILL) for process in self.processes)
            time.sleep(0.02)

    def most_at_once(self, what: str) -> int:
        """Give how many ran at once, by the order of the notes."""
        running = most = 0
        for verb, _, _ in self.noted(what):
            running += 1 if verb == "begins" else -1
            most = max(most, running)
        return most

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()


@pytest.fixture
def race(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Race]:
    made = Race(tmp_path, new_schema() if request.param == "postgres" else f"sqlite:///{tmp_path}/everlog.db")
    yield made
    made.close()


@on_both_databases
def test_four_processes_never_exceed_the_limits_of_queues(race: Race) -> None:
    count = 40

    async def program() -> None:
        async with Client(race.url) as client:
            for _ in range(4):
                race.start()
            await until_declared(client)
            errand, asking = named("errand", type=int), named("asking", type=int)
            paced = [await client.start(errand.options(queue="hourly"), "hourly", number) for number in range(12)]
            handles = [await client.start(errand.options(queue="slots"), "slots", number) for number in range(count)]
            handles += [await client.start(asking, number) for number in range(count // 4)]
            results = await asyncio.gather(*(handle.result(timeout=PATIENCE) for handle in handles))
            assert results == [*range(count), *range(count // 4)]
            while (await client.queue("hourly").counts()).queued > 7:  # noqa: ASYNC110 - others admit, elsewhere
                await asyncio.sleep(0.02)
            states = Counter([(await handle.status()).state for handle in paced])
            assert states["queued"] == 7
            counts = [await client.queue(name).counts() for name in ("slots", "provider")]
            assert [(one.queued, one.admitted) for one in counts] == [(0, 0), (0, 0)]

    async def until_declared(client: Client) -> None:
        while len(await client.queues()) < 4:  # noqa: ASYNC110 - others declare them, elsewhere
            await asyncio.sleep(0.02)

    asyncio.run(program())
    assert 1 <= race.most_at_once("slots") <= 3
    assert 1 <= race.most_at_once("provider") <= 2
    assert len(race.noted("slots")) == 2 * count
    begun = {number for verb, _, number in race.noted("hourly") if verb == "begins"}
    assert len(begun) <= 5, "no sixth in the hour"


@on_both_databases
@pytest.mark.parametrize("count", [pytest.param(300, id="short"), pytest.param(10_000, marks=pytest.mark.long)])
def test_documents_survive_two_kills_and_none_is_done_twice(race: Race, count: int) -> None:
    for kill in (1, 2):
        process = race.start(count)
        race.wait_for(lambda kill=kill: len(race.noted("documents")) > 2 * count * kill // 3)
        process.send_signal(signal.SIGKILL)
        process.wait()
    out, error = race.start(count).communicate(timeout=PATIENCE)
    assert out.strip() == str(sum(range(count)))
    assert all("has a history of" in line for line in error.splitlines()), "long histories are warned of"
    assert race.most_at_once("documents") <= 30, "ten at once, of each of three processes"
    begun = Counter(number for verb, _, number in race.noted("documents") if verb == "begins")
    assert len(begun) == count
    assert sum(begun.values()) - count <= 20, "again ran only what ran when its process was killed"
    check_once(race.url, count)


def check_once(url: str, count: int) -> None:
    """Check that each document is one workflow, and that its step is recorded once."""

    def look(store: Store) -> None:
        after: tuple[int, str] | None = None
        found = 0
        while page := store.workflows(WorkflowQuery(names=["document"], after=after, limit=1000)):
            after = page[-1].created_at, page[-1].workflow_id
            found += len(page)
            for head in page:
                assert head.state == "completed"
                rows = [decode_event(row.payload) for row in store.read(head.workflow_id)]
                assert sum(isinstance(row, StepCompleted) for row in rows) == 1
        assert found == count

    async def main() -> None:
        async with Client(url) as client:
            await client.on_thread(lambda: look(client.store))

    asyncio.run(main())

"""Processes with default settings join others that work, one after the other and at once: no step runs twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from everlog import Client
from tests.crash import touring
from tests.crash.fleet import Fleet
from tests.crash.touring import dawdle
from tests.postgres import needs_postgres

pytestmark = needs_postgres


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(Path(__file__).with_name("touring.py"), tmp_path)
    yield fleet
    fleet.close()


@pytest.mark.parametrize(
    ("peers", "dawdlers", "rounds"),
    [pytest.param(4, 4, 5, id="short"), pytest.param(6, 12, 20, id="long", marks=pytest.mark.long)],
)
def test_peers_that_join_run_no_step_a_second_time(fleet: Fleet, peers: int, dawdlers: int, rounds: int) -> None:
    """Half of them one after the other, each when the one before works; the other half all at once."""
    created = 0

    async def create() -> None:
        nonlocal created
        async with Client(fleet.url) as client:
            for _ in range(dawdlers):
                created += 1
                await client.start(dawdle.options(id=f"dawdle-{created}"), rounds)

    asyncio.run(create())
    touring.make_ledger(fleet.url)
    for _ in range(peers // 2):
        fleet.start()
        newest = fleet.living[-1].pid
        fleet.wait_for(lambda pid=newest: fleet.held(pid), seconds=60)
        asyncio.run(create())
    for _ in range(peers - peers // 2):
        fleet.start()
    asyncio.run(create())
    fleet.wait_for(lambda: all(fleet.held(one.pid) for one in fleet.living), seconds=60)
    asyncio.run(create())
    fleet.wait_for(lambda: not touring.left(fleet.url), seconds=rounds * 10)
    workers, takeovers, runs = counted(fleet.url)
    fleet.end()
    assert (workers, takeovers) == (peers, 0)
    assert "dead" not in fleet.told()
    assert runs == {1: 2 * rounds * created}, "how often each step ran"


def counted(url: str) -> tuple[int, int, dict[int, int]]:
    """Give how many workers there are, the takeovers, and how many steps ran how often."""
    with touring.connect(url) as driver:
        ((workers, takeovers),) = driver.execute(
            "SELECT (SELECT count(*) FROM workers), sum(takeovers) FROM heads"
        ).fetchall()
        runs = driver.execute(
            "SELECT runs, count(*) FROM (SELECT count(*) AS runs FROM ledger GROUP BY workflow_id, operation) AS each"
            " GROUP BY runs"
        ).fetchall()
    return int(workers), int(takeovers), {int(often): int(steps) for often, steps in runs}

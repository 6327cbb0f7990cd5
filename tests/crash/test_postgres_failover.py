"""Several worker processes on one Postgres: some are killed, some stand still, and the others go on for them."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.citus import distributed, needs_citus
from tests.crash import touring
from tests.crash.fleet import Fleet
from tests.postgres import needs_postgres, new_schema

pytestmark = [
    needs_postgres,
    pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system cannot stop and kill so"),
]
PROGRAM = Path(__file__).with_name("touring.py")
LONG_LEASE = 300.0
"""Seconds: longer than any test waits. Who takes over within it knows that the process is gone."""


@pytest.fixture(
    params=[pytest.param(new_schema, id="postgres"), pytest.param(distributed, id="citus", marks=needs_citus)]
)
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(PROGRAM, tmp_path, request.param())
    yield fleet
    fleet.close()


@pytest.mark.parametrize(
    ("workers", "tours", "rounds", "pause", "kills"),
    [pytest.param(3, 60, 12, 0.5, 6, id="short"), pytest.param(4, 200, 40, 1.0, 60, id="long", marks=pytest.mark.long)],
)
def test_workers_are_killed_one_after_the_other_and_nothing_is_lost_or_doubled(
    fleet: Fleet, workers: int, tours: int, rounds: int, pause: float, kills: int, record_property: Callable[..., None]
) -> None:
    chance = random.Random(3)
    asyncio.run(touring.begin(fleet.url, tours, rounds, pause))
    for _ in range(workers):
        fleet.start(LONG_LEASE)
    taken_over_after: list[float] = []
    for _ in range(kills):
        # Each is replaced: on a machine that is slow to start them, none would live to do anything.
        fleet.wait_for(lambda: all(fleet.held(one.pid) for one in fleet.living), seconds=60)
        if not touring.left(fleet.url):
            break
        victim = chance.choice(fleet.living)
        fleet.living.remove(victim)
        victim.kill()
        victim.communicate()
        died = time.monotonic()
        fleet.start(LONG_LEASE)
        fleet.wait_for(lambda pid=victim.pid: not fleet.held(pid), seconds=30)
        taken_over_after.append(time.monotonic() - died)
        time.sleep(max(0.0, died + 1 - time.monotonic()))
    assert taken_over_after, "it was over before the first was killed"
    fleet.wait_for(lambda: not touring.left(fleet.url), seconds=rounds * 10)
    fleet.wait_for(lambda: all(fleet.held(one.pid) for one in fleet.living), seconds=60)
    fleet.end()
    touring.check(fleet.url, tours, rounds)
    record_property("seconds until another took over", max(taken_over_after))
    mean = sum(taken_over_after) / len(taken_over_after)
    print(
        f"{len(taken_over_after)} taken over after {max(taken_over_after):.2f} s at the most, {mean:.2f} s in the mean"
    )


@pytest.mark.parametrize(
    ("workers", "tours", "rounds", "lease", "stops"),
    [pytest.param(2, 40, 8, 2, 1, id="short"), pytest.param(4, 200, 40, 5, 5, id="long", marks=pytest.mark.long)],
)
def test_a_worker_that_stands_still_for_longer_than_its_lease_writes_nothing_when_it_goes_on(
    fleet: Fleet, workers: int, tours: int, rounds: int, lease: float, stops: int
) -> None:
    chance = random.Random(5)
    asyncio.run(touring.begin(fleet.url, tours, rounds, 0.5))
    for _ in range(workers):
        fleet.start(lease)
    zombies: set[int] = set()
    taken_over_after: list[float] = []
    for _ in range(stops):
        fleet.wait_for(lambda: any(fleet.held(one.pid) > 1 for one in fleet.living), seconds=60)
        zombie = chance.choice([one for one in fleet.living if fleet.held(one.pid) > 1])
        zombie.send_signal(signal.SIGSTOP)
        zombies.add(zombie.pid)
        stopped = time.monotonic()
        fleet.wait_for(lambda pid=zombie.pid: not fleet.held(pid), seconds=60)
        taken_over_after.append(time.monotonic() - stopped)
        zombie.send_signal(signal.SIGCONT)
        fleet.wait_for(lambda pid=zombie.pid: fleet.held(pid) or not touring.left(fleet.url), seconds=30)
    fleet.wait_for(lambda: not touring.left(fleet.url), seconds=rounds * 10)
    fleet.end()
    touring.check(fleet.url, tours, rounds, zombies=zombies)
    print(f"taken over after {max(taken_over_after):.2f} s at the most, with leases of {lease} s")

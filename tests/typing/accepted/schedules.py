"""Schedules in both colours, with arguments as typed as those of a call."""

import asyncio
from datetime import UTC, datetime, timedelta

import everlog
from everlog import Client, Engine, Handle, Schedule, ScheduleHandle, ScheduleStatus, named, step, sync, workflow


@step
async def sales(day: datetime, region: str) -> int:
    return len(region) * day.hour


@workflow(schedule=Schedule("0 9 * * MON-FRI", timezone="Europe/Berlin", catch_up="last", jitter=timedelta(minutes=5)))
async def daily_report(region: str = "north", *, limit: int = 10) -> int:
    return min(limit, await sales(everlog.current().tick, region))


@workflow(schedule=Schedule(every=timedelta(hours=1), catch_up="none"))
def sweep() -> None:
    pass


async def manage(client: Client) -> list[str]:
    made: ScheduleHandle = await client.create_schedule("south", Schedule(every=3600), daily_report, "south", limit=8)
    await client.create_schedule("far", Schedule("*/5 * * * * *"), named("far away", type=int), 1, where="there")
    await client.create_schedule("often", Schedule(every=60), sweep)
    status: ScheduleStatus = await made.status()
    nexts: list[datetime] = await made.upcoming(3)
    await made.pause()
    await made.resume()
    await made.update(Schedule(every=1800, jitter=30))
    started: Handle[object] = await made.trigger()
    day = datetime(2026, 7, 3, tzinfo=UTC)
    filled = [handle.id for handle in await made.backfill(day, day + timedelta(hours=1))]
    names = [one.name async for one in client.schedules()]
    await client.schedule("often").delete()
    assert status.schedule == Schedule(every=3600)
    assert (status.paused, len(nexts), started.id.partition("@")[0]) == (False, 3, "south")
    return [*filled, *names]


def manage_blocking(client: sync.Client) -> list[str]:
    made: sync.ScheduleHandle = client.create_schedule("blocking", Schedule(every=3600), daily_report, limit=8)
    made.pause()
    waits: bool = made.status().paused
    made.resume()
    made.update(Schedule(every=1800))
    upcoming: list[datetime] = made.upcoming()
    started: sync.Handle[object] = made.trigger()
    day = datetime(2026, 7, 3, tzinfo=UTC)
    filled: list[str] = [one.id for one in made.backfill(day, day + timedelta(hours=1))]
    assert started.result() == 0 or waits
    names = [one.name for one in client.schedules()]
    client.schedule("blocking").delete()
    return [*filled, *names, str(len(upcoming))]


async def main(url: str) -> list[str]:
    async with Engine(url) as engine:
        found = await manage(engine)
    with_blocking = await asyncio.to_thread(blocking, url)
    return [*found, *with_blocking]


def blocking(url: str) -> list[str]:
    with sync.Engine(url) as engine:
        return manage_blocking(engine)


EXPECTED = [
    "south@2026-07-03T00:00:00Z",
    "south@2026-07-03T00:30:00Z",
    *["daily_report", "far", "often", "south", "sweep"],
    "blocking@2026-07-03T00:00:00Z",
    "blocking@2026-07-03T00:30:00Z",
    *["blocking", "daily_report", "far", "south", "sweep"],
    "5",
]

if __name__ == "__main__":
    print(asyncio.run(main("sqlite:///schedules.db")))

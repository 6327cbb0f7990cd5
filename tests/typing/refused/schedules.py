"""Wrong uses of schedules. Marked lines are refused."""

from datetime import datetime

from everlog import Client, Schedule, step, sync, workflow


@step
async def sales(day: str) -> int:
    return len(day)


@workflow
async def report(day: str, *, limit: int = 10) -> int:
    return min(limit, await sales(day))


Schedule()  # error
Schedule("0 9 * * *", every=60)  # error
Schedule(60)  # error
Schedule(cron="0 9 * * *")  # error
Schedule(every=60, timezone="Europe/Berlin")  # error
Schedule("0 9 * * *", catch_up="some")  # error
Schedule("0 9 * * *", "Europe/Berlin")  # error


@workflow(schedule="0 9 * * *")  # error
async def by_text() -> None: ...


async def manages(client: Client, day: datetime) -> None:
    client.create_schedule("r", Schedule(every=60), report, "today")  # error
    await client.create_schedule("r", Schedule(every=60), report)  # error
    await client.create_schedule("r", Schedule(every=60), report, 5)  # error
    await client.create_schedule("r", Schedule(every=60), report, "today", 5)  # error
    await client.create_schedule("r", Schedule(every=60), report, "today", limit="5")  # error
    await client.create_schedule("r", "0 9 * * *", report, "today")  # error
    await client.create_schedule(name="r", schedule=Schedule(every=60), fn=report, day="today")  # error
    made = client.schedule("r")
    await made.update("0 9 * * *")  # error
    await made.backfill(day)  # error
    await made.backfill("today", "tomorrow")  # error
    await made.upcoming("3")  # error
    text: str = (await made.status()).next_tick  # error
    print(text)
    for _ in client.schedules():  # error
        pass


def manages_blocking(client: sync.Client) -> None:
    client.create_schedule("r", Schedule(every=60), report)  # error
    client.schedule("r").update(60)  # error
    number: int = client.schedule("r").upcoming()  # error
    print(number)

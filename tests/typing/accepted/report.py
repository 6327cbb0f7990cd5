"""A report that is posted at a moment that lies ahead, also when the machine was off then."""

import asyncio
from datetime import UTC, date, datetime, timedelta

import everlog
from everlog import Engine, step, workflow


@step
async def sales(day: date) -> int:
    return day.year


@step
async def post(channel: str, text: str) -> str:
    return f"{channel}: {text}"


@workflow
async def daily_report(at: datetime, channel: str = "#sales") -> str:
    await everlog.sleep_until(at)
    planned = everlog.current().tick
    total = await sales(planned.date())
    everlog.current().logger.info("posting %d", total)
    return await post(channel, f"{total} sold")


async def main(url: str) -> list[str]:
    now = datetime.now(UTC)
    async with Engine(url) as engine:
        return [(await engine.run(daily_report, now - timedelta(days=1), channel="#noise")).replace(str(now.year), "7")]


EXPECTED = ["#noise: 7 sold"]

if __name__ == "__main__":
    print(asyncio.run(main("sqlite:///reports.db")))

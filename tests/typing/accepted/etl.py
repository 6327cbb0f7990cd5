"""A nightly ETL job of plain steps, four regions at a time. Kill it anywhere; run it again; it goes on."""

import asyncio
import csv
import io

import everlog
from everlog import Engine, RetryPolicy, step, workflow


@step(retry=RetryPolicy(max_attempts=5), timeout=300)
def download(day: str, region: str) -> str:
    return f"{day},{region}\n" * len(region)


@step(process=True)
def parse(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


@step
def load(rows: list[list[str]]) -> int:
    return len(rows)


@step
async def notify(text: str) -> None: ...


@workflow
async def etl(day: str, regions: list[str]) -> int:
    free = asyncio.Semaphore(4)

    async def one(region: str) -> int:
        async with free:
            text = await everlog.call(download, day, region=region)
            return await everlog.call(load, await everlog.call(parse, text))

    counts = await asyncio.gather(*(one(region) for region in regions))
    await notify(f"{sum(counts)} rows for {day}")
    return sum(counts)


async def main(url: str) -> list[str]:
    async with Engine(url) as engine:
        return [str(await engine.run(etl.options(id="etl-2026-11-21"), "2026-11-21", ["eu", "apac"]))]


EXPECTED = ["6"]

if __name__ == "__main__":
    print(asyncio.run(main("sqlite:///etl.db")))

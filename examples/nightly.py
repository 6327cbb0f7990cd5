"""Blocking code: a nightly load in plain functions. Kill it anywhere and run it again; it goes on where it was."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from everlog import RetryPolicy, step, sync, workflow


@step(retry=RetryPolicy(max_attempts=5), timeout=300)
def download(day: str, region: str) -> list[int]:
    """Get what was sold in a region; here it is made up."""
    return [len(day) * number for number in range(len(region))]


@step
def load(day: str, region: str, sold: list[int]) -> int:
    """Put it into the warehouse. May be run again after a crash, so it replaces what is there."""
    with closing(sqlite3.connect("warehouse.db")) as warehouse, warehouse:
        warehouse.execute("CREATE TABLE IF NOT EXISTS sales (day, region, total, PRIMARY KEY (day, region))")
        warehouse.execute("INSERT OR REPLACE INTO sales VALUES (?, ?, ?)", (day, region, sum(sold)))
    return len(sold)


@step
async def notify(text: str) -> None:
    """Tell somebody; an async step."""
    print(text)


@workflow
def nightly(day: str, regions: list[str]) -> int:
    """Load all regions of a day, four at a time."""

    def one(region: str) -> int:
        return load(day, region, download(day, region))

    counts = sync.map(one, regions, limit=4)
    sync.sleep(0.5)  # durable, however long
    sync.call(notify, f"{day}: {sum(counts)} rows from {len(regions)} regions")
    return sum(counts)


def main() -> None:
    """Run it once for the day, however often it is started."""
    with sync.Engine("sqlite:///nightly.db") as engine:
        print(engine.run(nightly.options(id="nightly-monday"), "monday", ["north", "east", "south", "west"]), "rows")


if __name__ == "__main__":
    main()

"""A program of blocking code for tests that kill it: `python plain.py DATABASE NOTES` runs or resumes one workflow.

Every attempt of a step is noted in a file that outlives the process.
"""

from __future__ import annotations

import asyncio
import sys
import time

from everlog import step, sync, workflow

DATABASE, NOTES = sys.argv[1:3]
REGIONS = ["north", "east", "south", "west", "centre"]


def note(text: str) -> None:
    with open(NOTES, "a") as notes:
        notes.write(f"{text}\n")


@step
def download(region: str) -> str:
    note(f"download {region}")
    time.sleep(0.03)
    return f"{region}.csv"


@step
def load(path: str) -> int:
    note(f"load {path}")
    time.sleep(0.02)
    return len(path)


@step
async def audit(total: int) -> str:
    note(f"audit {total}")
    await asyncio.sleep(0.05)
    return f"{total} audited"


@step
def clean_up(what: str) -> None:
    note(f"clean_up {what}")


@workflow(name="etl")
def etl(regions: list[str]) -> list[object]:
    def one(region: str) -> int:
        path = download(region)
        sync.sleep(0.03)
        return load(path)

    try:
        counts = sync.map(one, regions, limit=2)
        audited = sync.submit(audit, sum(counts))
        approved = "in time"
        try:
            with sync.timeout(0.2):
                sync.recv("approval")
        except TimeoutError:
            approved = "nobody"
        return [counts, audited.result(), approved]
    finally:
        clean_up("all")


def main() -> None:
    with sync.Engine(f"sqlite:///{DATABASE}", grace=0) as engine:
        handle = engine.start(etl.options(id="etl"), REGIONS)
        note("open")
        print("result", handle.result(), flush=True)


if __name__ == "__main__":
    main()

"""Everlog on Postgres: the same workflows as on SQLite, each run in a schema of its own."""

from __future__ import annotations

import asyncio
import os

from benchmarks.everlog_sqlite import measure


def main() -> None:
    url = os.environ["EVERLOG_BENCH_POSTGRES"]
    asyncio.run(measure(f"{url}{'&' if '?' in url else '?'}schema=bench_{os.getpid()}"))


if __name__ == "__main__":
    main()

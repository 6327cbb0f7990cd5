"""Raw Postgres over the same transport: single-row commits per second, the floor that every durable step stands on."""

from __future__ import annotations

import os
from time import perf_counter

import psycopg

from benchmarks.measuring import report

COMMITS = 2000
PAYLOAD = "x" * 200


def main() -> None:
    with psycopg.connect(os.environ["EVERLOG_BENCH_POSTGRES"], autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS raw_log")
        connection.execute("CREATE TABLE raw_log (position bigint GENERATED ALWAYS AS IDENTITY, payload text)")
        insert = "INSERT INTO raw_log (payload) VALUES (%s)"
        connection.execute(insert, (PAYLOAD,), prepare=True)
        begun = perf_counter()
        for _ in range(COMMITS):
            connection.execute(insert, (PAYLOAD,), prepare=True)
        report(raw_commits=COMMITS / (perf_counter() - begun))


if __name__ == "__main__":
    main()

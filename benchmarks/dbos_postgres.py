"""DBOS on Postgres: the same workflows as on SQLite, in a database of its own."""

from __future__ import annotations

import os
from urllib.parse import urlsplit, urlunsplit

import psycopg

from benchmarks.dbos_sqlite import measure

DATABASE = "bench_dbos"


def main() -> None:
    url = os.environ["EVERLOG_BENCH_POSTGRES"]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {DATABASE}".encode())
        connection.execute(f"CREATE DATABASE {DATABASE}".encode())
    measure(urlunsplit(urlsplit(url)._replace(path=f"/{DATABASE}")))


if __name__ == "__main__":
    main()

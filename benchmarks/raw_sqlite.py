"""Raw SQLite, WAL and FULL: single-row commits per second, the floor that every durable step stands on."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path
from time import perf_counter

from benchmarks.measuring import report

COMMITS = 2000
PAYLOAD = "x" * 200


def main(directory: Path) -> None:
    connection = sqlite3.connect(directory / "raw.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE log (position INTEGER PRIMARY KEY, payload TEXT)")
    begun = perf_counter()
    for _ in range(COMMITS):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO log (payload) VALUES (?)", (PAYLOAD,))
        connection.execute("COMMIT")
    report(raw_commits=COMMITS / (perf_counter() - begun))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Nothing is left behind: each table and each column of a schema is one that is moved, or is known to stay."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import everlog_postgres.moving
import everlog_sqlite.moving
from everlog_postgres import open_store as open_postgres
from everlog_postgres.statements import load as load_postgres
from everlog_postgres.urls import parse
from everlog_sqlite import SqliteStore
from everlog_sqlite.statements import load as load_sqlite
from tests.postgres import administrator, needs_postgres, new_schema

READ_BY = {
    "heads": "rows_of_heads",
    "events": "rows_of_events",
    "inbox": "rows_of_inboxes",
    "message_keys": "rows_of_keys",
    "published_values": "rows_of_values",
    "stream_rows": "rows_of_streams",
    "queues": "rows_of_queues",
    "queue_places": "rows_of_places",
    "queue_starts": "rows_of_starts",
    "waits": "rows_of_waits",
    "schedules": "rows_of_schedules",
    "attributes": "rows_of_attributes",
    "holds": "list_holds",
    "audit": "list_audit",
}
FOLDERS = {"list_holds": "retention", "list_audit": "retention"}
STAYS = {
    "workers": "who works now",
    "queue_slots": "of steps, which are run anew",
    "turns": "who prunes now",
    "moves": "why this database is closed",
    "writes": "which transactions wrote in the last minute",
    "migrations": "of this schema",
    "_sqlite_migrations": "of this file",
    "sqlite_sequence": "numbers of this file",
    "secrets": "one row of it, the signing key, by find_secret",
}
ONLY_NUMBERS = {
    ("events", "position"),
    ("stream_rows", "position"),
    ("queue_starts", "position"),
    ("inbox", "sent_in"),
    ("inbox", "closed"),  # by stray_rows: what it is follows from the head
    ("attributes", "workflow_id"),
}


def check(columns: Mapping[str, Sequence[str]], statements: Mapping[str, str], closed: Sequence[str]) -> None:
    """Check the columns of all tables of a schema."""
    assert columns.keys() == {*READ_BY, *STAYS} & columns.keys(), "a table that is not moved: say in moving.py how"
    assert READ_BY.keys() <= columns.keys()
    assert {*closed} == {*READ_BY, "workers", "queue_slots", "turns"}, "each table that is written to is closed"
    forgotten = [
        f"{table}.{column}"
        for table, statement in READ_BY.items()
        for column in columns[table]
        if (table, column) not in ONLY_NUMBERS and not re.search(rf"\b{column}\b", statements[statement])
    ]
    assert not forgotten, f"columns that are not moved: {forgotten}"


def test_every_column_of_a_file_is_moved(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "test.db")
    columns = dict(columns_of(store))
    store.close()
    check(columns, {one: load_sqlite(one) for one in READ_BY.values()}, everlog_sqlite.moving.CLOSED_TABLES)


def columns_of(store: SqliteStore) -> Iterator[tuple[str, list[str]]]:
    driver = store._connection.driver
    for (table,) in driver.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        yield table, [name for _, name, *_ in driver.execute(f"PRAGMA table_info({table})")]


@needs_postgres
def test_every_column_of_a_schema_is_moved() -> None:
    url = new_schema()
    open_postgres(url).close()
    columns: dict[str, list[str]] = {}
    with administrator() as connection:
        asked = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = %s"
        for table, column in connection.execute(asked, (parse(url).schema,)).fetchall():
            columns.setdefault(table, []).append(column)
    statements = {one: load_postgres(f"{FOLDERS.get(one, 'moving')}/{one}") for one in READ_BY.values()}
    check(columns, statements, everlog_postgres.moving.CLOSED_TABLES)

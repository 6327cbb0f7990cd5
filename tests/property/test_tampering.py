"""Every single byte and every single row that somebody changes in a sealed database is found.

What is not covered holds nothing that is said of a workflow: who works now (workers, slots of steps), why a database is
closed, and the columns that only number rows in the order in which they were written.
"""

from __future__ import annotations

import asyncio
import sqlite3
from random import Random
from typing import Any, Final

import psycopg
import pytest

import everlog
from everlog import Engine, Queue, RateLimit, Schedule, step, workflow
from everlog.runtime.copying import End, copy
from everlog.runtime.seals import Seal, make_seal, read_seal, verify_seal
from everlog.runtime.verifying import verify
from everlog.store_moving import SupportsMoving
from everlog.testing.simulation import SimulatedHost
from everlog_postgres import open_store as open_postgres
from everlog_postgres.urls import parse
from everlog_sqlite import SqliteStore
from tests.postgres import administrator, needs_postgres, new_schema
from tests.property.databases import LONG

TAMPERINGS: Final = 20_000 if LONG else 1_000
UNCOVERED: Final = {"workers", "queue_slots", "moves", "_sqlite_migrations", "sqlite_sequence"}
ONLY_NUMBERS: Final = {
    ("events", "position"),
    ("inbox", "row"),
    ("stream_rows", "position"),
    ("queue_starts", "position"),
}

mail = Queue("mail", concurrency=2, rate_limit=RateLimit(50, per=3600), partition_concurrency=1)


@step
async def note(number: int) -> str:
    await everlog.emit("steps", number, "☃")
    return f"noted {number}"


@workflow(name="tampering.child")
async def child(number: int) -> int:
    await asyncio.sleep(3 if number % 2 else 3_000)
    return number


@workflow(name="tampering.tour")
async def tour(number: int) -> int:
    await everlog.set_value("number", {"is": number})
    await everlog.emit("own", number, [number])
    await note(number)
    await mail.enqueue(child.options(partition=str(number % 2), dedup_key=f"key-{number}"), number)
    if number % 3 == 0:
        await everlog.close_stream("own")
        return number
    if number % 3 == 1:
        await everlog.recv("approval", title=f"May {number}?", metadata={"n": number}, timeout=86400)
    await asyncio.sleep(86400)
    return number


def furnished() -> SqliteStore:
    """Give a store in memory in which an application was stopped."""
    host = SimulatedHost(seed=7)
    store = SqliteStore(None, clock=host.wall)

    async def main() -> None:
        async with Engine(store, host=host, workflows=[tour, child], queues=[mail]) as engine:
            for number in range(12):
                await engine.start(tour.options(id=f"tour-{number}", attributes={"n": number, "t": ["a", 1]}), number)
            await engine.create_schedule("daily", Schedule(every=86400), child, 2)
            await engine.start(child.options(id="later", delay=4_000), 1)
            await asyncio.sleep(8)
            await engine.send("tour-2", "unread", "hello", key="k")
            await engine.send("tour-4", "unread", {"b": 1.5})
            for wait in (await engine.waits())[:1]:
                await engine.answer(wait.token, "yes")
            await engine.pause("tour-5")
            await asyncio.sleep(8)

    host.run(main())
    return store


class Vandal:
    """Changes one thing in a database at a time."""

    def __init__(self, driver: sqlite3.Connection, chance: Random) -> None:
        self.driver, self.chance = driver, chance
        found = driver.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        self.columns: dict[str, list[tuple[str, int]]] = {}
        for (table,) in found:
            if table not in UNCOVERED and driver.execute(f"SELECT count(*) FROM {table}").fetchone()[0]:
                about = driver.execute(f"PRAGMA table_info({table})").fetchall()
                self.columns[table] = [(name, bool(key)) for _, name, _, _, _, key in about]

    def change(self) -> str | None:
        """Change something; None where the tables do not allow that, or it would change nothing."""
        table = self.chance.choice(sorted(self.columns))
        names = [name for name, _ in self.columns[table]]
        count = self.driver.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        offset = self.chance.randrange(count)
        row = self.driver.execute(f"SELECT {', '.join(names)} FROM {table} LIMIT 1 OFFSET {offset}").fetchone()
        which = " AND ".join(f"{name} IS ?" for name in names)
        try:
            match self.chance.choice(["byte", "byte", "byte", "delete", "double", "swap"]):
                case "byte":
                    return self._change_byte(table, names, row, which)
                case "delete":
                    self.driver.execute(f"DELETE FROM {table} WHERE {which}", row)
                    return f"deleted from {table}: {row}"
                case "double":
                    return self._double(table, names, row)
                case _:
                    return self._swap(table, names, row, which)
        except sqlite3.Error:
            return None

    def _change_byte(self, table: str, names: list[str], row: tuple[Any, ...], which: str) -> str | None:
        place = self.chance.randrange(len(names))
        if (table, names[place]) in ONLY_NUMBERS:
            return None
        changed = self._changed(row[place])
        self.driver.execute(f"UPDATE {table} SET {names[place]} = {changed} WHERE {which}", row)
        return f"{table}.{names[place]} of {row}: {changed}"

    def _changed(self, value: Any) -> str:
        """Give an SQL expression for a value in which one byte is another."""
        if value is None:
            return self.chance.choice(["0", "'x'"])
        if isinstance(value, int) and self.chance.random() < 0.3:
            return str(value + self.chance.choice([-1, 1]))
        raw = bytearray(str(value).encode())
        if not raw:
            return "'x'"
        place = self.chance.randrange(len(raw))
        raw[place] = (raw[place] + self.chance.randrange(1, 256)) % 256 or 1
        return f"CAST(x'{raw.hex()}' AS {'INTEGER' if isinstance(value, int) else 'TEXT'})"

    def _double(self, table: str, names: list[str], row: tuple[Any, ...]) -> str | None:
        values = list(row)
        for place, (name, is_key) in enumerate(self.columns[table]):
            if (table, name) in ONLY_NUMBERS or (table, name) == ("queue_places", "came"):
                values[place] = None
            elif is_key or name in ("seq", "first_offset", "number", "workflow_id", "workflow", "dedup_key"):
                other = self.driver.execute(f"SELECT {name} FROM {table} ORDER BY random() LIMIT 1").fetchone()[0]
                values[place] = values[place] + 1 if isinstance(values[place], int) else other
        self.driver.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(names))})", values)
        return f"added to {table}: {values}"

    def _swap(self, table: str, names: list[str], row: tuple[Any, ...], which: str) -> str | None:
        place = self.chance.randrange(len(names))
        if (table, names[place]) in ONLY_NUMBERS or self.columns[table][place][1]:
            return None
        asked = f"SELECT {', '.join(names)} FROM {table} WHERE {names[place]} IS NOT ? ORDER BY random() LIMIT 1"
        other = self.driver.execute(asked, [row[place]]).fetchone()
        if other is None:
            return None
        self.driver.execute(f"UPDATE {table} SET {names[place]} = ? WHERE {which}", [other[place], *row])
        self.driver.execute(f"UPDATE {table} SET {names[place]} = ? WHERE {which}", [row[place], *other])
        return f"swapped {names[place]} in {table}: {row} and {other}"


def content(driver: sqlite3.Connection) -> dict[str, list[str]]:
    """Give what is in the tables, save the columns that only number rows: not every change changes something."""
    found = {}
    for table, columns in Vandal(driver, Random()).columns.items():
        names = [
            f"typeof({name}) || hex(CAST({name} AS BLOB))" for name, _ in columns if (table, name) not in ONLY_NUMBERS
        ]
        found[table] = sorted(str(row) for row in driver.execute(f"SELECT {', '.join(names)} FROM {table}"))
    return found


def test_each_of_a_thousand_random_changes_is_found() -> None:
    store = furnished()
    moving: SupportsMoving = store
    assert [str(one) for one in verify(store, moving)] == []
    seal = read_seal(make_seal(store, moving, previous=None))
    assert findings(store, seal) == []
    driver = store._connection.driver
    whole = sqlite3.connect(":memory:")
    driver.backup(whole)
    written = content(driver)
    chance = Random()
    covered: dict[str, int] = {}
    missed: list[str] = []
    tables: set[str] = set()
    while sum(covered.values()) < TAMPERINGS:
        seed = chance.randrange(2**32)
        vandal = Vandal(driver, Random(seed))
        said = vandal.change()
        if said is not None and content(driver) != written:
            kind = said.split(" ")[0]
            covered[kind] = covered.get(kind, 0) + 1
            if not findings(store, seal):
                missed.append(said)
        whole.backup(driver)
        tables = {*vandal.columns}
    whole.close()
    assert not missed, f"{len(missed)} of {covered} were not found: {missed}"
    assert len(tables) >= 11, f"some tables have no row: {sorted(tables)}"


def findings(store: SqliteStore, seal: Seal) -> list[str]:
    return [str(one) for one in verify_seal(store, store, seal, unchanged=True)]


@needs_postgres
def test_each_column_of_each_table_counts_on_postgres() -> None:
    url = new_schema()
    source, store = furnished(), open_postgres(url)
    copy(End(source, "one"), End(store, "other"), move_id="move")
    seal = read_seal(make_seal(store, store, previous=None))
    assert [str(one) for one in verify_seal(source, source, seal, unchanged=True)] == []
    changes = {
        "text": "coalesce({0}, '') || 'x'",
        "bigint": "coalesce({0}, 7) + 1",
        "integer": "coalesce({0}, 7) + 1",
        "boolean": "NOT {0}",
        "ARRAY": "{0} || ARRAY['x']",
    }
    changed = 0
    with administrator() as connection:
        schema = parse(url).schema
        asked = "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = %s"
        for table, column, kind in connection.execute(asked, (schema,)).fetchall():
            if table in {*UNCOVERED, "writes", "migrations"} or (table, column) in {("inbox", "position")}:
                continue
            name = f'"{schema}".{table}'
            found = connection.execute(f"SELECT ctid::text, {column} FROM {name} LIMIT 1".encode()).fetchone()
            if found is None or kind not in changes:
                continue
            try:
                expression = changes[kind].format(column)
                row = connection.execute(
                    f"UPDATE {name} SET {column} = {expression} WHERE ctid = %s::tid RETURNING ctid::text".encode(),
                    (found[0],),
                ).fetchone()
            except psycopg.errors.Error:  # the tables do not allow that
                continue
            assert row is not None
            assert [str(one) for one in verify_seal(store, store, seal, unchanged=True)], f"{table}.{column}"
            changed += 1
            connection.execute(f"UPDATE {name} SET {column} = %s WHERE ctid = %s::tid".encode(), (found[1], row[0]))
            assert [str(one) for one in verify_seal(store, store, seal, unchanged=True)] == [], f"{table}.{column}"
    store.close()
    assert changed > 50


@pytest.mark.parametrize("byte", ["a", "\n", "☃"])
def test_a_changed_seal_is_no_seal(byte: str) -> None:
    store = furnished()
    lines = list(make_seal(store, store, previous=None))
    for number in range(len(lines) - 1):
        changed = [*lines]
        changed[number] = lines[number].replace('"', byte, 1) if byte != "a" else lines[number].replace("1", "2", 1)
        if changed != lines:
            with pytest.raises((everlog.CorruptLog, everlog.UsageError)):
                read_seal(changed)
    with pytest.raises(everlog.CorruptLog):
        read_seal(lines[:-1])

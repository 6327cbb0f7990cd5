"""The schema in the database: recognising it, creating it, bringing it up to date. It names only its own table.

Whether the tables are distributed over several servers is a row of that table as well, read together with the version.
"""

from __future__ import annotations

import zlib
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, NamedTuple

import psycopg

from everlog.errors import SchemaMismatch, UsageError
from everlog_postgres.connection import Connection, Driver
from everlog_postgres.distribution import distribute_tables, require_citus
from everlog_postgres.driver_errors import translate
from everlog_postgres.statements import in_schema, load, one_by_one

MIGRATIONS: Final = (
    "0001_initial",
    "0002_values_and_streams",
    "0003_queues",
    "0004_waits",
    "0005_schedules",
    "0006_continued",
    "0007_attributes",
    "0008_moves",
    "0009_retention",
)
"""All that were ever made, in order."""

_DISTRIBUTED: Final = (0, "distributed")
"""The number and the name of the row that says that the tables are distributed."""

_LOCK: Final = 0x45564C47
"""The first half of the key of the advisory lock under which migrations run: "EVLG"; the second is the schema's."""


_FIND_TABLE: Final = b"""SELECT 1
FROM pg_catalog.pg_class
INNER JOIN pg_catalog.pg_namespace ON pg_namespace.oid = pg_class.relnamespace
WHERE pg_namespace.nspname = %s AND pg_class.relname = %s"""


class _Schema(NamedTuple):
    """What was found: how many migrations there were (0: no tables), and whether the tables are distributed."""

    version: int
    distributed: bool


def migrate(connection: Connection, *, create: bool) -> bool:
    """Make the schema one that this version works with, and say whether its tables are distributed.

    A schema from a later version is left as it is. Without `create`, one that is not there or too old is a
    `SchemaMismatch`. Any number of processes may do this at once.
    """
    with _translated(connection) as driver:
        found = _find_schema(connection, driver)
        if found.version == len(MIGRATIONS):
            return found.distributed
        if not create:
            raise _not_there(connection, found.version)
        with _alone(connection, driver):
            found = _find_schema(connection, driver)
            _apply(connection, driver, found)
            if found.distributed:
                distribute_tables(driver, connection.target.schema)
            return found.distributed


def distribute(connection: Connection) -> bool:
    """Distribute the tables over the servers of a Citus cluster; False, and nothing done, if they were before.

    Where this cannot be, nothing is done either: the error is a `SchemaMismatch` or a `UsageError` that says why.
    """
    with _translated(connection) as driver, _alone(connection, driver):
        require_citus(driver, connection.name)
        if _find_schema(connection, driver).distributed:
            return False
        _require_nothing_in_the_way(connection, driver)
        distribute_tables(driver, connection.target.schema)
        _insert(connection, driver, *_DISTRIBUTED)
        return True


def _require_nothing_in_the_way(connection: Connection, driver: Driver) -> None:
    """Raise where workflows stand in queues or are held, which distributed tables do not have."""
    places = in_schema("SELECT count(*) FROM everlog.queue_places", connection.target.schema)
    ((found,),) = driver.execute(places.encode()).fetchall()
    if found:
        raise UsageError(
            f"{connection.name}: {found} workflows stand in queues or were admitted from them, and distributed tables"
            " have no queues yet: let them end before, or keep the tables on one server (docs/scaling.md)"
        )
    holds = in_schema("SELECT count(*) FROM everlog.holds", connection.target.schema)
    ((found,),) = driver.execute(holds.encode()).fetchall()
    if found:
        raise UsageError(
            f"{connection.name}: {found} workflows are held (docs/retention.md), and distributed tables have no holds"
            " yet: release them before, or keep the tables on one server"
        )


@contextmanager
def _translated(connection: Connection) -> Generator[Driver]:
    with connection.lock:
        try:
            yield connection.driver()
        except psycopg.Error as error:
            if isinstance(error, psycopg.errors.InsufficientPrivilege):
                raise _no_right(connection, error) from error
            raise translate(error, connection.name) from error


@contextmanager
def _alone(connection: Connection, driver: Driver) -> Generator[None]:
    """A transaction in which nobody else migrates."""
    with driver.transaction():
        driver.execute("SET LOCAL lock_timeout = '60s'")
        driver.execute("SET LOCAL statement_timeout = 0")
        driver.execute("SELECT pg_advisory_xact_lock(%s, %s)", (_LOCK, _key(connection.target.schema)))
        yield


def _apply(connection: Connection, driver: Driver, found: _Schema) -> None:
    schema = connection.target.schema
    if found.version == 0:
        # Asked for only where it is missing: who may use a schema that an owner made need not have the right to.
        if driver.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema,)).fetchone() is None:
            driver.execute(f'CREATE SCHEMA "{schema}"'.encode())
        elif driver.execute(
            "SELECT 1 FROM pg_class WHERE relnamespace = %s::regnamespace", (f'"{schema}"',)
        ).fetchone():
            raise SchemaMismatch(
                f"{connection.name}: the schema {schema!r} has tables of another program, and was left as it is; name"
                " another with ?schema="
            )
    for number, name in enumerate(MIGRATIONS[found.version :], start=found.version + 1):
        migration = in_schema(load(f"migrations/{name}"), schema)
        # Citus hands a statement on to other servers only if it comes alone.
        for statement in one_by_one(migration) if found.distributed else [migration]:
            driver.execute(statement.encode())
        _insert(connection, driver, number, name)


def _insert(connection: Connection, driver: Driver, number: int, name: str) -> None:
    insert = in_schema("INSERT INTO everlog.migrations (number, name) VALUES (%s, %s)", connection.target.schema)
    driver.execute(insert.encode(), (number, name))


def _find_schema(connection: Connection, driver: Driver) -> _Schema:
    """Give what there is; raise where it is from a later version."""
    schema = connection.target.schema
    # Asked of the catalogue, not by to_regclass: that may answer from what this session remembers of the time before it
    # waited for the lock.
    if driver.execute(_FIND_TABLE, (schema, "migrations")).fetchone() is None:
        return _Schema(0, distributed=False)
    sql = in_schema("SELECT coalesce(max(number), 0), coalesce(min(number), 1) = 0 FROM everlog.migrations", schema)
    version, distributed = driver.execute(sql.encode()).fetchone() or (0, False)
    if version > len(MIGRATIONS):
        raise SchemaMismatch(
            f"{connection.name}: the schema {schema!r} is at migration {version}, and this version of Everlog knows"
            f" {len(MIGRATIONS)} at most; use the version that last migrated it, or a later one"
        )
    return _Schema(version, distributed=distributed)


def _not_there(connection: Connection, version: int) -> SchemaMismatch:
    schema = connection.target.schema
    found = "has no tables of Everlog" if version == 0 else f"is at migration {version} of {len(MIGRATIONS)}"
    return SchemaMismatch(f"{connection.name}: the schema {schema!r} {found}; run `everlog migrate` with its URL")


def _no_right(connection: Connection, error: psycopg.Error) -> SchemaMismatch:
    return SchemaMismatch(
        f"{connection.name}: the schema {connection.target.schema!r} is to be made or migrated, and this user has no"
        f" right to (Postgres says: {str(error).strip()}); run `everlog migrate` as its owner, then grant what"
        " docs/postgres.md says"
    )


def _key(schema: str) -> int:
    return zlib.crc32(schema.encode()) - 2**31

"""The schema in the database: recognising it, creating it, bringing it up to date. It names only its own table."""

from __future__ import annotations

import zlib
from typing import Final

import psycopg

from everlog.errors import SchemaMismatch
from everlog_postgres.connection import Connection, Driver
from everlog_postgres.driver_errors import translate
from everlog_postgres.statements import in_schema, load

MIGRATIONS: Final = ("0001_initial", "0002_values_and_streams")
"""All that were ever made, in order."""

_LOCK: Final = 0x45564C47
"""The first half of the key of the advisory lock under which migrations run: "EVLG"; the second is the schema's."""


_FIND_TABLE: Final = b"""SELECT 1
FROM pg_catalog.pg_class
INNER JOIN pg_catalog.pg_namespace ON pg_namespace.oid = pg_class.relnamespace
WHERE pg_namespace.nspname = %s AND pg_class.relname = %s"""


def migrate(connection: Connection, *, create: bool) -> list[str]:
    """Make the schema one that this version works with, and give the names of the migrations that it took.

    A schema from a later version is left as it is. Without `create`, one that is not there or too old is a
    `SchemaMismatch`. Any number of processes may do this at once.
    """
    with connection.lock:
        try:
            driver = connection.driver()
            version = _version(connection, driver)
            if version == len(MIGRATIONS):
                return []
            if not create:
                raise _not_there(connection, version)
            with driver.transaction():
                driver.execute("SET LOCAL lock_timeout = '60s'")
                driver.execute("SET LOCAL statement_timeout = 0")
                driver.execute("SELECT pg_advisory_xact_lock(%s, %s)", (_LOCK, _key(connection.target.schema)))
                return _apply(connection, driver, _version(connection, driver))
        except psycopg.Error as error:
            if isinstance(error, psycopg.errors.InsufficientPrivilege):
                raise _no_right(connection, error) from error
            raise translate(error, connection.name) from error


def _apply(connection: Connection, driver: Driver, version: int) -> list[str]:
    schema = connection.target.schema
    if version == 0:
        # Asked for only where it is missing: who may use a schema that an owner made need not have the right to.
        found = driver.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema,)).fetchone()
        if found is None:
            driver.execute(f'CREATE SCHEMA "{schema}"'.encode())
        elif driver.execute(
            "SELECT 1 FROM pg_class WHERE relnamespace = %s::regnamespace", (f'"{schema}"',)
        ).fetchone():
            raise SchemaMismatch(
                f"{connection.name}: the schema {schema!r} has tables of another program, and was left as it is; name"
                " another with ?schema="
            )
    for number, name in enumerate(MIGRATIONS[version:], start=version + 1):
        driver.execute(in_schema(load(f"migrations/{name}"), schema).encode())
        insert = in_schema("INSERT INTO everlog.migrations (number, name) VALUES (%s, %s)", schema)
        driver.execute(insert.encode(), (number, name))
    return list(MIGRATIONS[version:])


def _version(connection: Connection, driver: Driver) -> int:
    """Give how many migrations the schema has had, 0 where there is none; raise where it is from a later version."""
    schema = connection.target.schema
    # Asked of the catalogue, not by to_regclass: that may answer from what this session remembers of the time before it
    # waited for the lock.
    if driver.execute(_FIND_TABLE, (schema, "migrations")).fetchone() is None:
        return 0
    row = driver.execute(
        in_schema("SELECT coalesce(max(number), 0) FROM everlog.migrations", schema).encode()
    ).fetchone()
    version: int = row[0] if row is not None else 0
    if version > len(MIGRATIONS):
        raise SchemaMismatch(
            f"{connection.name}: the schema {schema!r} is at migration {version}, and this version of Everlog knows"
            f" {len(MIGRATIONS)} at most; use the version that last migrated it, or a later one"
        )
    return version


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

"""Distributed tables for the tests: on a Citus cluster if there is one, and on plain Postgres as if it were one.

`EVERLOG_TEST_CITUS=postgresql://...` names a database on the coordinator of a cluster, by a user who may make schemas
and roles. Without it the tests that need one are skipped. What is done for distributed tables works on plain Postgres
as well, where it is chosen by the same row among the migrations.
"""

from __future__ import annotations

import atexit
import os
from functools import cache
from itertools import count

import psycopg
import pytest

from everlog_postgres import open_store
from everlog_postgres.statements import in_schema
from everlog_postgres.urls import parse
from tests.postgres import administrator, new_schema, with_options

VARIABLE = "EVERLOG_TEST_CITUS"

needs_citus = pytest.mark.skipif(
    VARIABLE not in os.environ,
    reason=f"no Citus cluster: set {VARIABLE} to the URL of a database on its coordinator",
)

_numbers = count(1)
_schemas: list[str] = []


def as_if_distributed(*options: str) -> str:
    """Give the URL of a store on plain Postgres that is used as if its tables were distributed; nothing is in it."""
    url = new_schema(*options)
    open_store(url).close()
    with administrator() as connection:
        mark = in_schema("INSERT INTO everlog.migrations (number, name) VALUES (0, 'distributed')", parse(url).schema)
        connection.execute(mark.encode())
    return url


def new_citus_schema(*options: str) -> str:
    """Give the URL of a store in the cluster that has a schema of its own, not distributed yet; nothing is in it."""
    schema = f"test_{os.getpid()}_{next(_numbers)}"
    _schemas.append(schema)
    return with_options(_coordinator_url(), f"schema={schema}", *options)


def distributed(*options: str) -> str:
    """Give the URL of a store in the cluster whose tables are distributed; nothing is in it."""
    url = new_citus_schema(*options)
    store = open_store(url)
    store.distribute()
    store.close()
    return url


@cache
def _coordinator_url() -> str:
    atexit.register(_drop_schemas)
    return os.environ[VARIABLE]


def coordinator() -> psycopg.Connection[tuple[object, ...]]:
    """Connect to the coordinator past Everlog."""
    return psycopg.connect(_coordinator_url(), autocommit=True)


def _drop_schemas() -> None:
    with coordinator() as connection:
        for schema in _schemas:
            connection.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE'.encode())

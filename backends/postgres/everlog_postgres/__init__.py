"""The Postgres backend: a schema of a database server. What it promises is written in `everlog.store`.

The driver is imported when a store is opened, so that the package can be there without it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from everlog.errors import UsageError

if TYPE_CHECKING:
    from everlog_postgres.store import PostgresStore

__all__ = ["open_store"]


def open_store(
    url: str,
    *,
    durability: Literal["full", "process"] = "full",
    clock: Callable[[], int] | None = None,
    create: bool = True,
) -> PostgresStore:
    """Open the database of a URL: `postgresql://user:password@host:port/database?schema=everlog`.

    Options of ours in the URL: `schema=name` (default `everlog`), `prepare=on` behind a pool of sessions, `prepare=off`
    behind one of transactions that is not noticed, `push=off` for a store that nobody wakes, `migrate=off` for one that
    leaves the schema as it is. All others go to the driver. With `durability="process"` a commit survives the death of
    the process, but not that of the server. `clock` gives microseconds since 1970-01-01 UTC instead of the server's
    clock, for simulations; such a store does not push. Without `create` a schema that is not there is a
    `SchemaMismatch`.
    """
    try:
        from everlog_postgres.store import open_store as open_on_driver
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("psycopg"):
            raise
        raise UsageError(
            "Postgres needs the driver psycopg, which is not installed here: `pip install 'everlog[postgres]'`"
        ) from error
    return open_on_driver(url, durability=durability, clock=clock, create=create)

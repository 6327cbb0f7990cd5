"""`everlog migrate`: the tables of a database are made, or brought up to date; by its owner, before a deployment."""

from __future__ import annotations

from everlog.cli.places import store_url
from everlog.errors import UsageError
from everlog.runtime.backends import open_store
from everlog.store import SupportsDistribution


def migrate(place: str | None, *, citus: bool = False) -> None:
    """Make the tables of a database those that this version works with. Raises `SchemaMismatch` where it may not.

    With `citus` they are distributed over the servers of a cluster as well, if they are not yet.
    """
    url = store_url(place)
    store = open_store(url)
    try:
        print("the tables are those that this version of Everlog works with")
        if citus:
            if not isinstance(store, SupportsDistribution):
                raise UsageError("--citus distributes the tables of a Postgres database: name one, postgresql://...")
            print(
                "they have been distributed over the cluster" if store.distribute() else "they were distributed before"
            )
    finally:
        store.close()

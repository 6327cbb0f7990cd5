"""`everlog migrate`: the tables of a database are made, or brought up to date; by its owner, before a deployment."""

from __future__ import annotations

from everlog.cli.places import store_url
from everlog.runtime.backends import open_store


def migrate(place: str | None) -> None:
    """Make the tables of a database those that this version works with. Raises `SchemaMismatch` where it may not."""
    open_store(store_url(place)).close()
    print("the tables are those that this version of Everlog works with")

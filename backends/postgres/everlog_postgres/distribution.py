"""Distribution: how the tables lie on the servers of a Citus cluster, and laying them so. It decides nothing.

A table that belongs to workflows is distributed by `workflow_id`, all of them alike: the rows of one workflow lie on
one server. The others stay on the coordinator, through which everything goes anyway: as reference tables, which have a
copy on every server, each renewal of a lease would be a commit on all of them.
"""

from __future__ import annotations

import re
from typing import Final

from everlog.errors import SchemaMismatch, UsageError
from everlog_postgres.connection import Driver
from everlog_postgres.statements import in_schema, load, one_by_one

BY_WORKFLOW: Final = (
    "heads",
    "events",
    "inbox",
    "message_keys",
    "published_values",
    "stream_rows",
    "waits",
    "attributes",
)
"""The tables that are distributed; the first is what the others lie beside."""

ON_THE_COORDINATOR: Final = (
    "workers",
    "writes",
    "migrations",
    "queues",
    "queue_places",
    "queue_slots",
    "queue_starts",
    "schedules",
    "secrets",
    "moves",
    "holds",
    "audit",
    "turns",
)

OLDEST: Final = 13

_HOW: Final = "docs/scaling.md says what has to be there"


def require_citus(driver: Driver, name: str) -> None:
    """Raise where tables of this database cannot be distributed."""
    row = driver.execute("SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'citus'").fetchone()
    if row is None:
        raise UsageError(
            f"{name} has no extension citus, so its tables cannot be distributed: load it on every server"
            f" (shared_preload_libraries), CREATE EXTENSION citus in this database, and add the servers; {_HOW}"
        )
    found = re.match(r"\d+", str(row[0]))
    if found is None or int(found[0]) < OLDEST:
        raise SchemaMismatch(f"{name} has Citus {row[0]}; tables are distributed with Citus {OLDEST} or later")
    if driver.execute("SELECT citus_is_coordinator()").fetchone() != (True,):
        raise UsageError(f"{name} is not the coordinator of its Citus cluster: name that one; {_HOW}")
    if driver.execute("SELECT bool_or(shouldhaveshards) FROM pg_catalog.pg_dist_node").fetchone() == (False,):
        raise UsageError(
            f"{name} is a Citus cluster without a server for tables: SELECT citus_add_node('name', 5432) adds one, and"
            " citus_set_node_property(name, port, 'shouldhaveshards', true) makes the coordinator one"
        )


def _shards(driver: Driver) -> int:
    """Give the number of parts of a table: what was set (`citus.shard_count`), otherwise four for each server.

    A statement that concerns many workflows is one statement for each part, so that Citus's own default of 32 costs
    several times as much on a few servers.
    """
    setting = (
        "SELECT setting::integer FROM pg_catalog.pg_settings WHERE name = 'citus.shard_count' AND source <> 'default'"
    )
    row = driver.execute(setting).fetchone()
    if row is None:
        servers = "SELECT 4 * greatest(1, count(*)) FROM pg_catalog.pg_dist_node WHERE shouldhaveshards"
        row = driver.execute(servers).fetchone()
    return int(row[0]) if row is not None else 4


def distribute_tables(driver: Driver, schema: str) -> None:
    """Distribute the tables that are not yet, with what is in them, within the caller's transaction."""
    # One after the other: otherwise what was done over several connections could not be built upon here.
    driver.execute("SET LOCAL citus.multi_shard_modify_mode = 'sequential'")
    first = BY_WORKFLOW[0]
    for table in BY_WORKFLOW:
        name = f'"{schema}".{table}'
        known = "SELECT 1 FROM pg_catalog.pg_dist_partition WHERE logicalrelid = %s::regclass"
        if driver.execute(known, (name,)).fetchone() is not None:
            continue
        # Not beside whatever else has as many parts: that may be of another collation, and moves for other reasons.
        beside = "none" if table == first else f'"{schema}".{first}'
        shards = _shards(driver) if table == first else None
        driver.execute(
            "SELECT create_distributed_table(%s, 'workflow_id', colocate_with => %s, shard_count => %s)",
            (name, beside, shards),
        )
        driver.execute("SELECT truncate_local_data_after_distributing_table(%s::regclass)", (name,))
    for statement in one_by_one(in_schema(load("distributed/lay_out"), schema)):
        driver.execute(statement.encode())

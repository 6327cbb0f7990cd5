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

BY_WORKFLOW: Final = ("heads", "events", "inbox", "message_keys")
"""The tables that are distributed; the first is what the others lie beside."""

ON_THE_COORDINATOR: Final = ("workers", "writes", "migrations")

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
        beside = "default" if table == first else f'"{schema}".{first}'
        driver.execute(
            "SELECT create_distributed_table(%s, 'workflow_id', colocate_with => %s)",
            (name, beside),
        )
        driver.execute("SELECT truncate_local_data_after_distributing_table(%s::regclass)", (name,))
    for statement in one_by_one(in_schema(load("distributed/lay_out"), schema)):
        driver.execute(statement.encode())

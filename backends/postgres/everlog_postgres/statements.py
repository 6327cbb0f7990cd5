"""The SQL of this package: one statement per file in `sql/`, read once. It runs nothing by itself.

The files name the schema `everlog`; a store with another has it put in its place.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Final

from everlog_postgres.prepared import PreparedStatement

_WRITTEN_FOR: Final = "everlog."


@cache
def load(name: str) -> str:
    """Give the text of one file."""
    return files("everlog_postgres").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")


def in_schema(sql: str, schema: str) -> str:
    """Give the text of a statement for the tables of another schema."""
    return sql.replace(_WRITTEN_FOR, f'"{schema}".')


class Statements:
    """All statements, for one schema."""

    def __init__(self, schema: str) -> None:
        def load_here(name: str) -> bytes:
            return in_schema(load(name), schema).encode()

        self.advance_head: Final = load_here("advance_head")
        self.advance_heads: Final = load_here("advance_heads")
        self.commit_batch: Final = load_here("commit_batch")
        self.prepared_advance_head: Final = PreparedStatement(self.advance_head)
        self.prepared_advance_heads: Final = PreparedStatement(self.advance_heads)
        self.prepared_commit_batch: Final = PreparedStatement(self.commit_batch)
        self.find_delivered: Final = load_here("find_delivered")
        self.take_heads: Final = load_here("take_heads")
        self.take_head: Final = load_here("take_head")
        self.free_taken: Final = load_here("free_taken")
        self.read_histories: Final = load_here("read_histories")
        self.read_inboxes: Final = load_here("read_inboxes")
        self.next_due: Final = load_here("next_due")
        self.read_history: Final = load_here("read_history")
        self.find_heads: Final = load_here("find_heads")
        self.list_workflows: Final = load_here("list_workflows")
        self.unread: Final = load_here("unread")
        self.unread_since: Final = load_here("unread_since")
        self.list_values: Final = load_here("list_values")
        self.find_values: Final = load_here("find_values")
        self.list_streams: Final = load_here("list_streams")
        self.read_streams: Final = load_here("read_streams")
        self.look_for_writes: Final = load_here("look_for_writes")
        self.forget_writes: Final = load_here("forget_writes")
        self.register_worker: Final = load_here("register_worker")
        self.renew_worker: Final = load_here("renew_worker")
        self.list_workers: Final = load_here("list_workers")
        self.retire_worker: Final = load_here("retire_worker")
        self.delete_workflows: Final = load_here("delete_workflows")
        self.server_time: Final = load_here("server_time")

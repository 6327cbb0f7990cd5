"""The SQL of this package: one statement per file in `sql/`, read once. It runs nothing by itself.

The files name the schema `everlog`; a store with another has it put in its place. Those in `sql/distributed/` are for
tables that are distributed over several servers, those in `sql/moving/` for moving what is in them elsewhere.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Final

from everlog_postgres.prepared import PreparedStatement

_WRITTEN_FOR: Final = "everlog."
_DELETE_THE_REST: Final = (
    "delete_events",
    "delete_inboxes",
    "delete_message_keys",
    "delete_published_values",
    "delete_stream_rows",
    "delete_waits",
    "delete_attributes",
)
"""What removes all that is kept of a workflow beside its head."""


@cache
def load(name: str) -> str:
    """Give the text of one file."""
    return files("everlog_postgres").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")


def in_schema(sql: str, schema: str) -> str:
    """Give the text of a statement for the tables of another schema."""
    return sql.replace(_WRITTEN_FOR, f'"{schema}".')


_OF_ATTRIBUTES: Final = re.compile(rb"^-- Attributes.*?(?=^noted AS)", re.MULTILINE | re.DOTALL)


def without_attributes(commit_batch: bytes) -> bytes:
    """Give commit_batch for a batch that has none: each part of it costs, also where it has nothing to do."""
    return _OF_ATTRIBUTES.sub(b"", commit_batch)


def both_ways(sql: bytes) -> dict[bool, bytes]:
    """Give the statement of a listing for the newest first, under True, and for the oldest first."""
    return {True: sql, False: sql.replace(b" DESC", b" ASC")}


def one_by_one(sql: str) -> list[str]:
    """Take a file apart that has several statements, none of them with a `;` at the end of a line of its own."""
    code = "\n".join(line for line in sql.splitlines() if not line.startswith("--"))
    return [statement for statement in re.split(r";\s*$", code, flags=re.MULTILINE) if statement.strip()]


class DistributedStatements:
    """The statements of what is one statement on one server, and several where tables are distributed."""

    def __init__(self, schema: str) -> None:
        def load_here(name: str) -> bytes:
            return in_schema(load(f"distributed/{name}"), schema).encode()

        self.find_citus: Final = load_here("find_citus")
        self.find_hasty: Final = load_here("find_hasty")
        self.create_heads: Final = load_here("create_heads")
        self.find_destinations: Final = load_here("find_destinations")
        self.find_unread: Final = load_here("find_unread")
        self.find_keys: Final = load_here("find_keys")
        self.lock_head: Final = load_here("lock_head")
        self.move_heads: Final = load_here("move_heads")
        self.append_events: Final = load_here("append_events")
        self.take_out: Final = load_here("take_out")
        self.close_inboxes: Final = load_here("close_inboxes")
        self.deliver: Final = load_here("deliver")
        self.remember_keys: Final = load_here("remember_keys")
        self.create_children: Final = load_here("create_children")
        self.open_inboxes: Final = load_here("open_inboxes")
        self.set_values: Final = load_here("set_values")
        self.append_to_streams: Final = load_here("append_to_streams")
        self.open_waits: Final = load_here("open_waits")
        self.close_waits: Final = load_here("close_waits")
        self.drop_attributes: Final = load_here("drop_attributes")
        self.keep_attributes: Final = load_here("keep_attributes")
        self.note: Final = load_here("note")
        self.find_ready: Final = load_here("find_ready")
        self.find_due: Final = load_here("find_due")
        self.find_woken: Final = load_here("find_woken")
        self.find_stuck: Final = load_here("find_stuck")
        self.take_candidates: Final = load_here("take_candidates")
        self.read_histories: Final = load_here("read_histories")
        self.read_inboxes: Final = load_here("read_inboxes")
        self.next_due: Final = load_here("next_due")
        self.unread: Final = load_here("unread")
        self.find_held: Final = load_here("find_held")
        self.free_held: Final = load_here("free_held")
        self.remove_worker: Final = load_here("remove_worker")
        self.list_workers: Final = load_here("list_workers")
        self.find_values: Final = load_here("find_values")
        self.read_stream: Final = load_here("read_stream")
        self.delete_heads: Final = load_here("delete_heads")
        self.delete_the_rest: Final = tuple(load_here(name) for name in _DELETE_THE_REST)


class QueueStatements:
    """The statements of queues."""

    def __init__(self, schema: str) -> None:
        def load_here(name: str) -> bytes:
            return in_schema(load(name), schema).encode()

        self.find_keepers: Final = load_here("find_keepers")
        self.list_queues: Final = load_here("list_queues")
        self.declare_queue: Final = load_here("declare_queue")
        self.change_queue: Final = load_here("change_queue")
        self.hold_queue: Final = load_here("hold_queue")
        self.delete_queue: Final = load_here("delete_queue")
        self.count_queues: Final = load_here("count_queues")
        self.find_places: Final = load_here("find_places")
        self.find_place: Final = load_here("find_place")
        self.look_at_queues: Final = load_here("look_at_queues")
        self.become_due: Final = load_here("become_due")
        self.hold_queues: Final = load_here("hold_queues")
        self.measure_queue: Final = load_here("measure_queue")
        self.measure_partition: Final = load_here("measure_partition")
        self.find_turns: Final = load_here("find_turns")
        self.find_admissible: Final = load_here("find_admissible")
        self.admit_heads: Final = load_here("admit_heads")
        self.serve_partition: Final = load_here("serve_partition")
        self.insert_starts: Final = load_here("insert_starts")
        self.forget_starts: Final = load_here("forget_starts")
        self.find_slots: Final = load_here("find_slots")
        self.insert_slots: Final = load_here("insert_slots")
        self.free_slots: Final = load_here("free_slots")


class ForkStatements:
    """The statements of forks."""

    def __init__(self, schema: str) -> None:
        def load_here(name: str) -> bytes:
            return in_schema(load(name), schema).encode()

        self.copy_events: Final = load_here("copy_events")
        self.copy_streams: Final = load_here("copy_streams")
        self.fill_inbox: Final = load_here("fill_inbox")
        self.set_values: Final = load_here("distributed/set_values")
        self.measure_fork: Final = load_here("measure_fork")
        self.begin_fork: Final = load_here("begin_fork")
        self.read_types: Final = load_here("read_types")


class MovingStatements:
    """The statements that read and write all of a workflow as it is."""

    def __init__(self, schema: str) -> None:
        def load_here(name: str) -> bytes:
            return in_schema(load(f"moving/{name}"), schema).encode()

        self.read_as_of_one_moment: Final = load_here("read_as_of_one_moment")
        self.rows_after: Final = load_here("rows_after")
        self.rows_of_heads: Final = load_here("rows_of_heads")
        self.rows_of_the_rest: Final = tuple(
            load_here(name)
            for name in (
                "rows_of_events",
                "rows_of_inboxes",
                "rows_of_keys",
                "rows_of_values",
                "rows_of_attributes",
                "rows_of_waits",
                "rows_of_streams",
                "rows_of_places",
            )
        )
        self.put: Final = {
            "heads": load_here("put_heads"),
            "events": load_here("put_events"),
            "messages": load_here("put_messages"),
            "keys": load_here("put_keys"),
            "values": load_here("put_values"),
            "attributes": load_here("put_attributes"),
            "waits": load_here("put_waits"),
            "streams": load_here("put_streams"),
            "places": load_here("put_places"),
        }
        self.number_places: Final = load_here("number_places")
        self.rows_of_queues: Final = load_here("rows_of_queues")
        self.rows_of_starts: Final = load_here("rows_of_starts")
        self.rows_of_schedules: Final = load_here("rows_of_schedules")
        self.put_queue: Final = load_here("put_queue")
        self.drop_starts: Final = load_here("drop_starts")
        self.put_starts: Final = load_here("put_starts")
        self.put_schedules: Final = load_here("put_schedules")
        self.replace_secret: Final = load_here("replace_secret")
        self.stray_rows: Final = load_here("stray_rows")
        self.find_move: Final = load_here("find_move")
        self.note_move: Final = load_here("note_move")
        self.forget_move: Final = load_here("forget_move")
        self.write_though_closed: Final = load_here("write_though_closed")
        self.refuse_writes: Final = load_here("refuse_writes")


class RetentionStatements:
    """The statements of holds, of what is removed, and of the record of that."""

    def __init__(self, schema: str) -> None:
        def load_here(name: str) -> bytes:
            return in_schema(load(f"retention/{name}"), schema).encode()

        self.lock_heads: Final = load_here("lock_heads")
        self.find_removable: Final = load_here("find_removable")
        self.keep_heads: Final = load_here("keep_heads")
        self.hold_workflows: Final = load_here("hold_workflows")
        self.release_workflows: Final = load_here("release_workflows")
        self.list_holds: Final = load_here("list_holds")
        self.put_hold: Final = load_here("put_hold")
        self.insert_audit: Final = load_here("insert_audit")
        self.list_audit: Final = load_here("list_audit")
        self.drop_audit: Final = load_here("drop_audit")
        self.take_turn: Final = load_here("take_turn")


class Statements:
    """All statements, for one schema."""

    def __init__(self, schema: str) -> None:  # long: a line for each statement
        def load_here(name: str) -> bytes:
            return in_schema(load(name), schema).encode()

        self.schema: Final = schema
        self.advance_head: Final = load_here("advance_head")
        self.advance_heads: Final = load_here("advance_heads")
        self.commit_batch_with_attributes: Final = load_here("commit_batch")
        self.commit_batch: Final = without_attributes(self.commit_batch_with_attributes)
        self.prepared_advance_head: Final = PreparedStatement(self.advance_head)
        self.prepared_advance_heads: Final = PreparedStatement(self.advance_heads)
        self.prepared_commit_batch: Final = PreparedStatement(self.commit_batch)
        self.prepared_commit_batch_with_attributes: Final = PreparedStatement(self.commit_batch_with_attributes)
        self.find_delivered: Final = load_here("find_delivered")
        self.take_heads: Final = load_here("take_heads")
        self.take_head: Final = load_here("take_head")
        self.free_taken: Final = load_here("free_taken")
        self.read_histories: Final = load_here("read_histories")
        self.read_inboxes: Final = load_here("read_inboxes")
        self.next_due: Final = load_here("next_due")
        self.read_history: Final = load_here("read_history")
        self.find_heads: Final = load_here("find_heads")
        self.list_workflows: Final = both_ways(load_here("list_workflows"))
        self.find_by_attribute: Final = both_ways(load_here("find_by_attribute"))
        self.count_workflows: Final = load_here("count_workflows")
        self.count_values: Final = load_here("count_values")
        self.list_attributes: Final = load_here("list_attributes")
        self.read_inbox: Final = load_here("read_inbox")
        self.unread: Final = load_here("unread")
        self.unread_since: Final = load_here("unread_since")
        self.list_waits: Final = load_here("list_waits")
        self.keep_secret: Final = load_here("keep_secret")
        self.find_secret: Final = load_here("find_secret")
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
        self.list_schedules: Final = load_here("list_schedules")
        self.due_schedules: Final = load_here("due_schedules")
        self.next_schedule_due: Final = load_here("next_schedule_due")
        self.lock_schedules: Final = load_here("lock_schedules")
        self.insert_schedules: Final = load_here("insert_schedules")
        self.update_schedules: Final = load_here("update_schedules")
        self.delete_schedules: Final = load_here("delete_schedules")
        self.note: Final = load_here("distributed/note")
        self.find_database: Final = load_here("find_database")
        self.find_outcomes: Final = load_here("find_outcomes")
        self.server_time: Final = load_here("server_time")
        self.queues: Final = QueueStatements(schema)
        self.forks: Final = ForkStatements(schema)
        self.moving: Final = MovingStatements(schema)
        self.retention: Final = RetentionStatements(schema)

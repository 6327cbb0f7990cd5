"""The SQL of this package: one statement per file in `sql/`, read once at import. It runs nothing by itself."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from itertools import chain
from typing import Final

from everlog_sqlite.connection import Connection

_SIZES: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""For how many rows a statement is prepared; fewer rows are filled up with zeros, which match and insert nothing."""

_SIZE_FOR: Final = [next(size for size in _SIZES if size >= rows) for rows in range(_SIZES[-1] + 1)]


def load(name: str) -> str:
    """Give the text of one statement."""
    return files("everlog_sqlite").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")


def both_ways(sql: str) -> dict[bool, str]:
    """Give the statement of a listing for the newest first, under True, and for the oldest first."""
    return {True: sql, False: sql.replace(" DESC", " ASC")}


class RowsStatement:
    """A statement over many rows, written for one: `VALUES (?, ?)`.

    Each call into SQLite gives up the interpreter's lock, which beside a busy thread takes milliseconds to get back.
    So 100 rows are one call, not 100; and since bound parameters cost half of what a JSON text does, they are those.
    Numbers and texts are bound at once; for None, bool and bytes `sqlite3` looks for an adapter first, in microseconds.
    """

    def __init__(self, name: str) -> None:
        sql = load(name)
        start = sql.index("(VALUES (") + len("(VALUES ")
        row = sql[start : sql.index(")", start) + 1]
        self.width = row.count("?")
        self._one = sql
        self._by_size = {size: sql.replace(row, ", ".join([row] * size), 1) for size in _SIZES}

    def run(self, connection: Connection, rows: Sequence[tuple[object, ...]]) -> int:
        """Run it over the rows and give how many rows of the table it changed."""
        if len(rows) == 1:
            return connection.execute(self._one, rows[0]).rowcount
        changed = 0
        for start in range(0, len(rows), _SIZES[-1]):
            chunk = rows[start : start + _SIZES[-1]]
            size = _SIZE_FOR[len(chunk)]
            parameters = list(chain.from_iterable(chunk))
            if size > len(chunk):
                parameters.extend([0] * (self.width * (size - len(chunk))))
            changed += connection.execute(self._by_size[size], parameters).rowcount
        return changed


FIND_HEADS: Final = load("find_heads")
LAST_NUMBER: Final = load("last_number")
FIND_DELIVERED: Final = load("find_delivered")
TAKE_WRITE_LOCK: Final = load("take_write_lock")
INSERT_HEADS: Final = RowsStatement("insert_heads")
INSERT_EVENTS: Final = RowsStatement("insert_events")
ADVANCE_HEADS: Final = RowsStatement("advance_heads")
MOVE_HEADS: Final = RowsStatement("move_heads")
DELETE_CONSUMED: Final = load("delete_consumed")
CLOSE_INBOXES: Final = load("close_inboxes")
INSERT_MESSAGES: Final = RowsStatement("insert_messages")
INSERT_MESSAGE_KEYS: Final = RowsStatement("insert_message_keys")
WRITE_VALUES: Final = RowsStatement("write_values")
APPEND_TO_STREAMS: Final = RowsStatement("append_to_streams")
OPEN_WAITS: Final = RowsStatement("open_waits")
CLOSE_WAITS: Final = load("close_waits")
DROP_ATTRIBUTES: Final = load("drop_attributes")
INSERT_ATTRIBUTES: Final = RowsStatement("insert_attributes")
FIND_RUNNABLE: Final = load("find_runnable")
FIND_UNHELD: Final = load("find_unheld")
TAKE_HEADS: Final = RowsStatement("take_heads")
READ_HEADS: Final = load("read_heads")
READ_HISTORIES: Final = load("read_histories")
READ_INBOXES: Final = load("read_inboxes")
NEXT_DUE: Final = load("next_due")
READ_HISTORY: Final = load("read_history")
LIST_WORKFLOWS: Final = both_ways(load("list_workflows"))
FIND_BY_ATTRIBUTE: Final = both_ways(load("find_by_attribute"))
COUNT_WORKFLOWS: Final = load("count_workflows")
COUNT_VALUES: Final = load("count_values")
LIST_ATTRIBUTES: Final = load("list_attributes")
UNREAD: Final = load("unread")
LIST_WAITS: Final = load("list_waits")
KEEP_SECRET: Final = load("keep_secret")
FIND_SECRET: Final = load("find_secret")
LIST_VALUES: Final = load("list_values")
FIND_VALUES: Final = load("find_values")
LIST_STREAMS: Final = load("list_streams")
READ_STREAMS: Final = load("read_streams")
FIND_KEEPERS: Final = load("find_keepers")
LEAVE_QUEUES: Final = load("leave_queues")
TAKE_KEYS: Final = load("take_keys")
STAND_IN_QUEUES: Final = load("stand_in_queues")
PUT_INTO_QUEUES: Final = RowsStatement("put_into_queues")
LIST_QUEUES: Final = load("list_queues")
WRITE_QUEUE: Final = load("write_queue")
DELETE_QUEUE: Final = load("delete_queue")
COUNT_QUEUES: Final = load("count_queues")
FIND_PLACES: Final = load("find_places")
FIND_PLACE: Final = load("find_place")
LOOK_AT_QUEUES: Final = load("look_at_queues")
BECOME_DUE: Final = load("become_due")
MEASURE_QUEUE: Final = load("measure_queue")
MEASURE_PARTITION: Final = load("measure_partition")
FIND_TURNS: Final = load("find_turns")
FIND_ADMISSIBLE: Final = load("find_admissible")
ADMIT_HEADS: Final = RowsStatement("admit_heads")
ADMIT_PLACES: Final = load("admit_places")
SERVE_PARTITION: Final = load("serve_partition")
INSERT_STARTS: Final = load("insert_starts")
FORGET_STARTS: Final = load("forget_starts")
FIND_SLOTS: Final = load("find_slots")
INSERT_SLOTS: Final = load("insert_slots")
FREE_SLOTS: Final = load("free_slots")
FREE_ALL_SLOTS: Final = load("free_all_slots")
COPY_EVENTS: Final = load("copy_events")
COPY_STREAMS: Final = load("copy_streams")
BEGIN_FORK: Final = load("begin_fork")
READ_TYPES: Final = load("read_types")
LIST_SCHEDULES: Final = load("list_schedules")
DUE_SCHEDULES: Final = load("due_schedules")
NEXT_SCHEDULE_DUE: Final = load("next_schedule_due")
PUT_SCHEDULES: Final = RowsStatement("put_schedules")
DELETE_SCHEDULES: Final = load("delete_schedules")
FIND_REMOVABLE: Final = load("find_removable")
HOLD_WORKFLOWS: Final = load("hold_workflows")
RELEASE_WORKFLOWS: Final = load("release_workflows")
LIST_HOLDS: Final = load("list_holds")
PUT_HOLD: Final = load("put_hold")
INSERT_AUDIT: Final = load("insert_audit")
LIST_AUDIT: Final = load("list_audit")
DROP_AUDIT: Final = load("drop_audit")
TAKE_TURN: Final = load("take_turn")
ROWS_AFTER: Final = load("rows_after")
ROWS_OF: Final = load("rows_of")
ROWS_OF_HEADS: Final = load("rows_of_heads")
ROWS_OF_EVENTS: Final = load("rows_of_events")
ROWS_OF_INBOXES: Final = load("rows_of_inboxes")
ROWS_OF_KEYS: Final = load("rows_of_keys")
ROWS_OF_VALUES: Final = load("rows_of_values")
ROWS_OF_ATTRIBUTES: Final = load("rows_of_attributes")
ROWS_OF_WAITS: Final = load("rows_of_waits")
ROWS_OF_STREAMS: Final = load("rows_of_streams")
ROWS_OF_PLACES: Final = load("rows_of_places")
ROWS_OF_QUEUES: Final = load("rows_of_queues")
ROWS_OF_STARTS: Final = load("rows_of_starts")
ROWS_OF_SCHEDULES: Final = load("rows_of_schedules")
PUT_QUEUE: Final = load("put_queue")
PUT_STARTS: Final = load("put_starts")
DROP_STARTS: Final = load("drop_starts")
REPLACE_SECRET: Final = load("replace_secret")
STRAY_ROWS: Final = load("stray_rows")
FIND_MOVE: Final = load("find_move")
NOTE_MOVE: Final = load("note_move")
FORGET_MOVE: Final = load("forget_move")
LIST_TRIGGERS: Final = load("list_triggers")
PUT_HEADS: Final = RowsStatement("put_heads")
PUT_MESSAGES: Final = RowsStatement("put_messages")
PUT_PLACES: Final = RowsStatement("put_places")
REGISTER_WORKER: Final = load("register_worker")
RENEW_WORKER: Final = load("renew_worker")
LIST_WORKERS: Final = load("list_workers")
DELETE_WORKFLOWS: Final = tuple(
    load(name)
    for name in (
        "delete_events",
        "delete_inboxes",
        "delete_message_keys",
        "delete_values",
        "delete_streams",
        "delete_waits",
        "delete_attributes",
        "delete_heads",
    )
)
DELETE_WORKER: Final = load("delete_worker")
FREE_HEADS: Final = load("free_heads")

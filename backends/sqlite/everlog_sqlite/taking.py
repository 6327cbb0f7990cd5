"""Reading histories, and what was just taken: heads, histories and inboxes, in the transaction that took them."""

from __future__ import annotations

from collections.abc import Sequence

from everlog.errors import CorruptLog
from everlog.store import Claimed, EventRow, InboxRow
from everlog_sqlite import records
from everlog_sqlite import statements as sql
from everlog_sqlite.connection import Connection
from everlog_sqlite.records import HeadRecord, array


def read_history(connection: Connection, workflow_id: str, *, after: int, limit: int | None) -> Sequence[EventRow]:
    """Give the events with seq > `after` in order; empty for an unknown id."""
    question = {"workflow_id": workflow_id, "after": after, "limit": -1 if limit is None else limit}
    for history in records.histories(connection.rows(sql.READ_HISTORY, question)).values():
        if not records.is_dense(history, after=after):
            raise CorruptLog(
                f"{connection.name}: the history of workflow {workflow_id!r} has a gap after seq {after}:"
                f" found {[event.seq for event in history][:20]}; restore a backup"
            )
        return history
    return []


def read_taken(
    connection: Connection, numbers: Sequence[int], max_bytes: int
) -> tuple[Sequence[HeadRecord], list[Claimed]]:
    """Read these workflows, in order: their heads, and what a claim gives of them."""
    found = records.heads(connection.value(sql.READ_HEADS, {"numbers": array(numbers)}))
    by_number = {head.number: head for head in found}
    heads = [by_number[number] for number in numbers]
    whole = {"numbers": array(_that_fit(heads, max_bytes))}
    histories = records.histories(connection.rows(sql.READ_HISTORIES, whole))
    inbox = records.messages(connection.rows(sql.READ_INBOXES, {"numbers": array(numbers)}))
    unread: dict[str, list[InboxRow]] = {}
    for row in inbox:
        unread.setdefault(row.destination, []).append(row)
    claimed = [
        Claimed(
            head=head.head(),
            history=records.whole(head, histories.get(head.number, [])),
            inbox=unread.get(head.workflow_id, []),
        )
        for head in heads
    ]
    return heads, claimed


def _that_fit(heads: Sequence[HeadRecord], max_bytes: int) -> list[int]:
    """Choose the histories that are given at once: always the first, then all for which there is room left."""
    numbers: list[int] = []
    for head in heads:
        if not numbers or head.bytes <= max_bytes:
            numbers.append(head.number)
            max_bytes -= head.bytes
    return numbers

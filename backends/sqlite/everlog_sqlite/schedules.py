"""The table of schedules: what of `everlog.store_schedules` is done on it. How workflows are created is not known here.

The whole file is locked while a schedule is written, so the revision that was looked at is the one that is replaced.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from everlog.store import Batch, Done, NewWorkflow, Refused, check_batch
from everlog.store_schedules import DueSchedules, ScheduleRow, ScheduleWrite
from everlog_sqlite import statements as sql
from everlog_sqlite.connection import Connection
from everlog_sqlite.planning import DONE
from everlog_sqlite.records import array, read_json

_REFUSED: Final = Refused()
_schedules: Final = msgspec.json.Decoder(list[tuple[str, str, str, int | None, str]])


class ScheduleTable:
    """A store's schedules. The store that inherits from it says how workflows are created."""

    _connection: Connection

    def _create_within(self, creates: Sequence[NewWorkflow]) -> None:
        """Create those of some workflows that are not there, within the transaction that is open."""
        raise NotImplementedError

    def schedules(
        self, names: Sequence[str] | None = None, *, after: str | None = None, limit: int = 100
    ) -> Sequence[ScheduleRow]:
        """Give one page of schedules in order of their names."""
        question = {"names": None if names is None else array(names), "after": after or "", "limit": limit}
        return sorted(_rows(self._connection.value(sql.LIST_SCHEDULES, question)), key=_name)

    def due_schedules(self, workflows: Sequence[str], *, now: int, limit: int) -> DueSchedules:
        """Give schedules of these workflows that are due, longest due first, and when the next is."""
        question = {"workflows": array(workflows), "now": now}
        with self._connection.using:
            rows = _rows(self._connection.value(sql.DUE_SCHEDULES, {**question, "limit": limit}))
            next_due = self._connection.value(sql.NEXT_SCHEDULE_DUE, question)
        return DueSchedules(rows=sorted(rows, key=_due), next_due=next_due)

    def write_schedules(self, writes: Sequence[ScheduleWrite]) -> Sequence[Done | Refused]:
        """Write those whose revision is still there, with what they create."""
        creates = [new for write in writes for new in write.creates]
        check_batch(Batch(creates=creates))
        connection = self._connection
        with connection.transaction:
            names = array([write.name for write in writes])
            question = {"names": names, "after": "", "limit": len(writes)}
            found = {row.name: row.revision for row in _rows(connection.value(sql.LIST_SCHEDULES, question))}
            good = [write for write in writes if found.get(write.name) == write.revision]
            rows = [write.row for write in good if write.row is not None]
            if rows:
                sql.PUT_SCHEDULES.run(connection, [_values(row) for row in rows])
            gone = [write.name for write in good if write.row is None]
            if gone:
                connection.execute(sql.DELETE_SCHEDULES, {"names": array(gone)})
            created = [new for write in good for new in write.creates]
            if created:
                self._create_within(created)
        done = {write.name for write in good}
        return [DONE if write.name in done else _REFUSED for write in writes]


def _rows(text: str) -> list[ScheduleRow]:
    return [
        ScheduleRow(name=name, revision=revision, workflow=workflow, due_at=due_at, payload=payload.encode())
        for name, revision, workflow, due_at, payload in read_json(_schedules, text)
    ]


def _values(row: ScheduleRow) -> tuple[object, ...]:
    return row.name, row.revision, row.workflow, row.due_at, row.payload.decode()


def _name(row: ScheduleRow) -> str:
    return row.name


def _due(row: ScheduleRow) -> tuple[int, str]:
    return row.due_at or 0, row.name

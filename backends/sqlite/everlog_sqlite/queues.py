"""Queues on SQLite: what is declared of them, and who stands there. Who is admitted is found by `admissions`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from msgspec.structs import replace

from everlog.store import Place, PlaceRow, QueueCounts, QueueLimits, QueueRow
from everlog_sqlite import queue_records as records
from everlog_sqlite import statements as sql
from everlog_sqlite.connection import Connection
from everlog_sqlite.queue_records import Keeper
from everlog_sqlite.records import array

_FOREVER: Final = 2**62


class Queues:
    """The queues in the file of a connection."""

    def __init__(self, connection: Connection, now: Callable[[], int]) -> None:
        self._connection: Final = connection
        self._now: Final = now

    def declare(self, declared: Sequence[tuple[str, QueueLimits]]) -> None:
        """Create queues, or change those whose declaration differs; nothing is written where none does."""
        if self._changed_by(declared):
            with self._connection.transaction:
                for row in self._changed_by(declared):
                    self._write(row)

    def _changed_by(self, declared: Sequence[tuple[str, QueueLimits]]) -> Sequence[QueueRow]:
        rows = {row.name: row for row in self.rows()}
        changed: dict[str, QueueRow] = {}
        for name, limits in declared:
            row = changed.get(name) or rows.get(name) or QueueRow(name=name)
            if row.declared != limits:
                changed[name] = replace(row, limits=limits, declared=limits)
        return list(changed.values())

    def change(self, name: str, limits: QueueLimits | None, paused: bool | None) -> bool:
        """Change what is given of a queue; False if there is none of that name."""
        with self._connection.transaction:
            row = next((row for row in self.rows() if row.name == name), None)
            if row is None:
                return False
            row = row if limits is None else replace(row, limits=limits)
            self._write(row if paused is None else replace(row, paused=paused))
        return True

    def _write(self, row: QueueRow) -> None:
        written = {
            "name": row.name,
            "limits": records.encode(row.limits),
            "declared": records.encode(row.declared),
            "paused": row.paused,
        }
        self._connection.execute(sql.WRITE_QUEUE, written)

    def delete(self, name: str) -> bool:
        """Remove a queue that is not used, and what is remembered of it; False, and nothing done, otherwise."""
        connection = self._connection
        with connection.transaction:
            if connection.execute(sql.DELETE_QUEUE, {"name": name}).rowcount == 0:
                return False
            connection.execute(sql.FORGET_STARTS, {"queue": name, "before": _FOREVER})
        return True

    def rows(self) -> Sequence[QueueRow]:
        """Give all queues, in order of their names."""
        return records.queues(self._connection.value(sql.LIST_QUEUES))

    def count(self, names: Sequence[str]) -> Sequence[QueueCounts]:
        """Count what is in queues."""
        question = {"names": array(names), "now": self._now()}
        return records.counts(self._connection.value(sql.COUNT_QUEUES, question))

    def places(self, workflow_ids: Sequence[str]) -> Sequence[PlaceRow | None]:
        """Give the places of workflows, None where there is none."""
        found = records.places(self._connection.value(sql.FIND_PLACES, {"workflow_ids": array(workflow_ids)}))
        by_id = {place.workflow_id: place for place in found}
        return [by_id.get(workflow_id) for workflow_id in workflow_ids]

    def find_keepers(self, wanted: Iterable[Place | None]) -> Sequence[Keeper]:
        """Give who has the keys of these places; nobody is asked where none has one."""
        keys = {(place.queue, place.dedup_key) for place in wanted if place is not None and place.dedup_key is not None}
        return records.keepers(self._connection.value(sql.FIND_KEEPERS, {"keys": array(keys)})) if keys else []

    def find_place(self, queue: str, dedup_key: str) -> PlaceRow | None:
        """Give the workflow of a queue that has a key."""
        found = records.places(self._connection.value(sql.FIND_PLACE, {"queue": queue, "dedup_key": dedup_key}))
        return found[0] if found else None

"""Queues on Postgres: what is declared of them, and who stands there. Who is admitted is found by `admissions`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from msgspec.structs import replace

from everlog.store import PlaceRow, QueueCounts, QueueLimits, QueueRow
from everlog_postgres import queue_records as records
from everlog_postgres.arrays import texts
from everlog_postgres.connection import Connection, Question
from everlog_postgres.statements import QueueStatements


class Queues:
    """The queues in the schema of a connection."""

    def __init__(self, connection: Connection, sql: QueueStatements, now: Callable[[], int]) -> None:
        self._connection: Final = connection
        self._sql: Final = sql
        self._now: Final = now

    def declare(self, declared: Sequence[tuple[str, QueueLimits]]) -> bool:
        """Create queues, or change those whose declaration differs; False, and nothing written, where none does."""
        changed = self._changed_by(declared)
        if changed:
            self._connection.write(
                *(
                    Question(self._sql.declare_queue, {"name": row.name, "limits": records.encode(row.limits)})
                    for row in changed
                )
            )
        return bool(changed)

    def _changed_by(self, declared: Sequence[tuple[str, QueueLimits]]) -> Sequence[QueueRow]:
        rows = {row.name: row for row in self.rows()}
        changed: dict[str, QueueRow] = {}
        for name, limits in declared:
            row = changed.get(name) or rows.get(name) or QueueRow(name=name)
            if row.declared != limits:
                changed[name] = replace(row, limits=limits, declared=limits)
        return [changed[name] for name in sorted(changed)]  # in one order for all, so that nobody waits in a circle

    def change(self, name: str, limits: QueueLimits | None, paused: bool | None) -> bool:
        """Change what is given of a queue; False if there is none of that name."""
        change = {"name": name, "limits": None if limits is None else records.encode(limits), "paused": paused}
        return bool(self._connection.write(Question(self._sql.change_queue, change))[0])

    def delete(self, name: str) -> bool:
        """Remove a queue that is not used, and what is remembered of it; False, and nothing done, otherwise.

        Whether it is used is asked in a statement after the one that holds it: so what others took before is seen.
        """
        named = {"name": name}
        hold, delete = Question(self._sql.hold_queue, named), Question(self._sql.delete_queue, named)
        return bool(self._connection.write(hold, delete)[1])

    def rows(self) -> Sequence[QueueRow]:
        """Give all queues, in order of their names."""
        return records.queues(self._connection.ask(Question(self._sql.list_queues))[0])

    def count(self, names: Sequence[str]) -> Sequence[QueueCounts]:
        """Count what is in queues."""
        question = {"names": texts(names), "now": self._now()}
        return records.counts(self._connection.ask(Question(self._sql.count_queues, question))[0])

    def places(self, workflow_ids: Sequence[str]) -> Sequence[PlaceRow | None]:
        """Give the places of workflows, None where there is none."""
        question = Question(self._sql.find_places, {"workflow_ids": texts(workflow_ids)})
        by_id = {place.workflow_id: place for place in records.places(self._connection.ask(question)[0])}
        return [by_id.get(workflow_id) for workflow_id in workflow_ids]

    def find_place(self, queue: str, dedup_key: str) -> PlaceRow | None:
        """Give the workflow of a queue that has a key."""
        question = Question(self._sql.find_place, {"queue": queue, "dedup_key": dedup_key})
        found = records.places(self._connection.ask(question)[0])
        return found[0] if found else None

"""The table of schedules: what of `everlog.store_schedules` is done on it. How workflows are created is not known here.

A schedule is locked before its revision is looked at, so that is the one that is replaced. Where the tables are
distributed this one lies on the coordinator, and a tick and its workflow are one transaction all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from everlog.errors import StoreUnavailable
from everlog.store import Batch, Done, NewWorkflow, Refused, check_batch
from everlog.store_schedules import DueSchedules, ScheduleRow, ScheduleWrite
from everlog_postgres.arrays import bigints, encoded_texts, texts
from everlog_postgres.commits import batch_question
from everlog_postgres.connection import Ask, Connection, Question, Rows
from everlog_postgres.distributed import Distributed
from everlog_postgres.segments import segments
from everlog_postgres.statements import Statements

_DONE: Final = Done()
_REFUSED: Final = Refused()
_PATIENTLY: Final = 0.5
"""Seconds for which the lock of a schedule is waited for."""


class ScheduleTable:
    """A store's schedules. The store that inherits from it has the connection."""

    _connection: Connection
    _sql: Statements
    _distributed: Distributed | None

    def now(self) -> int:
        """Give the time of the store's clock."""
        raise NotImplementedError

    def _wrote(self) -> None:
        raise NotImplementedError

    def schedules(
        self, names: Sequence[str] | None = None, *, after: str | None = None, limit: int = 100
    ) -> Sequence[ScheduleRow]:
        """Give one page of schedules in order of their names."""
        question = {"names": None if names is None else texts(names), "after": after or "", "limit": limit}
        return _schedules(self._connection.ask(Question(self._sql.list_schedules, question))[0])

    def due_schedules(self, workflows: Sequence[str], *, now: int, limit: int) -> DueSchedules:
        """Give schedules of these workflows that are due, longest due first, and when the next is."""
        question: dict[str, object] = {"workflows": texts(sorted(set(workflows))), "now": now}
        due, ((next_due,),) = self._connection.ask(
            Question(self._sql.due_schedules, {**question, "limit": limit}),
            Question(self._sql.next_schedule_due, question),
        )
        return DueSchedules(rows=_schedules(due), next_due=next_due)

    def write_schedules(self, writes: Sequence[ScheduleWrite]) -> Sequence[Done | Refused]:
        """Write those whose revision is still there, with what they create."""
        check_batch(Batch(creates=[new for write in writes for new in write.creates]))

        def write_all(ask: Ask) -> tuple[set[str], bool]:
            done = self._replace(ask, writes)
            self._create(ask, [new for write in writes if write.name in done for new in write.creates])
            return done, bool(done)

        done = self._connection.transacts_or_is_locked(write_all, patience=_PATIENTLY, note=self._sql.note)
        if done is None:
            raise StoreUnavailable(
                f"{self._connection.name}: another transaction, idle perhaps, has locked a schedule or created the"
                " workflow of its tick, and has not ended; nothing was written, end it or try again"
            )
        if done:
            self._wrote()
        return [_DONE if write.name in done else _REFUSED for write in writes]

    def _replace(self, ask: Ask, writes: Sequence[ScheduleWrite]) -> set[str]:
        """Write the rows whose revisions are still there, and give their names."""
        names = texts(sorted(write.name for write in writes))
        found: dict[str, str] = dict(ask(Question(self._sql.lock_schedules, {"names": names}))[0])
        good = [write for write in writes if found.get(write.name) == write.revision]
        new = [write.row for write in good if write.row is not None and write.revision is None]
        changed = [write.row for write in good if write.row is not None and write.revision is not None]
        gone = [write.name for write in good if write.row is None]
        done = {write.name for write in good}
        if new:
            inserted = ask(Question(self._sql.insert_schedules, _columns(new)))[0]
            done -= {row.name for row in new} - {name for (name,) in inserted}
        if changed:
            ask(Question(self._sql.update_schedules, _columns(changed)))
        if gone:
            ask(Question(self._sql.delete_schedules, {"names": texts(gone)}))
        return done

    def _create(self, ask: Ask, creates: Sequence[NewWorkflow]) -> None:
        """Create those that are not there."""
        for segment in segments(Batch(creates=creates)):
            if self._distributed is not None:
                self._distributed.write_within(ask, segment, self.now())
            else:
                ask(batch_question(self._sql, segment, {}, self.now()))


def _columns(rows: Sequence[ScheduleRow]) -> dict[str, object]:
    return {
        "names": texts([row.name for row in rows]),
        "revisions": texts([row.revision for row in rows]),
        "workflows": texts([row.workflow for row in rows]),
        "due_ats": bigints([row.due_at for row in rows]),
        "payloads": encoded_texts([row.payload for row in rows]),
    }


def _schedules(rows: Rows) -> list[ScheduleRow]:
    return [
        ScheduleRow(name=name, revision=revision, workflow=workflow, due_at=due_at, payload=payload.encode())
        for name, revision, workflow, due_at, payload in rows
    ]

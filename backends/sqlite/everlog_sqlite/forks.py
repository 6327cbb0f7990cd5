"""Forks: what of `everlog.store_forks` is done on the tables. How workflows are created is not known here.

The whole file is locked while a fork is made, so the source that was looked at is the one that is copied.
"""

from __future__ import annotations

from collections.abc import Sequence

from everlog.store import ChildExists, EventRow, Exists, InboxRow, NewWorkflow, Refused
from everlog.store_forks import Fork, ForkOutcome, check_fork
from everlog_sqlite import records
from everlog_sqlite import statements as sql
from everlog_sqlite.connection import Connection
from everlog_sqlite.planning import DONE, Row
from everlog_sqlite.records import HeadRecord, array


class ForkTable:
    """A store's forks. The store that inherits from it says how workflows are created."""

    _connection: Connection

    def _create_within(self, creates: Sequence[NewWorkflow]) -> None:
        """Create those of some workflows that are not there, within the transaction that is open."""
        raise NotImplementedError

    def fork(self, fork: Fork) -> ForkOutcome:
        """Create a workflow with the first rows of another, in one transaction and so many statements."""
        check_fork(fork)
        ids = [fork.new.workflow_id, *(new.workflow_id for new in fork.creates), fork.source]
        with self._connection.transaction:
            heads = self._heads_by_id(ids)
            for index, workflow_id in enumerate(ids[:-1]):
                found = heads.get(workflow_id)
                if found is not None:
                    return Exists(head=found.head()) if index == 0 else ChildExists(index=index - 1, head=found.head())
            source = heads.get(fork.source)
            if source is None or source.seq < fork.until:
                return Refused()
            self._create_within([fork.new, *fork.creates])
            self._fill(fork, source.number, self._heads_by_id([fork.new.workflow_id])[fork.new.workflow_id].number)
        return DONE

    def _fill(self, fork: Fork, source: int, number: int) -> None:
        connection, between = self._connection, {"source": source, "number": number}
        own = array(event.seq for event in fork.new.events)
        connection.execute(sql.COPY_EVENTS, {**between, "until": fork.until, "own": own})
        bounds = array(fork.stream_bounds)
        connection.execute(sql.COPY_STREAMS, {**between, "until": fork.streams_until, "bounds": bounds})
        if fork.inbox:
            sql.INSERT_MESSAGES.run(connection, [_message(number, row) for row in fork.inbox])
        if fork.values:
            sql.WRITE_VALUES.run(
                connection,
                [(number, row.name, row.seq, row.recorded_at, row.payload.decode()) for row in fork.values],
            )
        last = fork.new.events[-1].seq
        connection.execute(sql.BEGIN_FORK, {"number": number, "seq": last, "first_seq": fork.first_seq})

    def _heads_by_id(self, workflow_ids: Sequence[str]) -> dict[str, HeadRecord]:
        found = records.heads(self._connection.value(sql.FIND_HEADS, {"workflow_ids": array(workflow_ids)}))
        return {head.workflow_id: head for head in found}

    def read_types(
        self, workflow_id: str, types: Sequence[str], *, after: int = 0, until: int | None = None
    ) -> Sequence[EventRow]:
        """Give the events of these types with seq > `after`, and <= `until` where that is given, in order."""
        question = {"workflow_id": workflow_id, "types": array(types), "after": after, "until": until}
        found = records.histories(self._connection.rows(sql.READ_TYPES, question))
        return [event for history in found.values() for event in history]


def _message(number: int, row: InboxRow) -> Row:
    return number, row.source, row.number, row.topic, row.control, row.payload.decode(), row.arrived_at

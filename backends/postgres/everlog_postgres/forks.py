"""Forks: what of `everlog.store_forks` is done on the tables. How workflows are created is not known here.

It is one transaction of several statements, of which an early one creates the head: who comes second with the same id
waits for its end, and is told that the workflow is there. The source is not locked; one that is deleted meanwhile is
noticed by the number of rows that came.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from everlog.errors import StoreUnavailable
from everlog.store import Batch, ChildExists, Done, EventRow, Exists, Head, InboxRow, NewWorkflow, Refused, ValueRow
from everlog.store_forks import Fork, ForkOutcome, check_fork
from everlog_postgres import records
from everlog_postgres.arrays import bigints, bools, encoded_texts, texts
from everlog_postgres.commits import batch_question
from everlog_postgres.connection import Ask, Connection, Question
from everlog_postgres.distributed import Distributed
from everlog_postgres.segments import segments
from everlog_postgres.statements import Statements

_DONE: Final = Done()
_REFUSED: Final = Refused()
_PATIENTLY: Final = 0.5
"""Seconds for which the lock of a workflow of the same id is waited for."""


class ForkTable:
    """A store's forks. The store that inherits from it has the connection."""

    _connection: Connection
    _sql: Statements
    _distributed: Distributed | None

    def now(self) -> int:
        """Give the time of the store's clock."""
        raise NotImplementedError

    def _wrote(self) -> None:
        raise NotImplementedError

    def fork(self, fork: Fork) -> ForkOutcome:
        """Create a workflow with the first rows of another, in one transaction and so many statements."""
        check_fork(fork)
        if self._distributed is not None and any(new.place is not None for new in (fork.new, *fork.creates)):
            self._distributed.refuse_queues()

        def write(ask: Ask) -> tuple[ForkOutcome, bool]:
            outcome = self._write_fork(ask, fork)
            return outcome, isinstance(outcome, Done)

        outcome = self._connection.transacts_or_is_locked(write, patience=_PATIENTLY, note=self._sql.note)
        if outcome is None:
            raise StoreUnavailable(
                f"{self._connection.name}: another transaction, idle perhaps, is creating workflow"
                f" {fork.new.workflow_id!r} and has not ended; nothing was written, end it or try again"
            )
        if isinstance(outcome, Done):
            self._wrote()
        return outcome

    def _write_fork(self, ask: Ask, fork: Fork) -> ForkOutcome:
        new = fork.new
        ids = [new.workflow_id, *(one.workflow_id for one in fork.creates), fork.source]
        heads = self._heads_by_id(ask, ids)
        for index, workflow_id in enumerate(ids[:-1]):
            if workflow_id in heads:
                head = heads[workflow_id]
                return Exists(head=head) if index == 0 else ChildExists(index=index - 1, head=head)
        source = heads.get(fork.source)
        if source is None or source.seq < fork.until:
            return _REFUSED
        if not self._is_created(ask, [new]):
            return Exists(head=self._heads_by_id(ask, [new.workflow_id])[new.workflow_id])
        if not self._is_created(ask, fork.creates):
            raise StoreUnavailable(
                f"{self._connection.name}: another transaction has just created a child of {new.workflow_id!r};"
                " nothing was written, try again"
            )
        self._fill(ask, fork)
        return _DONE

    def _fill(self, ask: Ask, fork: Fork) -> None:
        sql, workflow_id = self._sql.forks, fork.new.workflow_id
        between = {"workflow_id": workflow_id, "source": fork.source}
        own = bigints([event.seq for event in fork.new.events])
        streams = {
            "until": fork.streams_until,
            "streams": texts([stream for stream, _ in fork.stream_bounds]),
            "bounds": bigints([bound for _, bound in fork.stream_bounds]),
        }
        questions = [
            Question(sql.copy_events, {**between, "until": fork.until, "own": own}),
            Question(sql.copy_streams, {**between, **streams}),
        ]
        if fork.inbox:
            questions.append(Question(sql.fill_inbox, _messages(workflow_id, fork.inbox)))
        if fork.values:
            questions.append(Question(sql.set_values, _values(workflow_id, fork.values)))
        last, about = fork.new.events[-1].seq, {"workflow_id": workflow_id, "first_seq": fork.first_seq}
        questions.append(Question(sql.measure_fork, about))
        ((count, size),) = ask(*questions)[-1]
        if count != last:
            raise StoreUnavailable(
                f"{self._connection.name}: workflow {fork.source!r} was deleted while it was copied; nothing was"
                " written"
            )
        ask(Question(sql.begin_fork, {**about, "seq": last, "size": size}))

    def _is_created(self, ask: Ask, creates: Sequence[NewWorkflow]) -> bool:
        """Create workflows; False if one of them was there."""
        for segment in segments(Batch(creates=creates)):
            if self._distributed is not None:
                rows = self._distributed.write_within(ask, segment, self.now())
            else:
                rows = ask(batch_question(self._sql, segment, {}, self.now()))[0]
            if rows:
                return False
        return True

    def _heads_by_id(self, ask: Ask, workflow_ids: Sequence[str]) -> dict[str, Head]:
        rows = ask(Question(self._sql.find_heads, {"workflow_ids": texts(workflow_ids)}))[0]
        return {head.workflow_id: head for head in map(records.head, rows)}

    def read_types(
        self, workflow_id: str, types: Sequence[str], *, after: int = 0, until: int | None = None
    ) -> Sequence[EventRow]:
        """Give the events of these types with seq > `after`, and <= `until` where that is given, in order."""
        question = {"workflow_id": workflow_id, "types": texts(types), "after": after, "until": until}
        rows = self._connection.ask(Question(self._sql.forks.read_types, question))[0]
        return records.histories(rows).get(workflow_id, [])


def _messages(workflow_id: str, rows: Sequence[InboxRow]) -> dict[str, object]:
    return {
        "workflow_id": workflow_id,
        "sources": texts([row.source for row in rows]),
        "numbers": bigints([row.number for row in rows]),
        "message_topics": texts([row.topic for row in rows]),
        "controls": bools([row.control for row in rows]),
        "message_payloads": encoded_texts([row.payload for row in rows]),
        "arrivals": bigints([row.arrived_at for row in rows]),
    }


def _values(workflow_id: str, rows: Sequence[ValueRow]) -> dict[str, object]:
    return {
        "value_ids": texts([workflow_id] * len(rows)),
        "value_names": texts([row.name for row in rows]),
        "value_seqs": bigints([row.seq for row in rows]),
        "value_times": bigints([row.recorded_at for row in rows]),
        "value_payloads": encoded_texts([row.payload for row in rows]),
    }

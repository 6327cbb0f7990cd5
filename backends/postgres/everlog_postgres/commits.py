"""Writing batches where the tables lie on one server: a segment is one statement, a batch one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from everlog.store import Commit
from everlog_postgres import queue_records, records
from everlog_postgres.arrays import bigints, texts
from everlog_postgres.attributes import attribute_columns
from everlog_postgres.connection import Asking, Connection, Question, Rows, answered
from everlog_postgres.deduplicating import NOTHING_DECIDED, Decided, Duplicates
from everlog_postgres.segments import Delivered, Segment, repeats_itself, repetitions
from everlog_postgres.statements import Statements

_PATIENCE: Final = 0.5


class Written(NamedTuple):
    """A segment as it was written, the rows that `commit_batch` gave, and what was decided of parts left out of it."""

    segment: Segment
    rows: Rows
    decided: Decided = NOTHING_DECIDED


def batch_question(sql: Statements, segment: Segment, repeated: Mapping[str, set[int]], now: int) -> Question:
    """Give the statement that writes a segment, whatever is in it."""
    parameters = records.batch(segment, repeated, now=now)
    if segment.has_attributes():
        parameters |= attribute_columns(segment.born(), segment.commits)
        return Question(sql.commit_batch_with_attributes, parameters, sql.prepared_commit_batch_with_attributes)
    return Question(sql.commit_batch, parameters, sql.prepared_commit_batch)


class Commits:
    """Writes through the connection of a store."""

    def __init__(self, connection: Connection, sql: Statements) -> None:
        self._connection: Final = connection
        self._sql: Final = sql

    def is_advanced(self, commit: Commit) -> bool:
        """Write the usual commit; False where nothing was written, and it is to be found out why."""
        question = Question(self._sql.advance_head, records.advance_one(commit), self._sql.prepared_advance_head)
        answers = self._connection.writes_or_is_locked(question)
        return answers is not None and bool(answers[0])

    def write(self, split: Sequence[Segment], now: int) -> list[Written] | None:
        """Write segments in one round trip; in several where somebody is put into a queue with a key.

        None, and nothing written, where another transaction's lock was in the way.
        """
        repeated = {
            commit.workflow_id: self._find_repetitions(commit)
            for segment in split
            for commit in segment.commits
            if repeats_itself(commit)
        }
        if any(segment.has_keys() for segment in split):
            return self._connection.transacts_or_is_locked(
                lambda ask: ([answered(self.keyed(segment, repeated, now), ask) for segment in split], False),
                patience=_PATIENCE,
                note=b"",
            )
        answers = self._connection.writes_or_is_locked(*[self._question(segment, repeated, now) for segment in split])
        return None if answers is None else list(map(Written, split, answers))

    def keyed(self, segment: Segment, repeated: Mapping[str, set[int]], now: int) -> Asking[Written]:
        """Look who has the keys, and write what is not a duplicate.

        If another takes a key meanwhile, the transaction fails, and is repeated from its beginning.
        """
        keys = sorted(segment.dedup_keys)
        wanted = {"queues": texts([queue for queue, _ in keys]), "keys": texts([key for _, key in keys])}
        found = (yield Question(self._sql.queues.find_keepers, wanted)) if keys else []
        duplicates = Duplicates(segment, queue_records.keepers(found))
        ids = sorted(set(duplicates.ids()))
        rows = (yield Question(self._sql.find_heads, {"workflow_ids": texts(ids)})) if ids else []
        decided = duplicates.decide({head.workflow_id: head for head in map(records.head, rows)})
        rest = duplicates.rest()
        return Written(rest, (yield self._question(rest, repeated, now)) if rest.parts() else [], decided)

    def _question(self, segment: Segment, repeated: Mapping[str, set[int]], now: int) -> Question:
        if segment.runs_on():
            return Question(self._sql.advance_heads, records.advance(segment), self._sql.prepared_advance_heads)
        return batch_question(self._sql, segment, repeated, now)

    def _find_repetitions(self, commit: Commit) -> set[int]:
        messages = commit.messages
        question = {
            "senders": texts([commit.workflow_id] * len(messages)),
            "destinations": texts([message.destination for message in messages]),
            "sources": texts([message.source for message in messages]),
            "numbers": bigints([message.number for message in messages]),
            "keys": texts([message.key for message in messages]),
            "consumed_positions": bigints([records.position_of(row) for row in commit.consumed]),
        }
        delivered = Delivered()
        for place, is_unread, key_is_known in self._connection.ask(Question(self._sql.find_delivered, question))[0]:
            message = messages[int(place) - 1]
            if is_unread:
                delivered.unread.add((message.destination, message.source, message.number))
            if key_is_known:
                delivered.keys.add((message.destination, str(message.key)))
        return repetitions(commit, delivered)

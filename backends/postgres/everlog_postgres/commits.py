"""Writing batches where the tables lie on one server: a segment is one statement, a batch one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from everlog.store import Commit
from everlog_postgres import records
from everlog_postgres.arrays import bigints, texts
from everlog_postgres.attributes import attribute_columns
from everlog_postgres.connection import Connection, Question, Rows
from everlog_postgres.segments import Delivered, Segment, repeats_itself, repetitions
from everlog_postgres.statements import Statements


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

    def write(self, split: Sequence[Segment], now: int) -> list[Rows] | None:
        """Write segments in one round trip, and give for each the rows that `commit_batch` gives.

        None, and nothing written, where another transaction's lock was in the way.
        """
        repeated = {
            commit.workflow_id: self._find_repetitions(commit)
            for segment in split
            for commit in segment.commits
            if repeats_itself(commit)
        }
        return self._connection.writes_or_is_locked(*[self._question(segment, repeated, now) for segment in split])

    def _question(self, segment: Segment, repeated: Mapping[str, set[int]], now: int) -> Question:
        if segment.runs_on():
            return Question(self._sql.advance_heads, records.advance(segment), self._sql.prepared_advance_heads)
        parameters, sql = records.batch(segment, repeated, now=now), self._sql
        if segment.has_attributes():
            parameters |= attribute_columns(segment.born(), segment.commits)
            return Question(sql.commit_batch_with_attributes, parameters, sql.prepared_commit_batch_with_attributes)
        return Question(sql.commit_batch, parameters, sql.prepared_commit_batch)

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

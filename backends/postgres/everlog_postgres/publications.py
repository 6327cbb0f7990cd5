"""Publications: what is read of workflows past their heads and histories, on one server or on several. No SQL.

Values and streams, which they show to others, and what lies unread in their inboxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from everlog.errors import CorruptLog
from everlog.store import (
    FoundValue,
    InboxRow,
    ListedWait,
    State,
    StreamEnd,
    StreamPage,
    StreamQuestion,
    ValueRow,
    WaitQuery,
)
from everlog_postgres import published, records
from everlog_postgres.arrays import bigints, texts
from everlog_postgres.connection import Connection, Question
from everlog_postgres.statements import DistributedStatements, Statements

_SIGNING_KEY: Final = "signing key"


class Publications:
    """Reads values and streams from the tables of one server."""

    def __init__(self, connection: Connection, sql: Statements) -> None:
        self._connection: Final = connection
        self._sql: Final = sql

    def inbox(self, workflow_id: str) -> Sequence[InboxRow]:
        """Give the unread messages of a workflow in order, whoever holds it."""
        question = Question(self._sql.read_inbox, {"workflow_id": workflow_id})
        return records.inbox(self._connection.ask(question)[0])

    def list_waits(self, query: WaitQuery) -> Sequence[ListedWait]:
        """Give one page of waits, the oldest first."""
        question = Question(self._sql.list_waits, published.wait_question(query))
        return published.waits(self._connection.ask(question)[0])

    def signing_key(self, proposed: str) -> str:
        """Give the one key of this database."""
        find = Question(self._sql.find_secret, {"name": _SIGNING_KEY})
        rows = self._connection.ask(find)[0]
        if not rows:
            keep = Question(self._sql.keep_secret, {"name": _SIGNING_KEY, "value": proposed})
            self._connection.write(keep)
            rows = self._connection.ask(find)[0]
        return str(rows[0][0])

    def values(self, workflow_id: str) -> Sequence[ValueRow]:
        """Give the values of a workflow, in order of their names."""
        question = Question(self._sql.list_values, {"workflow_id": workflow_id})
        return published.values(self._connection.ask(question)[0])

    def find_values(self, wanted: Sequence[tuple[str, str]]) -> Sequence[FoundValue]:
        """Give for each (workflow id, name) its value, and the state of the workflow, in one statement."""
        question = {
            "workflow_ids": texts([workflow_id for workflow_id, _ in wanted]),
            "names": texts([name for _, name in wanted]),
        }
        return published.found_values(self._connection.ask(Question(self._sql.find_values, question))[0])

    def streams(self, workflow_id: str) -> Sequence[StreamEnd]:
        """Give the streams of a workflow, in order of their names."""
        question = Question(self._sql.list_streams, {"workflow_id": workflow_id})
        return published.stream_ends(self._connection.ask(question)[0])

    def read_streams(self, questions: Sequence[StreamQuestion], *, limit: int) -> Sequence[StreamPage]:
        """Give for each question up to `limit` rows, and the state of the workflow of the same snapshot."""
        pages = self._pages(questions, limit)
        for question, page in zip(questions, pages, strict=True):
            if not published.is_whole(page.rows, question.start):
                raise CorruptLog(
                    f"{self._connection.name}: stream {question.stream!r} of workflow {question.workflow_id!r} has a"
                    f" gap after place {question.start}; restore a backup"
                )
        return pages

    def _pages(self, questions: Sequence[StreamQuestion], limit: int) -> list[StreamPage]:
        asked = {
            "workflow_ids": texts([one.workflow_id for one in questions]),
            "streams": texts([one.stream for one in questions]),
            "starts": bigints([one.start for one in questions]),
            "limit": limit,
        }
        found = self._connection.ask(Question(self._sql.read_streams, asked))[0]
        return published.stream_pages(found, len(questions))


class DistributedPublications(Publications):
    """Reads values and streams where the tables are distributed: all of one workflow lies on one server."""

    def __init__(self, connection: Connection, sql: Statements) -> None:
        super().__init__(connection, sql)
        self._apart: Final = DistributedStatements(sql.schema)

    def find_values(self, wanted: Sequence[tuple[str, str]]) -> Sequence[FoundValue]:
        """Give for each (workflow id, name) its value, and the state of the workflow, in one statement."""
        question = {
            "workflow_ids": texts(sorted({workflow_id for workflow_id, _ in wanted})),
            "names": texts(sorted({name for _, name in wanted})),
        }
        states: dict[str, State] = {}
        values: dict[tuple[str, str], ValueRow] = {}
        for workflow_id, state, *value in self._connection.ask(Question(self._apart.find_values, question))[0]:
            states[workflow_id] = state
            if value[0] is not None:
                (values[workflow_id, value[0]],) = published.values([tuple(value)])
        return [FoundValue(state=states.get(one[0]), value=values.get(one)) for one in wanted]

    def _pages(self, questions: Sequence[StreamQuestion], limit: int) -> list[StreamPage]:
        if not questions:
            return []
        answers = self._connection.ask(
            *[
                Question(
                    self._apart.read_stream,
                    {"workflow_id": one.workflow_id, "stream": one.stream, "start": one.start, "limit": limit},
                )
                for one in questions
            ]
        )
        found = [(place, *row) for place, rows in enumerate(answers, start=1) for row in rows]
        return published.stream_pages(found, len(questions))


class Readable:
    """A store of which publications can be read."""

    _publications: Publications

    def inbox(self, workflow_id: str) -> Sequence[InboxRow]:
        """Give the unread messages of a workflow in order, whoever holds it."""
        return self._publications.inbox(workflow_id)

    def list_waits(self, query: WaitQuery) -> Sequence[ListedWait]:
        """Give one page of waits, the oldest first."""
        return self._publications.list_waits(query)

    def signing_key(self, proposed: str) -> str:
        """Give the one key of this database."""
        return self._publications.signing_key(proposed)

    def values(self, workflow_id: str) -> Sequence[ValueRow]:
        """Give the values of a workflow, in order of their names."""
        return self._publications.values(workflow_id)

    def find_values(self, wanted: Sequence[tuple[str, str]]) -> Sequence[FoundValue]:
        """Give for each (workflow id, name) its value, and the state of the workflow, in one statement."""
        return self._publications.find_values(wanted)

    def streams(self, workflow_id: str) -> Sequence[StreamEnd]:
        """Give the streams of a workflow, in order of their names."""
        return self._publications.streams(workflow_id)

    def read_streams(self, questions: Sequence[StreamQuestion], *, limit: int) -> Sequence[StreamPage]:
        """Give for each question up to `limit` rows, and the state of the workflow of the same snapshot."""
        return self._publications.read_streams(questions, limit=limit)

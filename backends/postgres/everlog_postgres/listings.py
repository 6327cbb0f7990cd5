"""Which workflows there are: pages of heads, their attributes, and how many fit. No SQL, and it writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from everlog.core.attributes import from_rows
from everlog.core.finding import Sought, after_prefix, bounds, rarest, sought_by
from everlog.store import Attributes, Head, WorkflowCount, WorkflowQuery
from everlog_postgres import records
from everlog_postgres.arrays import texts
from everlog_postgres.connection import Connection, Question
from everlog_postgres.statements import Statements

MOST_COUNTED: Final = 1000
"""Beyond so many of each it makes no difference which attribute is looked by."""


class Listings:
    """Reads heads and attributes."""

    def __init__(self, connection: Connection, sql: Statements) -> None:
        self._connection: Final = connection
        self._sql: Final = sql

    def page(self, query: WorkflowQuery, *, distributed: bool) -> list[Head]:
        """Give one page of heads. Where the tables are distributed, no server can be asked for some of each value."""
        sought = sought_by(query)
        if sought is None:
            return []
        asked: dict[str, object] = {**_conditions(query, sought), "limit": query.limit}
        statement = self._sql.list_workflows[query.newest_first]
        if sought.there and not distributed:
            name = self._first(sought)
            asked |= {"name": name, "values": texts(sought.there[name]), **_others(sought, without=name)}
            statement = self._sql.find_by_attribute[query.newest_first]
        else:
            asked |= _others(sought)
        return [records.head(row) for row in self._connection.ask(Question(statement, asked))[0]]

    def attributes(self, workflow_ids: Sequence[str]) -> list[Attributes]:
        """Give the attributes of each id, in order of their names."""
        found: dict[str, list[tuple[str, int, str]]] = {}
        question = Question(self._sql.list_attributes, {"workflow_ids": texts(sorted(set(workflow_ids)))})
        for workflow_id, *row in self._connection.ask(question)[0]:
            found.setdefault(workflow_id, []).append((row[0], row[1], row[2]))
        return [from_rows(found.get(workflow_id, ())) for workflow_id in workflow_ids]

    def counts(self, query: WorkflowQuery) -> list[WorkflowCount]:
        """Count all that fit, in order of name and state."""
        sought = sought_by(query)
        if sought is None:
            return []
        asked = {**_conditions(msgspec.structs.replace(query, after=None), sought), **_others(sought)}
        rows = self._connection.ask(Question(self._sql.count_workflows, asked))[0]
        return [WorkflowCount(name=name, state=state, count=count) for name, state, count in sorted(rows)]

    def _first(self, sought: Sought) -> str:
        """Choose the attribute whose rows are read; of the others it is only asked whether each of these has them."""
        if len(sought.there) == 1:
            return next(iter(sought.there))
        pairs = sought.pairs()
        asked = {
            "names": texts([name for name, _ in pairs]),
            "values": texts([text for _, text in pairs]),
            "limit": MOST_COUNTED,
        }
        return rarest(
            sought, [(row[0], row[1]) for row in self._connection.ask(Question(self._sql.count_values, asked))[0]]
        )


def _others(sought: Sought, *, without: str | None = None) -> dict[str, object]:
    pairs = sought.pairs(without=without)
    return {
        "other_names": texts([name for name, _ in pairs]),
        "other_values": texts([text for _, text in pairs]),
        "others_wanted": sum(name != without for name in sought.there),
    }


def _conditions(query: WorkflowQuery, sought: Sought) -> dict[str, object]:
    (low_time, low_id), (high_time, high_id) = bounds(query)
    return {
        "low_time": low_time,
        "low_id": low_id,
        "high_time": high_time,
        "high_id": high_id,
        "id_from": query.id_prefix,
        "id_until": after_prefix(query.id_prefix),
        "states": None if query.states is None else texts(query.states),
        "names": None if query.names is None else texts(query.names),
        "ended_from": query.ended_from,
        "ended_until": query.ended_until,
        "absent": texts(sought.absent),
    }

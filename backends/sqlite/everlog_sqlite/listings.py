"""Which workflows there are: pages of heads, their attributes, and how many fit. It writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from everlog.core.attributes import from_rows
from everlog.core.finding import Sought, after_prefix, bounds, rarest, sought_by
from everlog.store import Attributes, Head, State, WorkflowCount, WorkflowQuery
from everlog_sqlite import records
from everlog_sqlite import statements as sql
from everlog_sqlite.connection import Connection
from everlog_sqlite.records import array, read_json

MOST_COUNTED: Final = 1000
"""Beyond so many of each it makes no difference which attribute is looked by."""

_attributes: Final = msgspec.json.Decoder(list[tuple[str, str, int, str]])
_counts: Final = msgspec.json.Decoder(list[tuple[str, State, int]])
_values: Final = msgspec.json.Decoder(list[tuple[str, int]])


def page(connection: Connection, query: WorkflowQuery) -> list[Head]:
    """Give one page of heads."""
    sought = sought_by(query)
    if sought is None:
        return []
    asked: dict[str, object] = {**_conditions(query, sought), "limit": query.limit}
    with connection.using:
        if sought.there:
            name = _first(connection, sought)
            asked |= {"name": name, "texts": array(sought.there[name]), **_others(sought, without=name)}
            text = connection.value(sql.FIND_BY_ATTRIBUTE[query.newest_first], asked)
        else:
            text = connection.value(sql.LIST_WORKFLOWS[query.newest_first], asked | _others(sought))
    found = records.heads(text)
    found.sort(key=lambda head: (head.created_at, head.workflow_id), reverse=query.newest_first)
    return [head.head() for head in found]


def attributes(connection: Connection, workflow_ids: Sequence[str]) -> list[Attributes]:
    """Give the attributes of each id, in order of their names."""
    found: dict[str, list[tuple[str, int, str]]] = {}
    text = connection.value(sql.LIST_ATTRIBUTES, {"workflow_ids": array(set(workflow_ids))})
    for workflow_id, name, place, value in read_json(_attributes, text):
        found.setdefault(workflow_id, []).append((name, place, value))
    return [from_rows(found.get(workflow_id, ())) for workflow_id in workflow_ids]


def counts(connection: Connection, query: WorkflowQuery) -> list[WorkflowCount]:
    """Count all that fit, in order of name and state."""
    sought = sought_by(query)
    if sought is None:
        return []
    everywhere = msgspec.structs.replace(query, after=None)
    text = connection.value(sql.COUNT_WORKFLOWS, {**_conditions(everywhere, sought), **_others(sought)})
    found = read_json(_counts, text)
    return [WorkflowCount(name=name, state=state, count=count) for name, state, count in sorted(found)]


def _first(connection: Connection, sought: Sought) -> str:
    """Choose the attribute whose rows are read; of the others it is only asked whether each of these has them."""
    if len(sought.there) == 1:
        return next(iter(sought.there))
    text = connection.value(sql.COUNT_VALUES, {"pairs": array(sought.pairs()), "limit": MOST_COUNTED})
    found = read_json(_values, text)
    return rarest(sought, found)


def _others(sought: Sought, *, without: str | None = None) -> dict[str, object]:
    names = [name for name in sought.there if name != without]
    return {"others": array(sought.pairs(without=without)), "others_wanted": len(names)}


def _conditions(query: WorkflowQuery, sought: Sought) -> dict[str, Any]:
    (low_time, low_id), (high_time, high_id) = bounds(query)
    return {
        "low_time": low_time,
        "low_id": low_id,
        "high_time": high_time,
        "high_id": high_id,
        "id_from": query.id_prefix,
        "id_until": after_prefix(query.id_prefix),
        "states": None if query.states is None else array(query.states),
        "names": None if query.names is None else array(query.names),
        "ended_from": query.ended_from,
        "ended_until": query.ended_until,
        "absent": array(sought.absent),
    }

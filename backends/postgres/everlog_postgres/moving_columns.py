"""Moving columns: all rows of workflows as the columns of the statements that write them. No SQL."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from everlog.core.retention import HoldRow
from everlog.store import Head
from everlog.store_moving import WorkflowRows
from everlog_postgres.arrays import bigints, bools, texts

_Encode = Callable[[Sequence[Any]], object]

_TABLES: Final[Mapping[str, Mapping[str, _Encode]]] = {
    "heads": {
        "workflow_id": texts,
        "name": texts,
        "state": texts,
        "seq": bigints,
        "bytes": bigints,
        "created_at": bigints,
        "ended_at": bigints,
        "wake_at": bigints,
        "topics": texts,
        "takeovers": bigints,
        "build": texts,
        "why": texts,
        "queue": texts,
        "first_seq": bigints,
    },
    "events": {"workflow_id": texts, "seq": bigints, "type": texts, "recorded_at": bigints, "payload": texts},
    "messages": {
        "workflow_id": texts,
        "source": texts,
        "number": bigints,
        "topic": texts,
        "control": bools,
        "payload": texts,
        "arrived_at": bigints,
        "closed": bools,
    },
    "keys": {"workflow_id": texts, "key": texts},
    "values": {"workflow_id": texts, "name": texts, "seq": bigints, "recorded_at": bigints, "payload": texts},
    "attributes": {"workflow_id": texts, "name": texts, "place": bigints, "value": texts, "created_at": bigints},
    "waits": {
        "workflow_id": texts,
        "seq": bigints,
        "operation": texts,
        "topic": texts,
        "title": texts,
        "opened_at": bigints,
        "due_at": bigints,
        "metadata": texts,
        "schema": texts,
    },
    "streams": {
        "workflow_id": texts,
        "stream": texts,
        "first_offset": bigints,
        "count": bigints,
        "kind": texts,
        "written_at": bigints,
        "operation": texts,
        "attempt": bigints,
        "payload": texts,
    },
    "places": {
        "workflow_id": texts,
        "came": bigints,
        "queue": texts,
        "name": texts,
        "partition": texts,
        "priority": bigints,
        "due_at": bigints,
        "dedup_key": texts,
        "stands": texts,
    },
}
"""The columns that the statements take, by table, in the order of the rows."""

TABLES: Final = tuple(_TABLES)


class Columns:
    """Rows to be written, by their tables."""

    def __init__(self) -> None:
        self.keepers: dict[tuple[str, str], Head] = {}
        """Who of them has a `dedup_key` of a queue."""
        self.holds: list[HoldRow] = []
        self._rows: dict[str, list[tuple[Any, ...]]] = defaultdict(list)

    def add(self, rows: WorkflowRows, *, closed: bool, keeps_order: bool) -> None:
        """Add all of one workflow."""
        head, of, one = rows.head, self._rows, rows.head.workflow_id
        of["heads"].append(_head_values(rows))
        if rows.hold is not None:
            self.holds.append(rows.hold)
        of["events"] += [(one, row.seq, row.type, row.recorded_at, row.payload.decode()) for row in rows.events]
        of["messages"] += [
            (one, row.source, row.number, row.topic, row.control, row.payload.decode(), row.arrived_at, closed)
            for row in rows.inbox
        ]
        of["keys"] += [(one, key) for key in rows.keys]
        of["values"] += [(one, row.name, row.seq, row.recorded_at, row.payload.decode()) for row in rows.values]
        of["attributes"] += [(one, row.name, row.place, row.value, row.created_at) for row in rows.attributes]
        for wait in rows.waits:
            said = [None if text is None else text.decode() for text in (wait.metadata, wait.schema)]
            where = (wait.seq, wait.operation, wait.topic, wait.title)
            of["waits"].append((one, *where, wait.opened_at, wait.due_at, *said))
        for item in rows.items:
            place_of = (item.stream, item.offset, item.count, item.kind)
            of["streams"].append((one, *place_of, item.written_at, item.operation, item.attempt, item.payload.decode()))
        if rows.standing is not None:
            place, standing = rows.standing.place, rows.standing
            came = standing.came if keeps_order else None
            stood = (place.queue, standing.name, place.partition, place.priority, place.due_at, place.dedup_key)
            of["places"].append((one, came, *stood, standing.stands))
            if place.dedup_key is not None:
                self.keepers[place.queue, place.dedup_key] = head

    def parameters(self) -> dict[str, dict[str, object]]:
        """Give what the statement of each table takes, where it has rows."""
        return {
            table: {
                name: encode([row[place] for row in self._rows[table]])
                for place, (name, encode) in enumerate(columns.items())
            }
            for table, columns in _TABLES.items()
            if self._rows[table]
        }


def _head_values(rows: WorkflowRows) -> tuple[Any, ...]:
    head = rows.head
    return (
        head.workflow_id,
        head.name,
        head.state,
        head.seq,
        rows.size,
        head.created_at,
        head.ended_at,
        head.wake_at,
        msgspec.json.encode(list(head.topics)).decode(),
        head.takeovers,
        head.build,
        head.why,
        head.queue,
        head.first_seq,
    )

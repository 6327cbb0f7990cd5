"""The rows that the statements of queues give, and the structs they become. No SQL."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from everlog.core.limits import Measured
from everlog.errors import CorruptLog
from everlog.store import Place, PlaceRow, QueueCounts, QueueLimits, QueueRow
from everlog_postgres.connection import Rows

NEXT: Final = "\1"
"""Behind a name, the least of all names that come after it: no name has a NUL."""

_limits: Final = msgspec.json.Decoder(QueueLimits)


class Sight(NamedTuple):
    """What a queue has for who looks at it.

    `names` are those of whom somebody is due, `has_partitions` whether in another partition than '', and `next_due` is
    when the next that is delayed is due.
    """

    queue: str
    limits: QueueLimits
    served: str
    names: list[str]
    has_partitions: bool
    next_due: int | None


class Turn(NamedTuple):
    """A partition in which somebody is due."""

    partition: str
    measured: Measured


class Keeper(NamedTuple):
    """Who has a `dedup_key` of a queue."""

    queue: str
    dedup_key: str
    workflow_id: str
    has_slot: bool


def encode(limits: QueueLimits) -> str:
    """Give the JSON text of limits."""
    return msgspec.json.encode(limits).decode()


def decode(text: str) -> QueueLimits:
    """Read the JSON text of limits."""
    try:
        return _limits.decode(text)
    except msgspec.DecodeError as error:
        raise CorruptLog(f"the limits of a queue are not what Everlog wrote: {error}; declare it again") from error


def queues(rows: Rows) -> list[QueueRow]:
    """Read what list_queues gives."""
    return [
        QueueRow(name=name, limits=decode(limits), declared=decode(declared), paused=paused)
        for name, limits, declared, paused in rows
    ]


def counts(rows: Rows) -> list[QueueCounts]:
    """Read what count_queues gives."""
    return [QueueCounts(name=name, due=due, delayed=delayed, taken=taken) for name, due, delayed, taken in rows]


def places(rows: Rows) -> list[PlaceRow]:
    """Read what find_places gives."""
    return [
        PlaceRow(
            workflow_id=workflow_id,
            name=name,
            state=state,
            place=Place(queue=queue, partition=partition, priority=priority, due_at=due_at, dedup_key=dedup_key),
            has_slot=has_slot,
        )
        for workflow_id, name, state, queue, partition, priority, due_at, dedup_key, has_slot in rows
    ]


def sights(rows: Rows) -> list[Sight]:
    """Read what look_at_queues gives."""
    return [Sight(row[0], decode(row[1]), *row[2:]) for row in rows]


def measured(rows: Rows) -> Measured:
    """Read what measure_queue gives."""
    (row,) = rows
    return Measured(*row)


def turns(rows: Rows) -> list[Turn]:
    """Read what find_turns gives, in order."""
    return [Turn(row[0], Measured(*row[1:])) for row in rows]


def keepers(rows: Rows) -> list[Keeper]:
    """Read what find_keepers gives."""
    return [Keeper(*row) for row in rows]


def names(rows: Rows) -> list[Any]:
    """Read what find_slots gives."""
    return [name for (name,) in rows]

"""The JSON texts that the statements of queues give, and the structs they become. No SQL."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from everlog.core.limits import Measured
from everlog.store import Place, PlaceRow, QueueCounts, QueueLimits, QueueRow, State
from everlog_sqlite.records import read_json

NEXT: Final = "\1"
"""Behind a name, the least of all names that come after it: no name has a NUL."""


class Sight(NamedTuple):
    """What a queue has for who looks at it: the names of those that are due, and when the next that is delayed is."""

    queue: str
    limits: QueueLimits
    served: str
    names: list[str]
    next_due: int | None


class Turn(NamedTuple):
    """A partition in which somebody is due."""

    partition: str
    measured: Measured


class Choice(NamedTuple):
    """A workflow that is to be admitted. Choices sort as they are to be."""

    turn: int
    position: int
    number: int
    partition: str


class Keeper(NamedTuple):
    """Who has a `dedup_key` of a queue."""

    queue: str
    dedup_key: str
    workflow_id: str
    has_slot: bool


_Place = tuple[str, str, State, str, str, int, int, str | None, bool]

_queues: Final = msgspec.json.Decoder(list[tuple[str, QueueLimits, QueueLimits, bool]])
_counts: Final = msgspec.json.Decoder(list[tuple[str, int, int, int]])
_places: Final = msgspec.json.Decoder(list[_Place])
_sights: Final = msgspec.json.Decoder(list[Sight])
_measured: Final = msgspec.json.Decoder(Measured)
_turns: Final = msgspec.json.Decoder(list[Turn])
_choices: Final = msgspec.json.Decoder(list[Choice])
_keepers: Final = msgspec.json.Decoder(list[Keeper])
_texts: Final = msgspec.json.Decoder(list[str])


def encode(limits: QueueLimits | None) -> str:
    """Give the JSON text of limits."""
    return msgspec.json.encode(limits).decode()


def queues(text: str) -> list[QueueRow]:
    """Read what list_queues gives."""
    found = read_json(_queues, text)
    return [
        QueueRow(name=name, limits=limits, declared=declared, paused=paused) for name, limits, declared, paused in found
    ]


def counts(text: str) -> list[QueueCounts]:
    """Read what count_queues gives."""
    found = read_json(_counts, text)
    return [QueueCounts(name=name, due=due, delayed=delayed, taken=taken) for name, due, delayed, taken in found]


def places(text: str) -> list[PlaceRow]:
    """Read what find_places gives."""
    return [
        PlaceRow(
            workflow_id=workflow_id,
            name=name,
            state=state,
            place=Place(queue=queue, partition=partition, priority=priority, due_at=due_at, dedup_key=dedup_key),
            has_slot=has_slot,
        )
        for workflow_id, name, state, queue, partition, priority, due_at, dedup_key, has_slot in read_json(
            _places, text
        )
    ]


def sights(text: str) -> list[Sight]:
    """Read what look_at_queues gives."""
    return read_json(_sights, text)


def measured(text: str) -> Measured:
    """Read what measure_queue gives."""
    return read_json(_measured, text)


def turns(text: str) -> list[Turn]:
    """Read what find_turns gives, in order."""
    return read_json(_turns, text)


def choices(text: str) -> list[Choice]:
    """Read what find_admissible gives, in order."""
    found: list[Choice] = read_json(_choices, text)
    return sorted(found)


def keepers(text: str) -> list[Keeper]:
    """Read what find_keepers gives."""
    return read_json(_keepers, text)


def texts(text: str) -> list[str]:
    """Read what find_slots gives."""
    return read_json(_texts, text)

"""Ticks: what is stored of a schedule, which of its ticks are due, and what is stored then. It has no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from everlog.core.attributes import AttributeValue
from everlog.core.durations import SECOND, as_datetime
from everlog.core.event_parts import ABSENT, QueuePlace
from everlog.core.names import LONGEST
from everlog.core.timing import Timing
from everlog.errors import CorruptLog

LATE: Final = 60 * SECOND
"""The latest tick is not missed while it is no later than this."""
MOST_MADE_UP: Final = 1000
"""So many of the ticks that were missed are made up for, the newest."""
LONGEST_NAME: Final = LONGEST - len("@2026-03-29T01:30:00.000000Z+01234567")
"""What is left for the name of a schedule in the ids of its ticks."""


class StoredSchedule(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is stored of a schedule beside its name. Times are in microseconds since 1970 UTC."""

    workflow: str
    """The name of the workflow that each tick starts."""
    input: Raw
    timing: Timing
    created_at: int
    next_tick: int | None
    """The tick that comes next, as planned; None where none follows."""
    last_tick: int | None = None
    """The last tick that was made."""
    paused: bool = False
    instance: Raw = ABSENT
    """The object whose method the workflow is, where that is recorded as a value."""
    timeout: int | None = None
    """The timeout of each workflow, in microseconds."""
    attributes: dict[str, AttributeValue] = {}
    """Those of each workflow, in normal form."""
    place: QueuePlace | None = None
    """Where each workflow stands until it is admitted; due when it was planned."""
    declared: str | None = None
    """What its declaration in code was when it was last taken over, as a digest; None where it was made at run time."""


class Due(Struct, frozen=True, kw_only=True):
    """What is due of a schedule: the ticks to be made, and what is stored with them."""

    ticks: Sequence[int]
    skipped: int | None
    """The first of some ticks that are not made up for; None where there are none."""
    stored: StoredSchedule


def encode(stored: StoredSchedule) -> bytes:
    """Give what is stored as JSON text."""
    return msgspec.json.encode(stored)


def decode(payload: bytes, name: str) -> StoredSchedule:
    """Read what is stored; `CorruptLog` where it is no schedule."""
    try:
        return _decode(payload)
    except msgspec.DecodeError as error:
        raise CorruptLog(f"what is stored of schedule {name!r} cannot be read: {error}; delete it") from error


_decode: Final = msgspec.json.Decoder(StoredSchedule).decode


def due_at(name: str, stored: StoredSchedule) -> int | None:
    """Give when the next tick is to be made; None while it is paused, and where none follows."""
    if stored.paused or stored.next_tick is None:
        return None
    return stored.timing.due_at(name, stored.next_tick)


def take_due(name: str, stored: StoredSchedule, now: int) -> Due:
    """Give the ticks that are to be made now."""
    timing, first = stored.timing, stored.next_tick
    due = due_at(name, stored)
    if first is None or due is None or due > now:
        return Due(ticks=[], skipped=None, stored=stored)
    last = _last_due(name, timing, first, now)
    if timing.catch_up == "all":
        ticks = _newest(timing, first, last)
    else:
        in_time = timing.catch_up == "last" or now - timing.due_at(name, last) <= LATE
        ticks = [last] if in_time else []
    skipped = first if not ticks or ticks[0] != first else None
    taken = replace(stored, next_tick=timing.after(last), last_tick=last if ticks else stored.last_tick)
    return Due(ticks=ticks, skipped=skipped, stored=taken)


def _last_due(name: str, timing: Timing, first: int, now: int) -> int:
    """Give the last tick that is due, of which this is the first. None is due later than the next comes."""
    last = timing.last(first, now)
    return last if last == first or timing.due_at(name, last) <= now else timing.last(first, last - 1)


def _newest(timing: Timing, first: int, last: int) -> Sequence[int]:
    """Give the newest of the ticks from the first to the last, without looking at all that came before."""
    span = MOST_MADE_UP * SECOND
    while True:
        before = max(first - 1, last - span)
        newest = deque(timing.ticks(before, last), maxlen=MOST_MADE_UP)
        if len(newest) == MOST_MADE_UP or before == first - 1:
            return list(newest)
        span *= 4


def with_timing(stored: StoredSchedule, timing: Timing, now: int) -> StoredSchedule:
    """Give the schedule with another timing, which counts from the first tick that was not made under the old one."""
    covered = now if stored.paused or stored.next_tick is None else min(now, stored.next_tick - 1)
    return replace(stored, timing=timing, next_tick=timing.after(covered))


def resumed(stored: StoredSchedule, now: int) -> StoredSchedule:
    """Give the schedule as it goes on after a pause: what it would have ticked meanwhile is not made up for."""
    if not stored.paused:
        return stored
    return replace(stored, paused=False, next_tick=stored.timing.after(now))


def tick_id(name: str, tick: int) -> str:
    """Give the id of the workflow of a tick, which is the same whoever makes it."""
    return f"{name}@{as_datetime(tick).replace(tzinfo=None).isoformat()}Z"


def extra_id(name: str, now: int, token: str) -> str:
    """Give the id of a workflow that a schedule starts beside its ticks."""
    return f"{tick_id(name, now)}+{token[:8]}"

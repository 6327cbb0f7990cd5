"""`everlog schedules`: the schedules of a database, in order of their names. It makes no tick."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from everlog.cli.places import opened, store_url
from everlog.cli.text import cut, table
from everlog.core.durations import SECOND
from everlog.core.ticks import decode
from everlog.errors import UsageError
from everlog.runtime.schedules import PAGE, ScheduleStatus, schedule_status
from everlog.store import Store
from everlog.store_schedules import SupportsSchedules

MOST_NAME: Final = 32
_TITLES: Final = ("NAME", "WORKFLOW", "SCHEDULE", "NEXT TICK", "LAST TICK", "WHY")


def list_schedules(place: str | None, *, as_json: bool) -> None:
    """Print all schedules, with the times of their time zones."""
    with opened(store_url(place)) as store:
        found = list(_statuses(store))
    if as_json:
        for one in found:
            print(json.dumps(_plain(one), ensure_ascii=False))
    elif found:
        print("\n".join(table([_TITLES, *map(_row, found)])))
    else:
        print("no schedules")


def _statuses(store: Store) -> Iterator[ScheduleStatus]:
    if not isinstance(store, SupportsSchedules):
        raise UsageError(f"this store, {type(store).__name__}, keeps no schedules")
    after: str | None = None
    while page := store.schedules(after=after, limit=PAGE):
        for row in page:
            yield schedule_status(row.name, decode(row.payload, row.name), store.now())
        after = page[-1].name


def _row(one: ScheduleStatus) -> tuple[str, ...]:
    timing = one.schedule.timing
    when = timing.cron if timing.cron is not None else f"every {(timing.every or 0) / SECOND:g} s"
    where = f" {timing.timezone}" if timing.timezone != "UTC" else ""
    ticks = [f"{tick:%Y-%m-%d %H:%M:%S}" if tick is not None else "-" for tick in (one.next_tick, one.last_tick)]
    return cut(one.name, MOST_NAME), cut(one.workflow, MOST_NAME), f"{when}{where}", *ticks, one.why


def _plain(one: ScheduleStatus) -> dict[str, Any]:
    timing = one.schedule.timing
    return {
        "name": one.name,
        "workflow": one.workflow,
        "cron": timing.cron,
        "every": None if timing.every is None else timing.every / SECOND,
        "timezone": timing.timezone,
        "catch_up": timing.catch_up,
        "jitter": timing.jitter / SECOND,
        "paused": one.paused,
        "declared": one.declared,
        "next_tick": None if one.next_tick is None else one.next_tick.isoformat(),
        "last_tick": None if one.last_tick is None else one.last_tick.isoformat(),
        "why": one.why,
    }

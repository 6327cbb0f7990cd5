"""Ticking: an engine's part in the ticks of schedules. It looks for what is due, and leaves the rest to the worker.

Any number of engines do this to the same schedules, and none leads: the store lets one of them write each tick. An
engine asks the store when the next is due, and then not again before that time, save when somebody wrote.
"""

from __future__ import annotations

import logging
from typing import Final

from msgspec import Raw
from msgspec.structs import replace

from everlog.core.durations import SECOND, as_datetime
from everlog.core.events import WorkflowCreated
from everlog.core.ticks import MOST_MADE_UP, Due, StoredSchedule, decode, due_at, encode, take_due, tick_id
from everlog.errors import CorruptLog, UsageError
from everlog.host import Host
from everlog.runtime.births import birth
from everlog.runtime.residents import NEVER
from everlog.runtime.worker import Worker
from everlog.store_schedules import ScheduleRow, ScheduleWrite, SupportsSchedules

log: Final = logging.getLogger("everlog")
PAUSE: Final = SECOND
"""Between two looks because of what others wrote, which is mostly no schedule."""
AT_ONCE: Final = 100
"""So many schedules are looked at together."""
MOST_CREATED: Final = 500
"""So many workflows are created together, or those of one schedule more."""


class Ticker:
    """Makes the ticks of the schedules whose workflows a worker knows. On the engine's thread."""

    def __init__(self, store: SupportsSchedules, host: Host, worker: Worker) -> None:
        self._store = store
        self._host = host
        self._worker = worker
        self._looked_at = 0
        self._useless: dict[str, str] = {}
        """The schedules that cannot be made to tick here, by name, and the revisions of which that is known."""
        self.next_look: float = 0
        """Store time at which the store is asked again."""

    def look_around(self) -> None:
        """Have the store asked at once: a schedule was written here."""
        self.next_look = 0

    def others_wrote(self) -> None:
        """Have the store asked soon: a schedule may have been written."""
        self.next_look = min(self.next_look, self._looked_at + PAUSE)

    def tick(self, now: int) -> None:
        """Make the ticks that are due. Raises `StoreError`."""
        if self._looked_at <= now < self.next_look:  # or the clock was set back
            return
        self._looked_at = now
        known, limit = sorted(self._worker.settings.workflows()), AT_ONCE + len(self._useless)
        found = self._store.due_schedules(known, now=now, limit=limit)
        self.next_look = NEVER if found.next_due is None else found.next_due
        writes: list[ScheduleWrite] = []
        created = 0
        for row in found.rows:
            write = self._written(row, now)
            if write is not None:
                writes.append(write)
                created += len(write.creates)
            if created >= MOST_CREATED:
                break
        if writes:
            self.next_look = now  # also where another engine was faster
            self._store.write_schedules(writes)
            self._worker.look_everywhere()

    def _written(self, row: ScheduleRow, now: int) -> ScheduleWrite | None:
        """Give what a schedule becomes by its ticks; None where that cannot be known here, and another engine may."""
        if self._useless.get(row.name) == row.revision:
            return None
        try:
            due = take_due(row.name, decode(row.payload, row.name), now)
            after = schedule_row(row.name, due.stored, self._host)
            creates = [
                birth(tick_id(row.name, tick), created_by(due.stored, tick, self._host), now, self._host, None).new
                for tick in due.ticks
            ]
        except (UsageError, CorruptLog) as error:
            if row.name not in self._useless:
                log.error("schedule %r does not tick here, and waits for an engine that can: %s", row.name, error)
            self._useless[row.name] = row.revision
            return None
        _tell_of_missed(row.name, due)
        return ScheduleWrite(name=row.name, revision=row.revision, row=after, creates=creates)


def schedule_row(name: str, stored: StoredSchedule, host: Host) -> ScheduleRow:
    """Give the row of a schedule, of a new revision."""
    return ScheduleRow(
        name=name,
        revision=host.token(),
        workflow=stored.workflow,
        due_at=due_at(name, stored),
        payload=encode(stored),
    )


def created_by(stored: StoredSchedule, tick: int, host: Host) -> WorkflowCreated:
    """Give the first event of the workflow that a tick starts."""
    return WorkflowCreated(
        name=stored.workflow,
        input=Raw(stored.input),
        seed=host.token(),
        instance=stored.instance,
        timeout=stored.timeout,
        attributes=stored.attributes,
        place=None if stored.place is None else replace(stored.place, due_at=tick),
        tick=tick,
        tick_offset=stored.timing.offset(tick),
    )


def _tell_of_missed(name: str, due: Due) -> None:
    if due.skipped is None:
        return
    since, policy = as_datetime(due.skipped), due.stored.timing.catch_up
    if policy == "all":
        text = "schedule %r missed more than %d ticks: those from %s on are not made up for, up to the newest so many"
        log.warning(text, name, MOST_MADE_UP, since)
    else:
        text = "schedule %r missed ticks from %s on, which are not made up for, since it has catch_up=%r"
        log.info(text, name, since, policy)

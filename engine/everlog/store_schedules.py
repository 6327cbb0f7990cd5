"""The part of the port for schedules, which a store may support: `SupportsSchedules`. It knows no cron and no tick.

A schedule is a row that says when it is due. Whoever finds it due writes, in one transaction, the row as it is after
its ticks and the workflows that these start, on the condition that the row still bears the revision that was read. So
any number of engines may look at one schedule, and each tick happens once; there is none that leads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from msgspec import Struct

from everlog.core.schedule_rows import DueSchedules as DueSchedules
from everlog.core.schedule_rows import ScheduleRow as ScheduleRow
from everlog.store import Done, NewWorkflow, Refused


class ScheduleWrite(Struct, frozen=True, kw_only=True):
    """What becomes of a schedule that bears `revision`, or, where that is None, of one that is not there.

    It becomes `row`, which has the same name, or is removed where that is None. `creates` are created with it, as by
    `Batch.creates`; one whose id is taken is left as it is, since it was created before.
    """

    name: str
    revision: str | None
    row: ScheduleRow | None
    creates: Sequence[NewWorkflow] = ()


@runtime_checkable
class SupportsSchedules(Protocol):
    """A store that keeps schedules; asked for with `isinstance`. Called on the thread of `commit`."""

    def schedules(
        self, names: Sequence[str] | None = None, *, after: str | None = None, limit: int = 100
    ) -> Sequence[ScheduleRow]:
        """Give one page of schedules in order of their names, those of `names` where they are given, after `after`."""
        ...

    def due_schedules(self, workflows: Sequence[str], *, now: int, limit: int) -> DueSchedules:
        """Give up to `limit` schedules of these workflows whose `due_at` has come at `now`, longest due first.

        `next_due` is the earliest `due_at` after `now` of schedules of these workflows.
        """
        ...

    def write_schedules(self, writes: Sequence[ScheduleWrite]) -> Sequence[Done | Refused]:
        """Write schedules and what they create in one transaction; no name occurs twice. `changes` tells of it.

        `Refused`: the row bears another revision, or is gone, or is there already. Nothing of that part was written.
        """
        ...

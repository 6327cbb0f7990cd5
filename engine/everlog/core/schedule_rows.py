"""Schedule rows: schedules as a store keeps them. What the payload means is not known here."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct


class ScheduleRow(Struct, frozen=True, gc=False, kw_only=True):
    """A schedule. `revision` is a random text of whoever wrote it last; with `due_at` None it does not tick now."""

    name: str
    revision: str
    workflow: str
    due_at: int | None
    payload: bytes


class DueSchedules(Struct, frozen=True, kw_only=True):
    """Schedules that are due, longest due first, and when the next that is not is (None: none will be)."""

    rows: Sequence[ScheduleRow]
    next_due: int | None

"""Schedules: when a workflow is to be started again and again, as users say it. It starts nothing."""

from __future__ import annotations

from datetime import datetime
from typing import final, get_args, overload

from everlog.core.cron import zone
from everlog.core.durations import SECOND, Duration, as_datetime, from_datetime, microseconds
from everlog.core.numbers import check_count
from everlog.core.timing import CatchUp, Timing
from everlog.errors import UsageError


@final
class Schedule:
    """When a workflow is started again and again: `Schedule("0 9 * * MON-FRI", timezone="Europe/Berlin")`.

    `cron` has five fields, minute to day of the week, or six with the second first, read as local time in `timezone`;
    it needs `pip install 'everlog[cron]'`. Where clocks are changed, an expression that names hours ticks once for
    each local time: just after the change if that is skipped, the first time if it is shown twice. One for every hour
    goes by real time. `every` (seconds or timedelta, at least a second) ticks at its multiples since 1970-01-01 UTC.

    `catch_up` says which ticks are made up for that nobody could make in time: "none", the "last", or "all", of which
    the newest 1000 count. The latest tick is not missed while it is less than a minute late. `jitter` delays each tick
    by chance, by so much at the most and never beyond the next; `current().tick` is as planned.
    Raises `UsageError` for what cannot be read, or never ticks.
    """

    __slots__ = ("timing",)

    @overload
    def __init__(
        self, cron: str, /, *, timezone: str = "UTC", catch_up: CatchUp = "last", jitter: Duration = 0
    ) -> None: ...
    @overload
    def __init__(self, /, *, every: Duration, catch_up: CatchUp = "last", jitter: Duration = 0) -> None: ...
    def __init__(
        self,
        cron: str | None = None,
        /,
        *,
        every: Duration | None = None,
        timezone: str = "UTC",
        catch_up: CatchUp = "last",
        jitter: Duration = 0,
    ) -> None:
        if (cron is None) == (every is None):
            raise UsageError("a schedule has a cron expression or an interval: Schedule('0 9 * * *') or every=3600")
        # Users without a type checker give anything.
        if cron is not None and not isinstance(cron, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"a cron expression is a string as '0 9 * * *', got {cron!r}; an interval is every=")
        if not isinstance(timezone, str):  # pyright: ignore[reportUnnecessaryIsInstance] - likewise
            raise UsageError(f"timezone must be a name as 'Europe/Berlin', got {timezone!r}")
        if cron is None and timezone != "UTC":
            raise UsageError(f"an interval is the same in every time zone; leave timezone={timezone!r} out")
        if catch_up not in get_args(CatchUp):
            raise UsageError(f"catch_up must be 'none', 'last' or 'all', got {catch_up!r}")
        interval = None if every is None else microseconds(every, what="every")
        if interval is not None and interval < SECOND:
            raise UsageError(f"every must be at least a second, got {every!r}")
        self.timing = Timing(
            cron=cron,
            every=interval,
            timezone=timezone,
            catch_up=catch_up,
            jitter=microseconds(jitter, what="jitter"),
        )
        self.timing.after(0)

    @classmethod
    def stored(cls, timing: Timing) -> Schedule:
        """Give one that was checked where it was made: what it needs is asked for when it is to tick."""
        made = cls.__new__(cls)
        made.timing = timing
        return made

    def upcoming(self, count: int = 5, *, after: datetime) -> list[datetime]:
        """Give the next ticks after a moment, as planned, in the time zone of the schedule; fewer where it ends."""
        check_count(count, what="count")
        local, tick = zone(self.timing.timezone), self.timing.after(from_datetime(after, what="after"))
        found: list[datetime] = []
        while tick is not None and len(found) < count:
            found.append(as_datetime(tick).astimezone(local))
            tick = self.timing.after(tick)
        return found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schedule) and self.timing == other.timing

    def __hash__(self) -> int:
        return hash(self.timing)

    def __repr__(self) -> str:
        timing = self.timing
        parts = [f"every={timing.every / SECOND:g}" if timing.every is not None else repr(timing.cron)]
        parts += [f"timezone={timing.timezone!r}"] if timing.timezone != "UTC" else []
        parts += [f"catch_up={timing.catch_up!r}"] if timing.catch_up != "last" else []
        parts += [f"jitter={timing.jitter / SECOND:g}"] if timing.jitter else []
        return f"Schedule({', '.join(parts)})"

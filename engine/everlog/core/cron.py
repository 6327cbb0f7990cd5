"""Cron: when a cron expression ticks in a time zone. A library reads it; this is what changes of clocks make of it.

An expression names local times. In most places clocks are set forward and back, so a local time may not exist, or be
shown twice. The rule:

- **An expression that names hours** (`30 2 * * *`, `0 */6 * * *`) ticks once for each local time that it names. Where
  the clocks skip that time it ticks when they have just skipped it, and what they skip together is one tick; where
  they show it twice it ticks the first time.
- **An expression for every hour** (`*` for the hour, or all of them) goes by real time: there is nothing to do in an
  hour that does not exist, and the hour that is shown twice has its ticks twice.

So none is lost and none is doubled, and from one tick to the next no more time passes than the expression says.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from everlog.core.durations import as_datetime, from_datetime
from everlog.errors import UsageError

if TYPE_CHECKING:
    from cronsim import CronSim

_SECOND: Final = timedelta(seconds=1)
_DAY: Final = timedelta(days=1)
_ANY_DAY: Final = datetime(2000, 1, 1)  # noqa: DTZ001 - a local time, as all that the library is asked for


class Cron:
    """A cron expression in a time zone. Raises `UsageError` for one that cannot be read, or never ticks."""

    def __init__(self, expression: str, timezone: str) -> None:
        self._expression: Final = expression
        self._zone: Final = zone(timezone)
        found = _read(expression, _ANY_DAY)
        self._every_hour: Final = len(found.hours) == 24
        if next(found, None) is None:
            raise UsageError(f"the cron expression {expression!r} never ticks: no day is as it says")

    def after(self, time: int) -> int | None:
        """Give the first tick after a time, both in microseconds since 1970 UTC; None where none follows."""
        moment = as_datetime(time).replace(microsecond=0)
        tick = self._in_real_time(moment) if self._every_hour else self._once_each(moment)
        return None if tick is None else from_datetime(tick, what="a tick")

    def _once_each(self, moment: datetime) -> datetime | None:
        # Later local times are first shown later, or, where the clocks skip both, at the same moment.
        for local in _read(self._expression, self._local(moment)):
            tick = self._first_shown(local)
            if tick > moment:
                return tick
        return None

    def _first_shown(self, local: datetime) -> datetime:
        """Give the moment at which the clocks first show a local time, or skip it."""
        tick = self._instant(local, fold=0)
        if self._local(tick) == local:
            return tick
        return self._change(self._instant(local, fold=1), tick)

    def _in_real_time(self, moment: datetime) -> datetime | None:
        tick = self._next_shown(self._local(moment), moment)
        back = self._set_back(moment)
        if back is None or (tick is not None and tick < back):
            return tick
        again = self._next_shown(self._local(back) - _SECOND, back - _SECOND)
        return min((one for one in (tick, again) if one is not None), default=None)

    def _next_shown(self, local: datetime, moment: datetime) -> datetime | None:
        """Give the first moment after one at which the clocks show a local time of the expression after another."""
        for later in _read(self._expression, local):
            for fold in (0, 1):
                tick = self._instant(later, fold=fold)
                if tick > moment and self._local(tick) == later:
                    return tick
        return None

    def _set_back(self, moment: datetime) -> datetime | None:
        """Give when the clocks are set back within a day: then they show local times that they had shown before."""
        until = moment + _DAY
        return self._change(moment, until) if self._offset(until) < self._offset(moment) else None

    def _change(self, before: datetime, after: datetime) -> datetime:
        """Give the first moment, after one and until another, at which the offset is no longer that of the first."""
        offset = self._offset(before)
        while after - before > _SECOND:
            middle = before + (after - before) // 2
            middle = middle.replace(microsecond=0)
            if self._offset(middle) == offset:
                before = middle
            else:
                after = middle
        return after

    def _offset(self, moment: datetime) -> timedelta:
        return self._local(moment) - moment.replace(tzinfo=None)

    def _local(self, moment: datetime) -> datetime:
        return moment.astimezone(self._zone).replace(tzinfo=None, fold=0)

    def _instant(self, local: datetime, *, fold: int) -> datetime:
        return local.replace(tzinfo=self._zone, fold=fold).astimezone(UTC)


def zone(timezone: str) -> tzinfo:
    """Give a time zone by its name; `UsageError` where there is none of that name here."""
    if timezone == "UTC":  # which is the same also where the system has no time zones
        return UTC
    try:
        return ZoneInfo(timezone)
    except (LookupError, OSError, TypeError, ValueError):
        raise UsageError(
            f"there is no time zone {timezone!r} here: write a name as 'Europe/Berlin' or 'UTC'; where the system has"
            " none of them, as Windows, `pip install tzdata`"
        ) from None


def _read(expression: str, after: datetime) -> CronSim:
    """Give the local times that an expression names, in order; `UsageError` where it cannot be read."""
    try:
        from cronsim import CronSim, CronSimError
    except ModuleNotFoundError as error:
        raise UsageError(
            "cron expressions need the library cronsim, which is not installed here: `pip install 'everlog[cron]'`;"
            " Schedule(every=...) needs nothing"
        ) from error
    try:
        return CronSim(expression, after)
    except CronSimError as error:
        raise UsageError(
            f"the cron expression {expression!r} cannot be read ({error}): write minute, hour, day of the month, month"
            " and day of the week, as '0 9 * * MON-FRI', and before them the second where it counts"
        ) from None

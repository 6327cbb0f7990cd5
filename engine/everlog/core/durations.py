"""Durations: what users give as seconds or `timedelta`, as integer microseconds."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from everlog.errors import UsageError

Duration = float | timedelta
"""Seconds, or a `timedelta`."""

SECOND: Final = 1_000_000
LONGEST: Final = 400 * 365 * 24 * 3600 * SECOND
"""400 years: what lies further ahead cannot be told from a mistake."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(duration: Duration, *, what: str) -> int:
    """Give the duration in microseconds; `UsageError` naming `what` where it is not a number from 0 to 400 years."""
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
    # Users without a type checker give anything.
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"{what} must be seconds or a timedelta, got {duration!r}")
    if not math.isfinite(seconds) or seconds < 0 or seconds * SECOND > LONGEST:
        raise UsageError(f"{what} must be between 0 and 400 years, got {duration!r}")
    return round(seconds * SECOND)


def as_datetime(time: int) -> datetime:
    """Give a time in microseconds as an aware datetime in UTC."""
    return _EPOCH + timedelta(microseconds=time)


def as_local(time: int, offset: int) -> datetime:
    """Give a time in microseconds as an aware datetime, where local time is so many seconds ahead of UTC."""
    return as_datetime(time).astimezone(timezone(timedelta(seconds=offset)))


def from_datetime(moment: datetime, *, what: str) -> int:
    """Give an aware datetime in microseconds; `UsageError` naming `what` where it is none, or has no time zone."""
    # Users without a type checker give anything.
    if not isinstance(moment, datetime):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"{what} must be a datetime with a time zone, got {moment!r}; for a duration there is sleep")
    if moment.tzinfo is None:
        raise UsageError(f"{what} must be a datetime with a time zone, got {moment!r}; add tzinfo=datetime.UTC")
    return (moment - _EPOCH) // timedelta(microseconds=1)


def spoken(duration: int) -> str:
    """Give a duration in microseconds as a person would say it: `3 days`, `2.5 s`, `40 ms`."""
    seconds = duration / SECOND
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"

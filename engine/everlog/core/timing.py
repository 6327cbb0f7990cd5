"""Timing: when a schedule ticks, as it is stored. It is not checked here, and nothing is started."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

from msgspec import Struct

from everlog.core.cron import Cron, zone
from everlog.core.durations import as_datetime
from everlog.errors import InternalError

CatchUp = Literal["none", "last", "all"]
"""Which of the ticks that nobody could make in time are made later."""


class Timing(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When a schedule ticks: either by a cron expression or by an interval. Durations are in microseconds.

    What asks for a tick raises `UsageError` where the library for cron expressions, or the time zone, is missing here.
    """

    cron: str | None = None
    every: int | None = None
    timezone: str = "UTC"
    catch_up: CatchUp = "last"
    jitter: int = 0

    def after(self, time: int) -> int | None:
        """Give the first tick after a time, both in microseconds since 1970 UTC; None where none follows."""
        if self.every is not None:
            return (time // self.every + 1) * self.every
        if self.cron is None:
            raise InternalError("a schedule has neither a cron expression nor an interval")
        return _cron(self.cron, self.timezone).after(time)

    def ticks(self, time: int, until: int) -> Iterator[int]:
        """Give the ticks after a time, up to and with another, in order."""
        tick = self.after(time)
        while tick is not None and tick <= until:
            yield tick
            tick = self.after(tick)

    def last(self, tick: int, until: int) -> int:
        """Give the last tick up to and with a time, where this one is one of them; without looking at each."""
        while True:
            following = self.after(tick)
            if following is None or following > until:
                return tick
            tick, empty = following, until
            while empty - tick > 1:
                middle = (tick + empty) // 2
                later = self.after(middle)
                if later is None or later > until:
                    empty = middle
                else:
                    tick = later
                    break

    def due_at(self, name: str, tick: int) -> int:
        """Give when a tick of the schedule of this name is made: later by chance, the same wherever it is asked."""
        if not self.jitter:
            return tick
        following = self.after(tick)
        longest = self.jitter if following is None else min(self.jitter, following - tick)
        return tick + longest * zlib.crc32(f"{name}@{tick}".encode()) // 2**32

    def offset(self, time: int) -> int:
        """Give by how many seconds local time is ahead of UTC at a time."""
        ahead = as_datetime(time).astimezone(zone(self.timezone)).utcoffset()
        return 0 if ahead is None else round(ahead.total_seconds())


@lru_cache(maxsize=1000)
def _cron(expression: str, timezone: str) -> Cron:
    return Cron(expression, timezone)

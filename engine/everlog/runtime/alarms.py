"""Alarms: at which store times workflows are looked at again though nothing happens to them."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Final

from everlog.runtime.residents import NEVER, Resident

_SPARE: Final = 64


class Alarms:
    """At most one alarm of each resident counts: its earliest, `resident.alarm_at`."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Resident]] = []
        self._number = 0
        self._prune_at = _SPARE

    def set(self, resident: Resident, at: float) -> None:
        """Have the resident looked at then, or earlier where an alarm is set already."""
        if at >= resident.alarm_at:
            return
        resident.alarm_at = at
        if len(self._heap) >= self._prune_at:
            self._heap = [entry for entry in self._heap if _counts(entry)]
            heapq.heapify(self._heap)
            self._prune_at = 2 * len(self._heap) + _SPARE
        self._number += 1
        heapq.heappush(self._heap, (at, self._number, resident))

    def ring(self, now: int) -> Sequence[Resident]:
        """Give those whose alarm has come, each once."""
        if not self._heap or self._heap[0][0] > now:
            return ()
        rung: list[Resident] = []
        while self._heap and self._heap[0][0] <= now:
            entry = heapq.heappop(self._heap)
            if _counts(entry):
                entry[2].alarm_at = NEVER
                rung.append(entry[2])
        return rung

    def next(self) -> float:
        """Give the store time of the next alarm."""
        while self._heap and not _counts(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else NEVER

    def __len__(self) -> int:
        return len(self._heap)


def _counts(entry: tuple[float, int, Resident]) -> bool:
    at, _, resident = entry
    return not resident.lost and at == resident.alarm_at

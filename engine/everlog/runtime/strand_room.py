"""Strand room: how many threads blocking workflows may hold while none of their steps run.

A blocking workflow whose steps run needs its threads; one that waits for a time or a message can be parked. So those
that only wait may hold no more than `IDLE_STRANDS` threads together: beyond that no blocking workflow is taken, and
those at rest are parked at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from everlog.replay.definitions import AnyWorkflow, SyncWorkflow
from everlog.runtime.residents import Resident

IDLE_STRANDS: Final = 32

Known = Mapping[str, AnyWorkflow[..., Any]]


class StrandRoom:
    """Counts the threads of the blocking workflows that are held."""

    def __init__(self) -> None:
        self._held: dict[Resident, None] = {}
        self._free = IDLE_STRANDS
        """So many more threads may stand idle."""
        self._turned_away = False
        """Whether somebody might have been taken, had there been room."""

    def count(self) -> None:
        """Count anew; once a round."""
        self._free = IDLE_STRANDS - sum(map(_idle_strands, self._held)) if self._held else IDLE_STRANDS

    def reserve(self, definition: AnyWorkflow[..., Any]) -> bool:
        """Tell whether a workflow that is being created may be taken; until the next count it is taken as held."""
        if not isinstance(definition, SyncWorkflow):
            return True
        if self._free <= 0:
            self._turned_away = True
            return False
        self._free -= 1
        return True

    def claimable(self, known: Known, most: int) -> tuple[Known, int]:
        """Give which of these workflows may be claimed now, and how many in all."""
        blocking = [name for name, one in known.items() if isinstance(one, SyncWorkflow)]
        if not blocking:
            return known, most
        if self._free > 0:
            return known, min(most, self._free)
        self._turned_away = True
        return {name: one for name, one in known.items() if name not in blocking}, most

    def has_room_again(self) -> bool:
        """Tell, once, that there is room after there was none for somebody."""
        if not self._turned_away:
            return False
        self.count()
        self._turned_away = self._free <= 0
        return not self._turned_away

    def take(self, resident: Resident) -> None:
        """Count a workflow that was taken, if it is a blocking one."""
        if isinstance(resident.execution.definition, SyncWorkflow):
            self._held[resident] = None
            self._free -= _idle_strands(resident)

    def let_go(self, resident: Resident) -> None:
        """Count a workflow no more."""
        self._held.pop(resident, None)

    def is_crowded_by(self, resident: Resident) -> bool:
        """Tell whether this workflow holds threads that others may wait for."""
        return self._free <= 0 and resident in self._held


def _idle_strands(resident: Resident) -> int:
    execution = resident.execution
    is_busy = any(operation.dispatched for operation in execution.steps.values())
    return 0 if is_busy else max(1, len(execution.strands))  # it may be about to begin

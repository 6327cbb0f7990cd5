"""Lengths: a warning long before the history of a workflow is so long that replays are felt. They measure no time."""

from __future__ import annotations

import logging
from typing import Final

from everlog.runtime.residents import Resident
from everlog.store import Commit

log: Final = logging.getLogger("everlog")
MOST_EVENTS: Final = 5_000
MOST_BYTES: Final = 8_000_000
"""To replay a history of more of either takes a quarter of a second, in which nothing else of its engine goes on."""
MOST_KNOWN: Final = 10_000
"""So many workflows are remembered that were warned of."""


class Lengths:
    """Warns of each workflow once in this process, and once more when it is as long again after continuing as new."""

    def __init__(self) -> None:
        self._told: set[tuple[str, int]] = set()

    def taken(self, resident: Resident, size: int) -> None:
        """Look at a history, of so many bytes, that was just read."""
        resident.size = size
        self._look(resident, resident.seq)

    def grows(self, resident: Resident, commit: Commit) -> None:
        """Look at a history that grows by a commit."""
        for row in commit.events:
            resident.size += len(row.payload)
        self._look(resident, commit.seq + len(commit.events))

    def _look(self, resident: Resident, seq: int) -> None:
        events = seq - resident.execution.first_seq + 1
        if events < MOST_EVENTS and resident.size < MOST_BYTES:
            return
        name = resident.workflow_id, resident.execution.first_seq
        if name in self._told:
            return
        if len(self._told) >= MOST_KNOWN:
            self._told.clear()
        self._told.add(name)
        log.warning(
            "workflow %r (%s) has a history of %d events and %.1f MB. Whenever it is taken up again all of it is read "
            "and replayed, and other workflows of the engine stand still meanwhile. Have it call "
            "everlog.continue_as_new before another round of its work, or give parts of the work to child workflows",
            resident.workflow_id,
            resident.execution.definition.name,
            events,
            resident.size / 1_000_000,
        )

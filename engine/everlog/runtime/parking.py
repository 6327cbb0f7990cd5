"""Parking: when a workflow that only waits leaves the memory, to be rebuilt once what it waits for is there.

Where all is at rest, its open operations get their rows after `SETTLE`, and its head says what it waits for. After
`PARK_AFTER` it is let go of, unless it is due again so soon that rebuilding it would cost more than keeping it. While
the engine is full, those that have rested longest go at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from everlog.core.durations import SECOND
from everlog.replay.quarantine import was_kept_aside
from everlog.replay.rests import RUNNING, SETTLE, attention_at, head_state
from everlog.runtime.residents import NEVER, Resident

PARK_AFTER: Final = SECOND
REPLAYS: Final = 10
"""A workflow that is due before so many replays of it could be made is not parked."""

_REPLAY: Final = 2_000
_REPLAY_OF_EVENT: Final = 50
"""Microseconds that a replay takes about, in all and for each event."""


class Resting:
    """The workflows that only wait, longest at rest first."""

    def __init__(self) -> None:
        self._since: dict[Resident, int] = {}

    def begin(self, resident: Resident, now: int) -> int:
        """Take note that a workflow is at rest; give since when it has been."""
        return self._since.setdefault(resident, now)

    def next_step(self, resident: Resident, now: int, *, crowded: bool) -> Literal["hand back", "settle"] | float:
        """Say what is next for a workflow that only waits, or when to ask again; `crowded`: others want its threads."""
        since = self.begin(resident, now)
        if crowded and is_worth_parking(resident, now):
            return "hand back"
        if head_state(resident.execution) != resident.head:
            return "settle" if now >= since + SETTLE else since + SETTLE
        if not is_worth_parking(resident, now) or was_kept_aside(resident.execution):
            return NEVER
        return "hand back" if now >= since + PARK_AFTER else since + PARK_AFTER

    def end(self, resident: Resident) -> None:
        """Take note that something has happened to it."""
        self._since.pop(resident, None)

    def that_can_go(self, now: int) -> Iterator[Resident]:
        """Give those that may be let go of at once to make room."""
        for resident in list(self._since):
            if (
                resident.in_flight is None
                and not resident.inbox
                and head_state(resident.execution) is not RUNNING
                and is_worth_parking(resident, now)
            ):
                yield resident


def may_expire(resident: Resident, now: int) -> bool:
    """Tell whether something may be due in a workflow that waits for messages, or it may end and refuse what it was
    asked."""
    execution = resident.execution
    if execution.outcome is not None and (execution.requests.open or execution.requests.told):
        return True
    return bool(execution.waits or execution.children.awaited) and attention_at(execution) <= now


def is_worth_parking(resident: Resident, now: int) -> bool:
    """Tell whether the next thing that is due is further off than the replays that parking would cost."""
    execution = resident.execution
    due_at = execution.due[0][0] if execution.due else NEVER
    length = resident.seq - execution.first_seq + 1
    return due_at - now > REPLAYS * (_REPLAY + _REPLAY_OF_EVENT * length)

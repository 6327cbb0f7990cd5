"""The ledger: what the attempts noted and what the log recorded, held against each other. It prints nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass

from everlog import HistoryEvent
from everlog.cli.demo.index import Attempt

ENDS = ("step_completed", "step_failed")


@dataclass(frozen=True)
class Kill:
    """A kill: which results the log held when it fell, and how many attempts the ledger."""

    recorded: Set[str]
    attempts: int


@dataclass(frozen=True)
class Ledger:
    """The account of a whole run."""

    attempts: int
    results: int
    refused: int
    cut_short: int
    run_twice: int
    replayed: Sequence[int]
    run_in_spite_of_record: int

    @property
    def is_sound(self) -> bool:
        """Whether every attempt is accounted for, and nothing ran whose result was recorded."""
        accounted = self.results + self.cut_short + self.run_twice
        return self.attempts == accounted and self.run_in_spite_of_record == 0


def recorded_modules(history: Sequence[HistoryEvent]) -> list[str]:
    """Give the modules whose steps have a result in the log; the key of an operation stands behind its @."""
    return [str(event.data["operation"]).partition("@")[2] for event in history if event.type in ENDS]


def account(attempts: Sequence[Attempt], history: Sequence[HistoryEvent], kills: Sequence[Kill]) -> Ledger:
    """Make the account from the ledger's attempts, the finished log, and what was seen at each kill."""
    written = Counter(attempt.module for attempt in attempts if attempt.outcome is not None)
    return Ledger(
        attempts=len(attempts),
        results=len(recorded_modules(history)),
        refused=sum(event.type == "step_failed" for event in history),
        cut_short=sum(attempt.outcome is None for attempt in attempts),
        run_twice=sum(count - 1 for count in written.values()),
        replayed=[len(kill.recorded) for kill in kills],
        run_in_spite_of_record=sum(
            attempt.module in kill.recorded for kill in kills for attempt in attempts[kill.attempts :]
        ),
    )

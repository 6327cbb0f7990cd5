"""The ledger: what the attempts noted and what the log recorded, held against each other. It prints nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass

from everlog import HistoryEvent
from everlog.cli.demo.index import Attempt
from everlog.cli.demo.parts import Part, handovers, held_by

ENDS = ("step_completed", "step_failed")


@dataclass(frozen=True)
class Kill:
    """A kill: of which process, how many attempts the ledger held when it fell, and then which results the log.

    `attempts` and `recorded` are as they were read one after the other: others may have gone on in between. `looked` is
    how many attempts there were after that.
    """

    process: int
    attempts: int
    recorded: Set[str]
    looked: int


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
    taken_over: int
    taken_from_the_living: int

    @property
    def is_sound(self) -> bool:
        """Whether every attempt is accounted for, none ran whose result was recorded, and only the dead lost work."""
        accounted = self.results + self.cut_short + self.run_twice
        broken = self.run_in_spite_of_record + self.taken_from_the_living
        return self.attempts == accounted and broken == 0


def recorded_modules(history: Sequence[HistoryEvent]) -> list[str]:
    """Give the modules whose steps have a result in the log; the key of an operation stands behind its @."""
    return [str(event.data["operation"]).partition("@")[2] for event in history if event.type in ENDS]


def account(
    attempts: Sequence[Attempt], history: Sequence[HistoryEvent], kills: Sequence[Kill], parts: Sequence[Part]
) -> Ledger:
    """Make the account from the ledger's attempts, the finished logs, and what was seen at each kill."""
    written = Counter(attempt.module for attempt in attempts if attempt.outcome is not None)
    moved = handovers(parts, attempts)
    killed = {kill.process for kill in kills}
    return Ledger(
        attempts=len(attempts),
        results=len(recorded_modules(history)),
        refused=sum(event.type == "step_failed" for event in history),
        cut_short=sum(attempt.outcome is None for attempt in attempts),
        run_twice=sum(count - 1 for count in written.values()),
        replayed=[replayed(kill, attempts, parts) for kill in kills],
        run_in_spite_of_record=sum(
            attempt.module in kill.recorded for kill in kills for attempt in attempts[kill.looked :]
        ),
        taken_over=sum(moved.values()),
        taken_from_the_living=sum(count for process, count in moved.items() if process not in killed),
    )


def replayed(kill: Kill, attempts: Sequence[Attempt], parts: Sequence[Part]) -> int:
    """Count the results that the log held of the workflows that the killed process was at work on."""
    again = {attempt.module for attempt in attempts[kill.attempts :]}
    held = held_by(kill.process, parts, attempts[: kill.attempts], kill.recorded)
    return sum(module.name in kill.recorded - again for part in held for module in part.modules)

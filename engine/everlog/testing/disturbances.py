"""Disturbances: where a run crashes, which steps are slow in it, and which fail. They do nothing by themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from typing import Final, Literal

import msgspec

from everlog.replay.operations import StepOperation

When = Literal["before", "after"]
RANKS: Final = 3
"""So many delays there are beside none, each ten times the one before."""


class Disturbance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is done to one run: by default nothing.

    `crashes`: the process dies before or after its n-th commit, counted from 1, and another one goes on; the second
    crash is that of the second process, and so on. `slow`: attempts that begin so many seconds late. `failing`:
    attempts that raise instead of running, by the place of what they raise among the `failures` of their step, from 0.
    Attempts are named as in the text of an `ExplorationFailed`.
    """

    crashes: tuple[tuple[int, When], ...] = ()
    slow: Mapping[str, float] = {}
    failing: Mapping[str, int] = {}

    def __repr__(self) -> str:
        """Give it as it is written in code, without what is not disturbed."""
        shown = (("crashes", list(self.crashes)), ("slow", dict(self.slow)), ("failing", dict(self.failing)))
        return f"Disturbance({', '.join(f'{name}={value!r}' for name, value in shown if value)})"


class Choices:
    """Who is slow and who fails, decided when an attempt is seen first, and alike whenever it is seen again.

    `ranks` are taken one for each attempt, in the order in which they are seen, so that one list gives one run; those
    that come after its end are not slow. The same goes for `throws`, of the steps that may fail.
    """

    def __init__(
        self,
        given: Disturbance,
        *,
        throws: Iterable[int] = (),
        failures: Mapping[str, Sequence[Exception]] | None = None,
    ) -> None:
        self.slow: dict[str, float] = dict(given.slow)
        self.failing: dict[str, int] = dict(given.failing)
        self._failures = failures or {}
        self._throws = iter(throws)
        self._asked: set[str] = set()
        self._ranks: Iterator[int] = iter(())
        self._slowest = 0.0
        self._seen: set[str] = set()

    def with_delays(self, ranks: Iterable[int], slow: Mapping[str, float], slowest: float) -> Choices:
        """Give choices for another run of the same, in which the same attempts fail and these are slow."""
        other = copy(self)
        other.slow, other._seen = dict(slow), set()
        other._ranks, other._slowest = iter(ranks), slowest
        return other

    def delay(self, attempt: str) -> float:
        """Give the seconds by which an attempt begins late."""
        if attempt not in self._seen:
            self._seen.add(attempt)
            rank = next(self._ranks, 0)
            if rank:
                self.slow[attempt] = self._slowest * 10.0 ** (rank - RANKS)
        return self.slow.get(attempt, 0.0)

    def failure(self, attempt: str, step: str) -> Exception | None:
        """Give what an attempt raises instead of running, None where it runs."""
        possible = self._failures.get(step, ())
        if not possible:
            return None
        if attempt not in self._asked:
            self._asked.add(attempt)
            thrown = next(self._throws, 0)
            if thrown:
                self.failing[attempt] = (thrown - 1) % len(possible)
        place = self.failing.get(attempt)
        return None if place is None else possible[place % len(possible)]


def name_of_attempt(workflow_id: str, operation: StepOperation, main: str) -> str:
    """Give the name of an attempt: that of its operation, with what it takes to tell it from others."""
    of = "" if workflow_id == main else f"{workflow_id}: "
    number = "" if operation.attempt == 1 else f" (attempt {operation.attempt})"
    return f"{of}{operation.identity}{number}"

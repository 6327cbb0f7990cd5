"""Keeping: how long workflows are kept that have ended, as users say it. What others need is not known here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final, Literal, cast, final

from everlog.core.durations import Duration, microseconds, spoken
from everlog.core.heads import ENDED
from everlog.core.numbers import check_count
from everlog.errors import UsageError

EndState = Literal["completed", "failed", "cancelled"]
"""How a workflow may have ended."""

END_STATES: Final[tuple[EndState, ...]] = ("cancelled", "completed", "failed")


@final
class Retention:
    """Which workflows are removed that have ended: those that fit all of this; what is kept besides is in the docs.

    `older_than`: those that ended longer ago than this. `keep_last`: so many of each name are kept, those that were
    created last. At least one of the two is given. `states`: only those that ended so, by default all.
    Raises `UsageError` for values that make no sense.
    """

    __slots__ = ("keep_last", "older_than", "states")

    def __init__(
        self,
        older_than: Duration | None = None,
        *,
        keep_last: int | None = None,
        states: EndState | Sequence[EndState] | None = None,
    ) -> None:
        if older_than is None and keep_last is None:
            raise UsageError("what is to be removed? Give older_than= (30 days: 30 * 86400), keep_last=, or both")
        self.older_than = None if older_than is None else microseconds(older_than, what="older_than")
        self.keep_last = None if keep_last is None else check_count(keep_last, what="keep_last")
        self.states = end_states(states)

    def __repr__(self) -> str:
        return f"Retention({self.sentence()})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Retention) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def _values(self) -> tuple[object, ...]:
        return self.older_than, self.keep_last, self.states

    def sentence(self) -> str:
        """Say what is removed."""
        said = [] if self.older_than is None else [f"ended more than {spoken(self.older_than)} ago"]
        said += [] if self.keep_last is None else [f"not among the last {self.keep_last} of its name"]
        said += [] if self.states == END_STATES else [" or ".join(self.states)]
        return ", ".join(said)


def retention_of(given: object, *, what: str) -> Retention | None:
    """Give the retention that users mean by a duration, or a `Retention`; None is for ever."""
    if given is None or isinstance(given, Retention):
        return given
    if isinstance(given, bool) or not isinstance(given, int | float | timedelta):
        raise UsageError(f"{what} must be seconds, a timedelta or a Retention, got {given!r}")
    return Retention(given)


def end_states(given: object) -> tuple[EndState, ...]:
    """Give the states of workflows that have ended which are meant; `UsageError` for others."""
    if given is None:
        return END_STATES
    states = [given] if isinstance(given, str) else given
    if not isinstance(states, Sequence) or not states:
        raise UsageError(f"states must be some of {', '.join(END_STATES)}, got {given!r}")
    for state in cast("Sequence[object]", states):
        if state not in ENDED:
            raise UsageError(f"only what has ended is removed: {', '.join(END_STATES)}, got the state {state!r}")
    return tuple(sorted(set(cast("Sequence[EndState]", states))))

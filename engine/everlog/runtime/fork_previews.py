"""Fork previews: what a fork that was planned would keep of another history, and what it would do again. No store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from everlog.core import events
from everlog.core.forking import Outcome, operation_of
from everlog.core.rewinding import Stored


class ForkPreview(Struct, frozen=True, kw_only=True):
    """What a fork would be. Steps and children are named by their operations, in the order of the history.

    `at` is the seq of the last event that it has of the workflow. `kept`: what has its outcome in the fork, and is not
    run again. `replaced`: what has another outcome there; `input` is the input. `again`: what the workflow has done, or
    begun, and the fork has no outcome of, so that it is run again wherever its code comes to it.
    """

    at: int
    kept: list[str]
    replaced: list[str]
    again: list[str]


def preview_of(
    rows: Sequence[Stored], until: int, left_out: Iterable[int], replaced: Iterable[int], *, has_input: bool
) -> ForkPreview:
    """Tell of a fork that has the rows up to a seq, but for those that are left out."""
    gone, other = set(left_out), set(replaced)
    kept: dict[str, None] = {}
    given: dict[str, None] = {"input": None} if has_input else {}
    done: dict[str, None] = {}
    for seq, _, event in rows:
        operation = operation_of(event)
        if operation is None or not isinstance(event, _RUN):
            continue
        done[operation] = None
        if seq <= until and seq not in gone and isinstance(event, Outcome):
            (given if seq in other else kept)[operation] = None
    again = [one for one in done if one not in kept and one not in given]
    return ForkPreview(at=until, kept=list(kept), replaced=list(given), again=again)


_RUN = (
    events.StepStarted
    | events.StepAttemptFailed
    | events.StepCompleted
    | events.StepFailed
    | events.ChildStarted
    | events.ChildEnded
)

"""Reopening: what is written to a workflow that has ended, or is stuck, to have it go on. It writes nothing itself."""

from __future__ import annotations

from collections.abc import Sequence

from everlog.core import events
from everlog.core.events import AnyEvent, EndEvent
from everlog.core.heads import State
from everlog.core.redacting import redaction_of
from everlog.core.rewinding import Stored, rewind_point
from everlog.core.state import WorkflowState, earlier
from everlog.errors import UsageError
from everlog.runtime.places import place_anew


def reopening(
    history: Sequence[Stored],
    folded: WorkflowState,
    *,
    by: str,
    asked_at: int,
    now: int,
    deadline: int | None = None,
    name: str | None = None,
) -> tuple[list[AnyEvent], State]:
    """Give the events that open a workflow again, and its state then; `deadline` is that of its parent, if any.

    With a `name` it goes on under that one, which has another version.
    """
    for seq, _, event in history:
        if event.redacted is not None:
            raise UsageError(f"it cannot be retried: event {seq} was {redaction_of(event)}, and what it held is gone")
    to = rewind_point(history)
    began = folded.began_seq is not None and folded.began_seq <= to
    written_at = max(now, history[-1][1])
    due_at = earlier(written_at, folded.timeout if began else None, deadline)
    has_ended = isinstance(history[-1][2], EndEvent)  # what is stuck has kept its place, and its slot
    place = place_anew(folded.place, now) if folded.place is not None and has_ended else None
    if folded.enqueued and name is not None and not has_ended:
        place = folded.place  # who admits it is to know it by its name there
    rewound = events.WorkflowRewound(to=to, by=by, asked_at=asked_at, deadline=due_at, place=place, name=name)
    if place is not None:
        return [rewound], "enqueued"
    if not began and folded.begins_at is not None:
        return [rewound], "waiting"
    return [rewound], "running" if began else "queued"

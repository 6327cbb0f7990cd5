"""Reopening: what is written to a workflow that has ended, or is stuck, to have it go on. It writes nothing itself."""

from __future__ import annotations

from collections.abc import Sequence

from everlog.core import events
from everlog.core.events import AnyEvent
from everlog.core.heads import State
from everlog.core.rewinding import Stored, rewind_point
from everlog.core.state import WorkflowState, earlier


def reopening(
    history: Sequence[Stored], folded: WorkflowState, *, by: str, asked_at: int, now: int, deadline: int | None = None
) -> tuple[list[AnyEvent], State]:
    """Give the events that open a workflow again, and its state then; `deadline` is that of its parent, if any."""
    to = rewind_point(history)
    began = folded.began_seq is not None and folded.began_seq <= to
    written_at = max(now, history[-1][1])
    due_at = earlier(written_at, folded.timeout if began else None, deadline)
    rewound = events.WorkflowRewound(to=to, by=by, asked_at=asked_at, deadline=due_at)
    return [rewound], "running" if began else "queued"

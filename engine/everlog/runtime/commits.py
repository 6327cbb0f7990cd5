"""Commits: how the draft of a workflow becomes what the store is asked to write. Decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from everlog.core import events
from everlog.core.events import AnyEvent, WorkflowCancelled, decode_event, encode_event, type_of
from everlog.core.heads import State
from everlog.core.state import fold
from everlog.replay.drafting import Draft
from everlog.runtime.residents import Resident
from everlog.store import Claimed, Commit, EventRow, Head, NewMessage


def commit_of(resident: Resident, drafted: Draft, *, release: bool) -> Commit:
    """Give the commit that writes a draft; with `release` it lets go of the workflow."""
    before = seq = resident.seq
    rows: list[EventRow] = []
    for event in drafted.rows:
        seq += 1
        rows.append(EventRow(seq, type_of(event), drafted.recorded_at, encode_event(event)))
    return Commit(
        workflow_id=resident.workflow_id,
        token=resident.token,
        seq=before,
        events=rows,
        state=drafted.state,
        wake_at=drafted.wake_at,
        topics=drafted.topics,
        consumed=drafted.consumed,
        messages=_messages(resident, drafted, rows) if drafted.sends else (),
        release=release,
        progress=drafted.progress,
        why=_summary(drafted.rows[-1]) if drafted.state in _EXPLAINED else None,
    )


def stuck_commit(workflow_id: str, token: str, seq: int, *, build: str, why: str) -> Commit:
    """Give the commit that marks a workflow as stuck with a build, and lets go of it; its history stays as it is."""
    return Commit(
        workflow_id=workflow_id,
        token=token,
        seq=seq,
        state="stuck",
        build=build,
        why=why,
        release=True,
        progress=False,
    )


def going_on(claimed: Claimed, token: str) -> tuple[Commit, Claimed]:
    """Give the commit by which a workflow, stuck or left by a dead worker, runs again, and what is claimed then."""
    takeovers = 0 if claimed.head.state == "stuck" else claimed.head.takeovers
    head = msgspec.structs.replace(claimed.head, state="running", takeovers=takeovers, why=None)
    commit = state_commit(head.workflow_id, token, head.seq, head.state)
    return commit, msgspec.structs.replace(claimed, head=head)


def state_commit(workflow_id: str, token: str, seq: int, state: State, *, release: bool = False) -> Commit:
    """Give the commit that changes only what the head says."""
    return Commit(workflow_id=workflow_id, token=token, seq=seq, state=state, release=release, progress=False)


def ending_commit(head: Head, token: str, history: Sequence[EventRow], end: WorkflowCancelled, now: int) -> Commit:
    """Give the commit that ends a workflow whose code is not run: what is open in its history is closed."""
    at = max([now, head.created_at, *(row.recorded_at for row in history[-1:])])
    open_now = fold((row.seq, row.recorded_at, decode_event(row.payload)) for row in history).open.values()
    ending = [*(_CLOSING[operation.kind](operation=operation.operation) for operation in open_now), end]
    rows = [
        EventRow(head.seq + position, type_of(event), at, encode_event(event))
        for position, event in enumerate(ending, start=1)
    ]
    return Commit(
        workflow_id=head.workflow_id, token=token, seq=head.seq, state="cancelled", events=rows, why=end.reason or None
    )


_CLOSING: Final[dict[str, Callable[..., AnyEvent]]] = {
    "step": events.StepCancelled,
    "timer": events.TimerCancelled,
    "wait": events.WaitCancelled,
}


def _messages(resident: Resident, drafted: Draft, rows: Sequence[EventRow]) -> list[NewMessage]:
    """Give the messages of a draft; the seq of its row makes each unique for this source."""
    seqs = {
        event.operation: row.seq
        for event, row in zip(drafted.rows, rows, strict=True)
        if isinstance(event, events.MessageSent)
    }
    return [
        NewMessage(
            destination=operation.to,
            source=resident.workflow_id,
            number=seqs[operation.identity],
            topic=operation.topic,
            payload=operation.payload,
            key=operation.key,
        )
        for operation in drafted.sends
    ]


_EXPLAINED: Final[frozenset[State]] = frozenset({"failed", "cancelled"})


def _summary(last: AnyEvent) -> str | None:
    if isinstance(last, events.WorkflowFailed):
        return f"{last.error.type.rpartition(':')[2]}: {last.error.message}"[:500]
    return last.reason or None if isinstance(last, events.WorkflowCancelled) else None

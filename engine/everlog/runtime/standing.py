"""Standing: orders to workflows that wait to be admitted, or for the time of their beginning. They run no code.

Such a workflow is claimed for a control message alone. The orders are obeyed in one commit, which lets go of it: a
cancellation ends it, a pause and its resumption keep its place. It does not begin by that.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import msgspec

from everlog.core import events, orders
from everlog.core.events import AnyEvent, EndEvent
from everlog.core.heads import ENDED, InboxRow, State
from everlog.core.rewinding import folded
from everlog.core.state import WorkflowState
from everlog.replay.obeying import attributes_changed, reason_of
from everlog.runtime.commits import closing, is_ask, outside_commit
from everlog.runtime.residents import History
from everlog.store import Claimed, Commit, Head

log: Final = logging.getLogger("everlog")


def stands(head: Head, history: History, now: int) -> bool:
    """Tell whether a workflow that was claimed is not to run now."""
    if head.state == "enqueued":
        return True
    if head.state not in ("paused", "waiting"):
        return False
    if head.state == "waiting" and any(isinstance(event, events.WorkflowBegan) for _, _, event in history):
        return False
    return is_standing(folded(history), now)


def is_standing(state: WorkflowState, now: int) -> bool:
    """Tell whether a workflow that nobody holds waits to be admitted, or for the time of its beginning."""
    return state.enqueued or is_delayed(state, now)


def is_delayed(state: WorkflowState, now: int) -> bool:
    """Tell whether it waits, in no queue, for the time of its beginning."""
    return state.status == "created" and state.begins_at is not None and state.begins_at > now


def obedient_commit(claimed: Claimed, history: History, now: int) -> Commit:
    """Give the commit by which a workflow that stands obeys the orders that it was claimed for."""
    head, state = claimed.head, folded(history)
    controls = [message for message in claimed.inbox if message.control]
    rows = _rows(head, state, _valid(controls, history), [message for message in claimed.inbox if is_ask(message)])
    commit = outside_commit(head, history, rows, _state_after(head.state, state, rows), now)
    ended = commit.state in ENDED
    consumed = [message.row for message in claimed.inbox if message.control or (ended and is_ask(message))]
    return msgspec.structs.replace(commit, consumed=consumed, release=True, progress=ended)


def _valid(controls: Sequence[InboxRow], history: History) -> list[InboxRow]:
    """Give the orders that were not overtaken: by a later one, or by an end that they were meant for."""
    rewound_at = reopened_at = ordered_at = 0
    before: AnyEvent | None = None
    for _, _, event in history:
        if isinstance(event, events.OpeningEvent):
            rewound_at = event.asked_at
            reopened_at = rewound_at if isinstance(before, EndEvent) else reopened_at
        elif isinstance(event, events.WorkflowPaused | events.WorkflowResumed):
            ordered_at = event.asked_at
        before = event
    valid: list[InboxRow] = []
    for message in controls:
        of_pausing = message.topic in (orders.PAUSE, orders.RESUME)
        # Whoever changes attributes was told if it ended before, and waits in all other cases.
        void_before = reopened_at if message.topic == orders.ATTRIBUTES else rewound_at
        overtaken = of_pausing and orders.asked_at(message) < ordered_at
        if message.arrived_at >= void_before and not overtaken:
            valid.append(message)
    return valid


def _rows(head: Head, state: WorkflowState, controls: Sequence[InboxRow], asked: Sequence[InboxRow]) -> list[AnyEvent]:
    rows: list[AnyEvent] = []
    paused = state.paused_at is not None
    for message in sorted(controls, key=lambda message: message.topic != orders.TERMINATE):
        match message.topic:
            case orders.TERMINATE | orders.CANCEL:
                return [*rows, *_ending(head, state, message, asked)]
            case orders.ATTRIBUTES:
                rows.append(attributes_changed(message))
            case orders.PAUSE if not paused:
                rows.append(events.WorkflowPaused(by=message.source, asked_at=orders.asked_at(message)))
                paused = True
            case orders.RESUME if paused:
                rows.append(events.WorkflowResumed(by=message.source, asked_at=orders.asked_at(message)))
                paused = False
            case orders.PAUSE | orders.RESUME:
                pass
            case _:
                log.warning(
                    "workflow %r was ordered to %r, which this version does not know", head.workflow_id, message.topic
                )
    return rows


def _ending(head: Head, state: WorkflowState, message: InboxRow, asked: Sequence[InboxRow]) -> list[AnyEvent]:
    reason, terminated = reason_of(message), message.topic == orders.TERMINATE
    how = "terminated" if terminated else "cancelled"
    end = events.WorkflowCancelled(reason=reason, terminated=terminated, rewind_to=head.seq)
    ordered: list[AnyEvent] = [events.TerminateRequested(by=message.source, reason=reason)] if terminated else []
    return [*ordered, *closing(head.workflow_id, state, asked, how), end]


def _state_after(before: State, state: WorkflowState, rows: Sequence[AnyEvent]) -> State:
    last = next((row for row in reversed(rows) if not isinstance(row, events.AttributesChanged)), None)
    if last is None:
        return before
    if isinstance(last, events.WorkflowCancelled):
        return "cancelled"
    if isinstance(last, events.WorkflowPaused):
        return "paused"
    return "enqueued" if state.enqueued else "waiting"

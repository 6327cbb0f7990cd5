"""Rewinding: what of a history is replayed after it was opened again, and where that begins. It changes no history.

A row `workflow_rewound` makes void what lies between the row that it names and itself: a replay delivers what comes
before and what comes after. What the void part holds is not lost: messages that were received in it are received
again, and an outcome that belongs to what was open at the named row is written again.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from everlog.core import events
from everlog.core.events import AnyEvent, EndEvent
from everlog.core.state import WorkflowState, fold

Stored = tuple[int, int, AnyEvent]
"""Seq, time of recording and event."""


class Lived:
    """A history as a replay sees it."""

    def __init__(self, history: Sequence[Stored]) -> None:
        self.rows: list[Stored] = []
        """What is delivered, in order; the seqs have gaps before rows that rewound."""
        self.void: dict[int, list[Stored]] = {}
        """What each row that rewound, and is among `rows`, has made void; by its seq."""
        for row in history:
            event = row[2]
            if isinstance(event, events.WorkflowRewound):
                cut = len(self.rows)
                while cut and self.rows[cut - 1][0] > event.to:
                    cut -= 1
                self.void[row[0]] = [one for kept in self.rows[cut:] for one in (*self.void.pop(kept[0], ()), kept)]
                del self.rows[cut:]
            self.rows.append(row)


def folded(history: Sequence[Stored]) -> WorkflowState:
    """Give the state that a whole history makes; its children and requests are those that a replay of it has."""
    state = fold(history)
    if any(isinstance(event, events.WorkflowRewound) for _, _, event in history):
        lived = fold(Lived(history).rows)
        return msgspec.structs.replace(state, children=lived.children, requests=lived.requests)
    return state


def returned(history: Sequence[Stored]) -> list[events.MessageReceived]:
    """Give the messages that were received in what is void, and not again since: in the order of their arrival."""
    if not any(isinstance(event, events.WorkflowRewound) for _, _, event in history):
        return []
    kept = {(message.source, message.number) for message in _messages(Lived(history).rows)}
    found = {(message.source, message.number): message for message in _messages(history)}
    back = [message for name, message in found.items() if name not in kept]
    return sorted(back, key=lambda message: message.arrived_at)


def rewind_point(history: Sequence[Stored]) -> int:
    """Give the seq from which a workflow goes on that has ended, or is stuck."""
    end = history[-1][2]
    if not isinstance(end, EndEvent):
        return history[-1][0]
    if not isinstance(end, events.WorkflowCompleted) and end.rewind_to is not None:
        return end.rewind_to
    return next((seq for seq, _, event in reversed(history[:-1]) if not _closes(event)), 1)


def _closes(event: AnyEvent) -> bool:
    """Tell whether it is one of the rows that come with an end."""
    refused = isinstance(event, events.RequestRefused) and not event.operation
    return refused or isinstance(event, events.StepCancelled | events.TimerCancelled | events.WaitCancelled)


def _messages(history: Sequence[Stored]) -> list[events.MessageReceived]:
    return [event for _, _, event in history if isinstance(event, events.MessageReceived)]

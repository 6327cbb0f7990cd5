"""Rewinding: what of a history is replayed after it was opened again, and where that begins. It changes no history.

A replay begins at the last row `workflow_continued`, or else at the first row: nothing here looks further back.

A row `workflow_rewound` makes void what lies between the row that it names and itself: a replay delivers what comes
before and what comes after. What the void part holds is not lost: messages that were received in it are received
again, and an outcome that belongs to what was open at the named row is written again.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from everlog.core import events
from everlog.core.event_parts import CarriedMessage
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
        self.left_out: dict[int, list[Stored]] = {}
        """What each row that forked has made void, likewise: that is never gone back to."""
        self.gaps_until = 0
        """The seq of the last row that forked and made something void: before it, rows may be missing."""
        for row in history:
            event = row[2]
            if isinstance(event, events.WorkflowForked):
                void = set(event.void)
                self.left_out[row[0]] = [one for one in self.rows if one[0] in void]
                if void:
                    self.gaps_until = row[0]
                    self.rows = [one for one in self.rows if one[0] not in void]
            if isinstance(event, events.WorkflowRewound):
                cut = len(self.rows)
                while cut and self.rows[cut - 1][0] > event.to:
                    cut -= 1
                self.void[row[0]] = [one for kept in self.rows[cut:] for one in (*self.void.pop(kept[0], ()), kept)]
                del self.rows[cut:]
            self.rows.append(row)


def since_continued(history: Sequence[Stored]) -> Sequence[Stored]:
    """Give what of a history is replayed, and may be rewound: from the last `workflow_continued` on."""
    for position in range(len(history) - 1, 0, -1):
        if isinstance(history[position][2], events.WorkflowContinued):
            return history[position:]
    return history


def life_around(history: Sequence[Stored], seq: int) -> Sequence[Stored]:
    """Give what was replayed when the row of this seq was the last: from where the workflow began, or continued as new.

    It goes on to where that life ended, or where the row was made void. Empty where the history has no such row,
    and where a fork was made without it: that row does not fit what the fork has in the place of others.
    """
    begins, ends = 0, len(history)
    for position, (number, _, event) in enumerate(history):
        if isinstance(event, events.WorkflowContinued):
            if number > seq:
                ends = position + 1
                break
            begins = position
        elif isinstance(event, events.WorkflowRewound) and event.to < seq < number:
            ends = position
            break
        elif isinstance(event, events.WorkflowForked) and seq in event.void:
            return ()
    life = history[begins:ends]
    return life if any(number == seq for number, _, _ in life) else ()


def folded(history: Sequence[Stored]) -> WorkflowState:
    """Give the state that a whole history makes; its children and requests are those that a replay of it has."""
    state = fold(history)
    last = since_continued(history)
    if any(isinstance(event, events.OpeningEvent) for _, _, event in last):
        lived = fold(Lived(last).rows)
        return msgspec.structs.replace(state, children=lived.children, requests=lived.requests)
    return state


Returned = events.MessageReceived | CarriedMessage
"""A message that is to be received again."""


def returned(history: Sequence[Stored]) -> list[Returned]:
    """Give the messages that were received in what is void, and not again since: in the order of their arrival.

    Those among them that the workflow had when it last continued are given as well.
    """
    history = since_continued(history)
    begins = history[0][2] if history else None
    carried: Sequence[Returned] = begins.messages if isinstance(begins, events.WorkflowContinued) else ()
    if not carried and not any(isinstance(event, events.OpeningEvent) for _, _, event in history):
        return []
    dropped = _dropped(history)
    kept = {(message.source, message.number) for message in _messages(Lived(history).rows)}
    received: Sequence[Returned] = _messages([row for row in history if row[0] not in dropped])
    found = {(message.source, message.number): message for message in [*carried, *received]}
    back = [message for name, message in found.items() if name not in kept]
    return sorted(back, key=lambda message: message.arrived_at)


def _dropped(history: Sequence[Stored]) -> set[int]:
    """Give the seqs of what is void by a fork that has no messages but those which it replays."""
    forks = [event for _, _, event in history if isinstance(event, events.WorkflowForked)]
    return {seq for event in forks if event.messages == "drop" for seq in event.void}


def rewind_point(history: Sequence[Stored]) -> int:
    """Give the seq from which a workflow goes on that has ended, or is stuck."""
    end = history[-1][2]
    if not isinstance(end, EndEvent):
        return history[-1][0]
    if not isinstance(end, events.WorkflowCompleted) and end.rewind_to is not None:
        return end.rewind_to
    last = since_continued(history)
    return next((seq for seq, _, event in reversed(last[:-1]) if not _closes(event)), last[0][0])


def _closes(event: AnyEvent) -> bool:
    """Tell whether it is one of the rows that come with an end."""
    refused = isinstance(event, events.RequestRefused) and not event.operation
    return refused or isinstance(event, events.StepCancelled | events.TimerCancelled | events.WaitCancelled)


def _messages(history: Sequence[Stored]) -> list[events.MessageReceived]:
    return [event for _, _, event in history if isinstance(event, events.MessageReceived)]

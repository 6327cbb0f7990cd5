"""Replies: what the answers of a workflow become, messages and rows beside its log; and who looks whether there will be
any. Decides nothing about who is answered.

Who ends a workflow refuses what it was asked, as far as that is known by then. An ask that was written in that very
moment is known to nobody; so the workflow that asked looks once, when it must be known, whether the other has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from everlog.core import asks
from everlog.core.events import ReplyEvent
from everlog.core.heads import ENDED
from everlog.core.state import body_of
from everlog.replay.operations import WaitOperation
from everlog.replay.requests import not_answered
from everlog.replay.rests import SURE_AFTER
from everlog.runtime.residents import Resident
from everlog.store import EventRow, InboxRow, NewMessage, Store, ValueRow

Told = set[tuple[str, int]]
"""The asks, by source and number, that need no further answer."""
_NOBODY: Final[Told] = set()


def replies_of(
    workflow_id: str, events: Sequence[object], rows: Sequence[EventRow], told: Told = _NOBODY
) -> tuple[list[NewMessage], list[ValueRow]]:
    """Give the messages and the rows that bring answers to those who asked, save to those who were told before."""
    messages: list[NewMessage] = []
    values: list[ValueRow] = []
    for event, row in zip(events, rows, strict=True):
        if not isinstance(event, ReplyEvent) or (event.source, event.number) in told:
            continue
        if event.reply_to is not None:
            values.append(
                ValueRow(name=event.reply_to, seq=row.seq, recorded_at=row.recorded_at, payload=body_of(event))
            )
        else:
            messages.append(
                NewMessage(
                    destination=event.source,
                    source=workflow_id,
                    number=row.seq,
                    topic=asks.reply_topic(event.number),
                    payload=body_of(event),
                    optional=True,
                )
            )
    return messages, values


def look_for_answers(resident: Resident, store: Store, now: int, read_inbox: Callable[[], None]) -> None:
    """Look whether those have ended that were asked a while ago: then what is unread by now is the answer, or none is.

    Raises `StoreError`.
    """
    unsure = resident.execution.waits.unsure
    due = [wait for wait in unsure.values() if wait.issued_at + SURE_AFTER <= now]
    if not due:
        return
    heads = store.heads([str(wait.asked) for wait in due])
    over = [
        (wait, f"workflow {wait.asked!r} was deleted" if head is None else not_answered(str(wait.asked), head.state))
        for wait, head in zip(due, heads, strict=True)
        if head is None or head.state in ENDED
    ]
    if over:
        read_inbox()
    for wait in due:
        unsure.pop(wait.identity, None)
    for wait, reason in over:
        if not resident.inbox.on(wait.topic):
            resident.inbox.add(_refusal(resident, wait, reason, now))


def _refusal(resident: Resident, wait: WaitOperation, reason: str, now: int) -> InboxRow:
    """Give a message that the store does not have."""
    return InboxRow(
        row=resident.inbox.before_all(),
        destination=resident.workflow_id,
        source=str(wait.asked),
        number=0,
        topic=wait.topic,
        payload=asks.encode(asks.Answered(refused=reason)),
        control=False,
        arrived_at=now,
    )

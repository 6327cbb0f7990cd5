"""Laws: what holds of a store at rest, whatever went wrong before. They read it; they know nothing of engines.

No workflow is lost, no result is recorded twice, a history has no gap and goes with the time, messages of one sender
are received once and in order, what was sent has arrived, each child has its parent, and every projection is what the
fold of the log says.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final

from everlog.core.event_codec import decode_event
from everlog.core.events import (
    FACTS,
    AnyEvent,
    ChildEnded,
    ChildStarted,
    MessageReceived,
    MessageSent,
    StepCompleted,
    StepFailed,
    WorkflowContinued,
    WorkflowCreated,
)
from everlog.core.names import RESERVED
from everlog.core.rewinding import Lived
from everlog.runtime.verifying import findings_of
from everlog.store import (
    ENDED,
    EventRow,
    Head,
    InboxRow,
    Store,
    SupportsInboxes,
    SupportsQueues,
    WorkflowQuery,
)
from everlog.store_moving import SupportsMoving

PAGE: Final = 500
Stored = list[tuple[int, int, AnyEvent]]


def heads_of(store: Store) -> Iterator[Head]:
    """Give the heads of all workflows, in the order of their age."""
    after: tuple[int, str] | None = None
    while page := store.workflows(WorkflowQuery(after=after, newest_first=False, limit=PAGE)):
        yield from page
        after = (page[-1].created_at, page[-1].workflow_id)


def unrest(store: Store) -> Iterator[str]:
    """Tell which workflows are to go on, which in a store at rest is none; first those that never will."""
    restless: list[str] = []
    for head in heads_of(store):
        why = None if head.state in ENDED else _why_restless(store, head)
        if why is not None and head.state == "stuck":
            yield why
        elif why is not None:
            restless.append(why)
    yield from restless


def _why_restless(store: Store, head: Head) -> str | None:
    name = f"workflow {head.workflow_id!r}"
    held = "nobody holds it" if head.worker is None else f"{head.worker} holds it"
    if head.state == "stuck":
        return f"{name} is stuck at seq {head.seq}: {head.why}"
    if head.state == "enqueued" and not _may_be_admitted(store, head):
        return None
    if head.state in ("queued", "running", "enqueued"):
        return f"{name} does not go on: it is {head.state} at seq {head.seq}, {held}"
    unread = [
        row for row in _inbox(store, head) if row.control or (head.state == "waiting" and row.topic in head.topics)
    ]
    if unread:
        return f"{name} is {head.state} at seq {head.seq} and does not read {unread[0].topic!r}, {held}"
    if head.state == "waiting" and head.wake_at is not None and head.wake_at <= store.now():
        return f"{name} was to wake at {head.wake_at}, and does not, {held}"
    return None


def _inbox(store: Store, head: Head) -> Sequence[InboxRow]:
    return store.inbox(head.workflow_id) if isinstance(store, SupportsInboxes) else ()


def _may_be_admitted(store: Store, head: Head) -> bool:
    """Tell whether it stands in a queue that has a slot for it; limits of rates and partitions are passed over."""
    if not isinstance(store, SupportsQueues):
        return True
    (place,) = store.places([head.workflow_id])
    rows = [row for row in store.queues() if place is not None and row.name == place.place.queue]
    if place is None or not rows:
        return place is None
    (counts,) = store.count_queues([place.place.queue])
    limits = [rows[0].limits.concurrency, rows[0].limits.partition_concurrency]
    is_full = any(limit is not None and counts.taken >= limit for limit in limits)
    return not (rows[0].paused or is_full or place.place.due_at > store.now())


def broken_laws(store: Store, written: Mapping[str, Sequence[EventRow]]) -> Iterator[str]:
    """Give what a store at rest holds that cannot be; `written` are the histories that it said it had written."""
    heads = {head.workflow_id: head for head in heads_of(store)}
    for workflow_id in written.keys() - heads.keys():
        yield f"workflow {workflow_id!r} is gone, and nobody deleted it"
    histories: dict[str, Stored] = {}
    for workflow_id, head in heads.items():
        rows = store.read(workflow_id)
        if list(rows) != list(written.get(workflow_id, ())):
            yield (
                f"the history of {workflow_id!r} has {len(rows)} rows, and is not what was written, which ends at "
                f"{len(written.get(workflow_id, ()))}"
            )
        histories[workflow_id] = [(row.seq, row.recorded_at, decode_event(row.payload)) for row in rows]
        yield from _of_one(head, histories[workflow_id])
    if isinstance(store, SupportsMoving):
        for found in store.rows_of(list(heads)):
            yield from (str(finding) for finding in findings_of(found, now=store.now()))
        yield from store.stray_rows()
    yield from _of_families(histories)
    yield from _of_messages(store, heads, histories)


def _of_one(head: Head, history: Stored) -> Iterator[str]:
    name = f"workflow {head.workflow_id!r}"
    seqs = [seq for seq, _, _ in history]
    if seqs != [*range(1, head.seq + 1)]:
        yield f"{name} has a gap in its history: {seqs}, under a head at {head.seq}"
    times = [at for _, at, event in history if type(event) in FACTS]
    if times != sorted(times):
        yield f"{name} has facts that go back in time"
    lived = [event for _, _, event in Lived(history).rows]
    lives = accumulate(isinstance(event, WorkflowContinued) for event in lived)
    ends = Counter(
        (life, event.operation)
        for life, event in zip(lives, lived, strict=True)
        if isinstance(event, StepCompleted | StepFailed | ChildEnded)
    )
    for (_, operation), number in ends.items():
        if number > 1:
            yield f"{name} has {number} results of {operation!r}"
    last: dict[tuple[str, str], int] = {}
    for event in [event for event in lived if isinstance(event, MessageReceived)]:
        before = last.get((event.source, event.topic), 0)
        if event.number < before:
            yield f"{name} received message {event.number} of {event.source!r} on {event.topic!r} after {before}"
        last[event.source, event.topic] = event.number


def _of_families(histories: Mapping[str, Stored]) -> Iterator[str]:
    made: Counter[tuple[str, str]] = Counter()
    born: Counter[tuple[str, str]] = Counter()
    for workflow_id, history in histories.items():
        first = history[0][2] if history else None
        if not isinstance(first, WorkflowCreated) or first.forked_from is not None:
            continue  # a fork tells of children of the workflow that it was made of
        started = [event for _, _, event in history if isinstance(event, ChildStarted) and not event.existed]
        made.update((event.child, workflow_id) for event in started)
        if first.parent is not None:
            born[workflow_id, first.parent] += 1
    for child, parent in sorted(made - born):
        yield f"workflow {parent!r} has started {child!r}, which is not there"
    for child, parent in sorted(born - made):
        yield f"workflow {child!r} is there, and its parent {parent!r} has not started it"


def _of_messages(store: Store, heads: Mapping[str, Head], histories: Mapping[str, Stored]) -> Iterator[str]:
    """What was sent was received, or lies unread, or came to one that has ended; nothing else was received."""
    sent = {
        (source, event.sent_as or seq, event.to)
        for source, history in histories.items()
        for seq, _, event in history
        if isinstance(event, MessageSent)
    }
    for workflow_id, history in histories.items():
        for seq, _, event in history:
            if not isinstance(event, MessageReceived) or event.topic.startswith(RESERVED):
                continue
            if event.source in histories and (event.source, event.number, workflow_id) not in sent:
                yield f"workflow {workflow_id!r} received at seq {seq} what {event.source!r} has not sent"
    received: defaultdict[str, set[tuple[str, int]]] = defaultdict(set)
    for workflow_id, history in histories.items():
        received[workflow_id] = {(one.source, one.number) for _, _, one in history if isinstance(one, MessageReceived)}
    for source, history in histories.items():
        for seq, _, event in history:
            if not isinstance(event, MessageSent) or event.control or event.key is not None:
                continue
            head, number = heads.get(event.to), event.sent_as or seq
            if head is None or head.state in ENDED or (source, number) in received[event.to]:
                continue
            if not any((row.source, row.number) == (source, number) for row in _inbox(store, head)):
                yield f"message {number} of {source!r} to {event.to!r} was sent, and is neither received nor unread"

"""Workflows as MemoryStore keeps them. They know nothing of each other, nor of who else is runnable."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from everlog import store


class Workflow:
    """All that is kept of one workflow: its head, its history, its unread inbox and the message keys it has seen."""

    def __init__(self, number: int, head: store.Head, events: Sequence[store.EventRow]) -> None:
        self.number = number
        self.head = head
        self.events = list(events)
        self.inbox: dict[int, store.InboxRow] = {}
        self.senders: set[tuple[str, int]] = set()  # (source, number) of what is in the inbox
        self.keys: set[str] = set()  # of all messages that ever were
        self.values: dict[str, store.ValueRow] = {}
        self.attributes: store.Attributes = {}
        self.waits: dict[int, store.WaitRow] = {}
        self.streams: dict[str, list[store.StreamRow]] = {}

    def append(self, row: store.StreamRow) -> None:
        """Append to a stream. What lies before its end was written by an earlier sending of the same commit."""
        written = self.streams.setdefault(row.stream, [])
        if row.offset == _length(written):
            written.append(row)

    def stream_ends(self) -> Sequence[store.StreamEnd]:
        """Give the streams, in order of their names."""
        return [
            store.StreamEnd(stream=name, length=_length(written), closed=written[-1].kind == "closed")
            for name, written in sorted(self.streams.items())
        ]

    def read_stream(self, question: store.StreamQuestion, limit: int) -> store.StreamPage:
        """Give up to `limit` rows of what is asked for."""
        written = self.streams.get(question.stream, [])
        rows = [row for row in written if row.offset + row.count > question.start]
        return store.StreamPage(state=self.head.state, rows=rows[:limit])


def is_asked_for(head: store.Head, request: store.ClaimRequest) -> bool:
    """Say whether a claim may give this workflow, if it is runnable."""
    is_served = request.queues is None or head.queue is None or head.queue in request.queues
    return is_served and head.name in request.names


def runnable_since(workflow: Workflow, now: int, build: str) -> int | None:
    """Say since when an unheld workflow that has not ended is runnable by this build; None if it is not."""
    head = workflow.head
    if head.state == "stuck":
        return head.created_at if head.build != build else None
    if head.state not in ("waiting", "paused", "enqueued"):
        return head.created_at
    topics = head.topics if head.state == "waiting" else ()
    reasons = [row.arrived_at for row in workflow.inbox.values() if row.control or row.topic in topics]
    if head.state == "waiting" and head.wake_at is not None and head.wake_at <= now:
        reasons.append(head.wake_at)
    return min(reasons, default=None)


def given(workflows: Sequence[Workflow], max_bytes: int) -> Sequence[store.Claimed]:
    """Give what was taken; a history that does not fit comes empty, save the first."""
    answer: list[store.Claimed] = []
    for workflow in workflows:
        events = workflow.events[workflow.head.first_seq - 1 :]
        size = sum(len(event.payload) for event in events)
        fits = not answer or size <= max_bytes
        max_bytes -= size if fits else 0
        history, inbox = events if fits else [], list(workflow.inbox.values())
        answer.append(store.Claimed(head=workflow.head, history=history, inbox=inbox))
    return answer


def waits_of(query: store.WaitQuery, workflows: Iterable[Workflow]) -> Sequence[store.ListedWait]:
    """Give the page of listed waits that is asked for, the oldest first."""
    listed = [store.ListedWait(one.head.workflow_id, wait) for one in workflows for wait in one.waits.values()]
    page = [
        one
        for one in sorted(listed, key=_place_of_wait)
        if (query.after is None or _place_of_wait(one) > query.after)
        and (query.topic is None or one.wait.topic == query.topic)
        and (query.workflow_id is None or one.workflow_id == query.workflow_id)
        and (query.seq is None or one.wait.seq == query.seq)
    ]
    return page[: query.limit]


def _place_of_wait(listed: store.ListedWait) -> tuple[int, str, int]:
    return listed.wait.opened_at, listed.workflow_id, listed.wait.seq


def _length(rows: Sequence[store.StreamRow]) -> int:
    return rows[-1].offset + rows[-1].count if rows else 0

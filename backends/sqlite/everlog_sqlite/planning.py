"""Deciding what a batch writes, from the batch and the heads it meets. No SQL: the rows go to `store`.

The parts take effect one after the other, each on what those before it left, although all of them are then written
by the same few statements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple

import msgspec

from everlog.core.attributes import rows_of
from everlog.store import (
    ENDED,
    AttributeChange,
    Batch,
    BatchOutcome,
    ChildDeduplicated,
    ChildExists,
    Commit,
    CommitOutcome,
    CreateOutcome,
    Deduplicated,
    Done,
    Duplicate,
    EventRow,
    Exists,
    NewMessage,
    NewWorkflow,
    Place,
    PostOutcome,
    Refused,
    State,
    Undeliverable,
)
from everlog_sqlite.queue_records import Keeper
from everlog_sqlite.records import HeadRecord, array

Row = tuple[object, ...]
Advance = tuple[int, str | None, int, int, int, int]
"""Number, token and seq of the head, its seq afterwards, the bytes that are added, whether takeovers are forgotten."""

DONE = Done()
_REFUSED = Refused()


class Mail:
    """Which messages were delivered before: those unread, with their row, and the keys of all that ever were."""

    def __init__(self) -> None:
        self.unread: dict[tuple[str, str, int], int] = {}
        self.keys: set[tuple[str, str]] = set()

    def has(self, message: NewMessage) -> bool:
        """Say whether the message is another's repetition."""
        known = message.key is not None and (message.destination, message.key) in self.keys
        return known or (message.destination, message.source, message.number) in self.unread

    def add(self, message: NewMessage, row: int) -> None:
        """Count the message as delivered."""
        self.unread[message.destination, message.source, message.number] = row
        if message.key is not None:
            self.keys.add((message.destination, message.key))

    def consume(self, workflow_id: str, rows: Sequence[int]) -> None:
        """Forget messages that a commit has read; their keys stay."""
        for sent, row in list(self.unread.items()):
            if row in rows and sent[0] == workflow_id:
                del self.unread[sent]


class Keys:
    """Who has which `dedup_key` of which queue, as far as a batch asks."""

    def __init__(self, keepers: Sequence[Keeper] = ()) -> None:
        self._keepers = {(keeper.queue, keeper.dedup_key): keeper.workflow_id for keeper in keepers}
        self._admitted = {keeper.workflow_id for keeper in keepers if keeper.has_slot}

    def keeper(self, place: Place) -> str | None:
        """Give the workflow that has the place's key and keeps it; None where it is free, or can be taken."""
        found = None if place.dedup_key is None else self._keepers.get((place.queue, place.dedup_key))
        return None if place.takes_key and found in self._admitted else found

    def give(self, workflow_id: str, place: Place) -> bool:
        """Give the place's key to a workflow; say whether another loses it."""
        if place.dedup_key is None:
            return False
        loser = self._keepers.get((place.queue, place.dedup_key))
        self._keepers[place.queue, place.dedup_key] = workflow_id
        return loser is not None

    def give_back(self, workflow_id: str) -> None:
        """Count a workflow's key as free, and its slot."""
        self._admitted.discard(workflow_id)
        for key in [key for key, keeper in self._keepers.items() if keeper == workflow_id]:
            del self._keepers[key]

    def stand(self, workflow_id: str) -> None:
        """Count a workflow's slot as given back."""
        self._admitted.discard(workflow_id)


class Plan:
    """The outcomes of a batch and the rows that make them true.

    `heads` are those that the batch names, by id; they are changed to what they are afterwards.
    """

    def __init__(self, heads: dict[str, HeadRecord], mail: Mail, keys: Keys, *, last_number: int, now: int) -> None:
        self.heads = heads
        self.created: list[Row] = []
        self.advanced: list[Row] = []
        self.moved: list[Row] = []
        self.events: list[Row] = []
        self.consumed: list[Row] = []
        self.ended: list[int] = []
        self.reopened: list[int] = []
        self.messages: list[Row] = []
        self.keys: list[Row] = []
        self.values: list[Row] = []
        self.items: list[Row] = []
        self.left: list[int] = []
        self.lost: list[Row] = []
        self.stood: list[Row] = []
        self.put: list[Row] = []
        self.waits: list[Row] = []
        self.closed_waits: list[Row] = []
        self.dropped: list[Row] = []
        self.attributes: list[Row] = []
        self._mail = mail
        self._keys = keys
        self._last_number = last_number
        self.now = now

    def add(self, batch: Batch) -> BatchOutcome:
        """Plan all parts of the batch and give their outcomes."""
        return BatchOutcome(
            creates=[self._create(new) for new in batch.creates],
            commits=[self._commit(commit) for commit in batch.commits],
            posts=[self._post(message) for message in batch.posts],
        )

    def _create(self, new: NewWorkflow) -> CreateOutcome:
        found = self.heads.get(new.workflow_id)
        if found is not None:
            return Exists(head=found.head())
        keeper = self._keys.keeper(new.place) if new.place is not None else None
        if keeper is not None:
            return Deduplicated(head=self.heads[keeper].head())
        self._last_number += 1
        ended = new.state in ENDED
        head = HeadRecord(
            number=self._last_number,
            workflow_id=new.workflow_id,
            name=new.name,
            state=new.state,
            seq=len(new.events),
            bytes=self._append(self._last_number, new.events),
            created_at=new.events[0].recorded_at,
            ended_at=new.events[-1].recorded_at if ended else None,
            token=None if ended else new.token,
            worker=None if ended else new.worker,
            wake_at=new.wake_at,
            queue=None if new.place is None else new.place.queue,
        )
        self.heads[new.workflow_id] = head
        self.created.append((*msgspec.structs.astuple(head)[:11], head.queue))
        if new.place is not None:
            self._put(head, new.place)
        if new.attributes:
            self._keep(head, new.attributes)
        return DONE

    def _commit(self, commit: Commit) -> CommitOutcome:
        head = self.heads.get(commit.workflow_id)
        if head is None or head.token != commit.token or head.seq != commit.seq:
            return _REFUSED
        for index, new in enumerate(commit.creates):
            found = self.heads.get(new.workflow_id)
            if found is not None:
                return ChildExists(index=index, head=found.head())
        duplicate = self._find_duplicate(commit)
        if duplicate is not None:
            return duplicate
        created: dict[str, State] = {new.workflow_id: new.state for new in commit.creates}
        for index, message in enumerate(commit.messages):
            reason = self._why_undeliverable(message, created)
            if reason is not None and not message.optional:
                return Undeliverable(index=index, reason=reason)
        for new in commit.creates:
            self._create(new)
        if commit.consumed:
            self.consumed.extend((row, head.number) for row in commit.consumed)
            self._mail.consume(commit.workflow_id, commit.consumed)
        for message in commit.messages:
            if self._why_undeliverable(message) is None:
                self._deliver(message)
        if commit.values or commit.items:
            self._publish(head.number, commit)
        if commit.waits or commit.closes:
            self._list(head.number, commit)
        if commit.attributes:
            self.dropped.extend((head.workflow_id, name) for name in commit.attributes)
            self._keep(head, commit.attributes)
        size = self._append(head.number, commit.events)
        if commit.first_seq is not None:
            size = sum(len(event.payload) for event in commit.events if event.seq >= commit.first_seq)
        runs_on = commit.token is not None and commit.state == "running" and _goes_on(commit) and head.runs()
        head.seq += len(commit.events)
        advance = (head.number, commit.token, commit.seq, head.seq, size, _forgives(commit))
        if runs_on:
            self.advanced.append(advance)
        else:
            self._move(head, commit, advance)
        return DONE

    def _move(self, head: HeadRecord, commit: Commit, advance: Row) -> None:
        ended = commit.state in ENDED
        free = commit.release or ended
        if head.ended_at is not None:
            self.reopened.append(head.number)
        head.first_seq = head.first_seq if commit.first_seq is None else commit.first_seq
        head.name = head.name if commit.name is None else commit.name
        if head.queue is not None or commit.place is not None:
            self._move_place(head, commit)
        head.state = commit.state
        head.ended_at = (commit.events[-1].recorded_at if commit.events else self.now) if ended else None
        head.wake_at = commit.wake_at
        head.topics = tuple(commit.topics)
        head.build = commit.build
        head.why = commit.why
        rest = (head.state, head.ended_at, free, head.wake_at, array(head.topics), head.build, head.why, head.queue)
        self.moved.append((*advance, *rest, commit.first_seq, commit.name))
        if free:
            head.token = head.worker = None
        if ended:
            self.ended.append(head.number)

    def _find_duplicate(self, commit: Commit) -> ChildDeduplicated | Deduplicated | None:
        for index, new in enumerate(commit.creates):
            keeper = self._keys.keeper(new.place) if new.place is not None else None
            if keeper is not None:
                return ChildDeduplicated(index=index, head=self.heads[keeper].head())
        keeper = self._keys.keeper(commit.place) if commit.place is not None else None
        if keeper is None or keeper == commit.workflow_id:
            return None
        return Deduplicated(head=self.heads[keeper].head())

    def _put(self, head: HeadRecord, place: Place) -> None:
        if self._keys.give(head.workflow_id, place):
            self.lost.append((place.queue, place.dedup_key))
        stands = "due" if place.due_at <= self.now else "delayed"
        where = (place.queue, head.name, place.partition, place.priority, place.due_at, place.dedup_key)
        self.put.append((head.number, *where, stands))

    def _move_place(self, head: HeadRecord, commit: Commit) -> None:
        """Plan what becomes of the place of a workflow that has one, or is given one; its head is as it was."""
        if commit.place is not None or commit.state in ENDED:
            self.left.append(head.number)
            self._keys.give_back(commit.workflow_id)
        elif commit.state == "enqueued" or head.state == "enqueued":
            self.stood.append((head.number, commit.state == "enqueued"))
            if commit.state == "enqueued":
                self._keys.stand(commit.workflow_id)
        if commit.place is not None:
            head.queue = commit.place.queue
            self._put(head, commit.place)
            if commit.state == "paused":
                self.stood.append((head.number, False))

    def _post(self, message: NewMessage) -> PostOutcome:
        if self._mail.has(message):
            return Duplicate()
        reason = self._why_undeliverable(message)
        if reason is not None:
            return Undeliverable(index=0, reason=reason)
        self._deliver(message)
        return DONE

    def _why_undeliverable(
        self, message: NewMessage, created: Mapping[str, State] = MappingProxyType({})
    ) -> Literal["unknown", "ended"] | None:
        destination = self.heads.get(message.destination)
        state = destination.state if destination is not None else created.get(message.destination)
        if state is None:
            return "unknown"
        return "ended" if state in ENDED else None

    def _deliver(self, message: NewMessage) -> None:
        if self._mail.has(message):
            return
        self._mail.add(message, row=0)
        number = self.heads[message.destination].number
        payload = message.payload.decode()
        self.messages.append(
            (number, message.source, message.number, message.topic, message.control, payload, self.now)
        )
        if message.key is not None:
            self.keys.append((number, message.key))

    def _publish(self, number: int, commit: Commit) -> None:
        for value in commit.values:
            self.values.append((number, value.name, value.seq, value.recorded_at, value.payload.decode()))
        for row in commit.items:
            place = (number, row.stream, row.offset, row.count, row.kind)
            self.items.append((*place, row.written_at, row.operation, row.attempt, row.payload.decode()))

    def _list(self, number: int, commit: Commit) -> None:
        self.closed_waits.extend((number, seq) for seq in commit.closes)
        for wait in commit.waits:
            texts = [None if one is None else one.decode() for one in (wait.metadata, wait.schema)]
            said = (wait.operation, wait.topic, wait.title, wait.opened_at, wait.due_at)
            self.waits.append((number, wait.seq, *said, *texts))

    def _keep(self, head: HeadRecord, attributes: AttributeChange) -> None:
        for name, place, text in rows_of(attributes):
            self.attributes.append((head.workflow_id, name, text, place, head.created_at))

    def _append(self, number: int, events: Sequence[EventRow]) -> int:
        """Plan rows of the log, and give the bytes of their payloads."""
        size = 0
        for event in events:
            size += len(event.payload)
            self.events.append((number, event.seq, event.type, event.recorded_at, event.payload.decode()))
        return size


class Running(NamedTuple):
    """A batch in which every workflow runs on and touches no other: its heads, and the rows to be written."""

    heads: list[HeadRecord]
    advanced: list[Advance]
    events: list[Row]

    def move_heads(self) -> None:
        """Take note that the rows were written."""
        for head, advance in zip(self.heads, self.advanced, strict=True):
            head.seq = advance[3]


def remembered(batch: Batch, known: dict[str, HeadRecord]) -> dict[str, HeadRecord] | None:
    """Give the heads of a batch that concerns only its own workflows, if all are remembered as it wants them."""
    if batch.creates or batch.posts:
        return None
    heads: dict[str, HeadRecord] = {}
    for commit in batch.commits:
        head = known.get(commit.workflow_id)
        if head is None or head.token != commit.token or head.seq != commit.seq or commit.messages:
            return None
        if commit.creates or commit.place is not None:
            return None
        heads[commit.workflow_id] = head
    return heads


def running_on(commits: Sequence[Commit], known: Mapping[str, HeadRecord]) -> Running | None:
    """Plan a batch whose heads are all remembered as it wants them; None where it is not so simple, or wrong."""
    heads: list[HeadRecord] = []
    advanced: list[Advance] = []
    rows: list[Row] = []
    for commit in commits:
        head, before = known.get(commit.workflow_id), commit.seq
        # That a head that runs waits for nothing, as nearly every one does, is left to the fence of advance_heads.
        if head is None or head.token != commit.token or head.seq != before or head.state != "running":
            return None
        if commit.state != "running" or commit.wake_at is not None or commit.topics or commit.release:
            return None
        if (
            commit.build is not None
            or commit.why is not None
            or commit.values
            or commit.items
            or commit.waits
            or commit.closes
            or commit.attributes
            or commit.place is not None
            or commit.first_seq is not None
            or commit.name is not None
        ):
            return None
        if commit.messages or commit.consumed or commit.creates:
            return None
        number, seq, size = head.number, before, 0
        for event in commit.events:
            seq += 1
            if event.seq != seq:
                return None
            size += len(event.payload)
            rows.append((number, seq, event.type, event.recorded_at, event.payload.decode()))
        heads.append(head)
        advanced.append((number, commit.token, before, seq, size, 1 if seq > before and commit.progress else 0))
    return Running(heads, advanced, rows)


def _goes_on(commit: Commit) -> bool:
    """Say whether a commit that leaves the workflow running says nothing else of it."""
    says_more = commit.wake_at is not None or commit.topics or commit.build is not None or commit.why is not None
    return not says_more and not commit.release and commit.first_seq is None and commit.name is None


def _forgives(commit: Commit) -> int:
    """Say whether takeovers are forgotten: as a number, which is bound faster."""
    return 1 if commit.events and commit.progress else 0

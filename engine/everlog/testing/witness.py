"""The witness: sees every write of every process of a simulated world, tells of it, and finds those that cannot be.

It knows a store by what it answered: which token each workflow was given last, and the history that was said to be
written. It asks the store nothing, so a store that lies is found at the first answer that does not fit the ones before.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from everlog.core.event_codec import decode_event
from everlog.core.events import MessageReceived
from everlog.core.queues import QueueLimits, Rate
from everlog.store import (
    ENDED,
    Batch,
    BatchOutcome,
    Claimed,
    Commit,
    Done,
    EventRow,
    NewWorkflow,
    PlaceRow,
    SlotWanted,
)
from everlog.store_forks import Fork
from everlog.store_schedules import ScheduleWrite

EVERYWHERE: Final = "the world"


class Held(Struct):
    """Who holds a workflow, as the store said last."""

    token: str | None = None
    worker: str | None = None


class Slots(Struct):
    """The slots of one queue that were given and not given back, with their partitions; and when each was given."""

    taken: dict[str, str] = {}
    starts: list[tuple[int, str]] = []


class Witness:
    """What happened, and whether it could."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.lines: list[str] = []
        """The trace."""
        self.broken: list[str] = []
        """What cannot be."""
        self.on_broken: Callable[[], None] = lambda: None
        self.histories: dict[str, list[EventRow]] = {}
        self.held: dict[str, Held] = {}
        self.received: defaultdict[str, set[tuple[str, int]]] = defaultdict(set)
        """The messages that are in each history."""
        self.slots: defaultdict[str, Slots] = defaultdict(Slots)
        self.counts_rates = True
        """False once the store's clock has jumped: then nobody can tell how long a window was."""
        self.locked: Counter[str] = Counter()
        """The workflows that transactions have locked which go on though nobody waits for them any more."""
        self._processes: dict[str, str] = {}

    def tell(self, who: str, what: str) -> None:
        """Add a line to the trace."""
        self.lines.append(f"{self._clock():14.6f}  {who:<12} {what}")

    def breaks(self, why: str) -> None:
        """Take note of something that cannot be."""
        self.tell(EVERYWHERE, f"BROKEN: {why}")
        self.broken.append(why)
        self.on_broken()

    # -- what processes did ------------------------------------------------------------------------------------------

    def registered(self, who: str, worker: str) -> None:
        """Take note of the name under which a process is known to the store."""
        self._processes[worker] = who
        self.tell(who, f"registers as {worker}")

    def committed(self, who: str, batch: Batch, outcome: BatchOutcome) -> None:
        """See a batch that the store has answered."""
        for new, created in zip(batch.creates, outcome.creates, strict=True):
            self.tell(who, f"creates {new.workflow_id} ({new.state}): {_name(created)}")
            if isinstance(created, Done):
                self.created(new)
        for commit, committed in zip(batch.commits, outcome.commits, strict=True):
            self.tell(who, f"commits {_told(commit)}: {_name(committed)}")
            if isinstance(committed, Done):
                self._commits(who, commit)
        for post, posted in zip(batch.posts, outcome.posts, strict=True):
            self.tell(who, f"posts {post.topic!r} to {post.destination}: {_name(posted)}")

    def created(self, new: NewWorkflow) -> None:
        """See a workflow that the store says was created."""
        if new.workflow_id in self.histories:
            self.breaks(f"workflow {new.workflow_id!r} was created twice")
        self.histories[new.workflow_id] = list(new.events)
        self.held[new.workflow_id] = Held(new.token, new.worker)

    def _commits(self, who: str, commit: Commit) -> None:
        workflow_id = commit.workflow_id
        history, held = self.histories.get(workflow_id), self.held.get(workflow_id)
        if history is None or held is None:
            self.breaks(f"a commit of workflow {workflow_id!r} was done, which is not there")
            return
        if commit.token != held.token:
            self.breaks(
                f"a commit of workflow {workflow_id!r} by {who} was done though it does not hold it: "
                f"{self._holder(held)}"
            )
        if commit.seq != len(history):
            self.breaks(
                f"a commit of workflow {workflow_id!r} by {who} was done on top of seq {commit.seq}, and its history "
                f"ends at {len(history)}"
            )
        history.extend(commit.events)
        self._receives(workflow_id, commit.events)
        for new in commit.creates:
            self.created(new)
        if commit.release or commit.state in ENDED:
            self.held[workflow_id] = Held()
        if commit.state in ENDED or commit.place is not None or commit.state == "enqueued":
            self.free(workflow_id)

    def _receives(self, workflow_id: str, events: Sequence[EventRow]) -> None:
        received = self.received[workflow_id]
        for row in events:
            if row.type == "workflow_rewound":  # what was received in what is void now is received again
                received.clear()
            elif row.type == "message_received":
                event = decode_event(row.payload)
                assert isinstance(event, MessageReceived)
                if (event.source, event.number) in received:
                    self.breaks(
                        f"workflow {workflow_id!r} received message {event.number} of {event.source!r} twice, the "
                        f"second time at seq {row.seq}"
                    )
                received.add((event.source, event.number))

    def took(self, who: str, worker: str, claimed: Sequence[Claimed], *, how: str) -> None:
        """See what a store has handed out."""
        for one in claimed:
            workflow_id, head = one.head.workflow_id, one.head
            self.tell(who, f"{how} {workflow_id} at seq {head.seq} ({head.state})")
            held, history = self.held.get(workflow_id), self.histories.get(workflow_id)
            if held is None or history is None:
                self.breaks(f"{who} was given workflow {workflow_id!r}, which is not there")
                continue
            if held.token is not None:
                self.breaks(f"{who} was given workflow {workflow_id!r}, and it is held: {self._holder(held)}")
            if head.seq != len(history) or (one.history and list(one.history) != history[head.first_seq - 1 :]):
                last = one.history[-1].seq if one.history else head.seq
                self.breaks(
                    f"{who} was given workflow {workflow_id!r} with a history up to {last} under a head at {head.seq}, "
                    f"and what was written ends at {len(history)}"
                )
            again = [row for row in one.inbox if (row.source, row.number) in self.received[workflow_id]]
            if again:
                self.breaks(
                    f"{who} was given workflow {workflow_id!r} with an unread message {again[0].number} of "
                    f"{again[0].source!r}, which it has received"
                )
            self.held[workflow_id] = Held(head.token, worker)

    def retired(self, who: str, worker: str) -> None:
        """See that a worker was declared dead."""
        self.tell(who, f"retires {self.name_of(worker)}")
        for held in self.held.values():
            if held.worker == worker:
                held.token = held.worker = None
        for slots in self.slots.values():
            slots.taken = {slot: part for slot, part in slots.taken.items() if not slot.startswith(f"{worker}/")}

    def forked(self, who: str, fork: Fork, rows: Sequence[EventRow]) -> None:
        """See a fork, and the rows that it has."""
        workflow_id = fork.new.workflow_id
        self.tell(who, f"forks {fork.source} as {workflow_id}")
        self.created(fork.new)
        self.histories[workflow_id] = list(rows)
        self._receives(workflow_id, rows)
        for new in fork.creates:
            self.created(new)

    def ticked(self, who: str, write: ScheduleWrite) -> None:
        """See a schedule that was written, with what it creates; what is there already is left as it is."""
        self.tell(who, f"writes schedule {write.name}")
        for new in write.creates:
            if new.workflow_id not in self.histories:
                self.tell(who, f"creates {new.workflow_id}")
                self.created(new)

    def deleted(self, who: str, workflow_ids: Sequence[str]) -> None:
        """See that workflows were removed."""
        for workflow_id in workflow_ids:
            self.tell(who, f"deletes {workflow_id}")
            del self.histories[workflow_id], self.held[workflow_id]
            self.received.pop(workflow_id, None)

    # -- queues ------------------------------------------------------------------------------------------------------

    def admitted(self, place: PlaceRow, limits: QueueLimits, now: int) -> None:
        """See that a workflow was given a slot of a queue."""
        self._fill(place.place.queue, place.workflow_id, place.place.partition, limits, now)

    def took_slot(self, worker: str, slot: SlotWanted, limits: QueueLimits, now: int) -> None:
        """See that an attempt of a step was given a slot of a queue."""
        name = f"{worker}/{slot.slot}"
        if name not in self.slots[slot.queue].taken:
            self._fill(slot.queue, name, slot.partition, limits, now)

    def free(self, slot: str) -> None:
        """See that a slot was given back."""
        for slots in self.slots.values():
            slots.taken.pop(slot, None)

    def _fill(self, queue: str, slot: str, partition: str, limits: QueueLimits, now: int) -> None:
        slots = self.slots[queue]
        slots.taken[slot] = partition
        slots.starts.append((now, partition))
        parts = [one for one in slots.taken.values() if one == partition]
        for limit, taken, what in (
            (limits.concurrency, len(slots.taken), f"queue {queue!r}"),
            (limits.partition_concurrency, len(parts), f"partition {partition!r} of queue {queue!r}"),
        ):
            if limit is not None and taken > limit:
                self.breaks(f"{what} has given {taken} slots, and its limit is {limit}: {sorted(slots.taken)}")
        starts = [at for at, _ in slots.starts]
        self._look_at_rate(queue, limits.rate_limit, starts, now)
        self._look_at_rate(queue, limits.partition_rate_limit, [at for at, of in slots.starts if of == partition], now)

    def _look_at_rate(self, queue: str, rate: Rate | None, starts: Sequence[int], now: int) -> None:
        if rate is None or not self.counts_rates:
            return
        within = sum(1 for at in starts if at > now - rate.per)
        if within > rate.limit:
            self.breaks(
                f"queue {queue!r} has begun {within} within {rate.per / 1_000_000:g} s, and its limit is {rate.limit}"
            )

    def name_of(self, worker: str) -> str:
        """Give the process that is known to the store under this name."""
        return self._processes.get(worker, worker)

    def _holder(self, held: Held) -> str:
        if held.token is None or held.worker is None:
            return "nobody holds it"
        return f"{self.name_of(held.worker)} holds it"


def _name(outcome: object) -> str:
    return type(outcome).__name__.lower()


def _told(commit: Commit) -> str:
    what = " ".join(event.type for event in commit.events) or "no event"
    up_to = commit.seq + len(commit.events)
    where = f"seq {commit.seq}" if up_to == commit.seq else f"seq {commit.seq + 1} to {up_to}"
    state = f"{commit.state}, let go" if commit.release else commit.state
    return f"{commit.workflow_id} {where} ({what}; {state})"

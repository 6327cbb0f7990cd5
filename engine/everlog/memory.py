"""MemoryStore: the executable specification of the Store protocol. One lock, dicts and lists; nothing is durable."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Literal

from msgspec.structs import replace

from everlog import store
from everlog.core.attributes import changed
from everlog.core.finding import counts_of, fits, page_of
from everlog.errors import NotFound, StoreUnavailable
from everlog.memory_forks import MemoryForks
from everlog.memory_moving import MemoryMoving
from everlog.memory_queues import MemoryQueues
from everlog.memory_retention import MemoryRetention
from everlog.memory_schedules import MemorySchedules
from everlog.memory_workflows import Workflow, given, is_asked_for, runnable_since, waits_of


def open_store(url: str, *, clock: Callable[[], int] | None = None, **options: object) -> MemoryStore:
    """Open a new store for `memory://`; each call gives one of its own, and has no use for further options."""
    return MemoryStore(clock)


class MemoryStore(MemoryMoving, MemoryRetention, MemorySchedules, MemoryForks):
    """A store in this process's memory. Several engines may share one; it is gone with the process.

    `clock` gives microseconds since 1970-01-01 UTC; without one it is the system's.
    """

    def __init__(self, clock: Callable[[], int] | None = None) -> None:
        self._clock = clock or _system_clock
        self._lock = threading.Lock()
        self._workflows: dict[str, Workflow] = {}
        self._open: dict[str | None, dict[str, Workflow]] = defaultdict(dict)  # not ended, by worker; None: unheld
        self._workers: dict[str, store.WorkerRow] = {}
        self._queues = MemoryQueues()
        MemorySchedules.__init__(self)
        MemoryMoving.__init__(self)
        MemoryRetention.__init__(self)
        self._last_row = self._last_number = 0
        self._signing_key: str | None = None
        self._writes = 0
        self._subscribers: list[Callable[[], None]] = []
        self._closed = False

    def now(self) -> int:
        return self._clock()

    def commit(self, batch: store.Batch) -> store.BatchOutcome:
        """Write the batch; creations first, then commits, then posts, each against what those before it left."""
        store.check_batch(batch)
        with self._writing():
            outcome = store.BatchOutcome(
                creates=[self._create(new) for new in batch.creates],
                commits=[self._commit(commit) for commit in batch.commits],
                posts=[self._post(message) for message in batch.posts],
            )
        self._wake_others()
        return outcome

    def _create(self, new: store.NewWorkflow) -> store.CreateOutcome:
        found = self._workflows.get(new.workflow_id)
        if found is not None:
            return store.Exists(head=found.head)
        keeper = self._queues.keeper(new.place) if new.place is not None else None
        if keeper is not None:
            return store.Deduplicated(head=self._workflows[keeper].head)
        ended = new.state in store.ENDED
        head = store.Head(
            workflow_id=new.workflow_id,
            name=new.name,
            state=new.state,
            seq=len(new.events),
            created_at=new.events[0].recorded_at,
            ended_at=new.events[-1].recorded_at if ended else None,
            token=None if ended else new.token,
            worker=None if ended else new.worker,
            wake_at=new.wake_at,
            queue=new.place.queue if new.place is not None else None,
        )
        self._last_number += 1
        self._workflows[new.workflow_id] = workflow = Workflow(self._last_number, head, new.events)
        workflow.attributes = changed({}, new.attributes)
        self._move(workflow, head)
        if new.place is not None:
            self._queues.put(new.workflow_id, new.place)
        return store.Done()

    def _commit(self, commit: store.Commit) -> store.CommitOutcome:
        workflow = self._workflows.get(commit.workflow_id)
        if workflow is None or (workflow.head.token, workflow.head.seq) != (commit.token, commit.seq):
            return store.Refused()
        for index, new in enumerate(commit.creates):
            if new.workflow_id in self._workflows:
                return store.ChildExists(index=index, head=self._workflows[new.workflow_id].head)
        duplicate = self._find_duplicate(commit)
        if duplicate is not None:
            return duplicate
        created: dict[str, store.State] = {new.workflow_id: new.state for new in commit.creates}
        for index, message in enumerate(commit.messages):
            reason = self._why_undeliverable(message, created)
            if reason is not None and not message.optional:
                return store.Undeliverable(index=index, reason=reason)
        for new in commit.creates:
            self._create(new)
        workflow.events.extend(commit.events)
        for row in commit.consumed:
            if row in workflow.inbox:
                taken = workflow.inbox.pop(row)
                workflow.senders.remove((taken.source, taken.number))
        for message in commit.messages:
            if self._why_undeliverable(message) is None:
                self._deliver(message)
        workflow.values.update((value.name, value) for value in commit.values)
        for seq in commit.closes:
            workflow.waits.pop(seq, None)
        workflow.waits.update((wait.seq, wait) for wait in commit.waits)
        for item in commit.items:
            workflow.append(item)
        if commit.attributes:
            workflow.attributes = changed(workflow.attributes, commit.attributes)
        self._move_on(workflow, commit)
        return store.Done()

    def _move_on(self, workflow: Workflow, commit: store.Commit) -> None:
        head, events = workflow.head, commit.events
        ended = commit.state in store.ENDED
        free = commit.release or ended
        self._move(
            workflow,
            replace(
                head,
                state=commit.state,
                seq=commit.seq + len(events),
                ended_at=(events[-1].recorded_at if events else self.now()) if ended else None,
                token=None if free else head.token,
                worker=None if free else head.worker,
                wake_at=commit.wake_at,
                topics=tuple(commit.topics),
                takeovers=0 if events and commit.progress else head.takeovers,
                build=commit.build,
                why=commit.why,
                queue=head.queue if commit.place is None else commit.place.queue,
                first_seq=head.first_seq if commit.first_seq is None else commit.first_seq,
                name=head.name if commit.name is None else commit.name,
            ),
        )
        if ended:
            self._queues.leave(commit.workflow_id)
        elif commit.place is not None:
            self._queues.put(commit.workflow_id, commit.place)
        elif commit.state == "enqueued":
            self._queues.stand(commit.workflow_id)

    def _find_duplicate(self, commit: store.Commit) -> store.ChildDeduplicated | store.Deduplicated | None:
        for index, new in enumerate(commit.creates):
            keeper = self._queues.keeper(new.place) if new.place is not None else None
            if keeper is not None:
                return store.ChildDeduplicated(index=index, head=self._workflows[keeper].head)
        keeper = self._queues.keeper(commit.place) if commit.place is not None else None
        if keeper is None or keeper == commit.workflow_id:
            return None
        return store.Deduplicated(head=self._workflows[keeper].head)

    def _post(self, message: store.NewMessage) -> store.PostOutcome:
        if self._was_delivered(message):
            return store.Duplicate()
        reason = self._why_undeliverable(message)
        if reason is not None:
            return store.Undeliverable(index=0, reason=reason)
        self._deliver(message)
        return store.Done()

    def _why_undeliverable(
        self, message: store.NewMessage, created: Mapping[str, store.State] = MappingProxyType({})
    ) -> Literal["unknown", "ended"] | None:
        destination = self._workflows.get(message.destination)
        state = destination.head.state if destination is not None else created.get(message.destination)
        if state is None:
            return "unknown"
        return "ended" if state in store.ENDED else None

    def _was_delivered(self, message: store.NewMessage) -> bool:
        destination = self._workflows.get(message.destination)
        if destination is None:
            return False
        return message.key in destination.keys or (message.source, message.number) in destination.senders

    def _deliver(self, message: store.NewMessage) -> None:
        if self._was_delivered(message):
            return
        destination = self._workflows[message.destination]
        self._last_row += 1
        destination.inbox[self._last_row] = store.InboxRow(
            row=self._last_row,
            destination=message.destination,
            source=message.source,
            number=message.number,
            topic=message.topic,
            payload=message.payload,
            control=message.control,
            arrived_at=self.now(),
        )
        destination.senders.add((message.source, message.number))
        if message.key is not None:
            destination.keys.add(message.key)
        self._writes += 1

    def claim(self, request: store.ClaimRequest) -> store.ClaimAnswer:
        """Take runnable workflows, longest runnable first; the lock makes taking and reading one step."""
        with self._writing():
            claimable = self._claimable(request)[: len(request.tokens)]
            for token, workflow in zip(request.tokens, claimable, strict=False):
                self._move(workflow, replace(workflow.head, token=token, worker=request.worker))
            rest = [workflow.head for workflow in self._open[None].values() if is_asked_for(workflow.head, request)]
            due = [head.wake_at for head in rest if head.state == "waiting" and head.wake_at is not None]
            claimed = given(claimable, request.max_bytes)
            return store.ClaimAnswer(claimed=claimed, next_due=min(due, default=None))

    def _claimable(self, request: store.ClaimRequest) -> Sequence[Workflow]:
        if request.only is not None:
            return [self._open[None][request.only]] if request.only in self._open[None] else []
        now = self.now()
        found: list[tuple[int, int, Workflow]] = []
        for workflow in self._open[None].values():
            asked_for = is_asked_for(workflow.head, request)
            since = runnable_since(workflow, now, request.build) if asked_for else None
            if since is not None:
                found.append((since, workflow.number, workflow))
        return [workflow for _, _, workflow in sorted(found, key=lambda entry: entry[:2])]

    def read(self, workflow_id: str, *, after: int = 0, limit: int | None = None) -> Sequence[store.EventRow]:
        with self._locked():
            workflow = self._workflows.get(workflow_id)
            return workflow.events[after:][:limit] if workflow is not None else []

    def heads(self, workflow_ids: Sequence[str]) -> Sequence[store.Head | None]:
        with self._locked():
            found = [self._workflows.get(workflow_id) for workflow_id in workflow_ids]
            return [workflow.head if workflow is not None else None for workflow in found]

    def workflows(self, query: store.WorkflowQuery) -> Sequence[store.Head]:
        """Give the page of heads that is asked for; `everlog.core.finding` says which that is."""
        with self._locked():
            return page_of(query, self._fitting(query))

    def attributes(self, workflow_ids: Sequence[str]) -> Sequence[store.Attributes]:
        """Give the attributes of each id, in order of their names."""
        with self._locked():
            found = [self._workflows.get(workflow_id) for workflow_id in workflow_ids]
            return [{} if workflow is None else workflow.attributes for workflow in found]

    def counts(self, query: store.WorkflowQuery) -> Sequence[store.WorkflowCount]:
        """Count all that fit, in order of name and state."""
        with self._locked():
            return counts_of(self._fitting(query))

    def _fitting(self, query: store.WorkflowQuery) -> list[store.Head]:
        return [one.head for one in self._workflows.values() if fits(query, one.head, one.attributes)]

    def unread(self, worker: str, *, after: int = 0) -> Sequence[store.InboxRow]:
        with self._locked():
            rows = [row for held in self._open[worker].values() for row in held.inbox.values() if row.row > after]
        return sorted(rows, key=lambda row: row.row)

    def inbox(self, workflow_id: str) -> Sequence[store.InboxRow]:
        with self._locked():
            workflow = self._workflows.get(workflow_id)
            return [] if workflow is None else list(workflow.inbox.values())

    def list_waits(self, query: store.WaitQuery) -> Sequence[store.ListedWait]:
        with self._locked():
            return waits_of(query, self._workflows.values())

    def signing_key(self, proposed: str) -> str:
        with self._locked():
            self._signing_key = self._signing_key or proposed
            return self._signing_key

    def values(self, workflow_id: str) -> Sequence[store.ValueRow]:
        with self._locked():
            workflow = self._workflows.get(workflow_id)
            return [] if workflow is None else [workflow.values[name] for name in sorted(workflow.values)]

    def find_values(self, wanted: Sequence[tuple[str, str]]) -> Sequence[store.FoundValue]:
        with self._locked():
            found = [(self._workflows.get(workflow_id), name) for workflow_id, name in wanted]
            return [
                store.FoundValue(state=None, value=None)
                if workflow is None
                else store.FoundValue(state=workflow.head.state, value=workflow.values.get(name))
                for workflow, name in found
            ]

    def streams(self, workflow_id: str) -> Sequence[store.StreamEnd]:
        with self._locked():
            workflow = self._workflows.get(workflow_id)
            return [] if workflow is None else workflow.stream_ends()

    def read_streams(self, questions: Sequence[store.StreamQuestion], *, limit: int) -> Sequence[store.StreamPage]:
        with self._locked():
            found = [(self._workflows.get(question.workflow_id), question) for question in questions]
            return [
                store.StreamPage(state=None, rows=[]) if workflow is None else workflow.read_stream(question, limit)
                for workflow, question in found
            ]

    def changes(self) -> int:
        """Give the number of writes so far, one's own included."""
        with self._locked():
            return self._writes

    def register(self, worker: store.WorkerRow) -> None:
        with self._writing():
            self._workers[worker.worker] = replace(worker, gone=False)

    def renew(self, worker: str, *, lease_until: int) -> bool:
        with self._locked():
            if worker not in self._workers:
                return False
            self._workers[worker] = replace(self._workers[worker], lease_until=lease_until)
            return True

    def workers(self) -> Sequence[store.WorkerRow]:
        """Give all registered workers, and those that hold a workflow though they are not."""
        with self._locked():
            return self._everybody()

    def _everybody(self) -> Sequence[store.WorkerRow]:
        holders = {worker for worker, held in self._open.items() if worker is not None and held}
        holders.update(worker for worker, _ in self._queues.slots)
        ghosts = sorted(holders - self._workers.keys())
        rows = [store.WorkerRow(worker=worker, process="", lease_until=0) for worker in ghosts]
        return [*self._workers.values(), *rows]

    def retire(self, worker: str) -> int:
        with self._locked():
            held = self._retire(worker)
        self._wake_others()
        return held

    def _retire(self, worker: str) -> int:
        self._workers.pop(worker, None)
        held = list(self._open[worker].values())
        for workflow in held:
            head = replace(workflow.head, token=None, worker=None)
            if head.state == "running":
                begun = head.why != store.WORKER_DIED
                head = replace(head, takeovers=head.takeovers + begun, why=store.WORKER_DIED)
            self._move(workflow, head)
        self._writes += self._queues.free_slots(worker)
        return len(held)

    def declare_queues(self, queues: Sequence[tuple[str, store.QueueLimits]]) -> None:
        with self._writing():
            self._writes += sum([self._queues.declare(name, limits) for name, limits in queues])
        self._wake_others()

    def change_queue(self, name: str, *, limits: store.QueueLimits | None = None, paused: bool | None = None) -> bool:
        with self._writing():
            row = self._queues.rows.get(name)
            if row is None:
                return False
            row = row if limits is None else replace(row, limits=limits)
            self._queues.rows[name] = row if paused is None else replace(row, paused=paused)
            self._writes += 1
        self._wake_others()
        return True

    def delete_queue(self, name: str) -> bool:
        with self._writing():
            if name not in self._queues.rows or self._queues.is_used(name):
                return False
            self._queues.delete(name)
            self._writes += 1
        self._wake_others()
        return True

    def queues(self) -> Sequence[store.QueueRow]:
        with self._locked():
            return [self._queues.rows[name] for name in sorted(self._queues.rows)]

    def count_queues(self, names: Sequence[str]) -> Sequence[store.QueueCounts]:
        with self._locked():
            workflows = [workflow for held in self._open.values() for workflow in held.values()]
            enqueued = [one.head.workflow_id for one in workflows if one.head.state == "enqueued"]
            return [self._queues.count(name, enqueued, self.now()) for name in names]

    def places(self, workflow_ids: Sequence[str]) -> Sequence[store.PlaceRow | None]:
        with self._locked():
            return [self._place(workflow_id) for workflow_id in workflow_ids]

    def find_place(self, queue: str, dedup_key: str) -> store.PlaceRow | None:
        with self._locked():
            keeper = self._queues.keepers.get((queue, dedup_key))
            return None if keeper is None else self._place(keeper)

    def _place(self, workflow_id: str) -> store.PlaceRow | None:
        spot = self._queues.spots.get(workflow_id)
        if spot is None:
            return None
        head = self._workflows[workflow_id].head
        return store.PlaceRow(
            workflow_id=workflow_id, name=head.name, state=head.state, place=spot.place, has_slot=spot.has_slot
        )

    def admit(self, request: store.AdmitRequest) -> store.ClaimAnswer:
        """Give slots to enqueued workflows; the lock makes taking and reading one step."""
        with self._writing():
            admitted: list[Workflow] = []
            moments: list[int] = []
            for offer in request.offers:
                tokens = request.tokens[len(admitted) :]
                enqueued = [
                    workflow.head for workflow in self._open[None].values() if workflow.head.state == "enqueued"
                ]
                standing = [head.workflow_id for head in enqueued if head.name in request.names]
                room = len(tokens) if offer.room is None else min(len(tokens), offer.room)
                admission = self._queues.admit(offer, standing, room, self.now())
                for token, workflow_id in zip(tokens, admission.workflow_ids, strict=False):
                    workflow = self._workflows[workflow_id]
                    self._move(workflow, replace(workflow.head, state="queued", token=token, worker=request.worker))
                    admitted.append(workflow)
                if admission.next_due is not None:
                    moments.append(admission.next_due)
            return store.ClaimAnswer(claimed=given(admitted, request.max_bytes), next_due=min(moments, default=None))

    def take_slots(self, worker: str, wanted: Sequence[store.SlotWanted]) -> store.SlotAnswer:
        with self._writing():
            for slot in wanted:
                if slot.queue not in self._queues.rows:
                    raise NotFound(f"there is no queue {slot.queue!r} of which a slot could be taken; declare it first")
            now = self.now()
            taken = [self._queues.take_slot(worker, slot, now) for slot in wanted]
            others = [slot for slot, has in zip(wanted, taken, strict=True) if not has]
            moments = [self._queues.slot_free_at(slot, now) for slot in others]
            next_due = min([moment for moment in moments if moment is not None], default=None)
            return store.SlotAnswer(taken=taken, next_due=next_due)

    def free_slots(self, worker: str, slots: Sequence[str]) -> None:
        with self._writing():
            self._writes += self._queues.free_slots(worker, slots)
        self._wake_others()

    def subscribe(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Have `wake` called after every write; give what ends that."""
        self._subscribers.append(wake)
        return lambda: self._subscribers.remove(wake)

    def close(self) -> None:
        """Drop everything; further calls raise `StoreUnavailable`."""
        with self._lock:
            self._closed = True

    def _move(self, workflow: Workflow, head: store.Head) -> None:
        """Give the workflow its new head: the only place where one changes."""
        self._open[workflow.head.worker].pop(head.workflow_id, None)
        workflow.head = head
        if head.state not in store.ENDED:
            self._open[head.worker][head.workflow_id] = workflow
        self._writes += 1

    def _wake_others(self) -> None:
        for wake in list(self._subscribers):
            wake()

    @contextmanager
    def _locked(self) -> Generator[None]:
        with self._lock:
            if self._closed:
                raise StoreUnavailable("this memory store is closed; open another")
            yield


def _system_clock() -> int:
    return time.time_ns() // 1000

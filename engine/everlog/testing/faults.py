"""FaultyStore: any store, failing on purpose at a chosen commit or admission. It never decides what is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from everlog.errors import StoreUnavailable
from everlog.store import (
    AdmitRequest,
    Attributes,
    Batch,
    BatchOutcome,
    ClaimAnswer,
    ClaimRequest,
    Commit,
    Done,
    EventRow,
    FoundValue,
    Head,
    InboxRow,
    ListedWait,
    PlaceRow,
    QueueCounts,
    QueueLimits,
    QueueRow,
    Refused,
    SlotAnswer,
    SlotWanted,
    Store,
    StreamEnd,
    StreamPage,
    StreamQuestion,
    SupportsDeletion,
    SupportsFinding,
    SupportsInboxes,
    SupportsQueues,
    SupportsStreams,
    SupportsValues,
    SupportsWaits,
    ValueRow,
    WaitQuery,
    WorkerRow,
    WorkflowCount,
    WorkflowQuery,
)
from everlog.store_forks import Fork, ForkOutcome, SupportsForks
from everlog.store_schedules import DueSchedules, ScheduleRow, ScheduleWrite, SupportsSchedules


class Crash(BaseException):
    """The process died here. Not an `Exception`: nothing of the program may handle it and live on."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What happens at a commit, or at an admission, counted from 1.

    - `unavailable` before: nothing was written, and the caller knows it.
    - `unavailable` after: all of it is durable, and the caller hears that this is not known. What was admitted is let
      go of, as by any store that was not heard: it keeps its slot, and the next claim gives it.
    - `crash` before or after: from then on every call raises `Crash`, as nothing of a dead process reaches a store.
    """

    commit: int = 0
    admit: int = 0
    when: Literal["before", "after"]
    kind: Literal["unavailable", "crash"] = "unavailable"


class FaultyStore:
    """Passes everything on to `store`, save at the commits and admissions that the faults name.

    `commits` and `admissions` count them.
    """

    def __init__(self, store: Store, *faults: Fault) -> None:
        self.store = store
        self.commits = 0
        self.admissions = 0
        self.faults = list(faults)
        self.crashed = False

    def now(self) -> int:
        """Pass on."""
        return self._living().now()

    def commit(self, batch: Batch) -> BatchOutcome:
        """Pass on, and fail before or after where a fault says so."""
        store = self._living()
        self.commits += 1
        self._fail("before", commit=self.commits)
        outcome = store.commit(batch)
        self._fail("after", commit=self.commits)
        return outcome

    def claim(self, request: ClaimRequest) -> ClaimAnswer:
        """Pass on."""
        return self._living().claim(request)

    def read(self, workflow_id: str, *, after: int = 0, limit: int | None = None) -> Sequence[EventRow]:
        """Pass on."""
        return self._living().read(workflow_id, after=after, limit=limit)

    def heads(self, workflow_ids: Sequence[str]) -> Sequence[Head | None]:
        """Pass on."""
        return self._living().heads(workflow_ids)

    def workflows(self, query: WorkflowQuery) -> Sequence[Head]:
        """Pass on."""
        return self._living().workflows(query)

    def unread(self, worker: str, *, after: int = 0) -> Sequence[InboxRow]:
        """Pass on."""
        return self._living().unread(worker, after=after)

    def list_waits(self, query: WaitQuery) -> Sequence[ListedWait]:
        """Pass on."""
        return self._with_waits().list_waits(query)

    def signing_key(self, proposed: str) -> str:
        """Pass on."""
        return self._with_waits().signing_key(proposed)

    def inbox(self, workflow_id: str) -> Sequence[InboxRow]:
        """Pass on, to a store that can."""
        store = self._living()
        assert isinstance(store, SupportsInboxes), f"{type(store).__name__} lets nobody read inboxes"
        return store.inbox(workflow_id)

    def values(self, workflow_id: str) -> Sequence[ValueRow]:
        """Pass on."""
        return self._with_values().values(workflow_id)

    def find_values(self, wanted: Sequence[tuple[str, str]]) -> Sequence[FoundValue]:
        """Pass on."""
        return self._with_values().find_values(wanted)

    def streams(self, workflow_id: str) -> Sequence[StreamEnd]:
        """Pass on."""
        return self._with_streams().streams(workflow_id)

    def read_streams(self, questions: Sequence[StreamQuestion], *, limit: int) -> Sequence[StreamPage]:
        """Pass on."""
        return self._with_streams().read_streams(questions, limit=limit)

    def attributes(self, workflow_ids: Sequence[str]) -> Sequence[Attributes]:
        """Pass on."""
        return self._with_finding().attributes(workflow_ids)

    def counts(self, query: WorkflowQuery) -> Sequence[WorkflowCount]:
        """Pass on."""
        return self._with_finding().counts(query)

    def declare_queues(self, queues: Sequence[tuple[str, QueueLimits]]) -> None:
        """Pass on."""
        self._with_queues().declare_queues(queues)

    def change_queue(self, name: str, *, limits: QueueLimits | None = None, paused: bool | None = None) -> bool:
        """Pass on."""
        return self._with_queues().change_queue(name, limits=limits, paused=paused)

    def delete_queue(self, name: str) -> bool:
        """Pass on."""
        return self._with_queues().delete_queue(name)

    def queues(self) -> Sequence[QueueRow]:
        """Pass on."""
        return self._with_queues().queues()

    def count_queues(self, names: Sequence[str]) -> Sequence[QueueCounts]:
        """Pass on."""
        return self._with_queues().count_queues(names)

    def places(self, workflow_ids: Sequence[str]) -> Sequence[PlaceRow | None]:
        """Pass on."""
        return self._with_queues().places(workflow_ids)

    def find_place(self, queue: str, dedup_key: str) -> PlaceRow | None:
        """Pass on."""
        return self._with_queues().find_place(queue, dedup_key)

    def admit(self, request: AdmitRequest) -> ClaimAnswer:
        """Pass on, and fail before or after where a fault says so."""
        queues, store = self._with_queues(), self.store
        self.admissions += 1
        self._fail("before", admit=self.admissions)
        answer = queues.admit(request)
        try:
            self._fail("after", admit=self.admissions)
        except StoreUnavailable:
            heads = [one.head for one in answer.claimed]
            lets_go = [
                Commit(workflow_id=one.workflow_id, token=one.token, seq=one.seq, state=one.state, release=True)
                for one in heads
            ]
            store.commit(Batch(commits=lets_go))
            raise
        return answer

    def take_slots(self, worker: str, wanted: Sequence[SlotWanted]) -> SlotAnswer:
        """Pass on."""
        return self._with_queues().take_slots(worker, wanted)

    def free_slots(self, worker: str, slots: Sequence[str]) -> None:
        """Pass on."""
        self._with_queues().free_slots(worker, slots)

    def schedules(
        self, names: Sequence[str] | None = None, *, after: str | None = None, limit: int = 100
    ) -> Sequence[ScheduleRow]:
        """Pass on."""
        return self._with_schedules().schedules(names, after=after, limit=limit)

    def due_schedules(self, workflows: Sequence[str], *, now: int, limit: int) -> DueSchedules:
        """Pass on."""
        return self._with_schedules().due_schedules(workflows, now=now, limit=limit)

    def write_schedules(self, writes: Sequence[ScheduleWrite]) -> Sequence[Done | Refused]:
        """Pass on, and fail as a commit does: it counts as one."""
        store = self._with_schedules()
        self.commits += 1
        self._fail("before", commit=self.commits)
        outcomes = store.write_schedules(writes)
        self._fail("after", commit=self.commits)
        return outcomes

    def fork(self, fork: Fork) -> ForkOutcome:
        """Pass on, and fail as a commit does: it counts as one."""
        store = self._with_forks()
        self.commits += 1
        self._fail("before", commit=self.commits)
        outcome = store.fork(fork)
        self._fail("after", commit=self.commits)
        return outcome

    def read_types(
        self, workflow_id: str, types: Sequence[str], *, after: int = 0, until: int | None = None
    ) -> Sequence[EventRow]:
        """Pass on."""
        return self._with_forks().read_types(workflow_id, types, after=after, until=until)

    def changes(self) -> int:
        """Pass on."""
        return self._living().changes()

    def register(self, worker: WorkerRow) -> None:
        """Pass on."""
        self._living().register(worker)

    def renew(self, worker: str, *, lease_until: int) -> bool:
        """Pass on."""
        return self._living().renew(worker, lease_until=lease_until)

    def workers(self) -> Sequence[WorkerRow]:
        """Pass on."""
        return self._living().workers()

    def retire(self, worker: str) -> int:
        """Pass on."""
        return self._living().retire(worker)

    def delete(self, workflow_ids: Sequence[str]) -> Sequence[str]:
        """Pass on, to a store that can."""
        store = self._living()
        assert isinstance(store, SupportsDeletion), f"{type(store).__name__} cannot delete workflows"
        return store.delete(workflow_ids)

    def close(self) -> None:
        """Close the store underneath, unless it crashed: the dead close nothing."""
        if not self.crashed:
            self.store.close()

    def _living(self) -> Store:
        if self.crashed:
            raise Crash("the process of this store has crashed; open the database anew")
        return self.store

    def _with_values(self) -> SupportsValues:
        store = self._living()
        if not isinstance(store, SupportsValues):
            raise TypeError(f"{store!r} keeps no values, so there are none to ask for")
        return store

    def _with_waits(self) -> SupportsWaits:
        store = self._living()
        if not isinstance(store, SupportsWaits):
            raise TypeError(f"{store!r} lists no waits, so there are none to ask for")
        return store

    def _with_finding(self) -> SupportsFinding:
        store = self._living()
        if not isinstance(store, SupportsFinding):
            raise TypeError(f"{store!r} keeps no attributes, so there are none to ask for")
        return store

    def _with_streams(self) -> SupportsStreams:
        store = self._living()
        if not isinstance(store, SupportsStreams):
            raise TypeError(f"{store!r} keeps no streams, so there are none to ask for")
        return store

    def _with_queues(self) -> SupportsQueues:
        store = self._living()
        if not isinstance(store, SupportsQueues):
            raise TypeError(f"{store!r} has no queues, so there is nobody to admit")
        return store

    def _with_forks(self) -> SupportsForks:
        store = self._living()
        if not isinstance(store, SupportsForks):
            raise TypeError(f"{store!r} makes no forks, so there is nothing to ask for")
        return store

    def _with_schedules(self) -> SupportsSchedules:
        store = self._living()
        if not isinstance(store, SupportsSchedules):
            raise TypeError(f"{store!r} keeps no schedules, so there are none to ask for")
        return store

    def _fail(self, when: Literal["before", "after"], *, commit: int = 0, admit: int = 0) -> None:
        for fault in self.faults:
            if (fault.commit, fault.admit, fault.when) != (commit, admit, when):
                continue
            call = f"commit {commit}" if commit else f"admission {admit}"
            if fault.kind == "crash":
                self.crashed = True
                raise Crash(f"a crash {when} {call}, as the test asked for")
            raise StoreUnavailable(
                f"the store failed {when} {call}, as the test asked for", unknown_outcome=when == "after"
            )

"""Moving as MemoryStore does it: all rows of a workflow, given and taken as they are, and a store that is closed."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager

from msgspec.structs import replace

from everlog import store
from everlog.core.attributes import from_rows, rows_of
from everlog.core.retention import AuditRow, HoldRow
from everlog.core.schedule_rows import ScheduleRow
from everlog.errors import StoreUnavailable
from everlog.memory_queues import MemoryQueues
from everlog.memory_workflows import Workflow
from everlog.store_moving import AttributeRow, Move, QueueRows, SharedRows, StandingRow, Stands, WorkflowRows


class MemoryMoving:
    """The part of `MemoryStore` that moves; the rest of it has the lock, the workflows and the queues."""

    _workflows: dict[str, Workflow]
    _queues: MemoryQueues
    _schedules: dict[str, ScheduleRow]
    _signing_key: str | None
    _holds: dict[str, HoldRow]
    _audit: list[AuditRow]
    _last_number: int
    _last_row: int
    _writes: int

    def __init__(self) -> None:
        self._move_on_record: Move | None = None

    def _locked(self) -> AbstractContextManager[None]:
        raise NotImplementedError

    def _move(self, workflow: Workflow, head: store.Head) -> None:
        raise NotImplementedError

    def _retire(self, worker: str) -> int:
        raise NotImplementedError

    def _everybody(self) -> Sequence[store.WorkerRow]:
        raise NotImplementedError

    def _wake_others(self) -> None:
        raise NotImplementedError

    def now(self) -> int:
        raise NotImplementedError

    @contextmanager
    def _writing(self) -> Generator[None]:
        """Hold the lock, unless the store is closed for a move."""
        with self._locked():
            if self._move_on_record is not None:
                raise StoreUnavailable(f"the memory store: {self._move_on_record.sentence()}")
            yield

    def workflow_rows(
        self, *, after: tuple[int, str] | None = None, limit: int = 100, max_bytes: int = 16_000_000
    ) -> Sequence[WorkflowRows]:
        with self._locked():
            following = [one for one in self._workflows.values() if after is None or _place(one) > after]
            given: list[WorkflowRows] = []
            for workflow in sorted(following, key=_place)[:limit]:
                max_bytes -= sum(len(event.payload) for event in workflow.events)
                if given and max_bytes < 0:
                    break
                given.append(self._rows(workflow))
            return given

    def rows_of(self, workflow_ids: Sequence[str]) -> Sequence[WorkflowRows]:
        with self._locked():
            found = [self._workflows[one] for one in set(workflow_ids) if one in self._workflows]
            return [self._rows(workflow) for workflow in sorted(found, key=_place)]

    def _rows(self, workflow: Workflow) -> WorkflowRows:
        head = workflow.head
        read = workflow.events[head.first_seq - 1 :]
        return WorkflowRows(
            head=head,
            size=sum(len(event.payload) for event in read),
            events=tuple(workflow.events),
            inbox=tuple(workflow.inbox.values()),
            keys=tuple(sorted(workflow.keys)),
            values=tuple(workflow.values[name] for name in sorted(workflow.values)),
            attributes=tuple(
                AttributeRow(name, place, value, head.created_at)
                for name, place, value in sorted(rows_of(workflow.attributes))
            ),
            waits=tuple(workflow.waits[seq] for seq in sorted(workflow.waits)),
            items=tuple(row for name in sorted(workflow.streams) for row in workflow.streams[name]),
            standing=self._standing(head),
            hold=self._holds.get(head.workflow_id),
        )

    def _standing(self, head: store.Head) -> StandingRow | None:
        spot = self._queues.spots.get(head.workflow_id)
        if spot is None:
            return None
        stands: Stands = "due" if spot.place.due_at <= self.now() else "delayed"
        if spot.has_slot:
            stands = "admitted"
        elif head.state != "enqueued":
            stands = "aside"
        return StandingRow(place=spot.place, name=head.name, came=spot.number, stands=stands)

    def put_workflow_rows(self, workflows: Sequence[WorkflowRows]) -> Sequence[store.CreateOutcome]:
        """Write those that are not there, each with all that it has."""
        with self._locked():
            outcomes = [self._put_rows(rows) for rows in workflows]
        self._wake_others()
        return outcomes

    def _put_rows(self, rows: WorkflowRows) -> store.CreateOutcome:
        head, standing = rows.head, rows.standing
        if head.workflow_id in self._workflows:
            return store.Exists(head=self._workflows[head.workflow_id].head)
        if standing is not None and standing.place.dedup_key is not None:
            keeper = self._queues.keepers.get((standing.place.queue, standing.place.dedup_key))
            if keeper is not None:
                return store.Deduplicated(head=self._workflows[keeper].head)
        self._last_number += 1
        workflow = Workflow(self._last_number, replace(head, token=None, worker=None), rows.events)
        self._workflows[head.workflow_id] = workflow
        self._move(workflow, workflow.head)
        workflow.keys = set(rows.keys)
        workflow.values = {value.name: value for value in rows.values}
        workflow.attributes = from_rows((row.name, row.place, row.value) for row in rows.attributes)
        workflow.waits = {wait.seq: wait for wait in rows.waits}
        for item in rows.items:
            workflow.append(item)
        for row in rows.inbox:
            self._put_message(workflow, row)
        if rows.hold is not None:
            self._holds[head.workflow_id] = rows.hold
        if standing is not None:
            came = standing.came if self._move_on_record is not None else None
            self._queues.put_back(head.workflow_id, standing.place, came, has_slot=standing.stands == "admitted")
        return store.Done()

    def _put_message(self, workflow: Workflow, row: store.InboxRow) -> None:
        self._last_row += 1
        workflow.inbox[self._last_row] = replace(row, row=self._last_row)
        workflow.senders.add((row.source, row.number))

    def shared_rows(self) -> SharedRows:
        with self._locked():
            queues = [
                QueueRows(row=self._queues.rows[name], served=served, starts=tuple(starts))
                for name in sorted(self._queues.rows)
                for served, starts in [self._queues.remembered(name)]
            ]
            schedules = tuple(self._schedules[name] for name in sorted(self._schedules))
            audit = tuple(self._audit)
            return SharedRows(queues=tuple(queues), schedules=schedules, signing_key=self._signing_key, audit=audit)

    def put_shared_rows(self, shared: SharedRows) -> None:
        with self._locked():
            for queue in shared.queues:
                self._queues.rows[queue.row.name] = queue.row
                self._queues.remember(queue.row.name, queue.served, queue.starts)
            self._schedules.update((row.name, row) for row in shared.schedules)
            self._signing_key = shared.signing_key or self._signing_key
            self._audit = list(shared.audit or self._audit)
            self._writes += 1
        self._wake_others()

    def stray_rows(self) -> Sequence[str]:
        """Give nothing: all that is kept of a workflow is in its object."""
        return []

    def move(self) -> Move | None:
        with self._locked():
            return self._move_on_record

    def close_for_move(self, move: Move) -> None:
        """Retire everybody, and refuse what is written from then on."""
        with self._locked():
            for worker in self._everybody():
                self._retire(worker.worker)
            self._move_on_record = move
            self._writes += 1

    def open_after_move(self) -> None:
        with self._locked():
            self._move_on_record = None
            self._writes += 1
        self._wake_others()


def _place(workflow: Workflow) -> tuple[int, str]:
    return workflow.head.created_at, workflow.head.workflow_id

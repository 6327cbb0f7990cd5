"""SqliteStore: the Store protocol on one SQLite file. What each method promises is written in `everlog.store`.

One process writes at a time, and holds the whole file while it does (`BEGIN IMMEDIATE`): so a head that was looked at
in a transaction is the head that is moved, a history that is read in the claiming transaction cannot be older than
its head, and nobody is ever `Busy`. What costs time is the disk, once per commit, and the number of calls into SQLite.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path
from time import time_ns

from msgspec.structs import replace

from everlog.errors import CorruptLog, InternalError, UsageError
from everlog.store import (
    WORKER_DIED,
    AdmitRequest,
    Attributes,
    Batch,
    BatchOutcome,
    ClaimAnswer,
    Claimed,
    ClaimRequest,
    Commit,
    EventRow,
    FoundValue,
    Head,
    InboxRow,
    ListedWait,
    NewWorkflow,
    PlaceRow,
    QueueCounts,
    QueueLimits,
    QueueRow,
    SlotAnswer,
    SlotWanted,
    StreamEnd,
    StreamPage,
    StreamQuestion,
    ValueRow,
    WaitQuery,
    WorkerRow,
    WorkflowCount,
    WorkflowQuery,
    check_batch,
)
from everlog_sqlite import listings, published, records
from everlog_sqlite import statements as sql
from everlog_sqlite.admissions import Admissions
from everlog_sqlite.bells import Bells
from everlog_sqlite.changes import Changes, LogFile
from everlog_sqlite.checkpoints import Checkpoints
from everlog_sqlite.connection import Connection, Durability
from everlog_sqlite.forks import ForkTable
from everlog_sqlite.liveness import WorkerLocks
from everlog_sqlite.migrations import migrate
from everlog_sqlite.moving import MovableTables
from everlog_sqlite.outbox import OpenTransaction, open_transaction
from everlog_sqlite.planning import DONE, Keys, Mail, Plan, remembered, running_on
from everlog_sqlite.queues import Queues
from everlog_sqlite.records import HeadRecord, array
from everlog_sqlite.schedules import ScheduleTable
from everlog_sqlite.taking import read_history, read_taken
from everlog_sqlite.transactions import Transactions
from everlog_sqlite.urls import path_of
from everlog_sqlite.wakeups import Wakeups
from everlog_sqlite.writing import HeadsMoved, Writer

_REMEMBERED_HEADS = 20_000


def open_store(
    url: str,
    *,
    durability: Durability = "full",
    clock: Callable[[], int] | None = None,
    create: bool = True,
) -> SqliteStore:
    """Open the database of a URL: `sqlite:///relative.db`, `sqlite:////absolute.db` or `sqlite:///:memory:`.

    With `durability="process"` a commit survives the death of the process, but not that of the machine. `clock` gives
    microseconds since 1970-01-01 UTC. Without `create` a file that is not there is a `StoreUnavailable`.
    """
    path = path_of(url)
    if path is None or clock is not None:
        return SqliteStore(path, durability=durability, clock=clock, create=create)
    return PushingStore(path, durability=durability, create=create)


class SqliteStore(ScheduleTable, ForkTable, MovableTables):
    """A store in one SQLite file; `path` None is one in memory, for tests. Several processes may open the same file."""

    def __init__(
        self,
        path: Path | None,
        *,
        durability: Durability = "full",
        clock: Callable[[], int] | None = None,
        create: bool = True,
    ) -> None:
        self._clock = clock or _system_clock
        self._path = path
        self._connection = Connection(path, durability=durability, create=create)
        try:
            migrate(self._connection, create=create)
            # Leases have a connection of their own, so that they do not wait for what the committer does between its
            # statements. Theirs need not reach the disk: a power cut takes the workers with it.
            self._leases = self._connection
            if path is not None:
                self._leases = Connection(path, durability="process", create=False)
        except BaseException:
            self._connection.close()
            raise
        self._changes = Changes(self._connection)
        self._queues = Queues(self._connection, self.now)
        self._writer = Writer(self._connection, self._queues, self.now)
        self._admissions = Admissions(self._connection, self.now)
        self._checkpoints = None if path is None else Checkpoints(path)
        self._locks = WorkerLocks(None if path is None else _beside(path))
        self._known: dict[str, HeadRecord] = {}
        self._transactions = None if path is None else Transactions(path, durability, self._tell)

    def now(self) -> int:
        """Give the time of the store's clock."""
        return self._clock()

    def commit(self, batch: Batch) -> BatchOutcome:
        """Write the batch in one transaction, with as few statements as it has kinds of rows."""
        with self._connection.using:
            if not (batch.creates or batch.posts) and self._run_on(batch.commits):
                return BatchOutcome(commits=[DONE] * len(batch.commits))
            check_batch(batch)
            known, self._known = self._known, {}  # forgotten, unless all goes well
            heads = remembered(batch, known)
            outcome = self._write(batch, heads, known) if heads is not None else None
            if outcome is None:
                outcome = self._write(batch, None, known)
            if outcome is None:
                raise InternalError(f"{self._connection.name}: heads changed under the write lock")
            self._known = known
        return outcome

    def _run_on(self, commits: Sequence[Commit]) -> bool:
        """Write the usual batch, in which every workflow runs on; False, and nothing written, if it is another."""
        known, self._known = self._known, {}
        running = running_on(commits, known)
        if running is not None:
            try:
                with self._connection.quiet:  # nobody else waits for a workflow that runs on
                    self._writer.write_advances(running.advanced)
                    sql.INSERT_EVENTS.run(self._connection, running.events)
            except HeadsMoved:
                return False
            running.move_heads()
        self._known = known
        return running is not None

    def _write(
        self, batch: Batch, heads: dict[str, HeadRecord] | None, known: dict[str, HeadRecord]
    ) -> BatchOutcome | None:
        """Write the batch on these heads, None: on those in the database. None, and nothing written, if others moved.

        Heads that are remembered need not be looked up, which is most of what a commit can save.
        """
        connection = self._connection
        try:
            with connection.transaction:
                if heads is None:
                    plan = self._writer.look_up(batch)
                else:
                    plan = Plan(heads, Mail(), Keys(), last_number=0, now=self.now())
                outcome = plan.add(batch)
                self._writer.write_rows(plan)
        except HeadsMoved:
            known.clear()
            return None
        if len(known) > _REMEMBERED_HEADS:
            known.clear()
        for workflow_id, head in plan.heads.items():
            if head.token is None:
                known.pop(workflow_id, None)
            else:
                known[workflow_id] = head
        return outcome

    def _create_within(self, creates: Sequence[NewWorkflow]) -> None:
        self._writer.write(Batch(creates=creates))

    def claim(self, request: ClaimRequest) -> ClaimAnswer:
        """Take runnable workflows; with nothing to take, the write lock is not asked for."""
        connection = self._connection
        with connection.using:
            claimed = self._take(request) if request.tokens and self._find_claimable(request) else []
            queues = None if request.queues is None else array(request.queues)
            next_due = connection.value(sql.NEXT_DUE, {"names": array(request.names), "queues": queues})
        return ClaimAnswer(claimed=claimed, next_due=next_due)

    def _find_claimable(self, request: ClaimRequest) -> list[int]:
        if request.only is not None:
            found = self._connection.value(sql.FIND_UNHELD, {"workflow_id": request.only})
        else:
            question = {
                "names": array(set(request.names)),
                "queues": None if request.queues is None else array(request.queues),
                "build": request.build,
                "now": self.now(),
                "limit": len(request.tokens),
            }
            found = self._connection.value(sql.FIND_RUNNABLE, question)
        return records.runnable(found)

    def _take(self, request: ClaimRequest) -> list[Claimed]:
        connection = self._connection
        with connection.transaction:
            numbers = self._find_claimable(request)
            rows = [(number, token, request.worker) for number, token in zip(numbers, request.tokens, strict=False)]
            if sql.TAKE_HEADS.run(connection, rows) != len(numbers):
                raise InternalError(f"{connection.name}: heads that nobody held were taken under the write lock")
            # From here on the heads are ours, and so is what is read.
            heads, claimed = read_taken(connection, numbers, request.max_bytes)
        self._known.update((head.workflow_id, head) for head in heads)
        return claimed

    def admit(self, request: AdmitRequest) -> ClaimAnswer:
        """Admit workflows from their queues; with nobody to admit, the write lock is not asked for."""
        connection = self._connection
        with connection.using:
            may_admit, next_due = self._admissions.look(request)
            if not may_admit:
                return ClaimAnswer(claimed=[], next_due=next_due)
            with connection.transaction:
                numbers, next_due = self._admissions.admit(request)
                heads, claimed = read_taken(connection, numbers, request.max_bytes)
            self._known.update((head.workflow_id, head) for head in heads)
        return ClaimAnswer(claimed=claimed, next_due=next_due)

    def take_slots(self, worker: str, wanted: Sequence[SlotWanted]) -> SlotAnswer:
        """Take slots for attempts of steps, in the order given."""
        with self._connection.using:
            return self._admissions.take_slots(worker, wanted)

    def free_slots(self, worker: str, slots: Sequence[str]) -> None:
        """Give slots back."""
        self._admissions.free_slots(worker, slots)

    def declare_queues(self, queues: Sequence[tuple[str, QueueLimits]]) -> None:
        """Create queues, or change those whose declaration differs from the last one."""
        self._queues.declare(queues)

    def change_queue(self, name: str, *, limits: QueueLimits | None = None, paused: bool | None = None) -> bool:
        """Change what is given of a queue; False if there is none of that name."""
        return self._queues.change(name, limits, paused)

    def delete_queue(self, name: str) -> bool:
        """Remove a queue that is not used; False, and nothing done, otherwise."""
        return self._queues.delete(name)

    def queues(self) -> Sequence[QueueRow]:
        """Give all queues, in order of their names."""
        return self._queues.rows()

    def count_queues(self, names: Sequence[str]) -> Sequence[QueueCounts]:
        """Count what is in each of these queues."""
        return self._queues.count(names)

    def places(self, workflow_ids: Sequence[str]) -> Sequence[PlaceRow | None]:
        """Give the place of each workflow that has one, None where it has none."""
        return self._queues.places(workflow_ids)

    def find_place(self, queue: str, dedup_key: str) -> PlaceRow | None:
        """Give the workflow of a queue that has this key now."""
        return self._queues.find_place(queue, dedup_key)

    def read(self, workflow_id: str, *, after: int = 0, limit: int | None = None) -> Sequence[EventRow]:
        """Give the events with seq > `after` in order; empty for an unknown id."""
        return read_history(self._connection, workflow_id, after=after, limit=limit)

    def heads(self, workflow_ids: Sequence[str]) -> Sequence[Head | None]:
        """Give the head of each id, None where there is none."""
        found = records.heads(self._connection.value(sql.FIND_HEADS, {"workflow_ids": array(workflow_ids)}))
        by_id = {head.workflow_id: head.head() for head in found}
        return [by_id.get(workflow_id) for workflow_id in workflow_ids]

    def workflows(self, query: WorkflowQuery) -> Sequence[Head]:
        """Give the page of heads that is asked for."""
        return listings.page(self._connection, query)

    def attributes(self, workflow_ids: Sequence[str]) -> Sequence[Attributes]:
        """Give the attributes of each id, in order of their names."""
        return listings.attributes(self._connection, workflow_ids)

    def counts(self, query: WorkflowQuery) -> Sequence[WorkflowCount]:
        """Count all that fit, in order of name and state."""
        return listings.counts(self._connection, query)

    def unread(self, worker: str, *, after: int = 0) -> Sequence[InboxRow]:
        """Give the unread messages with `row` > `after` of all workflows that this worker holds, in order of `row`."""
        return records.messages(self._connection.rows(sql.UNREAD, {"worker": worker, "after": after}))

    def inbox(self, workflow_id: str) -> Sequence[InboxRow]:
        """Give the unread messages of a workflow in order, whoever holds it."""
        with self._connection.using:
            found = records.heads(self._connection.value(sql.FIND_HEADS, {"workflow_ids": array([workflow_id])}))
            numbers = {"numbers": array([head.number for head in found])}
            return records.messages(self._connection.rows(sql.READ_INBOXES, numbers))

    def list_waits(self, query: WaitQuery) -> Sequence[ListedWait]:
        """Give one page of waits, the oldest first."""
        return published.waits(self._connection.value(sql.LIST_WAITS, published.wait_question(query)))

    def signing_key(self, proposed: str) -> str:
        """Give the one key of this database."""
        with self._connection.using:
            key: str | None = self._connection.value(sql.FIND_SECRET, {"name": "signing key"})
            if key is None:
                with self._connection.transaction:
                    self._connection.execute(sql.KEEP_SECRET, {"name": "signing key", "value": proposed})
                    key = str(self._connection.value(sql.FIND_SECRET, {"name": "signing key"}))
            return key

    def values(self, workflow_id: str) -> Sequence[ValueRow]:
        """Give the values of a workflow, in order of their names."""
        return published.values(self._connection.value(sql.LIST_VALUES, {"workflow_id": workflow_id}))

    def find_values(self, wanted: Sequence[tuple[str, str]]) -> Sequence[FoundValue]:
        """Give for each (workflow id, name) its value, and the state of the workflow, in one statement."""
        return published.found_values(self._connection.value(sql.FIND_VALUES, {"wanted": array(wanted)}))

    def streams(self, workflow_id: str) -> Sequence[StreamEnd]:
        """Give the streams of a workflow, in order of their names."""
        return published.stream_ends(self._connection.value(sql.LIST_STREAMS, {"workflow_id": workflow_id}))

    def read_streams(self, questions: Sequence[StreamQuestion], *, limit: int) -> Sequence[StreamPage]:
        """Give for each question up to `limit` rows, and the state of the workflow, in one statement."""
        asked = [(one.workflow_id, one.stream, one.start) for one in questions]
        found = published.stream_pages(
            self._connection.rows(sql.READ_STREAMS, {"questions": array(asked), "limit": limit}), len(questions)
        )
        for question, page in zip(questions, found, strict=True):
            if not published.is_whole(page.rows, question.start):
                raise CorruptLog(
                    f"{self._connection.name}: stream {question.stream!r} of workflow {question.workflow_id!r} has a"
                    f" gap after place {question.start}; restore a backup"
                )
        return found

    def within(self, connection: object) -> OpenTransaction:
        """Give what writes within a transaction of the user's."""
        self._connection.require_usable()
        return open_transaction(connection, self._path, self.now, self._may_commit)

    def transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        """Open a transaction of the user's, with the write lock."""
        return self._users().blocking()

    def async_transaction(self) -> AbstractAsyncContextManager[sqlite3.Connection]:
        """Open a transaction of the user's, with the write lock; it is waited for on the loop."""
        return self._users().on_a_loop()

    def _users(self) -> Transactions:
        self._connection.require_usable()
        if self._transactions is None:
            raise UsageError(
                "transaction=True needs a database in a file, since one in memory has no second connection; open"
                " sqlite:///shop.db"
            )
        return self._transactions

    def changes(self) -> int:
        """Give SQLite's count of what other connections wrote; what this one wrote does not count.

        In memory there is only this one, which others may share, so there all counts.
        """
        if self._path is not None:
            return self._changes.look()
        with self._connection.using:
            return self._connection.driver.total_changes

    def register(self, worker: WorkerRow) -> None:
        """Add a worker with its lease; from now on its lock tells whether its process lives."""
        self._locks.hold(worker.worker)
        row = {"worker": worker.worker, "process": worker.process, "lease_until": worker.lease_until}
        with self._leases.transaction:
            self._leases.execute(sql.REGISTER_WORKER, row)

    def renew(self, worker: str, *, lease_until: int) -> bool:
        """Move the lease; False if the worker was retired."""
        with self._leases.transaction:
            renewed = self._leases.execute(sql.RENEW_WORKER, {"worker": worker, "lease_until": lease_until})
        return renewed.rowcount == 1

    def workers(self) -> Sequence[WorkerRow]:
        """Give all registered workers, and holders that are not; `gone` are those whose lock is free."""
        found = records.workers(self._leases.value(sql.LIST_WORKERS))
        return [replace(worker, gone=self._locks.is_free(worker.worker)) for worker in found]

    def retire(self, worker: str) -> int:
        """Remove the worker and the tokens of all that it held."""
        with self._leases.transaction:
            held = self._leases.execute(sql.FREE_HEADS, {"worker": worker, "worker_died": WORKER_DIED})
            self._leases.execute(sql.FREE_ALL_SLOTS, {"worker": worker})
            self._leases.execute(sql.DELETE_WORKER, {"worker": worker})
        self._tell()
        self._locks.drop(worker)
        return held.rowcount

    def maintain(self) -> None:
        """Move a long write-ahead log into the file, on a connection of its own."""
        if self._connection.closed:
            self._connection.refuse_closed()
        if self._checkpoints is not None:
            self._checkpoints.maintain()

    def close(self) -> None:
        """Let go of the database and of the workers' locks, which shows that they are gone."""
        if self._checkpoints is not None:
            self._checkpoints.close()
        if self._transactions is not None:
            self._transactions.close()
        self._leases.close()
        self._connection.close()
        self._locks.close()

    def _tell(self) -> None:
        if self._connection.on_commit is not None:
            self._connection.on_commit()

    def _may_commit(self, connection: sqlite3.Connection) -> None:
        """Called after a write within a transaction of the user's, which commits at any time, or never."""


class PushingStore(SqliteStore):
    """A store that tells when another wrote. It has a thread once somebody subscribes."""

    def __init__(self, path: Path, *, durability: Durability = "full", create: bool = True) -> None:
        super().__init__(path, durability=durability, create=create)
        self._wakeups = Wakeups(Bells(_beside(path), path), LogFile(path))
        self._connection.on_commit = self._wakeups.wrote

    def subscribe(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Have `wake` called, from any thread, after every write; give what ends that."""
        self._connection.require_usable()
        return self._wakeups.subscribe(wake)

    def _may_commit(self, connection: sqlite3.Connection) -> None:
        self._wakeups.watch(connection)

    def close(self) -> None:
        """Let go of the database, and end the thread."""
        self._wakeups.close()
        super().close()


def _beside(path: Path) -> Path:
    """Give the directory of what is known of the processes that use the file."""
    return path.with_name(f"{path.name}-workers")


def _system_clock() -> int:
    return time_ns() // 1000

"""PostgresStore: the Store protocol on a schema of a Postgres database. What it promises is in `everlog.store`.

A group commit is one statement, and so one round trip and one transaction: heads are locked, compared and moved, and
everything else that a commit carries is joined to the heads that moved. Nobody is waited for: a head that another
transaction has locked makes its commit `Busy`. All statements are written for READ COMMITTED, in which each one sees
what was committed when it began, and a row that it locks in the newest version there is.

A worker's claims, readings and commits go through one store object, which numbers the messages that it sees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any

import psycopg

from everlog.errors import StoreUnavailable, UsageError
from everlog.store import (
    ENDED,
    WORKER_DIED,
    AdmitRequest,
    Attributes,
    Batch,
    BatchOutcome,
    Busy,
    ChildExists,
    ClaimAnswer,
    ClaimRequest,
    CommitOutcome,
    CreateOutcome,
    Done,
    EventRow,
    Exists,
    Head,
    InboxRow,
    PlaceRow,
    PostOutcome,
    QueueCounts,
    QueueLimits,
    QueueRow,
    SlotAnswer,
    SlotWanted,
    WorkerRow,
    WorkflowCount,
    WorkflowQuery,
    check_batch,
)
from everlog_postgres import records
from everlog_postgres.admissions import Admissions
from everlog_postgres.arrays import texts
from everlog_postgres.changes import Changes
from everlog_postgres.claims import Claims
from everlog_postgres.clock import ServerClock
from everlog_postgres.commits import Commits, Written
from everlog_postgres.connection import Connection, Durability, Question, Rows
from everlog_postgres.deduplicating import in_order
from everlog_postgres.distributed import Distributed
from everlog_postgres.forks import ForkTable
from everlog_postgres.listings import Listings
from everlog_postgres.migrations import distribute, migrate
from everlog_postgres.moving import MovableTables
from everlog_postgres.outbox import Home, OpenTransaction, driver_of
from everlog_postgres.publications import DistributedPublications, Publications, Readable
from everlog_postgres.queues import Queues
from everlog_postgres.records import Numbering, Outcomes
from everlog_postgres.schedules import ScheduleTable
from everlog_postgres.segments import Segment, lone_advance, segments
from everlog_postgres.snapshots import NOTHING, Snapshot, snapshot
from everlog_postgres.statements import Statements
from everlog_postgres.transactions import Transactions
from everlog_postgres.urls import Target, parse
from everlog_postgres.wakeups import Wakeups


def open_store(
    url: str,
    *,
    durability: Durability = "full",
    clock: Callable[[], int] | None = None,
    create: bool = True,
) -> PostgresStore:
    """Open the database of a URL; see `everlog_postgres.open_store`."""
    target = parse(url)
    if clock is not None:
        return PostgresStore(target, durability=durability, clock=clock, create=create)
    if target.push:
        return PushingStore(target, durability=durability, create=create)
    return PostgresStore(target, durability=durability, create=create)


class PostgresStore(Readable, ScheduleTable, ForkTable, MovableTables):
    """A store in one schema of one database. Any number of processes may open the same."""

    def __init__(
        self,
        target: Target,
        *,
        durability: Durability = "full",
        clock: Callable[[], int] | None = None,
        create: bool = True,
    ) -> None:
        self._target = target
        self._sql = Statements(target.schema)
        self._clock = ServerClock()
        self._now = clock or self._clock.now
        self._connection = Connection(target, purpose="commits", durability=durability)
        # Leases do not wait for a commit in progress. Theirs need not reach the disk at once: a power cut takes the
        # workers with it, and what is written later waits for what was written before.
        self._leases = Connection(target, purpose="leases", durability="process")
        self._commits = Commits(self._connection, self._sql)
        self._claims = Claims(self._connection, self._sql, self.now, self._number)
        self._queues = Queues(self._connection, self._sql.queues, self.now)
        self._admissions = Admissions(self._connection, self._sql, self.now, clock)
        self._changes = Changes(self._connection, self._sql)
        self._home = Home(self._leases, self._sql)
        self._numbering = Numbering()
        self._seen: tuple[str, int, Snapshot] | None = None
        """The worker whose inboxes were read last, the greatest number it was given, and the snapshot of that."""
        self._connection.on_connect = self._on_connect
        self._publications = Publications(self._connection, self._sql)
        self._listings = Listings(self._connection, self._sql)
        self._transactions = Transactions(target, self._tell)
        self._distributed: Distributed | None = None
        """What works otherwise where the tables are distributed; None where they are not."""
        try:
            if migrate(self._connection, create=create and target.migrate):
                distributed = self._use_distributed()
                if durability == "full":
                    distributed.require_durability()
            self._measure_clock(self._connection)
        except BaseException:
            PostgresStore.close(self)
            raise

    def _use_distributed(self) -> Distributed:
        self._distributed = Distributed(self._connection, self._sql)
        self._publications = DistributedPublications(self._connection, self._sql)
        self._changes.distributed = True
        for connection in (self._connection, self._leases):
            connection.distributed = True
            connection.drop()
        return self._distributed

    def distribute(self) -> bool:
        """Distribute the tables over the servers of a Citus cluster; False if they were before. Engines must be closed.

        Raises `SchemaMismatch` or `UsageError`, and does nothing, where that cannot be.
        """
        if not distribute(self._connection):
            return False
        self._use_distributed()
        return True

    def now(self) -> int:
        """Give the time of the store's clock: the server's, as last measured."""
        return self._now()

    def commit(self, batch: Batch) -> BatchOutcome:
        """Write the batch in one round trip: one statement, or several in one transaction if parts concern others."""
        check_batch(batch)
        with self._connection.lock:
            self._connection.require_process()
            self._connection.require_open()
            self._claims.give_back()
            alone = lone_advance(batch) if self._distributed is None else None
            if alone is not None and self._commits.is_advanced(alone):
                return BatchOutcome(commits=[Done()])
            split = list(segments(batch))
            if not split:
                return BatchOutcome()
            outcome = self._write(batch, split)
            self._forget_read(batch, outcome)
        if not all(segment.runs_on() for segment in split):
            self._wrote()
        return outcome

    def _write(self, batch: Batch, split: Sequence[Segment]) -> BatchOutcome:
        written: Sequence[Written] | None
        if self._distributed is None:
            written = self._commits.write(split, self.now())
        else:
            if any(segment.puts() for segment in split):
                self._distributed.refuse_queues()
            answers = self._distributed.write(split, self.now())
            written = None if answers is None else list(map(Written, split, answers))
        if written is None:
            return self._write_apart(batch)
        creates: list[CreateOutcome] = []
        commits: list[CommitOutcome] = []
        posts: list[PostOutcome] = []
        for segment, rows, decided in written:
            outcomes = Outcomes(segment, rows)
            creates.extend(in_order(decided.creates, self._with_heads(segment, outcomes.creates)))
            commits.extend(in_order(decided.commits, self._with_children(segment, outcomes)))
            posts.extend(outcomes.posts)
        return BatchOutcome(creates=creates, commits=commits, posts=posts)

    def _write_apart(self, batch: Batch) -> BatchOutcome:
        """Write commits one by one, since one of them waits for another transaction: that one is busy."""
        if batch.creates or batch.posts:
            raise StoreUnavailable(
                f"{self._connection.name}: another transaction, idle perhaps, has created one of these workflows"
                " or sent one of these messages, and has not ended; nothing was written, end it or try again",
                of_one_part=True,
            )
        if len(batch.commits) == 1:
            return BatchOutcome(commits=[Busy()])
        outcomes: list[CommitOutcome] = []
        for commit in batch.commits:
            alone = Batch(commits=[commit])
            outcomes.extend(self._write(alone, list(segments(alone))).commits)
        return BatchOutcome(commits=outcomes)

    def _with_heads(self, segment: Segment, outcomes: Sequence[CreateOutcome | None]) -> list[CreateOutcome]:
        """Put in the heads of those workflows that were there before."""
        there = [new.workflow_id for new, found in zip(segment.creates, outcomes, strict=True) if found is None]
        if not there:
            return [Done()] * len(outcomes)
        heads = self._heads_after_writing(there)
        return [
            Done() if found is not None else Exists(head=heads[new.workflow_id])
            for new, found in zip(segment.creates, outcomes, strict=True)
        ]

    def _with_children(self, segment: Segment, outcomes: Outcomes) -> list[CommitOutcome]:
        """Put in the heads of what commits would have created, had it not been there."""
        commits = list(outcomes.commits)
        if outcomes.taken:
            there = [segment.commits[place].creates[index].workflow_id for place, index in outcomes.taken]
            heads = self._heads_after_writing(there)
            for (place, index), workflow_id in zip(outcomes.taken, there, strict=True):
                head = heads.get(workflow_id)
                # One that is gone again is in nobody's way.
                commits[place] = Busy() if head is None else ChildExists(index=index, head=head)
        return commits

    def _heads_after_writing(self, workflow_ids: Sequence[str]) -> dict[str, Head]:
        try:
            return {head.workflow_id: head for head in self.heads(workflow_ids) if head is not None}
        except StoreUnavailable as error:
            raise StoreUnavailable(str(error), unknown_outcome=True) from error

    def _forget_read(self, batch: Batch, outcome: BatchOutcome) -> None:
        for commit, committed in zip(batch.commits, outcome.commits, strict=True):
            if isinstance(committed, Done):
                if commit.release or commit.state in ENDED:
                    self._numbering.forget(commit.workflow_id)
                elif commit.consumed:
                    self._numbering.consume(commit.workflow_id, commit.consumed)

    def claim(self, request: ClaimRequest) -> ClaimAnswer:
        """Take runnable workflows, then read what they are."""
        with self._connection.lock:
            self._claims.give_back()
            if self._distributed is not None:
                return self._claims.claim_distributed(self._distributed, request)
            return self._claims.claim(request)

    def _number(self, messages: Rows) -> Sequence[InboxRow]:
        """Number the messages of a claim; where the tables are distributed, whatever was given of others."""
        return self._numbering.number(messages, self._shown(), after=None if self._distributed is None else 0)

    def admit(self, request: AdmitRequest) -> ClaimAnswer:
        """Take slots for enqueued workflows, and the workflows with them."""
        with self._connection.lock:
            self._claims.give_back()
            return self._claims.admit(request, self._admissions)

    def take_slots(self, worker: str, wanted: Sequence[SlotWanted]) -> SlotAnswer:
        """Take slots for attempts of steps, in the order given."""
        with self._connection.lock:
            return self._admissions.take_slots(worker, wanted)

    def free_slots(self, worker: str, slots: Sequence[str]) -> None:
        """Give slots back."""
        self._admissions.free_slots(worker, slots)
        self._wrote()

    def declare_queues(self, queues: Sequence[tuple[str, QueueLimits]]) -> None:
        """Create queues, or change those whose declaration differs from the last one."""
        if queues and self._distributed is not None:
            self._distributed.refuse_queues()
        if self._queues.declare(queues):
            self._wrote()

    def change_queue(self, name: str, *, limits: QueueLimits | None = None, paused: bool | None = None) -> bool:
        """Change what is given of a queue; False if there is none of that name."""
        is_there = self._queues.change(name, limits, paused)
        self._wrote()
        return is_there

    def delete_queue(self, name: str) -> bool:
        """Remove a queue that is not used; False, and nothing done, otherwise."""
        is_deleted = self._queues.delete(name)
        self._wrote()
        return is_deleted

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
        question = {"workflow_id": workflow_id, "after": after, "limit": limit}
        rows = self._connection.ask(Question(self._sql.read_history, question))[0]
        return records.history(rows, workflow_id, after=after, of=self._connection.name)

    def heads(self, workflow_ids: Sequence[str]) -> Sequence[Head | None]:
        """Give the head of each id, None where there is none."""
        rows = self._connection.ask(Question(self._sql.find_heads, {"workflow_ids": texts(workflow_ids)}))[0]
        by_id = {head.workflow_id: head for head in map(records.head, rows)}
        return [by_id.get(workflow_id) for workflow_id in workflow_ids]

    def workflows(self, query: WorkflowQuery) -> Sequence[Head]:
        """Give the page of heads that is asked for."""
        return self._listings.page(query, distributed=self._distributed is not None)

    def attributes(self, workflow_ids: Sequence[str]) -> Sequence[Attributes]:
        """Give the attributes of each id, in order of their names."""
        return self._listings.attributes(workflow_ids)

    def counts(self, query: WorkflowQuery) -> Sequence[WorkflowCount]:
        """Count all that fit, in order of name and state."""
        return self._listings.counts(query)

    def unread(self, worker: str, *, after: int = 0) -> Sequence[InboxRow]:
        """Give the unread messages with `row` > `after` of all workflows that this worker holds, in order of `row`.

        Who asks for what came after the last that was given is answered from the messages that became visible since.
        """
        with self._connection.lock:
            self._claims.give_back()
            if self._distributed is not None:
                there = self._numbering.number(self._distributed.unread(worker), NOTHING, after=after)
                return [row for row in there if row.row > after]
            seen = self._seen
            if seen is not None and seen[0] == worker and after >= seen[1]:
                question = Question(self._sql.unread_since, {"worker": worker, **seen[2].parameters()})
            else:
                question = Question(self._sql.unread, {"worker": worker})
            rows = self._connection.ask(question)[0]
            found = [row[1:] for row in rows if row[1] is not None]
            unread = [row for row in self._numbering.number(found, self._shown()) if row.row > after]
            greatest = max(after, seen[1] if seen is not None and seen[0] == worker else 0)
            if unread:
                greatest = max(greatest, unread[-1].row)
            self._seen = (worker, greatest, snapshot(rows[0][0]))
            return unread

    def _shown(self) -> Snapshot:
        return self._seen[2] if self._seen is not None else NOTHING

    def within(self, connection: object) -> OpenTransaction:
        """Give what writes within a transaction of the user's. Where the tables are distributed it is refused.

        There a transaction is visible on one server after the other, and whoever is to know of it is told after it.
        """
        self._connection.require_process()
        self._connection.require_open()
        if self._distributed is not None:
            raise UsageError(
                f"{self._connection.name}: the tables are distributed over several servers, where nothing can be"
                " started or sent within a transaction of yours; commit it, then start the workflow under an id that is"
                " made from your row (options(id=...)), which does no harm twice"
            )
        return OpenTransaction(driver_of(connection), self._home, self._commits, self._sql, self.now, self._may_commit)

    def changes(self) -> int:
        """Give a number that differs after a creation, commit, post or retirement, also one of ours.

        Claims and leases do not count: nobody can do more because of them.
        """
        return self._changes.look()

    def register(self, worker: WorkerRow) -> None:
        """Add a worker with its lease."""
        row = {"worker": worker.worker, "process": worker.process, "lease_until": worker.lease_until}
        self._leases.write(Question(self._sql.register_worker, row))

    def renew(self, worker: str, *, lease_until: int) -> bool:
        """Move the lease; False if the worker was retired."""
        renewal = {"worker": worker, "lease_until": lease_until}
        return bool(self._leases.write(Question(self._sql.renew_worker, renewal))[0])

    def workers(self) -> Sequence[WorkerRow]:
        """Give all registered workers, and holders that are not; which of them are gone, the server does not know."""
        if self._distributed is not None:
            return records.workers(self._distributed.list_workers(self._leases))
        return records.workers(self._leases.ask(Question(self._sql.list_workers))[0])

    def retire(self, worker: str) -> int:
        """Remove the worker and the tokens of all that it held."""
        if self._distributed is not None:
            freed = self._distributed.retire(self._leases, worker)
        else:
            question = Question(self._sql.retire_worker, {"worker": worker, "worker_died": WORKER_DIED})
            ((freed,),) = self._leases.write(question)[0]
        self._wrote()
        return freed

    def delete(self, workflow_ids: Sequence[str]) -> Sequence[str]:
        """Remove those that have ended and are not held, with all that is kept of them; give their ids."""
        with self._connection.lock:
            self._claims.give_back()
            if self._distributed is None:
                return self.remove_ended(workflow_ids)
            removed = self._distributed.delete(workflow_ids)
        self._wrote()
        return removed

    def maintain(self) -> None:
        """Measure the server's clock now and then, and forget which transactions wrote a while ago."""
        self._leases.require_open()
        if self._clock.is_due():
            self._measure_clock(self._leases)
        self._changes.forget_through(self._leases)

    def close(self) -> None:
        """Let go of the database."""
        self._transactions.close()
        self._leases.close()
        self._connection.close()

    def _on_connect(self) -> None:
        self._seen = None
        self._changes.lose_sight()

    def _measure_clock(self, connection: Connection) -> None:
        def ask() -> int:
            ((time,),) = connection.ask(Question(self._sql.server_time))[0]
            return int(time)

        self._clock.measure(ask)

    def transaction(self) -> AbstractContextManager[psycopg.Connection[Any]]:
        """Open a transaction of the user's."""
        self._connection.require_process()
        return self._transactions.blocking()

    def async_transaction(self) -> AbstractAsyncContextManager[psycopg.AsyncConnection[Any]]:
        """Open a transaction of the user's, for asyncio."""
        self._connection.require_process()
        return self._transactions.on_a_loop()

    def _tell(self) -> None:
        self._wrote()

    def _may_commit(self, transaction: str) -> None:
        """Called after a write within a transaction of the user's, which commits at any time, or never."""

    def _wrote(self) -> None:
        """Called after each write that others may wait for: not after commits of workflows that only run on."""


class PushingStore(PostgresStore):
    """A store that tells when another wrote. It has one more connection, and a thread, once somebody subscribes."""

    def __init__(self, target: Target, *, durability: Durability = "full", create: bool = True) -> None:
        super().__init__(target, durability=durability, create=create)
        self._wakeups = Wakeups(target, self._sql, distributed=self._distributed is not None)

    def subscribe(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Have `wake` called, from any thread, after every write; give what ends that."""
        self._connection.require_process()
        return self._wakeups.subscribe(wake)

    def _may_commit(self, transaction: str) -> None:
        self._wakeups.watch(transaction)

    def _wrote(self) -> None:
        self._wakeups.wrote()

    def close(self) -> None:
        """Let go of the database, and end the thread."""
        self._wakeups.close()
        super().close()

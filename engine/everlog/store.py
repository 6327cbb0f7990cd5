"""The Store protocol: the port that every backend implements. No SQL, no engine.

**Safety in one line: leases are for liveness, the head row is for safety.** Each claim writes a fresh random token
into the workflow's head. A commit names that token and the seq it builds on, and takes effect, wholly or not at all,
only while the head still bears both, checked and moved under the head's lock. So two workers may believe that they
hold one workflow, but only one of them can write; (workflow, seq) is unique as the assertion behind it.

**Outsiders write to the inbox and lock nothing of the destination.** A message is one inserted row, unique by
(destination, source, number). The holder moves rows that it has read into the history and deletes them in the same
commit. Nobody is woken by a state transition: whether a workflow is *runnable* is asked by `claim`, of the rows.

A workflow is **runnable** while it is not ended, its head bears no token, and
- its state is `queued` or `running`; or
- its state is `waiting` and `wake_at` has come, or an unread message lies in its inbox on one of `topics`; or
- its state is `waiting`, `paused` or `enqueued`, and an unread control message (`control=True`) lies in its inbox; or
- its state is `stuck` and the claimant's build is not the one that it is stuck with.

One in state `enqueued` stands in a queue: `claim` gives it only for a control message. It may begin when it was
admitted by `SupportsQueues.admit`, which gives it the state `queued`, and a slot of its queue.

Every method is synchronous, one transaction, and raises only `StoreError`s: `StoreUnavailable` where the same call
may succeed later, `CorruptLog`, `SchemaMismatch`. Outcomes that a caller must expect are returned. `commit`, `claim`
and the readers are called from one thread at a time; `register`, `renew`, `workers` and `retire` may be called from
another thread meanwhile, and must not wait for a commit in progress longer than the database makes them.

Times are integer microseconds since 1970-01-01 UTC by the store's clock, `now()`. Ids, topics and names are text
without NUL or lone surrogates, at most 512 characters; payloads are JSON text in UTF-8, kept byte for byte.
`everlog.memory.MemoryStore` is this contract as code; `everlog.testing.StoreConformance` is it as a test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol, runtime_checkable

from msgspec import Struct

from everlog.batches import Batch as Batch
from everlog.batches import BatchOutcome as BatchOutcome
from everlog.batches import Busy as Busy
from everlog.batches import ChildDeduplicated as ChildDeduplicated
from everlog.batches import ChildExists as ChildExists
from everlog.batches import Commit as Commit
from everlog.batches import CommitOutcome as CommitOutcome
from everlog.batches import CreateOutcome as CreateOutcome
from everlog.batches import Deduplicated as Deduplicated
from everlog.batches import Done as Done
from everlog.batches import Duplicate as Duplicate
from everlog.batches import EventRow as EventRow
from everlog.batches import Exists as Exists
from everlog.batches import Head as Head
from everlog.batches import NewMessage as NewMessage
from everlog.batches import NewWorkflow as NewWorkflow
from everlog.batches import PostOutcome as PostOutcome
from everlog.batches import Refused as Refused
from everlog.batches import Undeliverable as Undeliverable
from everlog.batches import check_batch as check_batch
from everlog.core.attributes import AttributeChange as AttributeChange
from everlog.core.attributes import Attributes as Attributes
from everlog.core.attributes import AttributeValue as AttributeValue
from everlog.core.finding import WorkflowCount as WorkflowCount
from everlog.core.finding import WorkflowQuery as WorkflowQuery
from everlog.core.heads import ENDED as ENDED
from everlog.core.heads import InboxRow as InboxRow
from everlog.core.heads import State as State
from everlog.core.published import FoundValue as FoundValue
from everlog.core.published import StreamEnd as StreamEnd
from everlog.core.published import StreamKind as StreamKind
from everlog.core.published import StreamPage as StreamPage
from everlog.core.published import StreamQuestion as StreamQuestion
from everlog.core.published import StreamRow as StreamRow
from everlog.core.published import ValueRow as ValueRow
from everlog.core.queues import PartitionRooms as PartitionRooms
from everlog.core.queues import Place as Place
from everlog.core.queues import PlaceRow as PlaceRow
from everlog.core.queues import QueueCounts as QueueCounts
from everlog.core.queues import QueueLimits as QueueLimits
from everlog.core.queues import QueueOffer as QueueOffer
from everlog.core.queues import QueueRow as QueueRow
from everlog.core.queues import Rate as Rate
from everlog.core.queues import SlotWanted as SlotWanted
from everlog.core.waits import ListedWait as ListedWait
from everlog.core.waits import WaitQuery as WaitQuery
from everlog.core.waits import WaitRow as WaitRow

WORKER_DIED: Final = "its worker died"
"""What `retire` puts in the place of `why`, until the next holder commits something."""


class ClaimRequest(Struct, frozen=True, gc=False, kw_only=True):
    """Asks for up to `len(tokens)` runnable workflows of these names; each token is fresh and random, used once.

    With `only`, that one workflow is claimed if it is not ended and unheld, runnable or not, whatever its name.
    A claim of a workflow in state `running` that was left by `retire` counts as a takeover (see `retire`).
    Histories begin at the head's `first_seq`. `max_bytes` bounds their payload bytes together: the first is always
    whole; one that no longer fits comes with an empty history, to be read by `read`.
    With `queues`, workflows whose head has a queue that is not among them are left alone.
    """

    worker: str
    tokens: Sequence[str]
    build: str
    names: Sequence[str] = ()
    only: str | None = None
    queues: Sequence[str] | None = None
    max_bytes: int = 16_000_000


class AdmitRequest(Struct, frozen=True, gc=False, kw_only=True):
    """Asks for up to `len(tokens)` enqueued workflows of these names from these queues, each of which is named once.

    The tokens and `max_bytes` are as those of `ClaimRequest`.
    """

    worker: str
    tokens: Sequence[str]
    names: Sequence[str]
    offers: Sequence[QueueOffer]
    max_bytes: int = 16_000_000


class SlotAnswer(Struct, frozen=True, gc=False, kw_only=True):
    """Whether each slot is taken now, and when the passing of time alone may free one of the others (None: never)."""

    taken: Sequence[bool]
    next_due: int | None = None


class Claimed(Struct, frozen=True, gc=False, kw_only=True):
    """A workflow that is ours now, as it is after the claim. Never run a history that does not end at `head.seq`."""

    head: Head
    history: Sequence[EventRow]
    inbox: Sequence[InboxRow]


class ClaimAnswer(Struct, frozen=True, gc=False, kw_only=True):
    """What was claimed, and when the next unheld waiting workflow of these names is due (None: none sleeps)."""

    claimed: Sequence[Claimed]
    next_due: int | None = None


class WorkerRow(Struct, frozen=True, gc=False, kw_only=True):
    """A worker and its lease. `process` identifies the operating-system process, as text that only the engine reads.

    `gone` is True only where the backend itself knows that the process has died (a lock that is free again).
    """

    worker: str
    process: str
    lease_until: int
    gone: bool = False


class Store(Protocol):
    """Everything the engine asks of a database."""

    def now(self) -> int:
        """Give the time of the store's clock."""
        ...

    def commit(self, batch: Batch) -> BatchOutcome:
        """Write the batch in one transaction; when it returns, what is `Done` is durable.

        The parts are independent: one that is refused does not hold the others. `arrived_at` of messages is `now()`.
        An exception means that nothing was written, or, for `StoreUnavailable` with `unknown_outcome` set, that it
        is not known.
        """
        ...

    def claim(self, request: ClaimRequest) -> ClaimAnswer:
        """Take runnable workflows, longest runnable first, and give each with its history and unread inbox.

        Two steps: take, then read in a snapshot taken after the heads are ours, so that a history is never older
        than its head. Never gives one workflow to two claimants.
        """
        ...

    def read(self, workflow_id: str, *, after: int = 0, limit: int | None = None) -> Sequence[EventRow]:
        """Give the events with seq > `after` in order; empty for an unknown id."""
        ...

    def heads(self, workflow_ids: Sequence[str]) -> Sequence[Head | None]:
        """Give the head of each id, None where there is none."""
        ...

    def workflows(self, query: WorkflowQuery) -> Sequence[Head]:
        """Give the page of heads that is asked for."""
        ...

    def unread(self, worker: str, *, after: int = 0) -> Sequence[InboxRow]:
        """Give the unread messages with `row` > `after` of all workflows that this worker holds, in order of `row`."""
        ...

    def changes(self) -> int:
        """Give a number that differs after another connection has written. Cheap: asked many times a second."""
        ...

    def register(self, worker: WorkerRow) -> None:
        """Add a worker with its lease."""
        ...

    def renew(self, worker: str, *, lease_until: int) -> bool:
        """Move the lease; False, and nothing written, if the worker was retired: it must register anew."""
        ...

    def workers(self) -> Sequence[WorkerRow]:
        """Give all registered workers; and, with an empty `process` and `lease_until` 0, each holder that is not one.

        Such a holder was retired, took another workflow, or a slot, before it noticed, and may have died since.
        """
        ...

    def retire(self, worker: str) -> int:
        """Remove the worker and, in the same transaction, the tokens of all that it held, so that it can write no more.

        The slots of its steps are free; its workflows keep theirs.

        What it held becomes unheld in the state it had. Of those in state `running` `why` becomes `WORKER_DIED`, and
        `takeovers` grows by one, unless `why` was that before: then this holder, who came after one that died, has
        committed nothing since it claimed, and so has begun nothing. Gives how many it held.

        Retiring a worker that is not there does nothing. A store does not wait for a head that another transaction has
        locked: it keeps its holder, whom `workers` goes on to give; the next call frees it.
        """
        ...

    def close(self) -> None:
        """Let go of the database. Further calls raise `StoreUnavailable`."""
        ...


@runtime_checkable
class SupportsWakeups(Protocol):
    """A store that tells when something was written, so that nobody has to ask `changes` all the time."""

    def subscribe(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Have `wake` called, from any thread and soon, after every write by anyone; give what ends that."""
        ...


@runtime_checkable
class SupportsValues(Protocol):
    """A store that keeps the last value of each name beside the log, so that readers need no history."""

    def values(self, workflow_id: str) -> Sequence[ValueRow]:
        """Give the values of a workflow, in order of their names; none for an unknown id."""
        ...

    def find_values(self, wanted: Sequence[tuple[str, str]]) -> Sequence[FoundValue]:
        """Give for each (workflow id, name) its value, and in what state the workflow is in the same snapshot."""
        ...


@runtime_checkable
class SupportsStreams(Protocol):
    """A store that keeps streams: rows of items that are appended, fenced by the head's token, and never changed."""

    def streams(self, workflow_id: str) -> Sequence[StreamEnd]:
        """Give the streams of a workflow to which something was written, in order of their names."""
        ...

    def read_streams(self, questions: Sequence[StreamQuestion], *, limit: int) -> Sequence[StreamPage]:
        """Give for each question up to `limit` rows, and in what state the workflow is in the same snapshot.

        So where the workflow has ended and no row is given, none follows.
        """
        ...


@runtime_checkable
class SupportsQueues(Protocol):
    """A store that has queues. Called on the thread of `commit`.

    Whoever takes slots of a limited queue does so under the lock of its row, so that its limits hold exactly whatever
    the number of workers; a queue without limits and partitions is admitted from without one. A queue that another
    transaction has locked is passed over, with a `next_due` that is soon.

    A workflow may be put into a queue that was not declared, or was deleted: it stands there until that is declared.
    """

    def declare_queues(self, queues: Sequence[tuple[str, QueueLimits]]) -> None:
        """Create these queues, or change those whose declaration differs from the last one; see `QueueRow`."""
        ...

    def change_queue(self, name: str, *, limits: QueueLimits | None = None, paused: bool | None = None) -> bool:
        """Change what is given of a queue; False if there is none of that name."""
        ...

    def delete_queue(self, name: str) -> bool:
        """Remove a queue in which no workflow has a place and no step a slot; False, and nothing done, otherwise."""
        ...

    def queues(self) -> Sequence[QueueRow]:
        """Give all queues in order of their names. Cheap: engines keep the answer up to date."""
        ...

    def count_queues(self, names: Sequence[str]) -> Sequence[QueueCounts]:
        """Count what is in each of these queues; all is 0 of an unknown one."""
        ...

    def places(self, workflow_ids: Sequence[str]) -> Sequence[PlaceRow | None]:
        """Give the place of each workflow that has not ended, None where it has none."""
        ...

    def find_place(self, queue: str, dedup_key: str) -> PlaceRow | None:
        """Give the workflow of a queue that has this key now; None if the key is free."""
        ...

    def admit(self, request: AdmitRequest) -> ClaimAnswer:
        """Take slots for enqueued workflows, and the workflows with them: their state is `queued`, they are held.

        Given are those that are unheld and due, with their histories and inboxes, as by `claim`. A queue that is
        paused, or unknown, gives nothing. Queues are served in the order of the offers. The partitions of one take
        turns in the order of their names, going on behind that which was served last; one that has no slot to give
        is passed over.

        `next_due` is when the passing of time alone may let another be admitted: the next that is delayed becomes
        due, or, where a rate kept back what would have been given, its window moves on. Sooner does no harm.
        """
        ...

    def take_slots(self, worker: str, wanted: Sequence[SlotWanted]) -> SlotAnswer:
        """Take slots for attempts of steps, in the order given. One that this worker has already is taken.

        A slot counts for the limits of its queue, and of its partition, as that of a workflow does. `retire` of the
        worker frees its slots. A queue that is paused gives none. Raises `NotFound`, with nothing taken, if one of
        the queues is unknown.
        """
        ...

    def free_slots(self, worker: str, slots: Sequence[str]) -> None:
        """Give slots back; those that are not there are none of its business."""
        ...


@runtime_checkable
class SupportsWaits(Protocol):
    """A store that lists what workflows wait for that people are to answer, and keeps the key that signs its names."""

    def list_waits(self, query: WaitQuery) -> Sequence[ListedWait]:
        """Give one page of waits."""
        ...

    def signing_key(self, proposed: str) -> str:
        """Give the one key of this database: the first that was ever proposed, by whomever."""
        ...


@runtime_checkable
class SupportsInboxes(Protocol):
    """A store of which anybody can read what a workflow has not read: who ends it refuses what it was asked."""

    def inbox(self, workflow_id: str) -> Sequence[InboxRow]:
        """Give the unread messages of a workflow in order, whoever holds it; their `row`s are not for `consumed`."""
        ...


@runtime_checkable
class SupportsFinding(Protocol):
    """A store that keeps attributes beside the log, finds workflows by them, and counts workflows."""

    def attributes(self, workflow_ids: Sequence[str]) -> Sequence[Mapping[str, AttributeValue]]:
        """Give the attributes of each id, in order of their names; none for an unknown id."""
        ...

    def counts(self, query: WorkflowQuery) -> Sequence[WorkflowCount]:
        """Count all that fit, on whichever page, in order of name and state; nothing is said of none."""
        ...


@runtime_checkable
class SupportsDeletion(Protocol):
    """A store that can forget workflows; asked for with `isinstance`. Called on the thread of `commit`."""

    def delete(self, workflow_ids: Sequence[str]) -> Sequence[str]:
        """Remove those of these workflows that have ended, with all that is kept of them; give their ids.

        One that has not ended, or is not there, is left as it is. An id that was removed may be used anew.
        """
        ...


@runtime_checkable
class SupportsMaintenance(Protocol):
    """A store that has house-keeping to do while the engine runs; asked for with `isinstance`."""

    def maintain(self) -> None:
        """Keep house off the commit path; called about once a second from a thread that is not the committer's."""
        ...


@runtime_checkable
class SupportsDistribution(Protocol):
    """A store whose tables can be distributed over several servers."""

    def distribute(self) -> bool:
        """Distribute the tables, with what is in them, for good; False, and nothing done, if they were before.

        No engine may run meanwhile. Raises `UsageError` or `SchemaMismatch`, and does nothing, where that cannot be.
        """
        ...

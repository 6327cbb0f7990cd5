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
- its state is `waiting` or `paused`, and an unread control message (`control=True`) lies in its inbox; or
- its state is `stuck` and the claimant's build is not the one that it is stuck with.

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
from typing import Final, Literal, Protocol, runtime_checkable

from msgspec import Struct

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
from everlog.errors import InternalError

WORKER_DIED: Final = "its worker died"
"""What `retire` puts in the place of `why`, until the next holder commits something."""


class EventRow(Struct, frozen=True, gc=False):
    """One event as it is stored."""

    seq: int
    type: str
    recorded_at: int
    payload: bytes


class NewMessage(Struct, frozen=True, gc=False, kw_only=True):
    """A message for a workflow's inbox. The sender makes (source, number) before the first try.

    A message with a `key` is delivered at most once per (destination, key), also after the first was read. One of a
    commit that is `optional` is dropped where its destination is unknown or has ended, and the commit is done.
    """

    destination: str
    source: str
    number: int
    topic: str
    payload: bytes
    control: bool = False
    key: str | None = None
    optional: bool = False


class NewWorkflow(Struct, frozen=True, gc=False, kw_only=True):
    """A workflow to be created with its first events (seq 1, 2, ...).

    With a `token` it is held by `worker` from the start, otherwise it is unheld. `attributes` are for finding it, in
    the normal form of `everlog.core.attributes`; a store that is no `SupportsFinding` has no use for them.
    """

    workflow_id: str
    name: str
    state: State
    events: Sequence[EventRow]
    token: str | None = None
    worker: str | None = None
    attributes: Attributes = {}


class Commit(Struct, frozen=True, gc=False, kw_only=True):
    """What one workflow commits, atomically, on the condition that its head bears `token` and `seq`.

    With `token` None the head must bear none: so somebody writes to a workflow that nobody holds, ended or not, and
    leaves it unheld. Such a commit has events, so that of two that build on one seq at most one takes effect. It may
    give an ended workflow a state that is not ended: then what lies unread in its inbox counts again.

    `events` continue the history densely from `seq`. The head takes `state`, `wake_at`, `topics`, `build` and `why`
    as given. `consumed` are rows of its inbox that the events took; they are deleted. `creates` are workflows that
    come to be with it, its children for one; then `messages` go to other inboxes, those of the created among them.
    `release` clears the token and the worker; an ended state does so as well.
    A commit with events sets `takeovers` to 0 if `progress` is true.
    `values` replace those of their names; a store that is no `SupportsValues` has no use for them. `items` are appended
    to streams, and given only to a `SupportsStreams`: each continues its stream where that ends, save one that was
    written before, when the answer to this same commit was lost: it is left as it is.
    `attributes` change those of the workflow, name by name; None takes one away.
    """

    workflow_id: str
    token: str | None
    seq: int
    state: State
    events: Sequence[EventRow] = ()
    wake_at: int | None = None
    topics: Sequence[str] = ()
    consumed: Sequence[int] = ()
    creates: Sequence[NewWorkflow] = ()
    messages: Sequence[NewMessage] = ()
    values: Sequence[ValueRow] = ()
    items: Sequence[StreamRow] = ()
    attributes: AttributeChange = {}
    release: bool = False
    progress: bool = True
    build: str | None = None
    why: str | None = None


class Head(Struct, frozen=True, gc=False, kw_only=True):
    """The one mutable row of a workflow.

    Projections of the log: name, state, seq, created_at (recorded_at of seq 1), ended_at (recorded_at of the end).
    Coordination: token, worker, wake_at, topics, takeovers, build, why.
    """

    workflow_id: str
    name: str
    state: State
    seq: int
    created_at: int
    ended_at: int | None = None
    token: str | None = None
    worker: str | None = None
    wake_at: int | None = None
    topics: Sequence[str] = ()
    takeovers: int = 0
    build: str | None = None
    why: str | None = None


class Done(Struct, frozen=True, gc=False):
    """It is durable, all of it."""


class Refused(Struct, frozen=True, gc=False):
    """The head bears another token or seq, or is gone. Nothing was written, and a repetition cannot succeed."""


class Busy(Struct, frozen=True, gc=False):
    """Another transaction has the row. Nothing was written; try again apart from the rest."""


class Exists(Struct, frozen=True, gc=False):
    """A workflow of that id was there before. Nothing was written."""

    head: Head


class ChildExists(Struct, frozen=True, gc=False):
    """Creation `index` of this commit, the first such, has an id that is taken. Nothing of the commit was written.

    It comes before `Undeliverable`: nobody looks at the messages of such a commit.
    """

    index: int
    head: Head


class Undeliverable(Struct, frozen=True, gc=False):
    """Message `index` has no workflow that could take it. Nothing of this commit, or of this post, was written."""

    index: int
    reason: Literal["unknown", "ended"]


class Duplicate(Struct, frozen=True, gc=False):
    """That message was delivered before. Nothing was written."""


CommitOutcome = Done | Refused | Busy | ChildExists | Undeliverable
CreateOutcome = Done | Exists
PostOutcome = Done | Duplicate | Undeliverable


class Batch(Struct, frozen=True, gc=False, kw_only=True):
    """What one transaction writes: creations first, then commits, then posts, each in the order given.

    No workflow id occurs twice among the commits, nor is one both created and committed; and none occurs twice among
    the creations of one commit.
    """

    creates: Sequence[NewWorkflow] = ()
    commits: Sequence[Commit] = ()
    posts: Sequence[NewMessage] = ()


class BatchOutcome(Struct, frozen=True, gc=False, kw_only=True):
    """One outcome for each part of the batch, in the same order."""

    creates: Sequence[CreateOutcome] = ()
    commits: Sequence[CommitOutcome] = ()
    posts: Sequence[PostOutcome] = ()


class ClaimRequest(Struct, frozen=True, gc=False, kw_only=True):
    """Asks for up to `len(tokens)` runnable workflows of these names; each token is fresh and random, used once.

    With `only`, that one workflow is claimed if it is not ended and unheld, runnable or not, whatever its name.
    A claim of a workflow in state `running` that was left by `retire` counts as a takeover (see `retire`).
    `max_bytes` bounds the payload bytes of all histories together: the first is always whole; one that no longer
    fits comes with an empty history, to be read by `read`.
    """

    worker: str
    tokens: Sequence[str]
    build: str
    names: Sequence[str] = ()
    only: str | None = None
    max_bytes: int = 16_000_000


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

        Such a holder was retired, took another workflow before it noticed, and may have died since.
        """
        ...

    def retire(self, worker: str) -> int:
        """Remove the worker and, in the same transaction, the tokens of all that it held, so that it can write no more.

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


def check_batch(batch: Batch) -> None:
    """Refuse, before anything is written, a batch that no engine may make: a gap in a history, or a workflow twice."""
    for new in batch.creates:
        _check_creation(new)
    created = {new.workflow_id for new in batch.creates}
    seen = set(created)
    for commit in batch.commits:
        if commit.workflow_id in seen:
            raise InternalError(f"workflow {commit.workflow_id!r} occurs twice in one batch; commit it once")
        if commit.token is None and not commit.events:
            raise InternalError(f"workflow {commit.workflow_id!r} is written without a token or events; give it one")
        seen.add(commit.workflow_id)
        expected = commit.seq
        for event in commit.events:
            expected += 1
            if event.seq != expected:
                raise _gap(commit.workflow_id, expected, event.seq)
        if commit.items:
            _check_items(commit)
        if commit.values and len({value.name for value in commit.values}) < len(commit.values):
            raise InternalError(f"workflow {commit.workflow_id!r} sets one value twice in one commit; give the last")
        if commit.creates:
            _check_creations(commit)
            created.update(new.workflow_id for new in commit.creates)
    if len(created) > len(batch.creates):
        both = created.intersection(commit.workflow_id for commit in batch.commits)
        if both:
            raise InternalError(f"workflow {min(both)!r} is both created and committed in one batch")


def _check_creations(commit: Commit) -> None:
    for new in commit.creates:
        _check_creation(new)
    if len({new.workflow_id for new in commit.creates}) < len(commit.creates):
        raise InternalError(f"a commit of workflow {commit.workflow_id!r} creates one workflow twice; create it once")


def _check_creation(new: NewWorkflow) -> None:
    if not new.events:
        raise InternalError(f"workflow {new.workflow_id!r} is created without events; give it at least seq 1")
    if (new.token is None) != (new.worker is None):
        raise InternalError(f"workflow {new.workflow_id!r} is created with a token or a worker; give both or none")
    for expected, event in enumerate(new.events, start=1):
        if event.seq != expected:
            raise _gap(new.workflow_id, expected, event.seq)


def _gap(workflow_id: str, expected: int, found: int) -> InternalError:
    return InternalError(
        f"history of workflow {workflow_id!r} would have a gap: expected seq {expected}, found {found}"
    )


def _check_items(commit: Commit) -> None:
    ends: dict[str, int] = {}
    for row in commit.items:
        expected = ends.get(row.stream, row.offset)
        if row.offset != expected or row.count < 1:
            raise InternalError(
                f"stream {row.stream!r} of workflow {commit.workflow_id!r} would have a gap: expected offset "
                f"{expected}, found {row.offset} with {row.count} items"
            )
        ends[row.stream] = row.offset + row.count

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
- its state is `waiting` and `wake_at` has come, or an unread message lies in its inbox on one of `topics`,
  or an unread control message (`control=True`) on any; or
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

from collections.abc import Callable, Sequence
from typing import Literal, Protocol, runtime_checkable

from msgspec import Struct

from everlog.core.heads import ENDED as ENDED
from everlog.core.heads import InboxRow as InboxRow
from everlog.core.heads import State as State
from everlog.errors import InternalError


class EventRow(Struct, frozen=True, gc=False):
    """One event as it is stored."""

    seq: int
    type: str
    recorded_at: int
    payload: bytes


class NewMessage(Struct, frozen=True, gc=False, kw_only=True):
    """A message for a workflow's inbox. The sender makes (source, number) before the first try.

    A message with a `key` is delivered at most once per (destination, key), also after the first was read.
    """

    destination: str
    source: str
    number: int
    topic: str
    payload: bytes
    control: bool = False
    key: str | None = None


class NewWorkflow(Struct, frozen=True, gc=False, kw_only=True):
    """A workflow to be created with its first events (seq 1, 2, ...).

    With a `token` it is held by `worker` from the start, otherwise it is unheld.
    """

    workflow_id: str
    name: str
    state: State
    events: Sequence[EventRow]
    token: str | None = None
    worker: str | None = None


class Commit(Struct, frozen=True, gc=False, kw_only=True):
    """What one workflow commits, atomically, on the condition that its head bears `token` and `seq`.

    `events` continue the history densely from `seq`. The head takes `state`, `wake_at`, `topics`, `build` and `why`
    as given. `consumed` are rows of its inbox that the events took; they are deleted. `messages` go to other inboxes.
    `release` clears the token and the worker; an ended state does so as well.
    A commit with events sets `takeovers` to 0 if `progress` is true.
    """

    workflow_id: str
    token: str
    seq: int
    state: State
    events: Sequence[EventRow] = ()
    wake_at: int | None = None
    topics: Sequence[str] = ()
    consumed: Sequence[int] = ()
    messages: Sequence[NewMessage] = ()
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


class Undeliverable(Struct, frozen=True, gc=False):
    """Message `index` has no workflow that could take it. Nothing of this commit, or of this post, was written."""

    index: int
    reason: Literal["unknown", "ended"]


class Duplicate(Struct, frozen=True, gc=False):
    """That message was delivered before. Nothing was written."""


CommitOutcome = Done | Refused | Busy | Undeliverable
CreateOutcome = Done | Exists
PostOutcome = Done | Duplicate | Undeliverable


class Batch(Struct, frozen=True, gc=False, kw_only=True):
    """What one transaction writes: creations first, then commits, then posts, each in the order given.

    No workflow id occurs twice among the commits, nor is one both created and committed.
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


class WorkflowQuery(Struct, frozen=True, gc=False, kw_only=True):
    """A page of heads, newest creation first. `before` is the last id of the page before."""

    states: Sequence[State] | None = None
    names: Sequence[str] | None = None
    before: str | None = None
    limit: int = 100


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
        """Give one page of heads, newest first."""
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

        What it held becomes unheld in the state it had; `takeovers` of those in state `running` grows by one.
        Gives how many it held. Retiring a worker that is not there does nothing. A store does not wait for a head that
        another transaction has locked: it keeps its holder, whom `workers` goes on to give; the next call frees it.
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
        if not new.events:
            raise InternalError(f"workflow {new.workflow_id!r} is created without events; give it at least seq 1")
        if (new.token is None) != (new.worker is None):
            raise InternalError(f"workflow {new.workflow_id!r} is created with a token or a worker; give both or none")
        _check_dense(new.workflow_id, 0, new.events)
    seen = {new.workflow_id for new in batch.creates}
    for commit in batch.commits:
        if commit.workflow_id in seen:
            raise InternalError(f"workflow {commit.workflow_id!r} occurs twice in one batch; commit it once")
        seen.add(commit.workflow_id)
        _check_dense(commit.workflow_id, commit.seq, commit.events)


def _check_dense(workflow_id: str, seq: int, events: Sequence[EventRow]) -> None:
    for expected, event in enumerate(events, start=seq + 1):
        if event.seq != expected:
            raise InternalError(
                f"history of workflow {workflow_id!r} would have a gap: expected seq {expected}, found {event.seq}"
            )

"""Batches: what one transaction writes, and what came of each part of it. The words; they write nothing themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from everlog.core.attributes import AttributeChange, Attributes
from everlog.core.heads import State
from everlog.core.published import StreamRow, ValueRow
from everlog.core.queues import Place
from everlog.core.waits import WaitRow
from everlog.errors import InternalError


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

    With a `token` it is held by `worker` from the start, otherwise it is unheld. One in state `enqueued` has a `place`,
    and no token; no other state has one. `wake_at` is for the state `waiting`: it begins no earlier than that.
    `attributes` are for finding it, in the normal form of `everlog.core.attributes`; a store that is no
    `SupportsFinding` has no use for them.
    """

    workflow_id: str
    name: str
    state: State
    events: Sequence[EventRow]
    token: str | None = None
    worker: str | None = None
    place: Place | None = None
    wake_at: int | None = None
    attributes: Attributes = {}


class Commit(Struct, frozen=True, gc=False, kw_only=True):
    """What one workflow commits, atomically, on the condition that its head bears `token` and `seq`.

    With `token` None the head must bear none: so somebody writes to a workflow that nobody holds, ended or not, and
    leaves it unheld. Such a commit has events, so that of two that build on one seq at most one takes effect. It may
    give an ended workflow a state that is not ended: then what lies unread in its inbox counts again.

    With `first_seq`, the seq of one of its events, the workflow continues as new there: claims give its history from
    that event on, and `name` is its name from then on. Nothing else changes: the events before it stay. A `name`
    without it, in a commit with events, is only that: who claims names finds it under this one.

    `events` continue the history densely from `seq`. The head takes `state`, `wake_at`, `topics`, `build` and `why`
    as given. `consumed` are rows of its inbox that the events took; they are deleted. `creates` are workflows that
    come to be with it, its children for one; then `messages` go to other inboxes, those of the created among them.
    `release` clears the token and the worker; an ended state does so as well.
    A commit with events sets `takeovers` to 0 if `progress` is true.
    `values` replace those of their names; a store that is no `SupportsValues` has no use for them. `items` are appended
    to streams, and given only to a `SupportsStreams`: each continues its stream where that ends, save one that was
    written before, when the answer to this same commit was lost: it is left as it is. `waits` are listed from then on,
    and those whose seqs are among `closes` no more; a store that is no `SupportsWaits` has no use for either.
    `place` puts the workflow into a queue, or moves it there, behind those that are equal to it, with the state
    `enqueued` or `paused`, and gives back the slot that it had. Without one, a workflow that is not ended keeps its
    place, and its slot unless its state becomes `enqueued`; an end gives both back. Who has no place is not admitted.
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
    waits: Sequence[WaitRow] = ()
    closes: Sequence[int] = ()
    place: Place | None = None
    attributes: AttributeChange = {}
    release: bool = False
    progress: bool = True
    build: str | None = None
    why: str | None = None
    first_seq: int | None = None
    name: str | None = None


class Head(Struct, frozen=True, gc=False, kw_only=True):
    """The one mutable row of a workflow.

    Projections of the log: name, state, seq, created_at (recorded_at of seq 1), ended_at (recorded_at of the end),
    first_seq (1, or where it last continued as new).
    Coordination: token, worker, wake_at, topics, takeovers, build, why; and `queue`, the last queue it was put into,
    which stays after the end.
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
    queue: str | None = None
    first_seq: int = 1


class Done(Struct, frozen=True, gc=False):
    """It is durable, all of it."""


class Refused(Struct, frozen=True, gc=False):
    """The head bears another token or seq, or is gone. Nothing was written, and a repetition cannot succeed."""


class Busy(Struct, frozen=True, gc=False):
    """Another transaction has the row. Nothing was written; try again apart from the rest."""


class Exists(Struct, frozen=True, gc=False):
    """A workflow of that id was there before. Nothing was written."""

    head: Head


class Deduplicated(Struct, frozen=True, gc=False):
    """Another workflow of its queue, that of `head`, has the `dedup_key` of its place. Nothing was written.

    Of a creation `Exists` comes before it; of a commit `ChildExists` and `ChildDeduplicated`, and after it comes
    `Undeliverable`.
    """

    head: Head


class ChildDeduplicated(Struct, frozen=True, gc=False):
    """The place of creation `index` of this commit, the first such, has a `dedup_key` that the workflow of `head` has.

    Nothing of the commit was written. `ChildExists` comes before it, also of a later creation.
    """

    index: int
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


CommitOutcome = Done | Refused | Busy | ChildExists | ChildDeduplicated | Deduplicated | Undeliverable
CreateOutcome = Done | Exists | Deduplicated
PostOutcome = Done | Duplicate | Undeliverable


class Batch(Struct, frozen=True, gc=False, kw_only=True):
    """What one transaction writes: creations first, then commits, then posts, each in the order given.

    No workflow id occurs twice among the commits, nor is one both created and committed; and none occurs twice among
    the creations of one commit, nor does a `dedup_key` of one queue among their places and its own.
    """

    creates: Sequence[NewWorkflow] = ()
    commits: Sequence[Commit] = ()
    posts: Sequence[NewMessage] = ()


class BatchOutcome(Struct, frozen=True, gc=False, kw_only=True):
    """One outcome for each part of the batch, in the same order."""

    creates: Sequence[CreateOutcome] = ()
    commits: Sequence[CommitOutcome] = ()
    posts: Sequence[PostOutcome] = ()


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
        if commit.first_seq is not None or (commit.name is not None and not commit.events):
            _check_continuation(commit)
        if commit.items:
            _check_items(commit)
        if commit.values and len({value.name for value in commit.values}) < len(commit.values):
            raise InternalError(f"workflow {commit.workflow_id!r} sets one value twice in one commit; give the last")
        if commit.place is not None and commit.state not in ("enqueued", "paused"):
            raise InternalError(
                f"workflow {commit.workflow_id!r} is put into queue {commit.place.queue!r} in the state"
                f" {commit.state!r}; say 'enqueued' or 'paused'"
            )
        if commit.creates:
            _check_creations(commit)
            created.update(new.workflow_id for new in commit.creates)
    if len(created) > len(batch.creates):
        both = created.intersection(commit.workflow_id for commit in batch.commits)
        if both:
            raise InternalError(f"workflow {min(both)!r} is both created and committed in one batch")


def _check_continuation(commit: Commit) -> None:
    last = commit.seq + len(commit.events)
    if commit.name is None or commit.first_seq is None or not commit.seq < commit.first_seq <= last:
        raise InternalError(
            f"workflow {commit.workflow_id!r} would continue at seq {commit.first_seq} as {commit.name!r}, in a commit "
            f"of the events {commit.seq + 1} to {last}; give the seq of one of them, and a name"
        )


def _check_creations(commit: Commit) -> None:
    for new in commit.creates:
        _check_creation(new)
    if len({new.workflow_id for new in commit.creates}) < len(commit.creates):
        raise InternalError(f"a commit of workflow {commit.workflow_id!r} creates one workflow twice; create it once")
    places = [place for place in (commit.place, *(new.place for new in commit.creates)) if place is not None]
    keys = [(place.queue, place.dedup_key) for place in places if place.dedup_key is not None]
    if len(set(keys)) < len(keys):
        raise InternalError(f"a commit of workflow {commit.workflow_id!r} gives one dedup_key to two; give it to one")


def _check_creation(new: NewWorkflow) -> None:
    if not new.events:
        raise InternalError(f"workflow {new.workflow_id!r} is created without events; give it at least seq 1")
    if (new.token is None) != (new.worker is None):
        raise InternalError(f"workflow {new.workflow_id!r} is created with a token or a worker; give both or none")
    if (new.place is None) != (new.state != "enqueued") or (new.place is not None and new.token is not None):
        raise InternalError(
            f"workflow {new.workflow_id!r} is created in the state {new.state!r}, with"
            f" {'no place' if new.place is None else 'a place'} and {'no' if new.token is None else 'a'} token;"
            " one that is enqueued has a place and no token, any other has no place"
        )
    if new.wake_at is not None and new.state != "waiting":
        raise InternalError(f"workflow {new.workflow_id!r} is created {new.state}, with a wake_at; say it is waiting")
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

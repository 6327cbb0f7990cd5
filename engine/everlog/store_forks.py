"""SupportsForks: the part of the port for forks, and what a fork is asked for with. No SQL, no engine.

A fork is a new workflow with the first rows of another's history. They are copied where they lie: what is written from
outside is only what is the fork's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from msgspec import Struct

from everlog.batches import ChildExists, Done, EventRow, Exists, NewWorkflow, Refused
from everlog.core.heads import InboxRow
from everlog.core.published import ValueRow
from everlog.errors import InternalError


class Fork(Struct, frozen=True, gc=False, kw_only=True):
    """A workflow to be created with the rows of `source` up to the seq `until`, save those that are in its own events.

    The events of `new`, in order of their seqs, are its own: some take the place of rows of the source, the first of
    all always does, and the others follow `until` densely. It is unheld. Claims give its history from `first_seq` on.

    `inbox` are messages that lie in its inbox from the beginning, in this order, with the time at which they arrived
    elsewhere; `row` and `destination` of them are of no use. `values` are its values; a store that is no
    `SupportsValues` has no use for them. Its streams are those of the source: up to the first row that was written
    after `streams_until`, and up to the place that `stream_bounds` gives for a stream of that name, if it does.
    `creates` are workflows that come to be with it, each as by a commit.
    """

    new: NewWorkflow
    source: str
    until: int
    first_seq: int = 1
    inbox: Sequence[InboxRow] = ()
    values: Sequence[ValueRow] = ()
    streams_until: int = 0
    stream_bounds: Sequence[tuple[str, int]] = ()
    creates: Sequence[NewWorkflow] = ()


ForkOutcome = Done | Exists | ChildExists | Refused
"""`Exists`: there is a workflow of that id. `ChildExists`: there is one of the id of a creation. `Refused`: the source
has no such rows, or is gone. Nothing was written then."""


@runtime_checkable
class SupportsForks(Protocol):
    """A store that copies histories where they lie; asked for with `isinstance`. Called on the thread of `commit`."""

    def fork(self, fork: Fork) -> ForkOutcome:
        """Create the fork, all of it or nothing, durably; the source is not changed, nor locked.

        The number of statements does not depend on how many rows are copied. An exception means what it does for
        `commit`.
        """
        ...

    def read_types(
        self, workflow_id: str, types: Sequence[str], *, after: int = 0, until: int | None = None
    ) -> Sequence[EventRow]:
        """Give the events of these types with seq > `after`, and <= `until` where that is given, in order."""
        ...


def check_fork(fork: Fork) -> None:
    """Refuse, before anything is written, a fork that no engine may make: with a gap, held, or of itself."""
    new, seqs = fork.new, [event.seq for event in fork.new.events]
    own = [seq for seq in seqs if seq > fork.until]
    if (
        seqs != sorted(set(seqs))
        or seqs[:1] != [1]
        or own != [*range(fork.until + 1, fork.until + 1 + len(own))]
        or not own
    ):
        raise InternalError(
            f"fork {new.workflow_id!r} would have a gap: it has the rows up to seq {fork.until}, and its own are {seqs}"
        )
    if not 1 <= fork.first_seq <= seqs[-1] or fork.until < 1:
        raise InternalError(f"fork {new.workflow_id!r} would begin at seq {fork.first_seq}, and ends at {seqs[-1]}")
    if new.token is not None or fork.source == new.workflow_id or (new.place is None) != (new.state != "enqueued"):
        raise InternalError(
            f"fork {new.workflow_id!r} of {fork.source!r} is created in the state {new.state!r}; it is another"
            " workflow, unheld, and enqueued where it has a place"
        )
    ids = [new.workflow_id, *(one.workflow_id for one in fork.creates)]
    if len(set(ids)) < len(ids):
        raise InternalError(f"fork {new.workflow_id!r} creates one workflow twice; create it once")

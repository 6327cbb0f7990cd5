"""The source of a fork: what is read of a workflow whose history another is to begin with. It writes and plans nothing.

What is read grows with what a fork has of its own, not with the length of the history: most rows are only copied.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any, Final

from everlog.core import asks, events, forking
from everlog.core.event_codec import decode_event
from everlog.core.events import WorkflowForked
from everlog.core.forking import tags_of
from everlog.core.rewinding import Stored, rewind_point
from everlog.errors import NotFound, UsageError
from everlog.store import EventRow, Store, SupportsStreams, SupportsValues, ValueRow
from everlog.store_forks import SupportsForks

At = int | str | None
"""Where a fork is cut: after the event of a seq, before the outcome of an operation, or before the end."""
FAILURE: Final = "failure"
"""Named as an operation is, where none is called so: the place from which a retry would go on."""
_PAGE: Final = 64
"""So many rows are read, at first, to find where an end begins."""


def with_forks(store: Store) -> SupportsForks:
    """Give the store as one that copies histories; `UsageError` where it does not."""
    if isinstance(store, SupportsForks):
        return store
    raise UsageError(f"{type(store).__name__} copies no histories (it is no SupportsForks); use another store")


class Source:
    """A workflow, up to the cut."""

    def __init__(self, store: Store, workflow_id: str, at: At) -> None:
        self.store = store
        self.workflow_id = workflow_id
        self._forks = with_forks(store)
        (head,) = store.heads([workflow_id])
        if head is None:
            raise NotFound(f"there is no workflow {workflow_id!r} in this store")
        self._head = head
        self.until = self._cut(at)
        """The seq of the last row that a fork has of it."""
        self.first = head.first_seq
        """The seq of the row that created it, or with which it last continued as new before the cut."""
        if self.until < self.first:
            lives = self.typed(events.WorkflowContinued, until=self.until)
            self.first = lives[-1][0] if lives else 1

    def cut_at(self, seq: int) -> None:
        """Cut earlier, in the same life."""
        self.until = seq
        for name in ("raw", "whole", "noted", "_later", "void"):
            self.__dict__.pop(name, None)

    def _cut(self, at: At) -> int:
        head = self._head
        if isinstance(at, str):
            rows = _stored(self.store.read(head.workflow_id, after=head.first_seq - 1))
            if at == FAILURE and not forking.has_outcome(forking.lived(rows), at):
                return self._failed_at(rows)
            return forking.outcome_named(forking.lived(rows), at, head.workflow_id)[0] - 1
        if at is not None and not 1 <= at <= head.seq:
            raise UsageError(f"workflow {head.workflow_id!r} has the events 1 to {head.seq}, and none of seq {at}")
        until, before = at or head.seq, _PAGE
        while True:
            after = max(0, until - before)
            rows = _stored(self.store.read(head.workflow_id, after=after, limit=2 * before))
            cut = forking.before_the_end(rows, until)
            if cut > after + 1 or after == 0:
                return cut
            before *= 8

    def _failed_at(self, rows: list[Stored]) -> int:
        head = self._head
        if head.state not in ("failed", "cancelled", "stuck"):
            raise UsageError(
                f"workflow {head.workflow_id!r} is {head.state}, so it has not failed anywhere; cut it at a seq or an "
                "operation"
            )
        return rewind_point(rows)

    # -- rows --------------------------------------------------------------------------------------------------------

    def typed(self, *kinds: type[Any], after: int = 0, until: int | None = None) -> list[Stored]:
        """Give the rows of some types."""
        return _stored(self._forks.read_types(self.workflow_id, tags_of(*kinds), after=after, until=until))

    def creation(self) -> events.WorkflowCreated:
        """Give the first row of all."""
        (row,) = self.store.read(self.workflow_id, limit=1)
        event = decode_event(row.payload)
        assert isinstance(event, events.WorkflowCreated), row.type
        return event

    @cached_property
    def raw(self) -> list[EventRow]:
        """All rows from `first` to the cut, as they are stored."""
        limit = self.until - self.first + 1
        return list(self.store.read(self.workflow_id, after=self.first - 1, limit=limit))

    @cached_property
    def whole(self) -> list[Stored]:
        """The same, as events."""
        return _stored(self.raw)

    def all_rows(self) -> list[Stored]:
        """All that the workflow lived since the seq `first`, also after the cut."""
        return self.lived(_stored(self.store.read(self.workflow_id, after=self.first - 1)))

    @cached_property
    def noted(self) -> list[Stored]:
        """Those of them that are looked at for any fork, and the last, whatever it is."""
        if "whole" in self.__dict__:
            return self.whole
        after = self.first - 1
        rows = self._forks.read_types(self.workflow_id, forking.NOTED, after=after, until=self.until)
        if rows and rows[-1].seq == self.until:
            return _stored(rows)
        return _stored([*rows, *self.store.read(self.workflow_id, after=self.until - 1, limit=1)])

    @cached_property
    def _later(self) -> list[Stored]:
        """The rows after the cut that say something of what is before, or of what a fork has beside its log."""
        kinds = (WorkflowForked, events.MessageReceived, events.ItemsEmitted, events.StreamClosed)
        return self.typed(*kinds, after=self.until)

    @cached_property
    def void(self) -> set[int]:
        """The seqs of rows that do not count, as rows after the cut say: so it is where a fork is forked."""
        later = [event for _, _, event in self._later if isinstance(event, WorkflowForked)]
        return {seq for event in later for seq in event.void if self.first <= seq <= self.until}

    def lived(self, rows: Iterable[Stored]) -> list[Stored]:
        """Give those of some rows that a replay delivers."""
        return [row for row in forking.lived(list(rows)) if row[0] not in self.void]

    # -- beside the log ----------------------------------------------------------------------------------------------

    def received_later(self) -> list[events.MessageReceived]:
        """Give the messages that were received after the cut."""
        return [event for _, _, event in self._later if isinstance(event, events.MessageReceived)]

    def values(self) -> list[ValueRow]:
        """Give the values as they were at the cut."""
        if not isinstance(self.store, SupportsValues):
            return []
        rows = [row for row in self.store.values(self.workflow_id) if not row.name.startswith(asks.REPLY)]
        found = {row.name: row for row in rows if row.seq <= self.until}
        if len(found) < len(rows):
            for seq, at, event in self.typed(events.ValueSet, until=self.until):
                assert isinstance(event, events.ValueSet)
                found[event.name] = ValueRow(name=event.name, seq=seq, recorded_at=at, payload=bytes(event.value))
        return [found[name] for name in sorted(found)]

    def stream_bounds(self) -> list[tuple[str, int]]:
        """Give the places in streams to which workflow code wrote after the cut, the first of each stream."""
        if not isinstance(self.store, SupportsStreams):
            return []
        bounds: dict[str, int] = {}
        for _, _, event in self._later:
            if isinstance(event, events.ItemsEmitted | events.StreamClosed):
                bounds[event.stream] = min(event.offset, bounds.get(event.stream, event.offset))
        return sorted(bounds.items())

    def operation_at(self, seq: int) -> str | None:
        """Give the operation that an event is about; None where there is no such event, or operation."""
        rows = _stored(self.store.read(self.workflow_id, after=seq - 1, limit=1))
        return forking.operation_of(rows[0][2]) if rows else None


def _stored(rows: Iterable[EventRow]) -> list[Stored]:
    return [(row.seq, row.recorded_at, decode_event(row.payload)) for row in rows]

"""Readers: who waits for a value, for items of a stream or for a change to be recorded, and when to look again.

On the engine's thread. Nobody looks by himself. What this engine writes is looked for at once; what others write when
the store tells that somebody wrote. All who wait are answered from one question for the values and one for the streams.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, get_args

from msgspec import Struct

from everlog.core.event_codec import TAGS, decode_event
from everlog.core.events import AttributesChanged, EndEvent
from everlog.errors import EverlogError, NotFound, StoreUnavailable, UsageError
from everlog.store import (
    ENDED,
    EventRow,
    FoundValue,
    Store,
    StreamPage,
    StreamQuestion,
    SupportsStreams,
    SupportsValues,
)

Answer = Callable[[Any], None]
PAGE: Final = 16
"""Rows of a stream that a reader is given at once."""
MOST_AT_ONCE: Final = 200
"""So many questions are asked of the store in one go."""


class ValueReader(Struct, eq=False):
    """Waits for a value."""

    workflow_id: str
    name: str
    answer: Answer

    def take(self, found: FoundValue) -> bool:
        """Answer, if this is an answer."""
        if found.state is None:
            self.answer(unknown(self.workflow_id))
        elif found.value is not None or found.state in ENDED:
            self.answer(found)
        else:
            return False
        return True


class StreamReader(Struct, eq=False):
    """Waits for what comes next in a stream."""

    question: StreamQuestion
    answer: Answer

    @property
    def workflow_id(self) -> str:
        """The id of the workflow."""
        return self.question.workflow_id

    def take(self, page: StreamPage) -> bool:
        """Answer, if this is an answer."""
        if page.state is None:
            self.answer(unknown(self.workflow_id))
        elif page.rows or page.state in ENDED:
            self.answer(page)
        else:
            return False
        return True


class ChangeReader(Struct, eq=False):
    """Waits until who holds a workflow has recorded a change of its attributes, or the workflow has ended."""

    workflow_id: str
    by: str
    number: int
    seq: int
    """Up to where its history was read."""
    answer: Answer

    def take(self, rows: Sequence[EventRow] | None) -> bool:
        """Answer, if this is an answer: None, or an error."""
        if rows is None:
            self.answer(unknown(self.workflow_id))
            return True
        for row in rows:
            self.seq = row.seq
            event = decode_event(row.payload) if row.type in _ANSWERS else None
            if isinstance(event, AttributesChanged) and (event.by, event.number) == (self.by, self.number):
                self.answer(None)
                return True
            if isinstance(event, EndEvent):
                self.answer(has_ended(self.workflow_id))
                return True
        return False


_ANSWERS: Final = frozenset(TAGS[kind] for kind in (AttributesChanged, *get_args(EndEvent)))
Reader = ValueReader | StreamReader | ChangeReader


class Readers:
    """Those who wait, and those of them that are to be looked after now."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[str, dict[Reader, None]] = {}
        self._due: dict[Reader, None] = {}

    def add(self, reader: Reader) -> None:
        """Have a reader answered, as soon as there is an answer."""
        self._waiting.setdefault(reader.workflow_id, {})[reader] = None
        self._due[reader] = None

    def forget(self, reader: Reader) -> None:
        """Answer this one no more."""
        self._due.pop(reader, None)
        waiting = self._waiting.get(reader.workflow_id, {})
        waiting.pop(reader, None)
        if not waiting:
            self._waiting.pop(reader.workflow_id, None)

    def wrote(self, workflow_id: str) -> None:
        """Take note that this engine wrote what readers of the workflow may wait for."""
        if workflow_id in self._waiting:
            self._due.update(self._waiting[workflow_id])

    def others_wrote(self) -> None:
        """Take note that somebody wrote something."""
        for waiting in self._waiting.values():
            self._due.update(waiting)

    def are_due(self) -> bool:
        """Tell whether somebody is to be looked after."""
        return bool(self._due)

    def look(self) -> None:
        """Look after those who are due. Who could not be, since the store failed, stays due."""
        while self._due:
            some = list(self._due)[:MOST_AT_ONCE]
            self._ask([one for one in some if isinstance(one, ValueReader)], self._find_values)
            self._ask([one for one in some if isinstance(one, StreamReader)], self._read_streams)
            self._ask([one for one in some if isinstance(one, ChangeReader)], self._read_on)

    def _find_values(self, readers: Sequence[Any]) -> Iterable[FoundValue]:
        return values_of(self._store).find_values([(one.workflow_id, one.name) for one in readers])

    def _read_streams(self, readers: Sequence[Any]) -> Iterable[StreamPage]:
        return streams_of(self._store).read_streams([one.question for one in readers], limit=PAGE)

    def _read_on(self, readers: Sequence[Any]) -> Iterable[Sequence[EventRow] | None]:
        heads = self._store.heads([one.workflow_id for one in readers])
        return [
            None if head is None else self._store.read(one.workflow_id, after=one.seq)
            for one, head in zip(readers, heads, strict=True)
        ]

    def _ask(self, readers: Sequence[Any], ask: Callable[[Sequence[Any]], Iterable[Any]]) -> None:
        if not readers:
            return
        try:
            found: Iterable[Any] = ask(readers)
        except StoreUnavailable:
            raise
        except EverlogError as error:
            if len(readers) == 1:  # it alone is told: what it asks for cannot be read
                self.forget(readers[0])
                readers[0].answer(error)
                return
            for reader in readers:
                self._ask([reader], ask)
            return
        for reader, answer in zip(readers, found, strict=True):
            self._due.pop(reader, None)
            if reader.take(answer):
                self.forget(reader)

    def close(self, error: Exception) -> None:
        """Tell all who wait that it is over."""
        waiting, self._waiting = self._waiting, {}
        self._due.clear()
        for readers in waiting.values():
            for reader in readers:
                reader.answer(error)


def unknown(workflow_id: str) -> NotFound:
    """Give the error for a workflow that is not there."""
    return NotFound(f"there is no workflow {workflow_id!r} in this store")


def has_ended(workflow_id: str) -> UsageError:
    """Give the error of whoever would change the attributes of a workflow that has ended."""
    return UsageError(f"workflow {workflow_id!r} has ended, and keeps the attributes that it had")


def values_of(store: Store) -> SupportsValues:
    """Give the store as one that keeps values; `UsageError` where it does not."""
    if isinstance(store, SupportsValues):
        return store
    raise UsageError(f"{type(store).__name__} keeps no values (it is no SupportsValues); read them from the history")


def streams_of(store: Store) -> SupportsStreams:
    """Give the store as one that keeps streams; `UsageError` where it does not."""
    if isinstance(store, SupportsStreams):
        return store
    raise UsageError(f"{type(store).__name__} keeps no streams (it is no SupportsStreams); use another store for them")

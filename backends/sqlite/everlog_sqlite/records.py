"""The JSON texts that statements give, and the structs they become. No SQL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final, TypeVar

import msgspec

from everlog.errors import CorruptLog
from everlog.store import (
    EventRow,
    FoundValue,
    Head,
    InboxRow,
    State,
    StreamEnd,
    StreamKind,
    StreamPage,
    StreamRow,
    ValueRow,
    WorkerRow,
)

T = TypeVar("T")


class HeadRecord(msgspec.Struct, array_like=True):
    """A row of `heads`. Changed in place while a batch is planned."""

    number: int
    workflow_id: str
    name: str
    state: State
    seq: int
    bytes: int
    created_at: int
    ended_at: int | None
    token: str | None
    worker: str | None
    wake_at: int | None = None
    topics: tuple[str, ...] = ()
    takeovers: int = 0
    build: str | None = None
    why: str | None = None

    def head(self) -> Head:
        """Give it as the engine sees it."""
        return Head(
            workflow_id=self.workflow_id,
            name=self.name,
            state=self.state,
            seq=self.seq,
            created_at=self.created_at,
            ended_at=self.ended_at,
            token=self.token,
            worker=self.worker,
            wake_at=self.wake_at,
            topics=self.topics,
            takeovers=self.takeovers,
            build=self.build,
            why=self.why,
        )


class Delivered(msgspec.Struct, array_like=True):
    """A message, by its place in the question, that was delivered before; `row` while nobody has read it."""

    index: int
    row: int | None
    key_is_known: bool


class FoundRow(msgspec.Struct, array_like=True):
    """A row of a stream by its question; without a stream, only the state of the workflow."""

    question: int
    state: State | None
    stream: str | None
    first_offset: int | None
    count: int | None
    kind: StreamKind | None
    written_at: int | None
    operation: str | None
    attempt: int | None
    payload: str | None

    def row(self, stream: str) -> StreamRow:
        """Give it as the engine sees it."""
        return StreamRow(
            stream=stream,
            offset=self.first_offset or 0,
            count=self.count or 0,
            kind=self.kind or "items",
            written_at=self.written_at or 0,
            operation=self.operation,
            attempt=self.attempt or 0,
            payload=(self.payload or "").encode(),
        )


_heads: Final = msgspec.json.Decoder(list[HeadRecord])
_delivered: Final = msgspec.json.Decoder(list[Delivered], strict=False)
_pairs: Final = msgspec.json.Decoder(list[tuple[int, int]])
_events: Final = msgspec.json.Decoder(list[tuple[int, int, str, int, str]])
_messages: Final = msgspec.json.Decoder(list[tuple[int, str, str, int, str, str, int, int]])
_values: Final = msgspec.json.Decoder(list[tuple[str, int, int, str]])
_found_values: Final = msgspec.json.Decoder(
    list[tuple[int, State | None, str | None, int | None, int | None, str | None]]
)
_ends: Final = msgspec.json.Decoder(list[tuple[str, int, str]])
_stream_rows: Final = msgspec.json.Decoder(list[FoundRow])
_workers: Final = msgspec.json.Decoder(list[tuple[str, str, int]])


def array(values: Iterable[object]) -> str:
    """Give a parameter for `json_each`."""
    return msgspec.json.encode(list(values)).decode()


def heads(text: str) -> list[HeadRecord]:
    """Read what find_heads gives."""
    return _decode(_heads, text)


def delivered(text: str) -> list[Delivered]:
    """Read what find_delivered gives."""
    return _decode(_delivered, text)


def runnable(text: str) -> list[int]:
    """Read what find_runnable gives: the numbers, longest runnable first."""
    found = _decode(_pairs, text)
    return [number for _, number in sorted(found)]


def histories(texts: Sequence[tuple[str]]) -> dict[int, list[EventRow]]:
    """Read what read_histories gives, by number."""
    found: dict[int, list[EventRow]] = {}
    for (text,) in texts:
        for number, seq, type_, recorded_at, payload in _decode(_events, text):
            found.setdefault(number, []).append(EventRow(seq, type_, recorded_at, payload.encode()))
    return found


def is_dense(history: Sequence[EventRow], *, after: int) -> bool:
    """Say whether the events continue a history that ends at `after`, without gaps."""
    return all(event.seq == expected for expected, event in enumerate(history, start=after + 1))


def messages(texts: Sequence[tuple[str]]) -> list[InboxRow]:
    """Read what read_inboxes gives, in order of row."""
    found = [message for (text,) in texts for message in _decode(_messages, text)]
    return [
        InboxRow(
            row=row,
            destination=destination,
            source=source,
            number=number,
            topic=topic,
            payload=payload.encode(),
            control=bool(control),
            arrived_at=arrived_at,
        )
        for row, destination, source, number, topic, payload, control, arrived_at in sorted(found)
    ]


def workers(text: str) -> list[WorkerRow]:
    """Read what list_workers gives."""
    found = _decode(_workers, text)
    return [
        WorkerRow(worker=worker, process=process, lease_until=lease_until) for worker, process, lease_until in found
    ]


def values(text: str) -> list[ValueRow]:
    """Read what list_values gives, in order of the names."""
    return [
        ValueRow(name=name, seq=seq, recorded_at=recorded_at, payload=payload.encode())
        for name, seq, recorded_at, payload in sorted(_decode(_values, text))
    ]


def found_values(text: str) -> list[FoundValue]:
    """Read what find_values gives, in order of the question."""
    return [
        FoundValue(
            state=state,
            value=None
            if name is None or payload is None
            else ValueRow(name=name, seq=seq or 0, recorded_at=recorded_at or 0, payload=payload.encode()),
        )
        for _, state, name, seq, recorded_at, payload in sorted(_decode(_found_values, text), key=_place)
    ]


def stream_ends(text: str) -> list[StreamEnd]:
    """Read what list_streams gives, in order of the names."""
    return [
        StreamEnd(stream=stream, length=length, closed=kind == "closed")
        for stream, length, kind in sorted(_decode(_ends, text))
    ]


def stream_pages(texts: Sequence[tuple[str]], questions: int) -> list[StreamPage]:
    """Read what read_streams gives, in order of the questions."""
    pages = [StreamPage(state=None, rows=[]) for _ in range(questions)]
    for (text,) in texts:
        for found in _decode(_stream_rows, text):
            page = pages[found.question]
            if page.state is None and found.state is not None:
                page = pages[found.question] = StreamPage(state=found.state, rows=[])
            if found.stream is not None:
                page.rows.append(found.row(found.stream))
    for page in pages:
        page.rows.sort(key=_offset)
    return pages


def is_whole(rows: Sequence[StreamRow], start: int) -> bool:
    """Say whether the rows fill their places without gaps, from `start` or before."""
    if rows and rows[0].offset > start:
        return False
    return all(row.offset + row.count == after.offset for row, after in pairwise(rows))


def _offset(row: StreamRow) -> int:
    return row.offset


def _place(found: tuple[int, object, object, object, object, object]) -> int:
    return found[0]


def _decode(decoder: msgspec.json.Decoder[T], text: str) -> T:
    try:
        return decoder.decode(text)
    except msgspec.DecodeError as error:
        raise CorruptLog(f"a row of the database is not what Everlog wrote: {error}; restore a backup") from error

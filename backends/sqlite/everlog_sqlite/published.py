"""The JSON texts that statements give of values, streams and waits, and the structs they become. No SQL."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import msgspec

from everlog.store import (
    FoundValue,
    ListedWait,
    State,
    StreamEnd,
    StreamKind,
    StreamPage,
    StreamRow,
    ValueRow,
    WaitQuery,
    WaitRow,
)
from everlog_sqlite.records import read_json


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


_values: Final = msgspec.json.Decoder(list[tuple[str, int, int, str]])
_found_values: Final = msgspec.json.Decoder(
    list[tuple[int, State | None, str | None, int | None, int | None, str | None]]
)
_ends: Final = msgspec.json.Decoder(list[tuple[str, int, str]])
_stream_rows: Final = msgspec.json.Decoder(list[FoundRow])
_waits: Final = msgspec.json.Decoder(
    list[tuple[str, int, str, str, str, int, int | None, str | None, str | None]],
)


def wait_question(query: WaitQuery) -> dict[str, object]:
    """Give what list_waits takes."""
    opened_at, last_id, last_seq = query.after or (None, None, None)
    return {
        "topic": query.topic,
        "workflow_id": query.workflow_id,
        "seq": query.seq,
        "opened_at": opened_at,
        "last_id": last_id,
        "last_seq": last_seq,
        "limit": query.limit,
    }


def waits(text: str) -> list[ListedWait]:
    """Read what list_waits gives, in order."""
    found = [
        ListedWait(
            workflow_id,
            WaitRow(
                seq=seq,
                operation=operation,
                topic=topic,
                title=title,
                opened_at=opened_at,
                due_at=due_at,
                metadata=None if metadata is None else metadata.encode(),
                schema=None if schema is None else schema.encode(),
            ),
        )
        for workflow_id, seq, operation, topic, title, opened_at, due_at, metadata, schema in read_json(_waits, text)
    ]
    return sorted(found, key=lambda one: (one.wait.opened_at, one.workflow_id, one.wait.seq))


def values(text: str) -> list[ValueRow]:
    """Read what list_values gives, in order of the names."""
    found = read_json(_values, text)
    return [
        ValueRow(name=name, seq=seq, recorded_at=recorded_at, payload=payload.encode())
        for name, seq, recorded_at, payload in sorted(found)
    ]


def found_values(text: str) -> list[FoundValue]:
    """Read what find_values gives, in order of the question."""
    found = read_json(_found_values, text)
    found.sort(key=_place)
    return [FoundValue(state=state, value=_value(*value)) for _, state, *value in found]


def _value(name: Any, seq: Any, recorded_at: Any, payload: Any) -> ValueRow | None:
    """Read a value of which all is there, or nothing."""
    if name is None:
        return None
    return ValueRow(name=name, seq=seq, recorded_at=recorded_at, payload=payload.encode())


def stream_ends(text: str) -> list[StreamEnd]:
    """Read what list_streams gives, in order of the names."""
    found = read_json(_ends, text)
    return [StreamEnd(stream=stream, length=length, closed=kind == "closed") for stream, length, kind in sorted(found)]


def stream_pages(texts: Sequence[tuple[str]], questions: int) -> list[StreamPage]:
    """Read what read_streams gives, in order of the questions."""
    states: list[State | None] = [None] * questions
    rows: list[list[StreamRow]] = [[] for _ in range(questions)]
    for (text,) in texts:
        for found in read_json(_stream_rows, text):
            states[found.question] = found.state
            if found.stream is not None:
                rows[found.question].append(found.row(found.stream))
    for page in rows:
        page.sort(key=_offset)
    return [StreamPage(state=state, rows=page) for state, page in zip(states, rows, strict=True)]


def is_whole(rows: Sequence[StreamRow], start: int) -> bool:
    """Say whether the rows fill their places without gaps, from `start` or before."""
    if rows and rows[0].offset > start:
        return False
    return all(row.offset + row.count == after.offset for row, after in pairwise(rows))


def _offset(row: StreamRow) -> int:
    return row.offset


def _place(found: tuple[int, object, object, object, object, object]) -> int:
    return found[0]

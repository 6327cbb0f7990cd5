"""The rows that statements take and give of values and streams, and the structs they are. No SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

from everlog.store import Commit, FoundValue, State, StreamEnd, StreamPage, StreamRow, ValueRow
from everlog_postgres.arrays import bigints, encoded_texts, texts
from everlog_postgres.connection import Rows

_NO_BIGINTS: Final = bigints([])
_NO_TEXTS: Final = texts([])
_NO_VALUES: Final[Mapping[str, object]] = {
    "value_ids": _NO_TEXTS,
    "value_names": _NO_TEXTS,
    "value_seqs": _NO_BIGINTS,
    "value_times": _NO_BIGINTS,
    "value_payloads": _NO_TEXTS,
}
_NO_ITEMS: Final[Mapping[str, object]] = {
    "item_ids": _NO_TEXTS,
    "item_streams": _NO_TEXTS,
    "item_offsets": _NO_BIGINTS,
    "item_counts": _NO_BIGINTS,
    "item_kinds": _NO_TEXTS,
    "item_times": _NO_BIGINTS,
    "item_operations": _NO_TEXTS,
    "item_attempts": _NO_BIGINTS,
    "item_payloads": _NO_TEXTS,
}


def value_columns(commits: Sequence[Commit]) -> Mapping[str, object]:
    """Give what commit_batch takes of values."""
    rows = [(commit.workflow_id, value) for commit in commits for value in commit.values]
    if not rows:
        return _NO_VALUES
    return {
        "value_ids": texts([workflow_id for workflow_id, _ in rows]),
        "value_names": texts([value.name for _, value in rows]),
        "value_seqs": bigints([value.seq for _, value in rows]),
        "value_times": bigints([value.recorded_at for _, value in rows]),
        "value_payloads": encoded_texts([value.payload for _, value in rows]),
    }


def item_columns(commits: Sequence[Commit]) -> Mapping[str, object]:
    """Give what commit_batch takes of streams."""
    rows = [(commit.workflow_id, item) for commit in commits for item in commit.items]
    if not rows:
        return _NO_ITEMS
    return {
        "item_ids": texts([workflow_id for workflow_id, _ in rows]),
        "item_streams": texts([item.stream for _, item in rows]),
        "item_offsets": bigints([item.offset for _, item in rows]),
        "item_counts": bigints([item.count for _, item in rows]),
        "item_kinds": texts([item.kind for _, item in rows]),
        "item_times": bigints([item.written_at for _, item in rows]),
        "item_operations": texts([item.operation for _, item in rows]),
        "item_attempts": bigints([item.attempt for _, item in rows]),
        "item_payloads": encoded_texts([item.payload for _, item in rows]),
    }


def values(rows: Rows) -> list[ValueRow]:
    """Read what list_values gives."""
    return [
        ValueRow(name=name, seq=seq, recorded_at=recorded_at, payload=payload.encode())
        for name, seq, recorded_at, payload in rows
    ]


def found_values(rows: Rows) -> list[FoundValue]:
    """Read what find_values gives, in order of the question."""
    return [FoundValue(state=row[1], value=None if row[2] is None else values([row[2:]])[0]) for row in rows]


def stream_ends(rows: Rows) -> list[StreamEnd]:
    """Read what list_streams gives."""
    return [StreamEnd(stream=stream, length=length, closed=kind == "closed") for stream, length, kind in rows]


def stream_pages(found: Rows, questions: int) -> list[StreamPage]:
    """Read what read_streams gives, in order of the questions."""
    states: list[State | None] = [None] * questions
    rows: list[list[StreamRow]] = [[] for _ in range(questions)]
    for place, state, stream, offset, count, kind, written_at, operation, attempt, payload in found:
        question = int(place) - 1
        states[question] = state
        if stream is not None:
            row = StreamRow(
                stream=stream,
                offset=offset,
                count=count,
                kind=kind,
                written_at=written_at,
                operation=operation,
                attempt=attempt,
                payload=payload.encode(),
            )
            rows[question].append(row)
    return [StreamPage(state=state, rows=page) for state, page in zip(states, rows, strict=True)]


def is_whole(rows: Sequence[StreamRow], start: int) -> bool:
    """Say whether the rows fill their places without gaps, from `start` or before."""
    if rows and rows[0].offset > start:
        return False
    return all(row.offset + row.count == after.offset for row, after in pairwise(rows))

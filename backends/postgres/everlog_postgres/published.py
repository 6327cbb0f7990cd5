"""The rows that statements take and give of values, streams and waits, and the structs they are. No SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

from everlog.store import (
    Commit,
    FoundValue,
    ListedWait,
    State,
    StreamEnd,
    StreamPage,
    StreamRow,
    ValueRow,
    WaitQuery,
    WaitRow,
)
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

_NO_WAITS: Final[Mapping[str, object]] = {
    "wait_ids": _NO_TEXTS,
    "wait_seqs": _NO_BIGINTS,
    "wait_operations": _NO_TEXTS,
    "wait_topics": _NO_TEXTS,
    "wait_titles": _NO_TEXTS,
    "wait_times": _NO_BIGINTS,
    "wait_dues": _NO_BIGINTS,
    "wait_metadata": _NO_TEXTS,
    "wait_schemas": _NO_TEXTS,
    "closed_ids": _NO_TEXTS,
    "closed_seqs": _NO_BIGINTS,
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


def wait_columns(commits: Sequence[Commit]) -> Mapping[str, object]:
    """Give what commit_batch takes of waits."""
    rows = [(commit.workflow_id, wait) for commit in commits for wait in commit.waits]
    closed = [(commit.workflow_id, seq) for commit in commits for seq in commit.closes]
    if not rows and not closed:
        return _NO_WAITS
    return {
        "wait_ids": texts([workflow_id for workflow_id, _ in rows]),
        "wait_seqs": bigints([wait.seq for _, wait in rows]),
        "wait_operations": texts([wait.operation for _, wait in rows]),
        "wait_topics": texts([wait.topic for _, wait in rows]),
        "wait_titles": texts([wait.title for _, wait in rows]),
        "wait_times": bigints([wait.opened_at for _, wait in rows]),
        "wait_dues": bigints([wait.due_at for _, wait in rows]),
        "wait_metadata": texts([None if wait.metadata is None else wait.metadata.decode() for _, wait in rows]),
        "wait_schemas": texts([None if wait.schema is None else wait.schema.decode() for _, wait in rows]),
        "closed_ids": texts([workflow_id for workflow_id, _ in closed]),
        "closed_seqs": bigints([seq for _, seq in closed]),
    }


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


def waits(rows: Rows) -> list[ListedWait]:
    """Read what list_waits gives."""
    return [
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
        for workflow_id, seq, operation, topic, title, opened_at, due_at, metadata, schema in rows
    ]


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

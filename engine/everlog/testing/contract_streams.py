"""What a store promises of streams, as tests: `everlog.testing.StreamsConformance`."""

from __future__ import annotations

from typing import Protocol

from everlog.store import (
    Batch,
    Commit,
    Done,
    Refused,
    Store,
    StreamEnd,
    StreamKind,
    StreamQuestion,
    StreamRow,
    SupportsStreams,
)
from everlog.testing.making import BEGINNING, claim_only, commit, create, events, head, held, message, new

ALL = 1000


class KeepsStreams(Store, SupportsStreams, Protocol):
    """A store that keeps streams."""


class StreamContract:
    """Rows of items that are appended."""

    def test_items_are_there_with_the_commit_that_emits_them(self, store: KeepsStreams) -> None:
        token = held(store, "order")
        rows = [row("log", 0, 2), row("log", 2, 1, operation="talk", attempt=3)]
        assert commit(store, emits("order", token, 1, *rows, event_count=1)) == Done()
        assert read(store, "order", "log") == rows

    def test_a_commit_of_items_alone_moves_nothing_else(self, store: KeepsStreams) -> None:
        token = held(store, "order")
        before = head(store, "order")
        assert commit(store, emits("order", token, 1, row("log", 0, 2))) == Done()
        assert commit(store, emits("order", token, 1, row("log", 2, 5))) == Done()
        assert head(store, "order") == before
        assert length(store, "order", "log") == 7

    def test_a_repeated_commit_of_items_is_one(self, store: KeepsStreams) -> None:
        token = held(store, "order")
        one = emits("order", token, 1, row("log", 0, 2), row("other", 0, 1))
        assert [commit(store, one) for _ in range(3)] == [Done()] * 3
        assert read(store, "order", "log") == [row("log", 0, 2)]
        assert length(store, "order", "other") == 1

    def test_a_refused_commit_emits_nothing(self, store: KeepsStreams) -> None:
        token = held(store, "order")
        assert commit(store, emits("order", "another token", 1, row("log", 0, 2))) == Refused()
        assert commit(store, emits("order", token, 0, row("log", 0, 2))) == Refused()
        assert list(store.streams("order")) == []

    def test_who_lost_the_workflow_emits_nothing_more(self, store: KeepsStreams) -> None:
        token = held(store, "order", worker="worker-1")
        commit(store, emits("order", token, 1, row("log", 0, 2)))
        store.retire("worker-1")
        claim_only(store, "order", "the next token", worker="worker-2")
        assert commit(store, emits("order", token, 1, row("log", 2, 1))) == Refused()
        assert commit(store, emits("order", "the next token", 1, row("log", 2, 4))) == Done()
        assert read(store, "order", "log") == [row("log", 0, 2), row("log", 2, 4)]

    def test_an_undeliverable_commit_emits_nothing(self, store: KeepsStreams) -> None:
        token = held(store, "order")
        one = Commit(
            workflow_id="order",
            token=token,
            seq=1,
            state="running",
            messages=[message("nobody", source="order")],
            items=[row("log", 0, 1)],
        )
        commit(store, one)
        assert list(store.streams("order")) == []

    def test_streams_are_listed_with_their_ends_in_order(self, store: KeepsStreams) -> None:
        token = held(store, "order")
        rows = [row("b", 0, 3), row("A", 0, 1), row("a", 0, 2), row("b", 3, 1, kind="closed"), row("o'hara ☃", 0, 1)]
        commit(store, emits("order", token, 1, *rows))
        assert list(store.streams("order")) == [
            StreamEnd(stream="A", length=1, closed=False),
            StreamEnd(stream="a", length=2, closed=False),
            StreamEnd(stream="b", length=4, closed=True),
            StreamEnd(stream="o'hara ☃", length=1, closed=False),
        ]

    def test_reading_begins_with_the_row_that_holds_the_place(self, store: KeepsStreams) -> None:
        token = held(store, "order")
        rows = [row("log", 0, 3), row("log", 3, 1, kind="reset", operation="talk", attempt=2), row("log", 4, 5)]
        commit(store, emits("order", token, 1, *rows))
        for start, expected in [(0, rows), (2, rows), (3, rows[1:]), (4, rows[2:]), (8, rows[2:]), (9, []), (99, [])]:
            assert read(store, "order", "log", start=start) == expected, start

    def test_so_many_rows_are_given_at_once(self, store: KeepsStreams) -> None:
        token = held(store, "order")
        rows = [row("log", 2 * number, 2) for number in range(5)]
        commit(store, emits("order", token, 1, *rows))
        assert read(store, "order", "log", start=3, limit=2) == rows[1:3]
        assert read(store, "order", "log", start=9, limit=2) == rows[4:]

    def test_many_questions_are_answered_in_their_order(self, store: KeepsStreams) -> None:
        tokens = {workflow_id: held(store, workflow_id) for workflow_id in ("a", "b")}
        commits = [emits(name, token, 1, row("log", 0, 1), row(name, 0, 2)) for name, token in tokens.items()]
        store.commit(Batch(commits=commits))
        create(store, new("idle"))
        asked = [("b", "b", 0), ("nobody", "log", 0), ("a", "b", 0), ("idle", "log", 3), ("a", "log", 0), ("b", "b", 1)]
        pages = store.read_streams([StreamQuestion(workflow_id=i, stream=s, start=n) for i, s, n in asked], limit=ALL)
        assert [page.state for page in pages] == ["running", None, "running", "queued", "running", "running"]
        assert [list(page.rows) for page in pages] == [
            [row("b", 0, 2)],
            [],
            [],
            [],
            [row("log", 0, 1)],
            [row("b", 0, 2)],
        ]
        assert list(store.read_streams([], limit=ALL)) == []

    def test_the_end_of_the_workflow_is_seen_with_all_of_its_items(self, store: KeepsStreams) -> None:
        token = held(store, "order")
        last = Commit(
            workflow_id="order", token=token, seq=1, state="completed", events=events(2, 2), items=[row("log", 0, 1)]
        )
        assert commit(store, last) == Done()
        (page,) = store.read_streams([StreamQuestion(workflow_id="order", stream="log", start=0)], limit=ALL)
        assert (page.state, list(page.rows)) == ("completed", [row("log", 0, 1)])

    def test_items_are_kept_byte_for_byte(self, store: KeepsStreams) -> None:
        token = held(store, "order")
        one = row("log", 0, 2, payload='[{"a": 1.50}, "\\u0000 ☃"]'.encode())
        commit(store, emits("order", token, 1, one))
        assert read(store, "order", "log") == [one]

    def test_many_rows_of_one_batch_are_all_written(self, store: KeepsStreams) -> None:
        tokens = {f"order-{number}": held(store, f"order-{number}") for number in range(5)}
        rows = [row("log", number, 1) for number in range(150)]
        store.commit(Batch(commits=[emits(name, token, 1, *rows) for name, token in tokens.items()]))
        assert [read(store, name, "log") for name in tokens] == [rows] * 5

    def test_what_one_process_emits_another_reads(self, store: KeepsStreams, peer: KeepsStreams) -> None:
        token = held(store, "order")
        before = peer.changes()
        commit(store, emits("order", token, 1, row("log", 0, 1)))
        assert peer.changes() != before
        assert read(peer, "order", "log") == [row("log", 0, 1)]


def row(
    stream: str,
    offset: int,
    count: int,
    *,
    kind: StreamKind = "items",
    operation: str | None = None,
    attempt: int = 0,
    payload: bytes | None = None,
) -> StreamRow:
    """Make a row of a stream; its items are their places."""
    places = b",".join(b"%d" % place for place in range(offset, offset + count)) if kind == "items" else b""
    return StreamRow(
        stream=stream,
        offset=offset,
        count=count,
        kind=kind,
        written_at=BEGINNING + offset,
        operation=operation,
        attempt=attempt,
        payload=payload or b"[" + places + b"]",
    )


def emits(workflow_id: str, token: str, seq: int, *rows: StreamRow, event_count: int = 0) -> Commit:
    """Make a commit of a running workflow that appends these rows."""
    return Commit(
        workflow_id=workflow_id,
        token=token,
        seq=seq,
        state="running",
        events=events(seq + 1, seq + event_count),
        items=rows,
        progress=False,
    )


def read(store: SupportsStreams, workflow_id: str, stream: str, *, start: int = 0, limit: int = ALL) -> list[StreamRow]:
    """Give rows of a stream."""
    question = StreamQuestion(workflow_id=workflow_id, stream=stream, start=start)
    return list(store.read_streams([question], limit=limit)[0].rows)


def length(store: SupportsStreams, workflow_id: str, stream: str) -> int:
    """Give the length of a stream."""
    return next(one.length for one in store.streams(workflow_id) if one.stream == stream)

"""The JSON texts that statements give, and the structs they become. No SQL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

import msgspec

from everlog.errors import CorruptLog
from everlog.store import EventRow, Head, InboxRow, State, WorkerRow

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
    queue: str | None = None
    first_seq: int = 1

    def runs(self) -> bool:
        """Say whether the workflow runs and waits for nothing: the condition of advance_heads."""
        return (
            self.state == "running"
            and self.wake_at is None
            and not self.topics
            and self.build is None
            and self.why is None
        )

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
            queue=self.queue,
            first_seq=self.first_seq,
        )


class Delivered(msgspec.Struct, array_like=True):
    """A message, by its place in the question, that was delivered before; `row` while nobody has read it."""

    index: int
    row: int | None
    key_is_known: bool


_heads: Final = msgspec.json.Decoder(list[HeadRecord])
_delivered: Final = msgspec.json.Decoder(list[Delivered], strict=False)
_pairs: Final = msgspec.json.Decoder(list[tuple[int, int]])
_events: Final = msgspec.json.Decoder(list[tuple[int, int, str, int, str]])
_messages: Final = msgspec.json.Decoder(list[tuple[int, str, str, int, str, str, int, int]])
_workers: Final = msgspec.json.Decoder(list[tuple[str, str, int]])


def array(values: Iterable[object]) -> str:
    """Give a parameter for `json_each`."""
    return msgspec.json.encode(list(values)).decode()


def heads(text: str) -> list[HeadRecord]:
    """Read what find_heads gives."""
    return read_json(_heads, text)


def delivered(text: str) -> list[Delivered]:
    """Read what find_delivered gives."""
    return read_json(_delivered, text)


def runnable(text: str) -> list[int]:
    """Read what find_runnable gives: the numbers, longest runnable first."""
    found = read_json(_pairs, text)
    return [number for _, number in sorted(found)]


def histories(texts: Sequence[tuple[str]]) -> dict[int, list[EventRow]]:
    """Read what read_histories gives, by number."""
    found: dict[int, list[EventRow]] = {}
    for (text,) in texts:
        for number, seq, type_, recorded_at, payload in read_json(_events, text):
            found.setdefault(number, []).append(EventRow(seq, type_, recorded_at, payload.encode()))
    return found


def is_dense(history: Sequence[EventRow], *, after: int) -> bool:
    """Say whether the events continue a history that ends at `after`, without gaps."""
    return all(event.seq == expected for expected, event in enumerate(history, start=after + 1))


def whole(head: HeadRecord, history: Sequence[EventRow]) -> Sequence[EventRow]:
    """Keep back a history with a gap: `read` says what is wrong with it, and the rest of the claim is good."""
    before = head.first_seq - 1
    return history if len(history) == head.seq - before and is_dense(history, after=before) else []


def messages(texts: Sequence[tuple[str]]) -> list[InboxRow]:
    """Read what read_inboxes gives, in order of row."""
    found = [message for (text,) in texts for message in read_json(_messages, text)]
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
    found = read_json(_workers, text)
    return [
        WorkerRow(worker=worker, process=process, lease_until=lease_until) for worker, process, lease_until in found
    ]


def read_json(decoder: msgspec.json.Decoder[T], text: str) -> T:
    """Read the JSON text of a statement."""
    try:
        return decoder.decode(text)
    except msgspec.DecodeError as error:
        raise CorruptLog(f"a row of the database is not what Everlog wrote: {error}; restore a backup") from error

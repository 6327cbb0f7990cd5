"""Portable: one workflow as lines of JSON, with all that its history does not say. It reads and writes no files.

The form is that of `everlog.core.log_lines`; what is here are the further lines: unread messages, keys of messages,
rows of streams, a place in a queue, and a last line with the digest of all before it. `docs/log-format.md` is its page.
Whatever follows from the history is not written, and made anew from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Final

import msgspec
from msgspec import Raw, Struct

from everlog.core import log_lines
from everlog.core.attributes import kept, rows_of
from everlog.core.event_codec import decode_event, type_of
from everlog.core.heads import InboxRow, State
from everlog.core.published import StreamKind, StreamRow, ValueRow
from everlog.core.queues import Place
from everlog.core.state import WorkflowState, fold
from everlog.core.waits import WaitRow
from everlog.errors import CorruptLog
from everlog.store import ENDED, EventRow, Head
from everlog.store_moving import AttributeRow, StandingRow, Stands, WorkflowRows


class _Coordination(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a head says beside its history."""

    id: str
    name: str
    state: State
    wake_at: int | None = None
    topics: Sequence[str] = ()
    takeovers: int = 0
    build: str | None = None
    why: str | None = None
    queue: str | None = None


class _First(Struct, frozen=True):
    everlog: int
    workflow: _Coordination


class _Message(Struct, frozen=True, kw_only=True, omit_defaults=True):
    source: str
    number: int
    topic: str
    arrived_at: int
    payload: Raw
    control: bool = False


class _Items(Struct, frozen=True, kw_only=True, omit_defaults=True):
    stream: str
    offset: int
    count: int
    kind: StreamKind
    written_at: int
    payload: Raw
    operation: str | None = None
    attempt: int = 0


class _Place(Struct, frozen=True, kw_only=True, omit_defaults=True):
    queue: str
    stands: Stands
    name: str
    partition: str = ""
    priority: int = 0
    due_at: int = 0
    dedup_key: str | None = None


class _Line(Struct, frozen=True, omit_defaults=True):
    """A line beside the first and those of events: one of these."""

    message: _Message | None = None
    key: str | None = None
    items: _Items | None = None
    place: _Place | None = None
    end: str | None = None


_encode: Final = msgspec.json.Encoder().encode
_first: Final = msgspec.json.Decoder(_First)
_line: Final = msgspec.json.Decoder(_Line)


def export_lines(rows: WorkflowRows) -> Iterator[str]:
    """Give the lines of a workflow, each with its end of line. `CorruptLog` where it cannot be exported as it is."""
    summed = sha256()
    for line in _lines(rows):
        if line.count("\n") != 1:
            raise CorruptLog(
                f"something of workflow {rows.head.workflow_id!r} is JSON with a line break, which Everlog never"
                f" writes: {line[:120]!r}; `everlog verify` says what is wrong"
            )
        summed.update(line.encode())
        yield line
    yield _text(_Line(end=summed.hexdigest()))


def _lines(rows: WorkflowRows) -> Iterator[str]:
    head = rows.head
    coordination = _Coordination(
        id=head.workflow_id,
        name=head.name,
        state=head.state,
        wake_at=head.wake_at,
        topics=head.topics,
        takeovers=head.takeovers,
        build=head.build,
        why=head.why,
        queue=head.queue,
    )
    yield _text(_First(log_lines.VERSION, coordination))
    events = log_lines.write_lines(
        head.workflow_id, head.name, ((event.seq, event.recorded_at, event.payload) for event in rows.events)
    )
    next(events)  # the first line, which says less than ours
    yield from events
    for row in rows.inbox:
        message = _Message(
            source=row.source,
            number=row.number,
            topic=row.topic,
            arrived_at=row.arrived_at,
            payload=Raw(row.payload),
            control=row.control,
        )
        yield _text(_Line(message=message))
    for key in rows.keys:
        yield _text(_Line(key=key))
    for item in rows.items:
        yield _text(_Line(items=_items_of(item)))
    if rows.standing is not None:
        yield _text(_Line(place=_place_of(rows.standing)))


def _items_of(item: StreamRow) -> _Items:
    return _Items(
        stream=item.stream,
        offset=item.offset,
        count=item.count,
        kind=item.kind,
        written_at=item.written_at,
        payload=Raw(item.payload),
        operation=item.operation,
        attempt=item.attempt,
    )


def _place_of(standing: StandingRow) -> _Place:
    place = standing.place
    return _Place(
        queue=place.queue,
        stands=standing.stands,
        name=standing.name,
        partition=place.partition,
        priority=place.priority,
        due_at=place.due_at,
        dedup_key=place.dedup_key,
    )


def import_lines(lines: Iterable[str]) -> WorkflowRows:
    """Give the workflow that the lines hold. `CorruptLog` where they are not whole, or not as they were exported."""
    texts = [line if line.endswith("\n") else f"{line}\n" for line in lines if line.strip()]
    exported = log_lines.read_lines(texts)
    coordination = _first_of(texts).workflow
    others = [
        _decoded(number, line) for number, line in enumerate(texts[1:], start=2) if not line.startswith('{"seq":')
    ]
    _check_whole(exported.workflow_id, texts, others)
    if not exported.rows or exported.rows[0][0] != 1:
        raise CorruptLog(
            f"the exported history of {exported.workflow_id!r} does not begin with seq 1, and so cannot be imported"
        )
    decoded = [(seq, at, decode_event(payload)) for seq, at, payload in exported.rows]
    events = [
        EventRow(seq, type_of(event), at, payload)
        for (seq, at, payload), (_, _, event) in zip(exported.rows, decoded, strict=True)
    ]
    return _rows(coordination, events, fold(decoded), others)


def _rows(
    coordination: _Coordination, events: Sequence[EventRow], folded: WorkflowState, others: Sequence[_Line]
) -> WorkflowRows:
    if (coordination.state in ENDED) != (folded.status in ENDED):
        raise CorruptLog(
            f"workflow {coordination.id!r} was exported as {coordination.state}, and by its history it is"
            f" {folded.status}; export it again"
        )
    first_seq = folded.continued_seq or 1
    head = Head(
        workflow_id=coordination.id,
        name=folded.name,
        state=coordination.state,
        seq=len(events),
        created_at=folded.created_at,
        ended_at=folded.ended_at,
        wake_at=coordination.wake_at,
        topics=tuple(coordination.topics),
        takeovers=coordination.takeovers,
        build=coordination.build,
        why=coordination.why,
        queue=coordination.queue,
        first_seq=first_seq,
    )
    values, attributes, waits = projections(folded)
    return WorkflowRows(
        head=head,
        size=sum(len(event.payload) for event in events[first_seq - 1 :]),
        events=events,
        inbox=[_inbox_row(coordination.id, one.message) for one in others if one.message is not None],
        keys=sorted(one.key for one in others if one.key is not None),
        values=values,
        attributes=attributes,
        waits=waits,
        items=[_stream_row(one.items) for one in others if one.items is not None],
        standing=next((_standing(one.place) for one in others if one.place is not None), None),
    )


def projections(folded: WorkflowState) -> tuple[list[ValueRow], list[AttributeRow], list[WaitRow]]:
    """Give the rows beside the log that follow from a history: values, attributes and listed waits, in order."""
    said = {**folded.values, **folded.replies}
    attributes = sorted(rows_of(kept(folded.attributes, folded.parent, folded.forked_from)))
    waits = sorted((one.listed.seq, one.listed) for one in folded.open.values() if one.listed is not None)
    return (
        [
            ValueRow(name=name, seq=v.seq, recorded_at=v.recorded_at, payload=bytes(v.value))
            for name, v in sorted(said.items())
        ],
        [AttributeRow(name, place, value, folded.created_at) for name, place, value in attributes],
        [wait for _, wait in waits],
    )


def _inbox_row(destination: str, message: _Message) -> InboxRow:
    return InboxRow(
        row=0,
        destination=destination,
        source=message.source,
        number=message.number,
        topic=message.topic,
        payload=bytes(message.payload),
        control=message.control,
        arrived_at=message.arrived_at,
    )


def _stream_row(items: _Items) -> StreamRow:
    return StreamRow(
        stream=items.stream,
        offset=items.offset,
        count=items.count,
        kind=items.kind,
        written_at=items.written_at,
        operation=items.operation,
        attempt=items.attempt,
        payload=bytes(items.payload),
    )


def _standing(place: _Place) -> StandingRow:
    at = Place(
        queue=place.queue,
        partition=place.partition,
        priority=place.priority,
        due_at=place.due_at,
        dedup_key=place.dedup_key,
    )
    return StandingRow(place=at, name=place.name, came=0, stands=place.stands)


def _first_of(texts: Sequence[str]) -> _First:
    try:
        return _first.decode(texts[0])
    except msgspec.MsgspecError as error:
        raise CorruptLog(
            f"line 1 says too little of the workflow to be imported ({error}); `everlog export` writes what is needed"
        ) from error


def _decoded(number: int, line: str) -> _Line:
    try:
        return _line.decode(line)
    except msgspec.MsgspecError as error:
        raise CorruptLog(f"line {number} is none of an exported workflow: {line.strip()[:120]!r} ({error})") from error


def _check_whole(workflow_id: str, texts: Sequence[str], others: Sequence[_Line]) -> None:
    ends = [one.end for one in others if one.end is not None]
    if len(ends) != 1 or _line.decode(texts[-1]).end is None:
        raise CorruptLog(
            f"the export of workflow {workflow_id!r} is not whole: its last line is missing; export it again"
        )
    found = sha256("".join(texts[:-1]).encode()).hexdigest()
    if found != ends[0]:
        raise CorruptLog(
            f"the export of workflow {workflow_id!r} was changed: its lines have the digest {found[:16]}..., and the"
            f" last one says {str(ends[0])[:16]}...; export it again"
        )


def _text(what: Struct) -> str:
    return _encode(what).decode() + "\n"

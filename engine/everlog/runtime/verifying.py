"""Verifying: whether what a store holds is what Everlog writes. It repairs nothing, and knows no earlier state.

A history is dense and its events can be read; what is a projection of it is what its fold says. Somebody who changes a
history and all that follows from it is found only by a seal that was made before: see `everlog.runtime.seals`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence

from msgspec import Struct

from everlog.core import events as core
from everlog.core.attributes import kept, rows_of
from everlog.core.event_codec import decode_event, type_of
from everlog.core.event_parts import QueuePlace
from everlog.core.redacting import REDACTED, holds_something, redaction_of
from everlog.core.state import WorkflowState, fold
from everlog.errors import CorruptLog, StoreUnavailable
from everlog.store import ENDED, Store, WorkflowQuery
from everlog.store_moving import AttributeRow, SupportsMoving, WorkflowRows

PAGE = 100


class Finding(Struct, frozen=True, kw_only=True):
    """Something that is not as Everlog wrote it. `seq` is of the first event that it concerns."""

    what: str
    workflow_id: str | None = None
    seq: int | None = None
    is_on_record: bool = False
    """Whether somebody did this by way of Everlog, and is on record for it: it is told, and is nothing wrong."""

    def __str__(self) -> str:
        where = "" if self.workflow_id is None else f"workflow {self.workflow_id!r}"
        if self.seq is not None:
            where += f", seq {self.seq}"
        return f"{where}: {self.what}" if where else self.what


class Unread(Struct, frozen=True):
    """A workflow that cannot even be read, and why; without an id, the listing of all."""

    workflow_id: str | None
    why: str


def read_all(store: Store, moving: SupportsMoving) -> Iterator[WorkflowRows | Unread]:
    """Give all workflows in the order of age, each as of one moment, also where some cannot be read.

    Raises `StoreUnavailable` where the database cannot be reached.
    """
    after: tuple[int, str] | None = None
    while True:
        try:
            heads = store.workflows(WorkflowQuery(after=after, limit=PAGE, newest_first=False))
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a damaged row makes a driver or a decoder raise
            yield Unread(None, _reason(error))
            return
        if not heads:
            return
        yield from _page(moving, [head.workflow_id for head in heads])
        after = (heads[-1].created_at, heads[-1].workflow_id)


def _page(moving: SupportsMoving, workflow_ids: Sequence[str]) -> Iterator[WorkflowRows | Unread]:
    try:
        yield from moving.rows_of(workflow_ids)
    except StoreUnavailable:
        raise
    except Exception as error:  # noqa: BLE001 - as above
        if len(workflow_ids) == 1:
            yield Unread(workflow_ids[0], _reason(error))
            return
        for workflow_id in workflow_ids:
            yield from _page(moving, [workflow_id])


def _reason(error: Exception) -> str:
    return f"cannot be read: {error}" if isinstance(error, CorruptLog) else f"cannot be read: {error!r}"


def findings_of(one: WorkflowRows | Unread, *, now: int) -> Generator[Finding]:
    """Give what is wrong with a workflow by itself."""
    if isinstance(one, Unread):
        yield Finding(what=one.why if one.workflow_id else f"the workflows {one.why}", workflow_id=one.workflow_id)
        return
    workflow_id = one.head.workflow_id
    try:
        for what, seq in _wrong(one, now):
            yield Finding(what=what, workflow_id=workflow_id, seq=seq)
    except Exception as error:  # noqa: BLE001 - values of a type that no column has make any comparison fail
        yield Finding(what=_reason(error), workflow_id=workflow_id)


Wrong = Iterator[tuple[str, int | None]]


def _wrong(rows: WorkflowRows, now: int) -> Wrong:
    decoded: list[tuple[int, int, core.AnyEvent]] = []
    for expected, event in enumerate(rows.events, start=1):
        if event.seq != expected:
            yield f"an event is missing, doubled or out of order: expected seq {expected}, found {event.seq}", expected
            return
        try:
            body = decode_event(event.payload)
        except CorruptLog as error:
            yield str(error), expected
            return
        if type_of(body) != event.type:
            yield f"the row says {event.type!r}, and its body {type_of(body)!r}", expected
        if body.redacted is not None and holds_something(body):
            yield f"it was {redaction_of(body)}, and holds something nevertheless: it was edited", expected
        decoded.append((event.seq, event.recorded_at, body))
    if rows.head.seq != len(decoded):
        yield f"the head says that its history ends at seq {rows.head.seq}, and it does at {len(decoded)}", None
        return
    folded = fold(decoded)
    yield from _wrong_head(rows, folded)
    yield from _wrong_projections(rows, folded)
    yield from _wrong_streams(rows, decoded)
    yield from _wrong_place(rows, folded, now)


def _differ(what: str, found: object, expected: object) -> Wrong:
    if found != expected:
        yield f"{what} is {found!r}, and by its history {expected!r}", None


def _wrong_head(rows: WorkflowRows, folded: WorkflowState) -> Wrong:
    head = rows.head
    yield from _differ("its name", head.name, folded.name)
    yield from _differ("when it was created", head.created_at, folded.created_at)
    yield from _differ("when it ended", head.ended_at, folded.ended_at)
    yield from _differ("the seq it is read from", head.first_seq, folded.continued_seq or 1)
    size = sum(len(event.payload) for event in rows.events[head.first_seq - 1 :])
    yield from _differ("the size of its history", rows.size, size)
    if head.state in ENDED or folded.status in ENDED:
        yield from _differ("its state", head.state, folded.status)
        if head.token is not None or head.wake_at is not None or head.topics:
            yield "it has ended, and its head says that it is held or waits", None
    elif head.state == "waiting" and folded.status == "begun":
        due = [one.due_at for one in folded.open.values() if one.due_at is not None]
        due += [] if folded.deadline is None else [folded.deadline]
        yield from _differ("when it wakes", head.wake_at, min(due, default=None))
    elif head.state == "paused" and folded.paused_at is None:
        yield "it is paused, and by its history it is not", None
    queue = None if folded.place is None else folded.place.queue
    if queue is not None:
        yield from _differ("its queue", head.queue, queue)


def _wrong_projections(rows: WorkflowRows, folded: WorkflowState) -> Wrong:
    said = {**folded.values, **folded.replies}
    values = {one.name: (one.seq, one.recorded_at, one.payload) for one in rows.values}
    expected = {name: (one.seq, one.recorded_at, bytes(one.value)) for name, one in said.items()}
    for name in sorted(values.keys() | expected.keys()):
        if values.get(name) != expected.get(name):
            yield f"the value {name!r} is not what its history says", None
    attributes = [
        AttributeRow(name, place, value, rows.head.created_at)
        for name, place, value in sorted(rows_of(kept(folded.attributes, folded.parent, folded.forked_from)))
    ]
    if list(rows.attributes) != attributes:
        yield "its attributes are not what its history says", None
    listed = [one.listed for one in folded.open.values() if one.listed is not None]
    if list(rows.waits) != sorted(listed, key=_seq):
        yield "the waits that are listed are not those of its history", None


def _wrong_streams(rows: WorkflowRows, decoded: Sequence[tuple[int, int, core.AnyEvent]]) -> Wrong:
    ends: dict[str, int] = {}
    own: list[tuple[str, int, int, bytes | None]] = []
    for row in rows.items:
        if row.offset != ends.get(row.stream, 0):
            yield f"stream {row.stream!r} has a gap, or two rows in one place, at {row.offset}", None
            return
        ends[row.stream] = row.offset + row.count
        if row.operation is None and row.kind == "items":
            own.append((row.stream, row.offset, row.count, row.payload))
    said = {
        (event.stream, event.offset, event.count): bytes(event.items) or None
        for _, _, event in decoded
        if isinstance(event, core.ItemsEmitted)
    }
    for stream, offset, count, payload in own:
        expected = said.pop((stream, offset, count), b"")
        if expected is not None and payload != expected:
            yield f"what lies in stream {stream!r} at {offset} is not what its history says", None
    if said:
        stream, offset, _ = min(said)
        yield f"nothing lies in stream {stream!r} at {offset}, where its history says that something does", None


def _wrong_place(rows: WorkflowRows, folded: WorkflowState, now: int) -> Wrong:
    standing, head = rows.standing, rows.head
    if standing is None:
        if head.state == "enqueued":
            yield "it is enqueued, and has no place in a queue", None
        return
    if head.state in ENDED:
        yield "it has ended, and has a place in a queue", None
        return
    place = standing.place
    stored = QueuePlace(
        queue=place.queue,
        partition=place.partition,
        priority=place.priority,
        due_at=place.due_at,
        dedup_key=folded.place.dedup_key if place.dedup_key is None and folded.place is not None else place.dedup_key,
    )
    yield from _differ("its place in a queue", stored, folded.place)
    waits_for_slot = standing.stands in ("due", "delayed")
    if waits_for_slot != (head.state == "enqueued"):
        yield f"it is {head.state}, and stands in its queue as one that is {standing.stands}", None
    if waits_for_slot and standing.name != head.name:
        yield f"it stands in its queue as {standing.name!r}, and is {head.name!r}", None
    if standing.stands == "due" and place.due_at > now:
        yield "it stands in its queue as one that is due, before its time", None


def _seq(wait: object) -> int:
    return int(getattr(wait, "seq", 0))


def verify(
    store: Store, moving: SupportsMoving, *, progress: Callable[[int], None] = lambda done: None
) -> Iterator[Finding]:
    """Give all that is wrong with what a store holds. Engines may run meanwhile."""
    for done, one in enumerate(read_all(store, moving), start=1):
        yield from findings_of(one, now=store.now())
        yield from redactions_of(one)
        progress(done)
    yield from stray_findings(moving)


def redactions_of(one: WorkflowRows | Unread) -> Iterator[Finding]:
    """Tell which events were redacted, those of one time together."""
    if isinstance(one, Unread):
        return
    seqs: dict[str, list[int]] = {}
    for row in one.events:
        if REDACTED in row.payload:
            try:
                said = redaction_of(decode_event(row.payload))
            except CorruptLog:
                continue  # which is a finding
            if said:
                seqs.setdefault(said, []).append(row.seq)
    for said, of in seqs.items():
        what = f"{len(of)} of its events, from this one on, were {said}" if len(of) > 1 else f"this event was {said}"
        yield Finding(what=what, workflow_id=one.head.workflow_id, seq=of[0], is_on_record=True)


def stray_findings(moving: SupportsMoving) -> Iterator[Finding]:
    """Give what belongs to no workflow."""
    for what in moving.stray_rows():
        yield Finding(what=what)

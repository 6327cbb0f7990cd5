"""Redacting a workflow that has ended: all of its rows, without what users gave. Which fields hold that is not here.

A workflow is written anew as a whole, in one transaction, with all that follows from its history: so what lies beside
the log is what the log says, before and after. Nobody replays it meanwhile, since it has ended, and it has a condition:
that it has ended with just the history that was read.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from everlog.core.event_codec import decode_event, encode_event
from everlog.core.event_parts import Redaction
from everlog.core.events import AnyEvent, ItemsEmitted
from everlog.core.heads import ENDED
from everlog.core.redacting import MARK, WORD, holds_something, redacted
from everlog.core.retention import AuditRow
from everlog.core.state import fold
from everlog.errors import NotFound, StoreUnavailable, UsageError
from everlog.runtime.digests import links
from everlog.runtime.portable import projections
from everlog.runtime.pruning import Retains
from everlog.store import Done, StreamRow
from everlog.store_moving import WorkflowRows


def redact(
    store: Retains, workflow_id: str, seqs: Sequence[int] | None, *, by: str, reason: str, keep_links: bool
) -> int:
    """Take what users gave out of a workflow, or out of these events of it, and give of how many events.

    Raises `NotFound` where there is no such workflow, or event, and `UsageError` where it has not ended, is held, or
    one of the events holds nothing that could be redacted.
    """
    found = store.rows_of([workflow_id])
    if not found:
        raise NotFound(f"there is no workflow {workflow_id!r} in this store")
    (rows,) = found
    if rows.head.state not in ENDED:
        raise UsageError(
            f"workflow {workflow_id!r} has not ended ({rows.head.state}), and would need what is redacted to go on:"
            " wait, or cancel or terminate it first"
        )
    if rows.hold is not None:
        raise UsageError(
            f"workflow {workflow_id!r} is held by {rows.hold.by} ({rows.hold.reason or 'no reason given'}), so nothing"
            " of it is redacted: release it first"
        )
    redaction = Redaction(by=by, at=store.now(), reason=reason)
    changed, count = without_payloads(rows, seqs, redaction, keep_links=keep_links)
    if count or changed != rows:
        which = "all" if seqs is None else f"seq {', '.join(map(str, sorted(set(seqs))))}"
        said = f"{which}: {reason}" if reason else which
        audit = AuditRow(at=redaction.at, by=by, action="redacted", said=said)
        if store.rewrite(changed, audit) != Done():
            raise StoreUnavailable(
                f"workflow {workflow_id!r} was written to, held or locked by somebody at this moment; nothing was"
                " redacted, try again"
            )
    return count


def without_payloads(
    rows: WorkflowRows, seqs: Sequence[int] | None, redaction: Redaction, *, keep_links: bool
) -> tuple[WorkflowRows, int]:
    """Give all rows of a workflow without what users gave, and of how many events something was taken."""
    before = [(row.seq, row.recorded_at, decode_event(row.payload)) for row in rows.events]
    wanted = _wanted(rows, before, seqs)
    chain = links(rows.head.workflow_id, rows.events)
    after = [
        (seq, at, redacted(event, replace(redaction, link=chain[seq - 1] if keep_links else None)))
        if seq in wanted
        else (seq, at, event)
        for seq, at, event in before
    ]
    events = [
        replace(row, payload=encode_event(event)) if seq in wanted else row
        for row, (seq, _, event) in zip(rows.events, after, strict=True)
    ]
    folded = fold(after)
    values, attributes, waits = projections(folded)
    emitted = {
        (event.stream, event.offset) for seq, _, event in before if seq in wanted and isinstance(event, ItemsEmitted)
    }
    items = [
        _without_items(row) if seqs is None or (row.operation is None and (row.stream, row.offset) in emitted) else row
        for row in rows.items
    ]
    head = rows.head
    if head.why is not None and (seqs is None or head.seq in wanted):
        head = replace(head, why=WORD)
    changed = replace(
        rows,
        head=head,
        size=sum(len(row.payload) for row in events[head.first_seq - 1 :]),
        events=events,
        values=values,
        attributes=attributes,
        waits=waits,
        items=items,
        inbox=rows.inbox if seqs is not None else [replace(row, payload=MARK) for row in rows.inbox],
        keys=rows.keys if seqs is not None else (),
    )
    return changed, len(wanted)


def _wanted(rows: WorkflowRows, events: Sequence[tuple[int, int, AnyEvent]], seqs: Sequence[int] | None) -> set[int]:
    holding = {seq for seq, _, event in events if event.redacted is None and holds_something(event)}
    if seqs is None:
        return holding
    for seq in seqs:
        if not 1 <= seq <= len(events):
            known = f"the events 1 to {len(events)}"
            raise NotFound(f"workflow {rows.head.workflow_id!r} has {known}, and none of seq {seq}")
        event = events[seq - 1][2]
        if seq not in holding and event.redacted is None:
            raise UsageError(
                f"event {seq} of workflow {rows.head.workflow_id!r} ({rows.events[seq - 1].type}) holds nothing that"
                " could be redacted"
            )
    return holding & set(seqs)


def _without_items(row: StreamRow) -> StreamRow:
    if row.kind != "items":
        return row
    return replace(row, payload=msgspec.json.encode([msgspec.Raw(MARK)] * row.count))

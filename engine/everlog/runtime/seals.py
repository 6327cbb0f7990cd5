"""Seals: what a store held at one time, as digests in a file that is kept elsewhere. They hold nothing of what is said.

The first line says when, and of which seal it is the next; then comes a line for each workflow, one for what is kept
beside workflows, and a last one with the digest of all lines before, by which the seal is called:

    {"everlog_seal":1,"at":1700000000000000,"previous":null}
    {"id":"order-42","seq":3,"links":"0f3c9a11b2c4d5e6a1b2c3d4","chain":"...","items":{},"streams":"...","content":"..."}
    {"shared":"..."}
    {"workflows":1,"digest":"..."}

`links` has the first four bytes of each link of the chain (`everlog.runtime.digests`), so that the event can be named
that was changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from typing import Final

import msgspec
from msgspec import Struct

from everlog.core.durations import as_datetime
from everlog.core.event_codec import decode_event
from everlog.core.redacting import REDACTED, holds_something, kept_link
from everlog.errors import CorruptLog, UsageError
from everlog.runtime.digests import content_digest, digest, links, shared_digest
from everlog.runtime.verifying import Finding, Unread, findings_of, read_all, redactions_of, stray_findings
from everlog.store import ENDED, Store, StreamRow
from everlog.store_moving import SupportsMoving, WorkflowRows
from everlog.store_retention import SupportsRetention

VERSION: Final = 1
_SHORT: Final = 8
_PAGE: Final = 1_000


class _First(Struct, frozen=True):
    everlog_seal: int
    at: int
    previous: str | None


class SealedWorkflow(Struct, frozen=True):
    """What one workflow was: its history up to `seq`, the first `items` rows of each of its streams, and all else."""

    id: str
    seq: int
    links: str
    chain: str
    items: dict[str, int]
    streams: str
    content: str
    ended: bool = False


class _Shared(Struct, frozen=True):
    shared: str


class _Last(Struct, frozen=True):
    workflows: int
    digest: str


class Seal(Struct, frozen=True, kw_only=True):
    """What a store held at the time `at`; `digest` names the seal."""

    at: int
    previous: str | None
    workflows: dict[str, SealedWorkflow]
    shared: str
    digest: str


_encode: Final = msgspec.json.Encoder().encode


def make_seal(
    store: Store, moving: SupportsMoving, *, previous: str | None, progress: Callable[[int], None] = lambda done: None
) -> Iterator[str]:
    """Give the lines of a seal of all that the store holds. `CorruptLog` where that is not as Everlog writes it."""
    summed, number = sha256(), 0

    def line(what: Struct) -> str:
        text = _encode(what).decode() + "\n"
        summed.update(text.encode())
        return text

    yield line(_First(VERSION, store.now(), previous))
    for one in read_all(store, moving):
        for finding in findings_of(one, now=store.now()):
            raise CorruptLog(f"{finding}; nothing was sealed: `everlog verify` says all that is wrong")
        if not isinstance(one, Unread):
            yield line(sealed(one))
            number += 1
            progress(number)
    for finding in stray_findings(moving):
        raise CorruptLog(f"{finding}; nothing was sealed")
    yield line(_Shared(shared_digest(moving.shared_rows())))
    yield _encode(_Last(number, summed.hexdigest())).decode() + "\n"


def sealed(rows: WorkflowRows) -> SealedWorkflow:
    """Give what a seal says of a workflow."""
    every = links(rows.head.workflow_id, rows.events)
    return SealedWorkflow(
        id=rows.head.workflow_id,
        seq=len(every),
        links="".join(link[:_SHORT] for link in every),
        chain=every[-1] if every else "",
        items=dict(sorted(Counter(row.stream for row in rows.items).items())),
        streams=digest(rows.items),
        content=content_digest(rows),
        ended=rows.head.state in ENDED,
    )


def _sealed_items(rows: WorkflowRows, seal: SealedWorkflow) -> Iterator[StreamRow]:
    left = dict(seal.items)
    for row in rows.items:
        if left.get(row.stream, 0):
            left[row.stream] -= 1
            yield row


def read_seal(lines: Iterable[str]) -> Seal:
    """Read a seal. `CorruptLog` where it is none, or somebody has changed it."""
    texts = [line for line in lines if line.strip()]
    try:
        first, last = msgspec.json.decode(texts[0], type=_First), msgspec.json.decode(texts[-1], type=_Last)
        if first.everlog_seal != VERSION:
            raise UsageError(f"this seal has form {first.everlog_seal}, and this version of Everlog reads {VERSION}")
        shared = msgspec.json.decode(texts[-2], type=_Shared)
        workflows = [msgspec.json.decode(text, type=SealedWorkflow) for text in texts[1:-2]]
    except (msgspec.MsgspecError, IndexError) as error:
        raise CorruptLog(
            f"this is no seal, or not all of one ({error}); take the file that `everlog seal` wrote"
        ) from error
    found = sha256("".join(texts[:-1]).encode()).hexdigest()
    if found != last.digest or len(workflows) != last.workflows:
        raise CorruptLog(
            f"this seal was changed: its last line says {last.digest[:16]}... of {last.workflows} workflows, and it is"
            f" {found[:16]}... of {len(workflows)}; take the file as `everlog seal` wrote it"
        )
    return Seal(
        at=first.at,
        previous=first.previous,
        workflows={one.id: one for one in workflows},
        shared=shared.shared,
        digest=last.digest,
    )


def verify_seal(
    store: Store,
    moving: SupportsMoving,
    seal: Seal,
    *,
    unchanged: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> Iterator[Finding]:
    """Give all that is wrong with what a store holds, by itself and by a seal that was made of it before.

    What was sealed of a history and of streams is there as it was, and of a workflow that had ended everything. With
    `unchanged` all of the store is as it was: nobody has used it since.
    """
    missing = dict(seal.workflows)
    for done, one in enumerate(read_all(store, moving), start=1):
        yield from findings_of(one, now=store.now())
        yield from redactions_of(one)
        known = missing.pop(one.workflow_id or "", None) if isinstance(one, Unread) else None
        if not isinstance(one, Unread):
            known = missing.pop(one.head.workflow_id, None)
            if known is not None:
                yield from _unlike(one, known, unchanged=unchanged)
            elif unchanged:
                yield Finding(what="it was not there when the seal was made", workflow_id=one.head.workflow_id)
        progress(done)
    pruned = _pruned(store) if missing else {}
    for workflow_id in missing:
        by = pruned.get(workflow_id)
        what = "it is gone, and was there when the seal was made"
        yield Finding(what=by or what, workflow_id=workflow_id, is_on_record=by is not None)
    yield from stray_findings(moving)
    if unchanged:
        yield from _unlike_shared(moving, seal)


def _pruned(store: Store) -> dict[str, str]:
    """Tell of workflows that were removed by a rule who did that, by their ids."""
    found: dict[str, str] = {}
    after = 0
    while isinstance(store, SupportsRetention) and (page := store.audit(after=after, limit=_PAGE)):
        after = page[-1][0]
        for _, row in page:
            if row.action == "pruned":
                at = f"{as_datetime(row.at):%Y-%m-%d %H:%M:%S}"
                found.update((one, f"it was pruned by {row.by} at {at} UTC: {row.said}") for one in row.workflow_ids)
    return found


def _unlike(rows: WorkflowRows, seal: SealedWorkflow, *, unchanged: bool) -> Iterator[Finding]:
    try:
        what, seq = _first_unlike(rows, seal, unchanged=unchanged)
    except Exception as error:  # noqa: BLE001 - values of a type that no column has cannot be encoded
        what, seq = f"cannot be compared: {error!r}", None
    if what is not None:
        yield Finding(what=what, workflow_id=rows.head.workflow_id, seq=seq)


def _first_unlike(rows: WorkflowRows, seal: SealedWorkflow, *, unchanged: bool) -> tuple[str | None, int | None]:
    found, redactions = links(seal.id, rows.events[: seal.seq]), _redactions(rows)
    for seq, link in enumerate(found, start=1):
        if link[:_SHORT] != seal.links[(seq - 1) * _SHORT : seq * _SHORT]:
            if seq in redactions and not redactions[seq]:
                return "this event was redacted without its link: what follows it is not known to this seal", seq
            return "this event is not what was sealed: it was edited, or another stands in its place", seq
    if len(found) < seal.seq:
        return f"its history ends at seq {len(found)}, and was sealed up to {seal.seq}: events are missing", len(
            found
        ) + 1
    if found and found[-1] != seal.chain:
        return "its history is not what was sealed", None
    if redactions and not unchanged:
        return None, None  # values, streams and the rest changed with it, and are what the history says
    if digest(list(_sealed_items(rows, seal))) != seal.streams:
        return "what lies in its streams is not what was sealed", None
    if (unchanged or (seal.ended and len(rows.events) == seal.seq)) and content_digest(rows) != seal.content:
        return "something of it is not what was sealed: its head, inbox, values, attributes, waits or place", None
    return None, None


def _redactions(rows: WorkflowRows) -> dict[int, bool]:
    """Give the seqs of events that were redacted, and whether each keeps its link."""
    found: dict[int, bool] = {}
    for row in rows.events:
        event = decode_event(row.payload) if REDACTED in row.payload else None
        if event is not None and event.redacted is not None and not holds_something(event):
            found[row.seq] = kept_link(row.payload) is not None
    return found


def _unlike_shared(moving: SupportsMoving, seal: Seal) -> Iterator[Finding]:
    try:
        same = shared_digest(moving.shared_rows()) == seal.shared
    except Exception as error:  # noqa: BLE001 - whatever a damaged row makes a driver or a decoder raise
        yield Finding(what=f"queues, schedules or the signing key cannot be read: {error!r}")
        return
    if not same:
        yield Finding(what="what is kept of queues, schedules or the signing key is not what was sealed")

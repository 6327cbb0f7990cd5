"""`everlog show`: where one workflow is, why it is there, and how it came there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Final

import msgspec

from everlog.cli.places import head_of, opened, store_url
from everlog.cli.text import moment, paragraph, table
from everlog.cli.timeline import Entry, Stored, summary, timeline
from everlog.core.codec import Codec
from everlog.core.durations import SECOND, spoken
from everlog.core.event_codec import decode_event
from everlog.core.failures import Failure
from everlog.core.rewinding import folded
from everlog.core.sealed import opened_body, shown_text
from everlog.core.state import WorkflowState
from everlog.core.versions import told, version_of, workflow_of
from everlog.runtime.opening import opened_rows
from everlog.runtime.status import full_reason, shown_state
from everlog.store import ENDED, Head, StreamEnd, SupportsStreams, SupportsValues, ValueRow, WorkerRow

FIRST = 8
LAST = 16
PATIENCE = 2 * SECOND
"""A worker that knows a workflow takes it sooner than this."""


def show_workflow(workflow_id: str, place: str | None, *, codec: Codec | None, whole: bool) -> None:
    """Print state, reason and timeline of a workflow; all of a long timeline where `whole`."""
    url = store_url(place)
    with opened(url) as store:
        head = head_of(store, workflow_id, url)
        rows = opened_rows(store.read(workflow_id, after=0 if whole else head.first_seq - 1), codec)
        history = [(row.seq, row.recorded_at, decode_event(row.payload)) for row in rows]
        (head,) = [found or head for found in store.heads([workflow_id])]
        workers, now = store.workers(), store.now()
        streams = store.streams(workflow_id) if isinstance(store, SupportsStreams) else ()
        values = store.values(workflow_id) if isinstance(store, SupportsValues) else ()
        state = folded(history)
        reason = full_reason(store, head, state, now)
    about = [] if head.state == "stuck" else _about_workers(head, state, workers, now)
    lines = [*_heading(head, state, workers, now), *paragraph("why", " ".join([reason, *about]))]
    lines += _published(values, streams, codec)
    if state.error is not None and state.error.traceback:
        lines += ["", *_traceback(state.error)]
    lines += ["", *_timeline(history, whole=whole)]
    at = f"--db {shlex.quote(place)}" if place else ""
    print("\n".join([*lines, *_next(head, at)]))
    if not whole and len(timeline(history)) > FIRST + LAST:
        print(f"\nThe whole timeline: everlog show --all {shlex.quote(workflow_id)} {at}".rstrip())
        print(f"Every event:        everlog log {shlex.quote(workflow_id)} {at}".rstrip())


def _heading(head: Head, folded: WorkflowState, workers: Sequence[WorkerRow], now: int) -> list[str]:
    until = head.ended_at if head.ended_at is not None else now
    ended = f", ended {moment(head.ended_at)}" if head.ended_at is not None else ""
    steps = f"{_counted(folded.steps_completed, 'step')} completed, {folded.steps_failed} failed"
    messages = f"{_counted(folded.messages_received, 'message')} received"
    lines = [
        *paragraph("workflow", head.workflow_id),
        *paragraph("name", workflow_of(head.name)),
        *(paragraph("version", version) if (version := version_of(head.name)) is not None else []),
        *paragraph("state", shown_state(head, folded, now)),
        *paragraph("created", f"{moment(head.created_at)}{ended} UTC, {spoken(max(0, until - head.created_at))}"),
        *paragraph("events", f"{head.seq}: {steps}, {messages}{_since(head)}"),
    ]
    if folded.parent is not None:
        lines += paragraph("parent", folded.parent)
    if folded.forked_from is not None:
        lines += paragraph("fork of", folded.forked_from)
    if folded.attributes:
        lines += paragraph("attribute", msgspec.json.encode(folded.attributes).decode())
    if head.worker is not None:
        lines += paragraph("worker", f"{head.worker} ({'running' if _alive(head, workers, now) else 'gone'})")
    return lines


def _since(head: Head) -> str:
    return "" if head.first_seq == 1 else f" since it continued as new, at event {head.first_seq}"


def _published(values: Sequence[ValueRow], streams: Sequence[StreamEnd], codec: Codec | None) -> list[str]:
    lines: list[str] = []
    for value in values:
        lines += paragraph("value", f"{value.name}: {opened_body(value.payload, codec).decode(errors='replace')}")
    for stream in streams:
        lines += paragraph("stream", f"{stream.stream}: {stream.length} long{', closed' if stream.closed else ''}")
    return lines


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _about_workers(head: Head, folded: WorkflowState, workers: Sequence[WorkerRow], now: int) -> list[str]:
    """Say what keeps a workflow that could go on from doing so."""
    running = [worker for worker in workers if _lives(worker, now)]
    if head.state in ENDED or head.state == "paused":
        return []
    if head.worker is not None:
        if _alive(head, workers, now):
            return []
        taker = "Another takes over." if running else "It goes on when an engine that knows it is started."
        return [f"The worker that held it is gone. {taker}"]
    if not running:
        return ["No worker is running on this database; start an engine that knows it."]
    due = head.wake_at if head.state != "queued" else folded.continued_at or head.created_at
    if head.state == "running" or (due is not None and now - due > PATIENCE):
        count = "the one running worker" if len(running) == 1 else f"any of the {len(running)} running workers"
        return [f"It was not taken by {count}: none knows {told(head.name)}, or none has room."]
    return []


def _alive(head: Head, workers: Sequence[WorkerRow], now: int) -> bool:
    return any(worker.worker == head.worker and _lives(worker, now) for worker in workers)


def _lives(worker: WorkerRow, now: int) -> bool:
    return not worker.gone and worker.lease_until > now


_OURS: Final = re.compile(
    r'  File "[^"\n]*[/\\]everlog[/\\](?:replay|runtime)[/\\][^"\n]*", line .*\n(?:    .*(?:\n|$))*'
)
"""A frame of ours in a traceback: it says nothing about a failure of somebody's code."""


def _traceback(error: Failure) -> list[str]:
    traceback = shown_text(error.traceback)
    whole = traceback if traceback.endswith("\n") else traceback + "\n"
    lines = (_OURS.sub("", whole) or whole).splitlines()
    return ["traceback of the failure", *("  " + line for line in lines), f"  {summary(error)}"]


def _next(head: Head, at: str) -> list[str]:
    """Say what may be done about a workflow that did not come to a good end."""
    if head.state not in ("failed", "stuck"):
        return []
    which = f"{shlex.quote(head.workflow_id)} {at}".rstrip()
    return [
        "",
        f"Look at its code at an event:  everlog debug {which} --at SEQ --module MODULE",
        f"Try it with another outcome:   everlog fork {which} --replace KEY=JSON --module MODULE",
    ]


def _timeline(history: Sequence[Stored], *, whole: bool) -> list[str]:
    entries = timeline(history)
    start = history[0][1] if history else 0
    hidden = 0 if whole else len(entries) - FIRST - LAST
    if hidden <= 0:
        shown = [_row(entry, start) for entry in entries]
    else:
        gap = ("", "", "", f"... {hidden} more ...", "")
        shown = [
            *(_row(entry, start) for entry in entries[:FIRST]),
            gap,
            *(_row(entry, start) for entry in entries[-LAST:]),
        ]
    return table([("SEQ", "AFTER", "TOOK", "WHAT", "OUTCOME"), *shown], right=(0, 1, 2))


def _row(entry: Entry, start: int) -> tuple[str, str, str, str, str]:
    if entry.ended_at is None:
        took = "open"
    else:
        took = spoken(entry.ended_at - entry.began_at) if entry.ended_at > entry.began_at else ""
    what = entry.what if len(entry.what) <= 40 else entry.what[:37] + "..."
    return str(entry.seq), f"{max(0, entry.began_at - start) / SECOND:.3f} s", took, what, entry.outcome

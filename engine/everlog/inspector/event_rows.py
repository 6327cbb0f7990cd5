"""Event rows: the events of a history as the log of a page shows them, and one of them with all that it holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from everlog.core.durations import as_datetime
from everlog.core.plain import is_object
from everlog.inspector.payloads import Payloads
from everlog.runtime.status import HistoryEvent, history_event
from everlog.store import EventRow

_WHAT: Final = ("operation", "name", "stream", "topic", "by", "worker", "source")
_FAILED: Final = frozenset(
    {"step_failed", "step_attempt_failed", "send_failed", "start_failed", "workflow_failed", "request_refused"}
)
_ENDED_WELL: Final = frozenset(
    {"step_completed", "workflow_completed", "child_ended", "timer_fired", "message_received"}
)
"""What is told apart in the log, beside its word, by a shape."""
_TIMES: Final = frozenset(
    {"started_at", "retry_at", "due_at", "arrived_at", "asked_at", "began_at", "begins_at", "deadline"}
)


class LogRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the log."""

    seq: int
    type: str
    at: datetime
    what: str
    brief: str
    tone: str
    counts: bool
    """Whether a replay delivers it."""


class Detail(msgspec.Struct, frozen=True, kw_only=True):
    """One field of an event. A payload is shown as a block."""

    name: str
    text: str
    is_block: bool


def log_rows(rows: Iterable[EventRow], payloads: Payloads, void: frozenset[int] = frozenset()) -> list[LogRow]:
    """Give the lines of the log for events; those in `void` were taken back."""
    return [_row(history_event(row), payloads, row.seq not in void) for row in rows]


def details(event: HistoryEvent, payloads: Payloads) -> list[Detail]:
    """Give all fields of an event, payloads last."""
    found: list[Detail] = []
    for name, held in event.data.items():
        if name in ("error", "outcome") and is_object(held):
            found += _of_error(name, held, payloads)
        elif payloads.is_payload(name):
            found.append(Detail(name=name, text=payloads.pretty(name, held), is_block=True))
        elif name in _TIMES and isinstance(held, int):
            found.append(Detail(name=name, text=_time(held), is_block=False))
        else:
            text = held if isinstance(held, str) else msgspec.json.encode(held).decode()
            found.append(Detail(name=name, text=text, is_block=False))
    return sorted(found, key=lambda one: one.is_block)


def void_of(rows: Sequence[EventRow]) -> frozenset[int]:
    """Give the seqs of what was taken back by a retry, or left out of a fork."""
    void: set[int] = set()
    for row in rows:
        if row.type == "workflow_rewound":
            void |= set(range(msgspec.json.decode(row.payload)["to"] + 1, row.seq))
        elif row.type == "workflow_forked":
            void |= set(msgspec.json.decode(row.payload).get("void", ()))
    return frozenset(void)


def _row(event: HistoryEvent, payloads: Payloads, counts: bool) -> LogRow:
    data = event.data
    what = next((str(data[name]) for name in _WHAT if name in data), "")
    tone = "failed" if event.type in _FAILED else "done" if event.type in _ENDED_WELL else "plain"
    return LogRow(
        seq=event.seq,
        type=event.type,
        at=event.recorded_at,
        what=what,
        brief=payloads.of_event(data),
        tone=tone,
        counts=counts,
    )


def _of_error(name: str, held: Mapping[str, Any], payloads: Payloads) -> list[Detail]:
    error = held.get("error", held)
    if not is_object(error) or "message" not in error:
        return [Detail(name=name, text=payloads.pretty(name, held), is_block=True)]
    found = [Detail(name="error type", text=str(error.get("type", "")), is_block=False)]
    found.append(Detail(name="message", text=payloads.text("message", str(error["message"])), is_block=True))
    if error.get("traceback"):
        found.append(Detail(name="traceback", text=payloads.text("traceback", str(error["traceback"])), is_block=True))
    rest = {key: value for key, value in error.items() if key not in ("type", "message", "traceback")}
    if rest:
        found.append(Detail(name="more of the error", text=payloads.pretty("error", rest), is_block=True))
    return found


def _time(value: int) -> str:
    return f"{as_datetime(value):%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC"

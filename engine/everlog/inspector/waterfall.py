"""The waterfall: a history as bars over time, one for each operation, with what it did when. It draws nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from everlog.core import events
from everlog.core.asks import REPLY, spoken_topic
from everlog.core.durations import SECOND, spoken
from everlog.core.events import AnyEvent

Stored = tuple[int, int, AnyEvent]
Kind = Literal["queued", "running", "failed", "retrying", "sleeping", "waiting", "child", "moment"]
Ending = Literal["done", "failed", "cancelled", "open"]

KINDS: Final[dict[Kind, str]] = {
    "queued": "waits to begin",
    "running": "runs",
    "failed": "failed attempt",
    "retrying": "waits to be tried again",
    "sleeping": "sleeps",
    "waiting": "waits for a message",
    "child": "child runs",
    "moment": "moment",
}
"""What the kinds of segments mean."""

MOST: Final = 200
"""So many bars are shown at once."""
MOST_INNER: Final = 100
"""So many bars of one child are shown."""
_MINUTE: Final = 60 * SECOND
_STEPS: Final = [
    *(size * 10**power for power in range(3, 7) for size in (1, 2, 5)),
    *(size * SECOND for size in (10, 15, 30)),
    *(size * _MINUTE for size in (1, 2, 5, 10, 15, 30, 60, 120, 360, 720)),
]  # fmt: skip
"""Distances between the marks of the axis, in microseconds; longer ones are days."""
_DAY: Final = 86_400 * SECOND


class Segment(msgspec.Struct, frozen=True):
    """A part of a bar. `begin` and `size` are percentages of the whole."""

    kind: Kind
    begin: float
    size: float


class Bar(msgspec.Struct, kw_only=True):
    """One operation. `lane` is how deep its branch lies, `seq` the event that says most of it, the last one."""

    label: str
    kind: str
    lane: int
    seq: int
    ending: Ending
    said: str
    """How long it took, in words."""
    link: str | None = None
    """The workflow that it started."""
    workflow_id: str | None = None
    """The child whose operation it is; None: the workflow of the page."""
    opened: bool | None = None
    """Whether the operations of the child follow; None: they are not at hand."""
    segments: list[Segment]


class Mark(msgspec.Struct, frozen=True):
    """A place on the axis, in percent, and what is written there."""

    at: float
    text: str


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a child: when it was created, began and ended, and its history where that is to be shown."""

    workflow_id: str
    created_at: int
    began_at: int | None
    ended_at: int | None
    history: Sequence[Stored] | None


class Waterfall(msgspec.Struct, frozen=True, kw_only=True):
    """The bars that are shown, the axis, and how many bars there are before and after those. `begin` and `end` are the
    times between which they lie."""

    begin: int
    end: int

    bars: Sequence[Bar]
    marks: Sequence[Mark]
    kinds: Sequence[Kind]
    before: int
    after: int


class _Open(msgspec.Struct, kw_only=True):
    """An operation while its events are read. Times are absolute; the last part may be open."""

    label: str
    kind: str
    lane: int
    seq: int
    ending: Ending = "done"
    link: str | None = None
    parts: list[tuple[Kind, int, int | None]] = []


def waterfall(history: Iterable[Stored], now: int, *, ended: bool, skip: int = 0) -> Waterfall:
    """Give the bars of a history after the first `skip`. What is open goes on until `now`, unless it has `ended`."""
    rows = list(history)
    begin, end = (rows[0][1], rows[-1][1]) if rows else (now, now)
    if not ended:
        end = max(end, now)
    found = _operations(rows)
    if ended:
        for one in found:
            if one.parts[-1][2] is None:
                one.ending = "cancelled"
    begin = min([begin, *(part[1] for one in found for part in one.parts)])
    whole = max(1, end - begin)
    shown = found[skip : skip + MOST]
    kinds = {part[0] for one in shown for part in one.parts}
    return Waterfall(
        begin=begin,
        end=end,
        bars=[_bar(one, begin, whole, end) for one in shown],
        marks=_marks(whole),
        kinds=[kind for kind in KINDS if kind in kinds],
        before=min(skip, len(found)),
        after=max(0, len(found) - skip - MOST),
    )


def with_children(found: Waterfall, children: Mapping[str, Child]) -> Waterfall:
    """Tell apart in the bars of children how long they waited to begin, and put their own bars behind them."""
    bars: list[Bar] = []
    for bar in found.bars:
        child = None if bar.link is None else children.get(bar.link)
        if child is None or bar.segments[0].kind != "child":
            bars.append(bar)
            continue
        began = child.began_at if child.began_at is not None else child.ended_at or found.end
        bar.segments = _split(bar.segments, _share(began - found.begin, max(1, found.end - found.begin)))
        bar.opened = child.history is not None
        bars += [bar, *_inner(found, child, bar.lane + 1)]
    shown = {part.kind for bar in bars for part in bar.segments}
    return msgspec.structs.replace(found, bars=bars, kinds=[kind for kind in KINDS if kind in shown])


def _split(segments: list[Segment], at: float) -> list[Segment]:
    """Give the bar of a child, which began at `at`."""
    child, *rest = segments
    stop = child.begin + child.size
    at = min(max(at, child.begin), stop)
    parts = [Segment("queued", child.begin, round(at - child.begin, 3)), Segment("child", at, round(stop - at, 3))]
    return [part for part in parts if part.size > 0] + rest or [child]


def _inner(found: Waterfall, child: Child, lane: int) -> list[Bar]:
    operations = _operations(child.history or ())[:MOST_INNER]
    for one in operations:
        if child.ended_at is not None and one.parts[-1][2] is None:
            one.ending = "cancelled"
    end = found.end if child.ended_at is None else min(found.end, child.ended_at)
    bars = [_bar(one, found.begin, max(1, found.end - found.begin), end) for one in operations]
    for bar in bars:
        bar.lane, bar.workflow_id = min(6, lane + bar.lane), child.workflow_id
    return bars


def _operations(rows: Sequence[Stored]) -> list[_Open]:
    found: list[_Open] = []
    by_name: dict[str, _Open] = {}
    for seq, at, event in rows:
        name = _name(event)
        if name is None:
            continue
        one = by_name.get(name)
        if one is None or one.parts[-1][2] is not None:
            one = _Open(label=_label(event, name), kind=_kind(event), lane=_lane(name), seq=seq)
            found.append(one)
            by_name[name] = one
        one.seq = seq
        _note(one, at, event)
    return found


def _name(event: AnyEvent) -> str | None:
    match event:
        case events.WorkflowCreated() | events.WorkflowPlaced() | events.WorkflowBegan() | events.InputReplaced():
            return ""
        case events.WorkflowRewound() | events.WorkflowForked():
            return ""
        case _:
            return getattr(event, "operation", None) or None


def _label(event: AnyEvent, name: str) -> str:
    match event:
        case events.ChildStarted() | events.StartFailed():
            return f"{event.name} {event.child}"
        case events.ChildEnded():
            return event.child
        case events.MessageSent() | events.SendFailed():
            return f"{event.topic} to {event.to}"
        case events.WaitStarted() | events.MessageReceived() | events.WaitExpired():
            return "answer" if event.topic.startswith(REPLY) else spoken_topic(event.topic)
        case _:
            return name or "not begun"


def _kind(event: AnyEvent) -> str:
    kind = type(event).__name__
    for word, told in (
        ("Step", "step"),
        ("Timer", "sleep"),
        ("Wait", "recv"),
        ("Child", "child"),
        ("Workflow", "queue"),
    ):
        if kind.startswith(word):
            return told
    return {"MessageReceived": "recv", "StartFailed": "child", "MessageSent": "send", "SendFailed": "send"}.get(
        kind, ""
    )


def _lane(operation: str) -> int:
    """Give how deep the branch lies in which the operation was asked for; its identity begins with that path."""
    return min(operation.count("/"), 6)


def _note(one: _Open, at: int, event: AnyEvent) -> None:  # long: a case for each kind of event
    parts = one.parts
    match event:
        case events.WorkflowCreated() | events.WorkflowRewound() | events.WorkflowForked():
            parts.append(("queued", at, None))
        case events.WorkflowBegan():
            _close(parts, at)
            one.label = "began"
        case events.StepStarted():
            _close(parts, at)
            parts.append(("running", at, None))
        case events.StepAttemptFailed():
            _replace_open(parts, event.started_at)
            parts.append(("failed", event.started_at, at))
            parts.append(("retrying", at, None))
        case events.StepCompleted() | events.StepFailed():
            _replace_open(parts, event.started_at)
            failed = isinstance(event, events.StepFailed)
            parts.append(("failed" if failed else "running", event.started_at, max(at, event.started_at)))
            one.ending = "failed" if failed else "done"
        case events.TimerSet():
            parts.append(("sleeping", at, None))
        case events.WaitStarted():
            parts.append(("waiting", at, None))
        case events.ChildStarted():
            parts.append(("moment", at, at) if event.existed else ("child", at, None))
            one.link = event.child
        case events.ChildEnded():
            _close(parts, at)
            one.link = event.child
            outcome: dict[type, Ending] = {events.WorkflowFailed: "failed", events.WorkflowCancelled: "cancelled"}
            one.ending = outcome.get(type(event.outcome), "done")
        case events.TimerCancelled() | events.StepCancelled() | events.WaitCancelled():
            _close(parts, at)
            one.ending = "cancelled"
        case events.SendFailed() | events.StartFailed():
            one.ending = "failed"
        case _:
            _close(parts, at)
    if not parts:
        parts.append(("moment", at, at))


def _close(parts: list[tuple[Kind, int, int | None]], at: int) -> None:
    if parts and parts[-1][2] is None:
        kind, begin, _ = parts[-1]
        parts[-1] = (kind, begin, max(begin, at))


def _replace_open(parts: list[tuple[Kind, int, int | None]], started_at: int) -> None:
    """Have what was open end where an attempt began; the row that opened that attempt is told by its end."""
    if parts and parts[-1][2] is None:
        if parts[-1][0] == "running":
            parts.pop()
        else:
            _close(parts, started_at)


def _bar(one: _Open, begin: int, whole: int, end: int) -> Bar:
    segments: list[Segment] = []
    for kind, start, until in one.parts:
        stop = end if until is None else until
        segments.append(Segment(kind, _share(start - begin, whole), _share(stop - start, whole)))
    is_open = one.parts[-1][2] is None and one.ending != "cancelled"
    last = one.parts[-1][2]
    took = (end if last is None else last) - one.parts[0][1]
    return Bar(
        label=one.label,
        kind=one.kind,
        lane=one.lane,
        seq=one.seq,
        ending="open" if is_open else one.ending,
        said=spoken(took) if took > 0 else "",
        link=one.link,
        segments=segments,
    )


def _share(part: int, whole: int) -> float:
    return round(100 * max(0, part) / whole, 3)


def _marks(whole: int) -> list[Mark]:
    """Give about five marks at round distances."""
    distance = next((step for step in _STEPS if whole / step <= 6), max(1, round(whole / 5 / _DAY)) * _DAY)
    return [Mark(_share(at, whole), _after(at)) for at in range(0, whole + 1, distance) if at <= 0.97 * whole]


def _after(at: int) -> str:
    if at == 0:
        return "0"
    for size, unit in ((_DAY, "d"), (3600 * SECOND, "h"), (_MINUTE, "min")):
        if at >= size and at % (size // 2 or 1) == 0:
            return f"{at / size:g} {unit}"
    return f"{at / SECOND:g} s" if at >= SECOND else f"{at / 1000:g} ms"

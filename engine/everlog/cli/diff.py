"""`everlog diff`: two histories side by side, event by event. It compares what happened, not when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import takewhile
from typing import Any, Final, Literal, NamedTuple

import msgspec

from everlog.cli.places import head_of, opened, store_url
from everlog.cli.text import cut, value, width
from everlog.cli.timeline import summary
from everlog.core.codec import Codec
from everlog.core.failures import Failure
from everlog.runtime.opening import opened_rows
from everlog.store import EventRow, Store

Mark = Literal["same", "differs", "left", "right"]
_SIGNS: Final[dict[Mark, str]] = {"same": " ", "differs": "~", "left": "<", "right": ">"}
_AROUND: Final = 3
"""So many events that are the same are shown on each side of a difference."""
_LEAD: Final = 12
"""So many characters are shown before those that differ, where the text is longer than its column."""
_MOST: Final = 3000
"""More events than this are compared place by place: to find the best way takes time that grows with the square."""

_OF_TIMES_AND_PLACES: Final = frozenset(
    {
        "type",
        "started_at",
        "arrived_at",
        "due_at",
        "retry_at",
        "asked_at",
        "began_at",
        "deadline",
        "source",
        "number",
        "by",
        "worker",
        "build",
        "python",
        "everlog",
        "seed",
        "parent",
        "parent_operation",
        "forked_from",
    }
)
"""What differs between any two workflows that do the same."""


class Event(NamedTuple):
    """One event, as it is compared and shown."""

    seq: int
    kind: str
    operation: str
    said: dict[str, Any]
    counts: bool
    """Whether a replay delivers it."""


class Pair(NamedTuple):
    """One line: an event of either side, or one of each that stand for the same."""

    mark: Mark
    left: Event | None
    right: Event | None


def diff_workflows(left: str, right: str, place: str | None, *, codec: Codec | None, as_json: bool) -> None:
    """Print the pairs; as JSON one on each line, otherwise as a table as wide as the screen."""
    url = store_url(place)
    with opened(url) as store:
        head_of(store, left, url)
        head_of(store, right, url)
        pairs = list(pairs_of(events_of(store, left, codec), events_of(store, right, codec)))
    lines = map(_as_json, pairs) if as_json else _as_table(left, right, pairs)
    for line in lines:
        print(line)


def events_of(store: Store, workflow_id: str, codec: Codec | None = None) -> list[Event]:
    """Give the events of a workflow, opened as far as the codec can."""
    rows = opened_rows(store.read(workflow_id), codec)
    void = _void(rows)
    return [_event(row, void) for row in rows]


def _event(row: EventRow, void: set[int]) -> Event:
    body: dict[str, Any] = msgspec.json.decode(row.payload)
    operation = str(body.pop("operation", ""))
    said = {name: held for name, held in body.items() if name not in _OF_TIMES_AND_PLACES}
    return Event(row.seq, row.type, operation, said, row.seq not in void)


def _void(rows: Sequence[EventRow]) -> set[int]:
    """Give the seqs of what was taken back, or left out of a fork."""
    void: set[int] = set()
    for row in rows:
        if row.type == "workflow_rewound":
            void |= set(range(msgspec.json.decode(row.payload)["to"] + 1, row.seq))
        elif row.type == "workflow_forked":
            void |= set(msgspec.json.decode(row.payload).get("void", ()))
    return void


def pairs_of(left: Sequence[Event], right: Sequence[Event]) -> Iterator[Pair]:
    """Give what stands for what: first all that is alike from the beginning, then as much as possible in order."""
    same = 0
    while same < min(len(left), len(right)) and _name(left[same]) == _name(right[same]):
        yield _pair(left[same], right[same])
        same += 1
    left, right = left[same:], right[same:]
    if max(len(left), len(right)) > _MOST:
        for place in range(max(len(left), len(right))):
            yield from _both(left[place : place + 1], right[place : place + 1])
        return
    matcher = SequenceMatcher(None, [_name(one) for one in left], [_name(one) for one in right], autojunk=False)
    for what, first, last, other_first, other_last in matcher.get_opcodes():
        if what == "equal":
            for one, other in zip(left[first:last], right[other_first:other_last], strict=True):
                yield _pair(one, other)
        else:
            yield from _both(left[first:last], right[other_first:other_last])


def _both(left: Sequence[Event], right: Sequence[Event]) -> Iterator[Pair]:
    if len(left) == len(right) == 1 and _name(left[0]) == _name(right[0]):
        yield _pair(left[0], right[0])
        return
    yield from (Pair("left", one, None) for one in left)
    yield from (Pair("right", None, other) for other in right)


def _name(event: Event) -> tuple[str, str, bool]:
    return event.kind, event.operation, event.counts


_OF_OPENING: Final = frozenset({"input", "large_input", "options"})
"""What the row that opened an operation has, where it got one, and otherwise the row that closed it."""


def _pair(left: Event, right: Event) -> Pair:
    names = left.said.keys() | right.said.keys()
    beside = {name for name in names & _OF_OPENING if not (name in left.said and name in right.said)}
    alike = all(left.said.get(name) == right.said.get(name) for name in names - beside)
    return Pair("same" if alike else "differs", left, right)


def _as_json(pair: Pair) -> str:
    sides = {side: None if one is None else one._asdict() for side, one in (("left", pair.left), ("right", pair.right))}
    return value({"mark": pair.mark, **sides})


def _as_table(left: str, right: str, pairs: Sequence[Pair]) -> Iterator[str]:
    half = (width() - 3) // 2
    yield f"{cut(left, half):<{half}}   {cut(right, half)}".rstrip()
    different = [place for place, pair in enumerate(pairs) if pair.mark != "same"]
    if not different:
        yield "they are the same, save for times and workers"
        return
    shown = {near for place in different for near in range(place - _AROUND, place + _AROUND + 1)}
    hidden = 0
    for place, pair in enumerate(pairs):
        if place not in shown:
            hidden += 1
            continue
        if hidden:
            yield f"... {hidden} {'event' if hidden == 1 else 'events'} the same ..."
            hidden = 0
        if place == different[0]:
            yield "---- the first difference ".ljust(2 * half + 3, "-")
        yield f"{_text(pair, pair.left, half):<{half}} {_SIGNS[pair.mark]} {_text(pair, pair.right, half)}".rstrip()
    if hidden:
        yield f"... {hidden} {'event' if hidden == 1 else 'events'} the same ..."


def _text(pair: Pair, event: Event | None, columns: int) -> str:
    if event is None:
        return ""
    number = f"{event.seq}" if event.counts else f"({event.seq})"
    what = event.operation or event.kind.removeprefix("workflow_")
    kind = event.kind.partition("_")[2] if event.operation else ""
    head = f"{number:>6} {what} {kind}".rstrip()
    outcomes = [_outcome(one) for one in (pair.left, pair.right) if one is not None]
    said, room = _outcome(event), columns - len(head) - 1
    same = len(list(takewhile(lambda both: both[0] == both[-1], zip(*outcomes, strict=False))))
    lead = min(_LEAD, room // 2)
    if len(outcomes) == 2 and lead < same < max(map(len, outcomes)) and same + lead > room:
        said = f"...{said[same - lead :]}"  # what differs would not be seen otherwise
    return cut(f"{head} {said}".rstrip(), columns)


def _outcome(event: Event) -> str:
    """Give what an event says that matters most."""
    said = {name: held for name, held in event.said.items() if name != "step"}
    if event.kind == "workflow_forked":
        return f"at event {said['at']}"
    if "error" in said:
        return summary(Failure(type=said["error"]["type"], message=said["error"]["message"]))
    outcome = next((said[name] for name in ("result", "outcome", "message") if name in said), said)
    return value(outcome) if outcome else ""

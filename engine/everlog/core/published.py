"""Published: the values and streams that a workflow shows to others, as rows. What they are, not how they are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from everlog.core.heads import State

StreamKind = Literal["items", "reset", "closed"]
"""What a row of a stream is: items; the mark that a step repeats itself; the mark that nothing follows."""


class ValueRow(Struct, frozen=True, gc=False, kw_only=True):
    """The last value of one name: a projection of the log, of its `value_set` at `seq`."""

    name: str
    seq: int
    recorded_at: int
    payload: bytes


class FoundValue(Struct, frozen=True, gc=False, kw_only=True):
    """A value that was looked for, None where it was not set, and the state of its workflow, None where there is none.

    Both as they were at one moment.
    """

    state: State | None
    value: ValueRow | None


class StreamRow(Struct, frozen=True, gc=False, kw_only=True):
    """Consecutive items of a stream that were written together, or a mark; a mark takes one place as an item does.

    It fills the places `offset` to `offset + count - 1`, counted from 0. `payload` is a JSON array of `count` items,
    of a mark an empty one. `operation` is the step whose attempt number `attempt` wrote it; None: the workflow's code.
    """

    stream: str
    offset: int
    count: int
    kind: StreamKind
    written_at: int
    operation: str | None = None
    attempt: int = 0
    payload: bytes = b"[]"


class StreamEnd(Struct, frozen=True, gc=False, kw_only=True):
    """How long a stream is, marks included, and whether it was closed."""

    stream: str
    length: int
    closed: bool


class StreamQuestion(Struct, frozen=True, gc=False, kw_only=True):
    """Asks for the rows of a stream from that which holds the place `start` on."""

    workflow_id: str
    stream: str
    start: int


class StreamPage(Struct, frozen=True, gc=False, kw_only=True):
    """Rows of a stream in order, and the state of its workflow, None where there is none; both of one moment."""

    state: State | None
    rows: Sequence[StreamRow]

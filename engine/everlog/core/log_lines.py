"""Log lines: one workflow's history as lines of JSON, for files and for people. It reads and writes no files.

The first line says what follows, then comes a line for each event, in order:

    {"everlog":1,"workflow":{"id":"order-42","name":"checkout"}}
    {"seq":1,"at":1700000000000000,"event":{"type":"workflow_created","name":"checkout", ...}}

`at` is the time of recording, in microseconds since 1970, UTC. The body of an event is its stored bytes, unchanged.
Fields and kinds of lines that this version does not know are passed over, so that more may be exported one day.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final

import msgspec
from msgspec import Raw, Struct

from everlog.errors import CorruptLog

VERSION: Final = 1
"""Of the form. Another one is refused: what is only added needs none."""

Row = tuple[int, int, bytes]
"""Seq, time of recording, and the event as it is stored."""


class Exported(Struct, frozen=True, kw_only=True):
    """The history of one workflow: all of it, or what follows its last `workflow_continued`."""

    workflow_id: str
    name: str
    """Of the workflow function."""
    rows: list[Row]


class _Workflow(Struct, frozen=True):
    id: str
    name: str


class _First(Struct, frozen=True):
    everlog: int
    workflow: _Workflow


class _Event(Struct, frozen=True):
    seq: int
    at: int
    event: Raw


class _Other(Struct, frozen=True):
    """A line of another kind: it has no seq."""

    seq: Raw | None = None


_encode: Final = msgspec.json.Encoder().encode
_first: Final = msgspec.json.Decoder(_First)
_other: Final = msgspec.json.Decoder(_Other)
_event: Final = msgspec.json.Decoder(_Event)


def write_lines(workflow_id: str, name: str, rows: Iterable[Row]) -> Iterator[str]:
    """Give the lines of a workflow's history, each with its end of line."""
    yield _line(_First(VERSION, _Workflow(workflow_id, name)))
    for seq, at, payload in rows:
        yield _line(_Event(seq, at, Raw(payload)))


def read_lines(lines: Iterable[str]) -> Exported:
    """Give the history that the lines hold. Raises `CorruptLog`, with the number of the line that is no such line."""
    first: _First | None = None
    rows: list[Row] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            if first is None:
                first = _first.decode(line)
                if first.everlog != VERSION:
                    raise CorruptLog(
                        f"these lines are in form {first.everlog} of exported histories; this version of Everlog knows "
                        f"form {VERSION}: use the version that wrote them"
                    )
            elif line.startswith('{"seq":') or _other.decode(line).seq is not None:
                found = _event.decode(line)
                rows.append((found.seq, found.at, bytes(found.event)))
        except msgspec.MsgspecError as error:
            raise CorruptLog(
                f"line {number} is none of an exported history: {line.strip()[:120]!r} ({error}); the first line has "
                '"everlog" and "workflow", and each other line is one JSON object'
            ) from error
    if first is None:
        raise CorruptLog("there is no exported history here: no lines; export it again")
    _check_dense(first.workflow.id, rows)
    return Exported(workflow_id=first.workflow.id, name=first.workflow.name, rows=rows)


def _check_dense(workflow_id: str, rows: list[Row]) -> None:
    for before, after in pairwise(rows):
        if after[0] != before[0] + 1:
            raise CorruptLog(
                f"the exported history of {workflow_id!r} has seq {after[0]} after seq {before[0]}; an event is "
                "missing, doubled or out of order: export it again"
            )


def _line(what: Struct) -> str:
    return _encode(what).decode() + "\n"

"""`everlog log`: the events of one workflow as they are stored, one line each."""

from __future__ import annotations

from typing import Any

import msgspec

from everlog.cli.places import head_of, opened, store_url
from everlog.cli.text import cut, instant, value, width
from everlog.core.codec import Codec
from everlog.core.durations import as_datetime
from everlog.runtime.opening import opened_rows
from everlog.store import EventRow

PAGE = 1000
OPERATION = 14
"""Columns for the name of an operation; a longer one moves the rest of its line."""


def print_log(workflow_id: str, place: str | None, *, codec: Codec | None, as_json: bool) -> None:
    """Print the events; as JSON each line is one whole event, otherwise it is cut to the width of the screen."""
    url = store_url(place)
    with opened(url) as store:
        head_of(store, workflow_id, url)
        columns, after = width(), 0
        while rows := store.read(workflow_id, after=after, limit=PAGE):
            for row in opened_rows(rows, codec):
                print(_as_json(workflow_id, row) if as_json else cut(_as_text(row), columns).rstrip())
            after = rows[-1].seq


def _as_json(workflow_id: str, row: EventRow) -> str:
    return value(
        {
            "workflow_id": workflow_id,
            "seq": row.seq,
            "type": row.type,
            "recorded_at": as_datetime(row.recorded_at).isoformat(timespec="microseconds"),
            "data": _body(row),
        }
    )


def _as_text(row: EventRow) -> str:
    body = _body(row)
    operation = str(body.pop("operation", ""))
    if body.get("step") and operation.startswith(str(body["step"])):
        del body["step"]
    large = body.pop("large_input", None)
    rest = "  ".join(f"{name}={value(held)}" for name, held in body.items() if name not in ("started_at", "seed"))
    if large:
        rest = f"input=({large['size']:,} bytes) {large['preview']}...  {rest}"
    return f"{row.seq:>6}  {instant(row.recorded_at)}  {row.type:<18}  {operation:<{OPERATION}}  {rest}"


def _body(row: EventRow) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.json.decode(row.payload)
    body.pop("type", None)
    return body

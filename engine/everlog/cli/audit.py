"""`everlog audit`: who did what to workflows, from the events that say by whom, and what the store has on record.

What was removed has no events any more: that comes first. It reads, and judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from everlog.cli.places import opened, store_url
from everlog.cli.text import cut, moment, value, width
from everlog.core.durations import as_datetime
from everlog.core.retention import AuditRow
from everlog.runtime.copying import End, movable, pages
from everlog.store import EventRow
from everlog.store_moving import SupportsMoving
from everlog.store_retention import SupportsRetention

_PAGE: Final = 1_000
_BY: Final = b'"by":'
"""What the bodies of such events have."""


def print_audit(place: str | None, *, only: str | None, as_json: bool) -> None:
    """Print what was done, workflow by workflow in the order of age, and of each in order."""
    url = store_url(place)
    with opened(url) as store:
        columns = width()
        if isinstance(store, SupportsRetention):
            for done in _recorded(store, only):
                print(_row_as_json(done) if as_json else cut(_row_as_text(done), columns))
        for workflow_id, row, body in _done(movable(End(store, url))):
            if only is None or workflow_id == only:
                print(_as_json(workflow_id, row, body) if as_json else cut(_as_text(workflow_id, row, body), columns))


def _done(moving: SupportsMoving) -> Iterator[tuple[str, EventRow, dict[str, Any]]]:
    for rows in pages(moving):
        for row in rows.events:
            if _BY in row.payload:
                body = msgspec.json.decode(row.payload, type=dict[str, Any])
                if isinstance(body.get("by"), str):
                    yield rows.head.workflow_id, row, body


def _recorded(store: SupportsRetention, only: str | None) -> Iterator[AuditRow]:
    after = 0
    while page := store.audit(after=after, limit=_PAGE):
        after = page[-1][0]
        yield from (row for _, row in page if only is None or only in row.workflow_ids)


def _row_as_text(row: AuditRow) -> str:
    why = f"  {row.said}" if row.said else ""
    return f"{moment(row.at)}  {row.action}  {', '.join(row.workflow_ids)}  by {row.by}{why}"


def _row_as_json(row: AuditRow) -> str:
    return value(
        {
            "workflow_ids": list(row.workflow_ids),
            "type": row.action,
            "recorded_at": as_datetime(row.at).isoformat(timespec="microseconds"),
            "by": row.by,
            "data": {"said": row.said},
        }
    )


def _as_text(workflow_id: str, row: EventRow, body: dict[str, Any]) -> str:
    said = {name: held for name, held in body.items() if name not in ("type", "by", "asked_at")}
    rest = "  ".join(f"{name}={value(held)}" for name, held in said.items())
    return f"{moment(row.recorded_at)}  {workflow_id}  seq {row.seq}  {row.type}  by {body['by']}  {rest}".rstrip()


def _as_json(workflow_id: str, row: EventRow, body: dict[str, Any]) -> str:
    return value(
        {
            "workflow_id": workflow_id,
            "seq": row.seq,
            "type": row.type,
            "recorded_at": as_datetime(row.recorded_at).isoformat(timespec="microseconds"),
            "by": body.pop("by"),
            "data": {name: held for name, held in body.items() if name != "type"},
        }
    )

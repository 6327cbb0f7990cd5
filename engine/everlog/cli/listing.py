"""`everlog ls`: the workflows of a database, newest first."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from everlog.cli.places import opened, store_url
from everlog.cli.text import cut, moment, table
from everlog.core.durations import spoken
from everlog.runtime.status import ShownState, WorkflowStatus, states_of, statuses_of
from everlog.store import Head, Store, WorkflowQuery

PAGE = 500
MOST_ID = 36
MOST_NAME = 24


def list_workflows(place: str | None, *, state: ShownState | None, name: str | None, limit: int, as_json: bool) -> None:
    """Print the newest `limit` workflows (0: all) of one state or name where those are given."""
    with opened(store_url(place)) as store:
        if as_json:
            for _, status in _found(store, state, name, limit):
                print(msgspec.json.encode(status).decode())
            return
        # One more than is shown, to know whether there are more.
        found = list(_found(store, state, name, limit + 1 if limit else 0))
        now = store.now()
    shown = found[:limit] if limit else found
    if not shown:
        print("no workflows" + ("" if state is None and name is None else " that fit"))
        return
    print("\n".join(table([_TITLES, *(_row(head, status, now) for head, status in shown)], right=(3,))))
    if len(found) > len(shown):
        print(f"... and more: these are the newest {limit}; --limit 0 shows all")


_TITLES = ("ID", "NAME", "STATE", "EVENTS", "CREATED (UTC)", "LASTED", "WHY")


def _row(head: Head, status: WorkflowStatus, now: int) -> tuple[str, ...]:
    until = head.ended_at if head.ended_at is not None else now
    return (
        cut(head.workflow_id, MOST_ID),
        cut(head.name, MOST_NAME),
        status.state,
        str(head.seq),
        moment(head.created_at)[2:],
        spoken(max(0, until - head.created_at)),
        _reason(head),
    )


def _reason(head: Head) -> str:
    """Say in a few words what the head alone tells; `everlog show` reads the history."""
    if head.why:
        return head.why
    if head.state == "enqueued":
        return f"in queue {head.queue}"
    if head.state != "waiting":
        return ""
    parts = [f"for {', '.join(head.topics)}"] if head.topics else []
    if head.wake_at is not None:
        parts.append(f"until {moment(head.wake_at)}")
    return " ".join(parts)


def _found(
    store: Store, state: ShownState | None, name: str | None, limit: int
) -> Iterator[tuple[Head, WorkflowStatus]]:
    before: str | None = None
    given = 0
    size = min(PAGE, limit) if limit else PAGE
    while True:
        query = WorkflowQuery(
            states=None if state is None else states_of(state),
            names=None if name is None else [name],
            before=before,
            limit=size,
        )
        page = store.workflows(query)
        for head, status in zip(page, statuses_of(store, page), strict=True):
            if state in (None, status.state):
                yield head, status
                given += 1
                if given == limit:
                    return
        if len(page) < size:
            return
        before = page[-1].workflow_id

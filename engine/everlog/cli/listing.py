"""`everlog ls`: the workflows of a database that fit, or how many there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from everlog.cli.places import opened, store_url
from everlog.cli.text import cut, moment, table
from everlog.core.durations import spoken
from everlog.core.versions import taken_apart, told, version_of, versioned
from everlog.errors import UsageError
from everlog.runtime.finding import counts_in
from everlog.runtime.status import ShownState, WorkflowStatus, statuses_of
from everlog.store import Head, Store, WorkflowQuery

PAGE = 500
MOST_ID = 36
MOST_NAME = 24


def list_workflows(
    place: str | None, query: WorkflowQuery, shown_states: Sequence[ShownState] | None, *, limit: int, as_json: bool
) -> None:
    """Print the first `limit` workflows (0: all) that are asked for; of those found only what is in these states."""
    with opened(store_url(place)) as store:
        if as_json:
            for _, status in _found(store, query, shown_states, limit):
                print(msgspec.json.encode(status).decode())
            return
        # One more than is shown, to know whether there are more.
        found = list(_found(store, query, shown_states, limit + 1 if limit else 0))
        now = store.now()
    shown = found[:limit] if limit else found
    if not shown:
        print("no workflows" + ("" if query == WorkflowQuery(newest_first=query.newest_first) else " that fit"))
        return
    print("\n".join(table([_TITLES, *(_row(head, status, now) for head, status in shown)], right=(3,))))
    if len(found) > len(shown):
        print(
            f"... and more: these are the {'newest' if query.newest_first else 'oldest'} {limit}; --limit 0 shows all"
        )


def count_workflows(place: str | None, query: WorkflowQuery, *, as_json: bool) -> None:
    """Print how many workflows there are that are asked for, by name and state."""
    with opened(store_url(place)) as store:
        found = counts_in(store, query)
    if as_json:
        print(msgspec.json.encode(found).decode())
        return
    rows = [(name, state, str(count)) for name, states in found.by_name.items() for state, count in states.items()]
    print("\n".join(table([("NAME", "STATE", "COUNT"), *rows, ("", "", str(found.total))], right=(2,))))
    for name, versions in found.by_version.items():
        for version, states in versions.items():
            told_states = ", ".join(f"{count} {state}" for state, count in states.items())
            print(f"of {told(versioned(name, version))}: {told_states}")
            waiting = states.get("queued", 0)
            if waiting:
                waits = "waits" if waiting == 1 else "wait"
                print(f"  {waiting} {waits} for a worker that knows it")


def asked(given: Sequence[str]) -> dict[str, list[str | int | float | bool]]:
    """Give what `--attribute NAME=VALUE` asks for: the value as text, or as the number or truth value that it is."""
    found: dict[str, list[str | int | float | bool]] = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not separator:
            raise UsageError(f"--attribute takes NAME=VALUE, such as tenant=acme, got {text!r}")
        found.setdefault(name, []).append(value)
        with suppress(msgspec.MsgspecError):
            found[name].append(_scalar.decode(value))
    return found


_scalar: Final = msgspec.json.Decoder(str | int | float | bool)


_TITLES = ("ID", "NAME", "STATE", "EVENTS", "CREATED (UTC)", "LASTED", "WHY")


def _row(head: Head, status: WorkflowStatus, now: int) -> tuple[str, ...]:
    until = head.ended_at if head.ended_at is not None else now
    return (
        cut(head.workflow_id, MOST_ID),
        cut(_name(head.name), MOST_NAME),
        status.state,
        str(head.seq),
        moment(head.created_at)[2:],
        spoken(max(0, until - head.created_at)),
        _reason(head),
    )


def _name(name: str) -> str:
    """Give a name in the log with its version, for a column."""
    workflow, version = taken_apart(name)
    return workflow if version is None else f"{workflow} {version}"


def _reason(head: Head) -> str:
    """Say in a few words what the head alone tells; `everlog show` reads the history."""
    if head.why:
        return head.why
    if head.state == "enqueued":
        return f"in queue {head.queue}"
    if head.state == "queued" and head.token is None and version_of(head.name) is not None:
        return f"for a worker that knows {told(head.name)}"
    if head.state != "waiting":
        return ""
    parts = [f"for {', '.join(head.topics)}"] if head.topics else []
    if head.wake_at is not None:
        parts.append(f"until {moment(head.wake_at)}")
    return " ".join(parts)


def _found(
    store: Store, query: WorkflowQuery, shown: Sequence[ShownState] | None, limit: int
) -> Iterator[tuple[Head, WorkflowStatus]]:
    given = 0
    size = min(PAGE, limit) if limit else PAGE
    while True:
        page = store.workflows(msgspec.structs.replace(query, limit=size))
        for head, status in zip(page, statuses_of(store, page), strict=True):
            if shown is None or status.state in shown:
                yield head, status
                given += 1
                if given == limit:
                    return
        if len(page) < size:
            return
        query = msgspec.structs.replace(query, after=(page[-1].created_at, page[-1].workflow_id))

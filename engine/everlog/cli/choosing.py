"""Choosing: which workflows a command means that changes many, and whether it may. It changes none."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from everlog.cli.text import cut, table
from everlog.core.versions import told
from everlog.errors import UsageError
from everlog.runtime.finding import page, query_of, shown_states
from everlog.runtime.status import SHOWN
from everlog.store import Store, WorkflowQuery

SHOWN_FIRST: Final = 10
PAGE: Final = 500


class Chosen(Struct, frozen=True):
    """A workflow that is meant."""

    workflow_id: str
    name: str
    """In the log."""
    state: str
    why: str
    seq: int


def add_filters(command: argparse.ArgumentParser, verb: str) -> None:
    """Add the options by which many are meant, and those that say whether it may be done."""
    command.add_argument("--state", action="append", choices=SHOWN, help=f"{verb} all in this state, or these")
    command.add_argument("--name", action="append", help=f"{verb} all of this workflow function, or these")
    command.add_argument(
        "--of-version", action="append", metavar="V", help="only those that this version runs, or these"
    )
    command.add_argument("--limit", type=int, default=0, metavar="N", help="at most so many, the oldest (default: all)")
    command.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    command.add_argument("--yes", action="store_true", help="do not ask; needed for many where nobody can be asked")


def filters_of(chosen: argparse.Namespace) -> Mapping[str, Any]:
    """Give what the options ask for."""
    return {"state": chosen.state, "name": chosen.name, "version": chosen.of_version}


def must_choose(ids: Sequence[str], filters: Mapping[str, Any], verb: str) -> None:
    """Refuse a command that names workflows in both ways, or in none."""
    filtered = any(filters.values())
    if bool(ids) == filtered:
        raise UsageError(
            f"which workflows are to be {verb}? Give their ids, or --state and --name for all that fit"
            + (", not both" if filtered else "")
        )
    if filtered and not filters["state"]:
        raise UsageError(f"all of a name would be {verb}, also those that are well: give --state as well")


def find(store: Store, filters: Mapping[str, Any], limit: int) -> list[Chosen]:
    """Give the workflows that fit, oldest first."""
    shown, found = shown_states(filters), list[Chosen]()
    query: WorkflowQuery | None = query_of(filters, newest_first=False, limit=PAGE)
    while query is not None and not (limit and len(found) >= limit):
        statuses, query = page(store, query, shown)
        heads = store.heads([status.id for status in statuses])
        found += [
            Chosen(status.id, head.name, status.state, status.why, head.seq)
            for status, head in zip(statuses, heads, strict=True)
            if head is not None
        ]
    return found[:limit] if limit else found


def told_many(chosen: Sequence[Chosen], verb: str) -> str:
    """Say how many are meant, by name and state, and which the first are."""
    counts: dict[tuple[str, str], int] = {}
    for one in chosen:
        counts[one.name, one.state] = counts.get((one.name, one.state), 0) + 1
    kinds = ", ".join(f"{count} of {told(name)} that {_are(count)} {state}" for (name, state), count in counts.items())
    rows = [("ID", "STATE", "WHY"), *((cut(one.workflow_id, 36), one.state, one.why) for one in chosen[:SHOWN_FIRST])]
    more = [f"... and {len(chosen) - SHOWN_FIRST} more"] if len(chosen) > SHOWN_FIRST else []
    return "\n".join([f"to be {verb}: {len(chosen)} ({kinds})", "", *table(rows), *more])


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def may_go_on(verb: str, count: int, *, yes: bool) -> bool:
    """Ask whoever sits there; `UsageError` where nobody does and `--yes` was not given."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError(
            f"{count} workflows would be {verb}, and nobody can be asked: give --yes, or --dry-run to look"
        )
    return input(f"\n{count} workflows will be {verb}. Go on? [y/N] ").strip().lower() in ("y", "yes")

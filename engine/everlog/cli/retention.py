"""`everlog prune`, `hold`, `release`, `redact`: what is removed of what has ended, and what stays. No rule."""

from __future__ import annotations

import getpass
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from everlog.cli.moving import shown
from everlog.cli.places import head_of, opened, store_url
from everlog.core.durations import as_datetime
from everlog.core.keeping import Retention, end_states
from everlog.core.names import check_reason
from everlog.core.retention import Action, AuditRow
from everlog.errors import UsageError
from everlog.runtime import redacting
from everlog.runtime.archives import Archive
from everlog.runtime.finding import query_of
from everlog.runtime.pruning import Pruning, retaining
from everlog.runtime.retaining import Pruned, rule_of, with_step
from everlog.store import Store

PAGE: Final = 100
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)([smhdwy])")


class PruneOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What `everlog prune` was asked for."""

    older_than: float | None
    keep_last: int | None
    archive: str | None
    dry_run: bool
    batch: int


def duration(text: str) -> float:
    """Read `30d`, `12h`, `90m`, `45s`, `2w` or `1y` as seconds. Raises `ValueError`."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"expected a duration such as 30d, 12h, 90m, 45s, 2w or 1y, got {text!r}")
    return float(found[1]) * _UNITS[found[2]]


def prune(order: PruneOrder, filters: Mapping[str, Any], place: str | None) -> None:
    """Remove workflows that have ended, and say how many."""
    retention = Retention(order.older_than, keep_last=order.keep_last, states=end_states(filters.get("state")))
    archive = None if order.archive is None else Archive(order.archive)
    url = store_url(place)
    with opened(url) as store:
        retains = retaining(store)
        rule = rule_of(retention, filters, store.now(), batch=order.batch)
        pruned = Pruned(ids=[])
        for step in Pruning(retains, rule, by=who(), archive=archive, dry_run=order.dry_run).steps():
            pruned = with_step(pruned, step)
    if order.dry_run:
        for workflow_id in pruned.ids:
            print(workflow_id)
    print(_told(pruned, order, shown(url)))


def _told(pruned: Pruned, order: PruneOrder, url: str) -> str:
    verb = "would be removed" if order.dry_run else "were removed"
    text = f"{len(pruned.ids):,} workflows with {pruned.events:,} events {verb} from {url}"
    if pruned.archived:
        text += f", and are in {order.archive}"
    kept = [f"{count:,} {why}" for count, why in ((pruned.held, "are held"), (pruned.needed, "are needed")) if count]
    return f"{text}; kept: {', '.join(kept)}" if kept else text


def hold(workflow_ids: Sequence[str], filters: Mapping[str, Any], reason: str, place: str | None) -> None:
    """Hold workflows, those that are named and those that fit the filters."""
    _alter("held", workflow_ids, filters, reason, place)


def release(workflow_ids: Sequence[str], filters: Mapping[str, Any], reason: str, place: str | None) -> None:
    """Take holds back, of those that are named and those that fit the filters."""
    _alter("released", workflow_ids, filters, reason, place)


def redact(workflow_id: str, seqs: Sequence[int], reason: str, place: str | None, *, keep_links: bool) -> None:
    """Take what users gave out of a workflow that has ended."""
    check_reason(reason)
    url = store_url(place)
    with opened(url) as store:
        head_of(store, workflow_id, url)
        which = list(seqs) or None
        count = redacting.redact(retaining(store), workflow_id, which, by=who(), reason=reason, keep_links=keep_links)
    print(f"{count} events of workflow {workflow_id!r} were redacted")


def print_holds(place: str | None, *, as_json: bool) -> None:
    """Print all holds."""
    with opened(store_url(place)) as store:
        retains, after = retaining(store), ""
        while page := retains.holds(after=after, limit=PAGE):
            for one in page:
                at = as_datetime(one.at)
                if as_json:
                    said = {"workflow_id": one.workflow_id, "at": at.isoformat(), "by": one.by, "reason": one.reason}
                    print(msgspec.json.encode(said).decode())
                else:
                    why = f"  reason={one.reason!r}" if one.reason else ""
                    print(f"{at:%Y-%m-%d %H:%M:%S}  {one.workflow_id}  by {one.by}{why}")
            after = page[-1].workflow_id


def _alter(
    action: Action, workflow_ids: Sequence[str], filters: Mapping[str, Any], reason: str, place: str | None
) -> None:
    given = {name: value for name, value in filters.items() if value}
    if not workflow_ids and not given:
        raise UsageError("which workflows? Name them, or give filters such as --name or --attribute")
    check_reason(reason)
    with opened(store_url(place)) as store:
        retains = retaining(store)
        audit = AuditRow(at=store.now(), by=who(), action=action, said=reason)
        change = retains.hold if action == "held" else retains.release
        done = list(change(list(workflow_ids), audit))
        if given:
            for page in _found(retains, given):
                done.extend(change(page, audit))
    print(f"{len(done):,} workflows are {'held now' if action == 'held' else 'held no more'}")


def _found(store: Store, filters: Mapping[str, Any]) -> Any:
    query = query_of(filters, limit=PAGE)
    while heads := store.workflows(query):
        yield [head.workflow_id for head in heads]
        query = msgspec.structs.replace(query, after=(heads[-1].created_at, heads[-1].workflow_id))


def who() -> str:
    """Give by whom something is done on the command line."""
    try:
        return f"{getpass.getuser()} (everlog)"
    except (KeyError, OSError):  # a user that the system has no name of
        return "everlog"

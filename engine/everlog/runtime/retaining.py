"""Retaining: pruning and holds as users ask for them, and the pruning that engines do by themselves.

It goes on a connection of its own where there can be one, and on a thread aside, so that the engine's thread does not
wait for it; in pages, between which it rests when nobody waits for it. What it may remove, and why it does
no harm where two do it, is said in `everlog.runtime.pruning`; of all engines one does it, while it keeps the turn.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from everlog.core.durations import SECOND, Duration, as_datetime
from everlog.core.heads import State
from everlog.core.keeping import Retention, end_states
from everlog.core.names import check_id, check_reason
from everlog.core.numbers import check_count
from everlog.core.retention import AuditRow
from everlog.errors import EverlogError
from everlog.replay.definitions import AnyWorkflow
from everlog.runtime import redacting
from everlog.runtime.archives import Archive
from everlog.runtime.backends import open_store
from everlog.runtime.finding import query_of
from everlog.runtime.listing import Listing
from everlog.runtime.pruning import Pruning, Retains, Rule, Step, retaining
from everlog.store import Store

if TYPE_CHECKING:
    from everlog.runtime.client import Client

T = TypeVar("T")
log: Final = logging.getLogger("everlog")
EVERY: Final = 60.0
"""Seconds between two rounds of automatic pruning."""
FIRST: Final = 1.0
TURN: Final = 120.0
"""Seconds after which another engine may go on with it, where one did not come to its end."""
SHARE: Final = 4
"""Automatic pruning rests this many times as long as it worked."""
REST: Final = 0.05
BATCH: Final = 50
PAGE: Final = 100
_TURN: Final = "pruning"
_Run = Callable[[Callable[[Retains], T]], Awaitable[T]]


class Pruned(Struct, frozen=True, kw_only=True):
    """What a pruning did, or, on a dry run, would have done.

    `ids` are those of the workflows that were removed, with so many `events`; `archived` is how many files were
    written. Of those that it was asked for, `held` stayed since they are held, and `needed` since others need them.
    """

    ids: list[str]
    events: int = 0
    archived: int = 0
    held: int = 0
    needed: int = 0


class Hold(Struct, frozen=True, kw_only=True):
    """That a workflow is held: nothing removes or redacts it."""

    workflow_id: str
    at: datetime
    by: str
    reason: str


def rule_of(
    retention: Retention, filters: Mapping[str, Any], now: int, *, batch: int = PAGE, names: Sequence[str] | None = None
) -> Rule:
    """Give the rule for a retention and further filters, as of now. Raises `UsageError` for what can be none."""
    query = query_of(
        {name: value for name, value in filters.items() if name != "state"}, limit=check_count(batch, what="batch")
    )
    ended_until = query.ended_until
    if retention.older_than is not None:
        before = now - retention.older_than
        ended_until = before if ended_until is None else min(ended_until, before)
    created_until = query.created_until
    if ended_until is not None and not retention.keep_last:
        created_until = ended_until if created_until is None else min(created_until, ended_until)
    states: Sequence[State] = retention.states
    query = replace(
        query,
        states=states,
        ended_until=ended_until,
        created_until=created_until,
        names=names if names is not None else query.names,
    )
    return Rule(query=query, keep_last=retention.keep_last or 0, said=retention.sentence(), batch=batch)


async def prune(
    client: Client,
    *,
    older_than: Duration | None,
    keep_last: int | None,
    archive: str | os.PathLike[str] | None,
    dry_run: bool,
    batch: int,
    filters: Mapping[str, Any],
) -> Pruned:
    """Prune; see `Client.prune`."""
    retention = Retention(older_than, keep_last=keep_last, states=end_states(filters.get("state")))
    kept_in = None if archive is None else Archive(archive)
    pruned = Pruned(ids=[])
    rule_of(retention, filters, 0, batch=batch)  # which refuses, before anything is opened, what can be no rule
    async with _apart(client) as run:

        def begin(store: Retains) -> Iterator[Step]:
            rule = rule_of(retention, filters, store.now(), batch=batch)
            return Pruning(store, rule, by=client.name, archive=kept_in, dry_run=dry_run).steps()

        steps = await run(begin)
        while (step := await run(lambda store: next(steps, None))) is not None:
            pruned = with_step(pruned, step)
    return pruned


def with_step(pruned: Pruned, step: Step) -> Pruned:
    """Add what became of a page."""
    pruned.ids.extend(step.removed)
    return Pruned(
        ids=pruned.ids,
        events=pruned.events + step.events,
        archived=pruned.archived + step.archived,
        held=pruned.held + step.held,
        needed=pruned.needed + step.needed + step.changed,
    )


async def hold(client: Client, ids: Sequence[str], reason: str) -> list[str]:
    """Hold workflows; see `Client.hold`."""
    audit = _audit(client, "held", reason)
    wanted = [check_id(one) for one in ids]
    return await client.on_thread(lambda: list(retaining(client.store).hold(wanted, _now(client.store, audit))))


async def release(client: Client, ids: Sequence[str], reason: str) -> list[str]:
    """Take holds back; see `Client.release`."""
    audit = _audit(client, "released", reason)
    wanted = [check_id(one) for one in ids]
    return await client.on_thread(lambda: list(retaining(client.store).release(wanted, _now(client.store, audit))))


async def redact(client: Client, workflow_id: str, seqs: Sequence[int], reason: str, *, keep_links: bool) -> int:
    """Take what users gave out of a workflow; see `Client.redact`."""
    check_id(workflow_id)
    check_reason(reason)
    which = list(seqs) or None
    return await client.on_thread(
        lambda: redacting.redact(
            retaining(client.store), workflow_id, which, by=client.name, reason=reason, keep_links=keep_links
        )
    )


def holds(client: Client) -> Listing[Hold]:
    """Give all holds; see `Client.holds`."""

    async def page(mark: object) -> tuple[list[Hold], object]:
        after = mark if isinstance(mark, str) else ""
        rows = await client.on_thread(lambda: retaining(client.store).holds(after=after, limit=PAGE))
        found = [
            Hold(workflow_id=one.workflow_id, at=as_datetime(one.at), by=one.by, reason=one.reason) for one in rows
        ]
        return found, rows[-1].workflow_id if len(rows) == PAGE else None

    return Listing(page)


def _audit(client: Client, action: Any, reason: str) -> AuditRow:
    check_reason(reason)
    return AuditRow(at=0, by=client.name, action=action, said=reason)


def _now(store: Store, audit: AuditRow) -> AuditRow:
    return replace(audit, at=store.now())


class Retainer:
    """The automatic pruning of an engine: a task on the user's loop, which `run` is."""

    def __init__(
        self,
        client: Client,
        known: Callable[[], Mapping[str, AnyWorkflow[..., Any]]],
        retention: Retention | None,
        archive: Archive | None,
    ) -> None:
        self._client = client
        self._known = known
        self._retention = retention
        self._archive = archive
        self.every = EVERY

    def has_rules(self) -> bool:
        """Tell whether anything is ever pruned here."""
        return self._retention is not None or any(one.retention is not None for one in self._known().values())

    async def run(self) -> None:
        """Prune again and again until it is cancelled. What goes wrong is logged, and tried again."""
        await asyncio.sleep(min(FIRST, self.every))  # the engine is not open yet
        while True:
            try:
                await self.round()
            except (EverlogError, OSError) as error:
                log.warning("pruning could not go on, and is tried again in %g s: %s", self.every, error)
            await asyncio.sleep(self.every)

    async def round(self) -> Pruned:
        """Prune what the rules mean now, if it is our turn, resting between two pages."""
        pruned = Pruned(ids=[])
        rules = self._rules()
        if not rules:
            return pruned
        async with _apart(self._client) as run:
            for retention, names in rules:
                pruned = await self._prune(run, retention, names, pruned)
        if pruned.ids:
            log.info("pruned %d workflows that have ended, with %d events", len(pruned.ids), pruned.events)
        return pruned

    async def _prune(self, run: _Run[Any], retention: Retention, names: list[str], pruned: Pruned) -> Pruned:
        def begin(store: Retains) -> Iterator[Step]:
            rule = rule_of(retention, {}, store.now(), batch=BATCH, names=names)
            return Pruning(store, rule, by=self._client.name, archive=self._archive).steps()

        def further(store: Retains) -> Step | None:
            until = store.now() + round(TURN * SECOND)
            return next(steps, None) if store.take_turn(_TURN, self._client.name, until=until) else None

        steps: Iterator[Step] = await run(begin)
        while True:
            began = self._client.host.monotonic()
            step: Step | None = await run(further)
            if step is None:
                return pruned
            pruned = with_step(pruned, step)
            await asyncio.sleep(max(REST, SHARE * (self._client.host.monotonic() - began)))

    def _rules(self) -> list[tuple[Retention, list[str]]]:
        """Give the names of workflows by what becomes of them."""
        found: dict[Retention, list[str]] = {}
        for name, one in self._known().items():
            retention = one.retention or self._retention
            if retention is not None:
                found.setdefault(retention, []).append(name)
        return list(found.items())


@asynccontextmanager
async def _apart(client: Client) -> AsyncGenerator[_Run[Any]]:
    """Give what runs a function on the store: on a connection and a thread of its own, if it can have them."""
    retaining(client.store)
    url = client.url_of_store
    if url is None or url.startswith("memory:") or url == "sqlite:///:memory:":

        async def here(function: Callable[[Retains], T]) -> T:
            return await client.on_thread(lambda: function(retaining(client.store)))

        yield here
        return
    store = await client.aside(lambda: open_store(url, create=False))
    try:

        async def aside(function: Callable[[Retains], T]) -> T:
            return await client.aside(lambda: function(retaining(store)))

        yield aside
    finally:
        store.close()

"""Measuring: asks an engine and its database for their numbers. It changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from everlog.core.durations import SECOND, as_datetime
from everlog.runtime.backends import open_store
from everlog.runtime.finding import counts_in
from everlog.runtime.metrics import EngineMetrics, Metrics, QueueMetrics, StoreMetrics
from everlog.runtime.observed import ObservedWorker
from everlog.store import State, Store, SupportsQueues, WorkflowQuery

if TYPE_CHECKING:
    from everlog.runtime.client import Client

OLDEST: Final = 500
"""So many of those that stand in queues are looked at, to find the oldest of each."""
LIVING: Final[Sequence[State]] = ("enqueued", "queued", "running", "waiting", "paused", "stuck")


async def metrics_of(client: Client) -> Metrics:
    """Give the numbers of a client, and of the database that it is connected to."""
    engine = await client.on_thread(lambda: _engine(client))
    url = client.url_of_store
    if url is None or url.startswith("memory:") or url == "sqlite:///:memory:":
        return await client.on_thread(lambda: metrics_in(client.store, engine))
    return await client.aside(lambda: _apart(url, engine))


def metrics_in(store: Store, engine: EngineMetrics | None = None) -> Metrics:
    """Give what a store says, and beside it what an engine does."""
    now = store.now()
    oldest = store.workflows(WorkflowQuery(states=["queued"], newest_first=False, limit=1))
    return Metrics(
        at=as_datetime(now),
        engine=engine,
        store=StoreMetrics(
            workflows=counts_in(store, WorkflowQuery(states=LIVING)),
            oldest_queued_seconds=max(0, now - oldest[0].created_at) / SECOND if oldest else 0.0,
            queues=_queues(store, now),
            workers={row.worker: (row.lease_until - now) / SECOND for row in store.workers() if row.process},
        ),
    )


def _apart(url: str, engine: EngineMetrics | None) -> Metrics:
    store = open_store(url, create=False)
    try:
        return metrics_in(store, engine)
    finally:
        store.close()


def _engine(client: Client) -> EngineMetrics | None:
    worker = client.worker_here()
    if not isinstance(worker, ObservedWorker):
        return None
    tally = worker.tally
    return EngineMetrics(
        worker=worker.settings.worker,
        holds_lease=worker.may_start and not worker.draining and worker.holds_lease(),
        held=len(worker.residents),
        running_attempts=worker.running_attempts(),
        workflows_began=dict(tally.began),
        workflows_ended={name: dict(states) for name, states in tally.ended.items()},
        workflows_stuck=tally.stuck,
        takeovers=tally.takeovers,
        attempts={name: dict(step.ended) for name, step in tally.steps.items()},
        attempt_seconds={name: step.seconds.told() for name, step in tally.steps.items()},
        commits=tally.commits,
        commit_failures=tally.commit_failures,
        commit_seconds=tally.commit_seconds.told(),
        commit_parts=tally.commit_parts.told(),
        events=tally.events,
    )


def _queues(store: Store, now: int) -> dict[str, QueueMetrics]:
    if not isinstance(store, SupportsQueues):
        return {}
    rows = store.queues()
    oldest = _oldest(store, now) if rows else {}
    found: dict[str, QueueMetrics] = {}
    for row, counts in zip(rows, store.count_queues([row.name for row in rows]), strict=True):
        found[row.name] = QueueMetrics(
            queued=counts.due,
            delayed=counts.delayed,
            admitted=counts.taken,
            paused=row.paused,
            oldest_seconds=oldest.get(row.name),
        )
    return found


def _oldest(store: Store, now: int) -> dict[str, float]:
    """Give for how long the first of each queue waits, of those that were created first of all."""
    found: dict[str, float] = {}
    heads = store.workflows(WorkflowQuery(states=["enqueued"], newest_first=False, limit=OLDEST))
    if not isinstance(store, SupportsQueues) or not heads:
        return found
    for head, place in zip(heads, store.places([head.workflow_id for head in heads]), strict=True):
        if place is not None and place.place.due_at <= now and not place.has_slot:
            waits = max(0, now - max(head.created_at, place.place.due_at)) / SECOND
            found.setdefault(place.place.queue, waits)
    return found

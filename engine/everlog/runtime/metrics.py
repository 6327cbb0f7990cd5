"""Metrics: the numbers that an engine and a database give of themselves, at one moment. They are not collected here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from everlog.runtime.finding import WorkflowCounts


class Histogram(Struct, frozen=True, kw_only=True):
    """How often something was at most so large, by that bound; `count` is all, `sum` their sum."""

    buckets: Mapping[float, int]
    count: int
    sum: float


class EngineMetrics(Struct, frozen=True, kw_only=True):
    """What this engine did since it was opened, and what it does now.

    Counts are of what is durable, and a replay adds nothing. Where an engine meets very many names, further ones are
    counted together as `(other)`.
    """

    worker: str
    holds_lease: bool
    """Whether it may begin anything: it is within its lease, and not being closed."""
    held: int
    """Workflows in memory."""
    running_attempts: int
    """Attempts of steps that were handed out and have not ended."""
    workflows_began: Mapping[str, int]
    """By name."""
    workflows_ended: Mapping[str, Mapping[str, int]]
    """By name and state; those that ended while no engine held them are not among them."""
    workflows_stuck: int
    takeovers: int
    """Workflows taken over that ran when their worker died."""
    attempts: Mapping[str, Mapping[str, int]]
    """Attempts of steps by the step's name and how they ended: completed, failed (for good), retried, cancelled."""
    attempt_seconds: Mapping[str, Histogram]
    """By the step's name: from when an attempt that was not cancelled began until its end was taken."""
    commits: int
    """Transactions that were written."""
    commit_failures: int
    """Transactions that the database did not take, or whose outcome is not known."""
    commit_seconds: Histogram
    commit_parts: Histogram
    """Creations, commits of workflows and messages in one transaction."""
    events: int
    """Events that were written to histories."""


class QueueMetrics(Struct, frozen=True, kw_only=True):
    """One queue: how many could be admitted now, how many are delayed, how many slots are taken.

    `oldest_seconds` is for how long the one has waited that was created first among those that could be admitted; None
    where none waits, or too many were created before it in other queues.
    """

    queued: int
    delayed: int
    admitted: int
    paused: bool
    oldest_seconds: float | None


class StoreMetrics(Struct, frozen=True, kw_only=True):
    """What is in the database, whoever wrote it."""

    workflows: WorkflowCounts
    """Those that have not ended."""
    oldest_queued_seconds: float
    """For how long the first has waited, of those that could begin; 0 where none waits."""
    queues: Mapping[str, QueueMetrics]
    workers: Mapping[str, float]
    """Seconds until the lease of each worker is over; below 0 where it is."""


class Metrics(Struct, frozen=True, kw_only=True):
    """What `metrics()` gives. `engine` is None of a client, which runs nothing."""

    at: datetime
    """By the store's clock."""
    engine: EngineMetrics | None
    store: StoreMetrics

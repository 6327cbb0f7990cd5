"""Limits: what a queue, or one of its partitions, has left to give. Arithmetic; nobody is counted here."""

from __future__ import annotations

from msgspec import Struct

from everlog.core.queues import QueueLimits, Rate


class Limit(Struct, frozen=True, gc=False):
    """The limits of a queue, or those of each of its partitions; None is no limit."""

    concurrency: int | None
    rate: Rate | None


class Measured(Struct, frozen=True, gc=False, array_like=True):
    """What was counted, as far as there is a limit to compare it with.

    `started` are the starts in the window of the rate that ends now. `full_since` is when the earliest of so many last
    ones was as the rate allows; None while the window has room.
    """

    taken: int | None
    started: int | None
    full_since: int | None


def of_queue(limits: QueueLimits) -> Limit:
    """Give the limits of a queue as a whole."""
    return Limit(limits.concurrency, limits.rate_limit)


def of_partition(limits: QueueLimits) -> Limit:
    """Give the limits of each partition of a queue."""
    return Limit(limits.partition_concurrency, limits.partition_rate_limit)


def window_begins(limit: Limit, now: int) -> int:
    """Give the time after which a start counts for the rate."""
    return now - limit.rate.per if limit.rate is not None else now


def reach_of(limits: QueueLimits, now: int) -> int | None:
    """Give the time after which a start counts for any rate of the queue; None where it has none."""
    rates = [rate for rate in (limits.rate_limit, limits.partition_rate_limit) if rate is not None]
    return now - max(rate.per for rate in rates) if rates else None


def room(limit: Limit, measured: Measured, wanted: int) -> int:
    """Say how many of those wanted may have a slot now."""
    if limit.concurrency is not None and measured.taken is not None:
        wanted = min(wanted, limit.concurrency - measured.taken)
    if limit.rate is not None and measured.started is not None:
        wanted = min(wanted, limit.rate.limit - measured.started)
    return max(wanted, 0)


def free_at(limit: Limit, measured: Measured, now: int) -> int | None:
    """Say when there is a slot: `now`, or later as the window of the rate moves on; None: that takes more than time."""
    if limit.concurrency is not None and measured.taken is not None and measured.taken >= limit.concurrency:
        return None
    if limit.rate is None or measured.full_since is None:
        return now
    return measured.full_since + limit.rate.per

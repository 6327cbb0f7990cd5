"""Queues: the words for them that both the store and the runtime use. No SQL, no clock.

A workflow that is started on a queue is `enqueued`: nobody may begin it before the queue admits it. Admission takes a
slot, which the workflow keeps, through parking and takeovers, until it ends; so a limit counts what has been admitted
and has not ended, whether it is in anybody's memory or not. The steps that a queue limits take and free slots of the
same kind, attempt by attempt.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from everlog.core.heads import State


class Rate(Struct, frozen=True, gc=False):
    """At most `limit` starts in any window of `per` microseconds, both at least 1.

    A start is that a workflow is admitted or that an attempt of a step takes a slot, whatever becomes of it.
    """

    limit: int
    per: int


class QueueLimits(Struct, frozen=True, gc=False, kw_only=True):
    """What a queue limits; None is no limit.

    `concurrency` counts the slots of the queue, `partition_concurrency` those of each partition, and the rates count
    starts, all over all workers; starts from before a queue had a rate do not count. `worker_concurrency` is of each
    worker's memory, and `partition_worker_concurrency` of each partition there: the worker counts them itself.
    """

    concurrency: int | None = None
    rate_limit: Rate | None = None
    partition_concurrency: int | None = None
    partition_rate_limit: Rate | None = None
    worker_concurrency: int | None = None
    partition_worker_concurrency: int | None = None


class QueueRow(Struct, frozen=True, gc=False, kw_only=True):
    """A queue as it is stored.

    `declared` is what code last declared, `limits` what holds. A declaration that differs from `declared` replaces
    both; one that equals it leaves `limits` as it is, so that what was changed at run time outlives restarts.
    """

    name: str
    limits: QueueLimits = QueueLimits()
    declared: QueueLimits | None = None
    paused: bool = False


class QueueCounts(Struct, frozen=True, gc=False, kw_only=True):
    """How many enqueued workflows of a queue are due, how many are delayed, and how many slots are taken.

    The slots of steps are among those; a workflow that is paused before it was admitted is counted nowhere.
    """

    name: str
    due: int = 0
    delayed: int = 0
    taken: int = 0


class Place(Struct, frozen=True, gc=False, kw_only=True):
    """Where a workflow stands in a queue.

    Within a partition the lower `priority` goes first, then the earlier `due_at`, then who came first; the partitions
    of a queue take turns. Before `due_at` it is delayed, and is not admitted. At most one workflow of a queue that has
    not ended has a given `dedup_key`. With `takes_key` one that was admitted loses its key to this one; it is False
    in what is read back.
    """

    queue: str
    partition: str = ""
    priority: int = 0
    due_at: int = 0
    dedup_key: str | None = None
    takes_key: bool = False


class PlaceRow(Struct, frozen=True, gc=False, kw_only=True):
    """A place that is taken, as it is read back: until the workflow has ended.

    `has_slot` is whether the workflow was admitted, and so has begun, or may begin at any time.
    """

    workflow_id: str
    name: str
    state: State
    place: Place
    has_slot: bool


class QueueOffer(Struct, frozen=True, gc=False, kw_only=True):
    """A queue from which a worker takes workflows, and for how many more of them it has room (None: any number).

    `partition_room` is for how many more of each partition, save of those in `partition_rooms`: there it is what that
    says.
    """

    queue: str
    room: int | None = None
    partition_room: int | None = None
    partition_rooms: Mapping[str, int] = {}


class PartitionRooms:
    """For how many more of each partition a worker has room, while some are admitted."""

    def __init__(self, offer: QueueOffer) -> None:
        self._each = offer.partition_room
        self._rooms = dict(offer.partition_rooms)

    def of(self, partition: str, wanted: int) -> int:
        """Say for how many of those wanted there is room."""
        room = self._rooms.get(partition, self._each)
        return wanted if room is None else max(0, min(wanted, room))

    def take(self, partition: str) -> None:
        """Count one that was admitted."""
        room = self._rooms.get(partition, self._each)
        if room is not None:
            self._rooms[partition] = room - 1

    @property
    def full(self) -> list[str]:
        """The partitions for which there is no room."""
        return sorted(partition for partition, room in self._rooms.items() if room <= 0)


class SlotWanted(Struct, frozen=True, gc=False, kw_only=True):
    """A slot of a queue for an attempt of a step. `slot` names it, and was made before the first try."""

    slot: str
    queue: str
    partition: str = ""

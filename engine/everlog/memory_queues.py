"""MemoryQueues: the executable specification of queues. It knows no histories, and no worker's leases.

A place is given when a workflow is put into a queue, and given up when it ends. Of the places of a queue some have a
slot: those of workflows that were admitted. Steps have slots without places. Whatever takes a slot is a start, which
the rates count, also after the slot was given back.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from everlog.core.queues import (
    PartitionRooms,
    Place,
    QueueCounts,
    QueueLimits,
    QueueOffer,
    QueueRow,
    Rate,
    SlotWanted,
)


class Spot(Struct):
    """A place that is taken: `number` tells who came first, `has_slot` who was admitted."""

    place: Place
    number: int
    has_slot: bool = False

    def order(self) -> tuple[int, int, int]:
        """Give what those of one partition are ordered by."""
        return self.place.priority, self.place.due_at, self.number


class Admitted(Struct, frozen=True):
    """Who was admitted, and when the passing of time alone may let another be."""

    workflow_ids: Sequence[str]
    next_due: int | None


class MemoryQueues:
    """The queues of one store, who stands in them, and who has a slot."""

    def __init__(self) -> None:
        self.rows: dict[str, QueueRow] = {}
        self.spots: dict[str, Spot] = {}  # by workflow
        self.keepers: dict[tuple[str, str], str] = {}  # workflows, by queue and dedup_key
        self.slots: dict[tuple[str, str], SlotWanted] = {}  # of steps, by worker and name
        self._starts: dict[str, list[tuple[int, str]]] = defaultdict(list)  # (when, partition), by queue
        self._served: dict[str, str] = {}  # the partition that was served last, by queue
        self._last_number = 0

    def declare(self, name: str, limits: QueueLimits) -> bool:
        """Create a queue, or change one whose declaration was another; say whether anything was changed."""
        row = self.rows.get(name, QueueRow(name=name))
        if row.declared == limits:
            return False
        self.rows[name] = replace(row, limits=limits, declared=limits)
        return True

    def is_used(self, name: str) -> bool:
        """Say whether a workflow stands in the queue, or anybody has a slot of it."""
        return any(spot.place.queue == name for spot in self.spots.values()) or bool(self._slots_of(name))

    def delete(self, name: str) -> None:
        """Remove a queue, and what is remembered of it."""
        del self.rows[name]
        self._starts.pop(name, None)
        self._served.pop(name, None)

    def keeper(self, place: Place) -> str | None:
        """Give the workflow that has the place's `dedup_key` and keeps it; None where it is free, or can be taken."""
        found = None if place.dedup_key is None else self.keepers.get((place.queue, place.dedup_key))
        return None if found is None or (place.takes_key and self.spots[found].has_slot) else found

    def put(self, workflow_id: str, place: Place) -> None:
        """Put a workflow into a queue, behind those that are there, without a slot; its key is not another's."""
        self.leave(workflow_id)
        self._last_number += 1
        self.spots[workflow_id] = Spot(replace(place, takes_key=False), self._last_number)
        if place.dedup_key is not None:
            loser = self.keepers.get((place.queue, place.dedup_key))
            if loser is not None:
                self.spots[loser].place = replace(self.spots[loser].place, dedup_key=None)
            self.keepers[place.queue, place.dedup_key] = workflow_id

    def put_back(self, workflow_id: str, place: Place, came: int | None, *, has_slot: bool) -> None:
        """Put a workflow where it stood in another store, without `came` behind those that are there."""
        self.put(workflow_id, place)
        spot = self.spots[workflow_id]
        spot.has_slot = has_slot
        if came is not None:
            spot.number = came
            self._last_number = max(spot.number for spot in self.spots.values())

    def remembered(self, name: str) -> tuple[str, list[tuple[str, int]]]:
        """Give the partition that was served last, and the starts that are remembered."""
        return self._served.get(name, ""), [(partition, at) for at, partition in self._starts.get(name, ())]

    def remember(self, name: str, served: str, starts: Sequence[tuple[str, int]]) -> None:
        """Take over what another store remembered."""
        self._served[name] = served
        self._starts[name] = [(at, partition) for partition, at in starts]

    def leave(self, workflow_id: str) -> None:
        """Take a workflow out of its queue, if it is in one; it gives back its slot and its key."""
        spot = self.spots.pop(workflow_id, None)
        if spot is not None and spot.place.dedup_key is not None:
            del self.keepers[spot.place.queue, spot.place.dedup_key]

    def stand(self, workflow_id: str) -> None:
        """Have a workflow stand in its queue again, where it stood; it gives back its slot."""
        if workflow_id in self.spots:
            self.spots[workflow_id].has_slot = False

    def count(self, name: str, enqueued: Iterable[str], now: int) -> QueueCounts:
        """Count what is in a queue; `enqueued` are the workflows in that state."""
        spots = [self.spots[one] for one in enqueued if one in self.spots and self.spots[one].place.queue == name]
        due = sum(spot.place.due_at <= now for spot in spots)
        return QueueCounts(name=name, due=due, delayed=len(spots) - due, taken=len(self._slots_of(name)))

    def admit(self, offer: QueueOffer, standing: Iterable[str], wanted: int, now: int) -> Admitted:
        """Give slots to up to so many of these workflows, and remember which partition was served last."""
        name, rooms = offer.queue, PartitionRooms(offer)
        queue = self.rows.get(name)
        if queue is None or queue.paused:
            return Admitted([], None)
        found = [(one, self.spots[one]) for one in standing if one in self.spots]
        spots = {one: spot for one, spot in found if spot.place.queue == name}
        due = {one: spot for one, spot in spots.items() if spot.place.due_at <= now}
        delayed = [spot.place.due_at for spot in spots.values() if spot.place.due_at > now]
        admitted: list[str] = []
        while len(admitted) < wanted and (first := self._next(queue, due, rooms, now)) is not None:
            del due[first]
            partition = self.spots[first].place.partition
            self.spots[first].has_slot = True
            self._start(queue, partition, now)
            self._served[name] = partition
            rooms.take(partition)
            admitted.append(first)
        due = {one: spot for one, spot in due.items() if rooms.of(spot.place.partition, 1)}
        rates = [self._next_window(queue, due, now)] if due and len(admitted) < wanted else []
        return Admitted(admitted, min([when for when in (*delayed, *rates) if when is not None], default=None))

    def _next(self, queue: QueueRow, due: Mapping[str, Spot], rooms: PartitionRooms, now: int) -> str | None:
        """Choose who is admitted next: of the partition whose turn it is, of those that have a slot to give."""
        due = {one: spot for one, spot in due.items() if rooms.of(spot.place.partition, 1)}
        if self._free_at(queue, now) != now:
            return None
        partitions = sorted({spot.place.partition for spot in due.values()})
        served = bisect_right(partitions, self._served.get(queue.name, ""))
        turns = (*partitions[served:], *partitions[:served])
        turn = next((one for one in turns if self._free_at_partition(queue, one, now) == now), None)
        return min(
            (one for one, spot in due.items() if spot.place.partition == turn),
            key=lambda one: due[one].order(),
            default=None,
        )

    def _next_window(self, queue: QueueRow, due: Mapping[str, Spot], now: int) -> int | None:
        """Say when a window moves on so that another of these may be admitted; None: that takes more than time."""
        free_at = self._free_at(queue, now)
        if free_at != now:
            return free_at
        partitions = {spot.place.partition for spot in due.values()}
        moves = [self._free_at_partition(queue, one, now) for one in partitions]
        return min([when for when in moves if when is not None], default=None)

    def take_slot(self, worker: str, wanted: SlotWanted, now: int) -> bool:
        """Take a slot for a step, unless there is none; True also where the worker has it already."""
        if (worker, wanted.slot) in self.slots:
            return True
        if self.slot_free_at(wanted, now) != now:
            return False
        self.slots[worker, wanted.slot] = wanted
        self._start(self.rows[wanted.queue], wanted.partition, now)
        return True

    def slot_free_at(self, wanted: SlotWanted, now: int) -> int | None:
        """Say when there is a slot for a step: `now`, or as a window moves on, None: that takes more than time."""
        queue = self.rows[wanted.queue]
        if queue.paused:
            return None
        free_at = self._free_at(queue, now)
        return free_at if free_at != now else self._free_at_partition(queue, wanted.partition, now)

    def free_slots(self, worker: str, slots: Iterable[str] | None = None) -> int:
        """Give back these slots of the worker, None: all; give how many there were."""
        named = None if slots is None else set(slots)
        freed = [one for one in self.slots if one[0] == worker and (named is None or one[1] in named)]
        for one in freed:
            del self.slots[one]
        return len(freed)

    def _free_at(self, queue: QueueRow, now: int) -> int | None:
        """Say when the queue has a slot to give: `now`, or as a window moves on, None: that takes more than time."""
        limits, starts = queue.limits, [at for at, _ in self._starts[queue.name]]
        return _free_at(limits.concurrency, len(self._slots_of(queue.name)), limits.rate_limit, starts, now)

    def _free_at_partition(self, queue: QueueRow, partition: str, now: int) -> int | None:
        """Say the same of a partition of it."""
        limits = queue.limits
        if limits.partition_concurrency is None and limits.partition_rate_limit is None:
            return now
        taken = self._slots_of(queue.name).count(partition)
        starts = [at for at, of in self._starts[queue.name] if of == partition]
        return _free_at(limits.partition_concurrency, taken, limits.partition_rate_limit, starts, now)

    def _slots_of(self, name: str) -> Sequence[str]:
        """Give the partitions in which slots of the queue are taken, one for each slot."""
        places = [spot.place for spot in self.spots.values() if spot.has_slot and spot.place.queue == name]
        return [place.partition for place in places] + [s.partition for s in self.slots.values() if s.queue == name]

    def _start(self, queue: QueueRow, partition: str, now: int) -> None:
        """Remember a start where a rate counts it, and forget those that no window reaches any more."""
        rates = [rate for rate in (queue.limits.rate_limit, queue.limits.partition_rate_limit) if rate is not None]
        if rates:
            reach = now - max(rate.per for rate in rates)
            kept = [start for start in self._starts[queue.name] if start[0] > reach]
            self._starts[queue.name] = [*kept, (now, partition)]


def _free_at(concurrency: int | None, taken: int, rate: Rate | None, starts: Sequence[int], now: int) -> int | None:
    if concurrency is not None and taken >= concurrency:
        return None
    if rate is None:
        return now
    window = sorted(at for at in starts if at > now - rate.per)
    return now if len(window) < rate.limit else window[-rate.limit] + rate.per

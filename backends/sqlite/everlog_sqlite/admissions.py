"""Admissions on SQLite: who is given a slot next, of the workflows that stand in queues and of the steps that wait.

Slots are taken under the write lock of the whole file, so what is counted in that transaction is so until its end. All
is first looked at without the lock: where there is nothing to give, nobody is kept from writing. What is looked at is
found through indexes, so that it costs no more where many stand in a queue, or are delayed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from everlog.core.limits import Limit, Measured, free_at, of_partition, of_queue, reach_of, room, window_begins
from everlog.errors import InternalError, NotFound
from everlog.store import AdmitRequest, PartitionRooms, QueueLimits, QueueOffer, QueueRow, SlotAnswer, SlotWanted
from everlog_sqlite import queue_records as records
from everlog_sqlite import statements as sql
from everlog_sqlite.connection import Connection
from everlog_sqlite.queue_records import Choice, Sight, Turn
from everlog_sqlite.records import array


class Admissions:
    """Gives the slots of the queues in the file of a connection."""

    def __init__(self, connection: Connection, now: Callable[[], int]) -> None:
        self._connection: Final = connection
        self._now: Final = now

    def look(self, request: AdmitRequest) -> tuple[bool, int | None]:
        """Say whether somebody may be admitted now; if not, when the passing of time alone may change that.

        Without the write lock: in a moment it may be otherwise.
        """
        now = self._now()
        moments: list[int | None] = []
        for sight, offer in self._see(request):
            wanted = len(request.tokens) if offer.room is None else offer.room
            admission = _Admission(self._connection, sight, offer, now)
            is_over = sight.next_due is not None and sight.next_due <= now  # though nobody has made it due yet
            if is_over or admission.choose(wanted):
                return True, None
            moments += [sight.next_due, admission.next_window(wanted)]
        return False, _earliest(moments)

    def admit(self, request: AdmitRequest) -> tuple[Sequence[int], int | None]:
        """Give the numbers of those who are admitted, and the time; within the transaction that makes it true."""
        now = self._now()
        due = {"queues": _queues_of(request), "names": array(set(request.names)), "now": now}
        self._connection.execute(sql.BECOME_DUE, due)
        numbers: list[int] = []
        moments: list[int | None] = []
        for sight, offer in self._see(request):
            tokens = request.tokens[len(numbers) :]
            wanted = len(tokens) if offer.room is None else min(offer.room, len(tokens))
            admission = _Admission(self._connection, sight, offer, now)
            chosen = admission.choose(wanted)
            if chosen:
                admission.write(chosen, tokens, request.worker)
            numbers.extend(choice.number for choice in chosen)
            moments += [sight.next_due, admission.next_window(wanted - len(chosen))]
        return numbers, _earliest(moments)

    def _see(self, request: AdmitRequest) -> Iterator[tuple[Sight, QueueOffer]]:
        """Give those of the queues that are there and not paused, in order, and what was offered for each."""
        question = {"queues": _queues_of(request), "names": array(set(request.names))}
        seen = {sight.queue: sight for sight in records.sights(self._connection.value(sql.LOOK_AT_QUEUES, question))}
        for offer in request.offers:
            if offer.queue in seen:
                yield seen[offer.queue], offer

    def take_slots(self, worker: str, wanted: Sequence[SlotWanted]) -> SlotAnswer:
        """Take slots for steps; where there is none to give, the write lock is not asked for."""
        connection = self._connection
        now = self._now()
        rows, taken, new = self._choose_slots(worker, wanted, now)
        if new:
            with connection.transaction:
                now = self._now()
                rows, taken, new = self._choose_slots(worker, wanted, now)
                slots = array([(slot.slot, slot.queue, slot.partition) for slot in new])
                connection.execute(sql.INSERT_SLOTS, {"worker": worker, "slots": slots})
                for queue in {slot.queue for slot in new}:
                    partitions = [slot.partition for slot in new if slot.queue == queue]
                    _write_starts(connection, queue, rows[queue].limits, partitions, now)
        others = {(slot.queue, slot.partition) for slot, has in zip(wanted, taken, strict=True) if not has}
        moments = [self._slot_free_at(rows[queue], partition, now) for queue, partition in others]
        return SlotAnswer(taken=taken, next_due=_earliest(moments))

    def _choose_slots(
        self, worker: str, wanted: Sequence[SlotWanted], now: int
    ) -> tuple[dict[str, QueueRow], list[bool], list[SlotWanted]]:
        """Give the queues, which of these slots the worker has or may have, and which of those are new."""
        rows = {row.name: row for row in records.queues(self._connection.value(sql.LIST_QUEUES))}
        for slot in wanted:
            if slot.queue not in rows:
                raise NotFound(f"there is no queue {slot.queue!r} of which a slot could be taken; declare it first")
        named = {"worker": worker, "slots": array({slot.slot for slot in wanted})}
        had = set(records.texts(self._connection.value(sql.FIND_SLOTS, named)))
        rooms: dict[tuple[str, str | None], int] = {}
        taken: list[bool] = []
        new: list[SlotWanted] = []
        for slot in wanted:
            if slot.slot not in had:
                whole, part = (slot.queue, None), (slot.queue, slot.partition)
                for one in (whole, part):
                    if one not in rooms:
                        rooms[one] = self._room(rows[slot.queue], one[1], len(wanted), now)
                if rooms[whole] > 0 and rooms[part] > 0:
                    rooms[whole] -= 1
                    rooms[part] -= 1
                    had.add(slot.slot)
                    new.append(slot)
            taken.append(slot.slot in had)
        return rows, taken, new

    def _room(self, row: QueueRow, partition: str | None, wanted: int, now: int) -> int:
        """Say how many slots a queue, or a partition of it, has to give."""
        limit = of_queue(row.limits) if partition is None else of_partition(row.limits)
        return 0 if row.paused else room(limit, _measure(self._connection, row.name, partition, limit, now), wanted)

    def _slot_free_at(self, row: QueueRow, partition: str, now: int) -> int | None:
        """Say when there may be a slot for a step that was given none."""
        if row.paused:
            return None
        whole, part = of_queue(row.limits), of_partition(row.limits)
        queue_free_at = free_at(whole, _measure(self._connection, row.name, None, whole, now), now)
        if queue_free_at != now:
            return queue_free_at
        return free_at(part, _measure(self._connection, row.name, partition, part, now), now)

    def free_slots(self, worker: str, slots: Sequence[str]) -> None:
        """Give back slots of steps."""
        with self._connection.transaction:
            self._connection.execute(sql.FREE_SLOTS, {"worker": worker, "slots": array(slots)})


class _Admission:
    """The admission from one queue at one moment."""

    def __init__(self, connection: Connection, sight: Sight, offer: QueueOffer, now: int) -> None:
        self._connection = connection
        self._sight = sight
        self._now = now
        self._whole = of_queue(sight.limits)
        self._part = of_partition(sight.limits)
        self._rooms = PartitionRooms(offer)

    def choose(self, wanted: int) -> Sequence[Choice]:
        """Choose who is admitted, up to so many, in order."""
        wanted = room(self._whole, self._measure_queue(), wanted) if self._sight.names and wanted > 0 else 0
        if wanted == 0:
            return []
        found = [(turn.partition, self._room_of(turn, wanted)) for turn in self._turns(wanted)]
        free = [(partition, places) for partition, places in found if places > 0]
        question = {
            "queue": self._sight.queue,
            "names": array(self._sight.names),
            "partitions": array((position, *one) for position, one in enumerate(free)),
            "depth": wanted - len(free) + 1,  # each of the others has one to give
        }
        return records.choices(self._connection.value(sql.FIND_ADMISSIBLE, question))[:wanted] if free else []

    def write(self, chosen: Sequence[Choice], tokens: Sequence[str], worker: str) -> None:
        """Admit who was chosen: heads, slots, the turn and the starts."""
        connection, queue = self._connection, self._sight.queue
        rows = [(choice.number, token, worker) for choice, token in zip(chosen, tokens, strict=False)]
        if sql.ADMIT_HEADS.run(connection, rows) != len(chosen):
            raise InternalError(f"{connection.name}: heads that stood in queue {queue!r} moved under the write lock")
        connection.execute(sql.ADMIT_PLACES, {"workflows": array(choice.number for choice in chosen)})
        if chosen[-1].partition != self._sight.served:
            connection.execute(sql.SERVE_PARTITION, {"queue": queue, "partition": chosen[-1].partition})
        partitions = [choice.partition for choice in chosen]
        for partition in partitions:
            self._rooms.take(partition)
        _write_starts(connection, queue, self._sight.limits, partitions, self._now)

    def next_window(self, wanted: int) -> int | None:
        """Say when a rate lets another be admitted, where so many more were wanted than it let."""
        if wanted <= 0 or not self._sight.names or reach_of(self._sight.limits, self._now) is None:
            return None
        turns = [turn for turn in self._turns(1) if self._rooms.of(turn.partition, 1)]
        queue_free_at = free_at(self._whole, self._measure_queue(), self._now)
        if not turns or queue_free_at != self._now:
            return queue_free_at if turns else None
        return _earliest(free_at(self._part, turn.measured, self._now) for turn in turns)

    def _measure_queue(self) -> Measured:
        return _measure(self._connection, self._sight.queue, None, self._whole, self._now)

    def _turns(self, wanted: int) -> Sequence[Turn]:
        """Give the partitions in which somebody is due, in turn, until so many have a slot to give."""
        behind = self._find_turns(f"{self._sight.served}{records.NEXT}", None, wanted)
        wanted -= sum(self._room_of(turn, 1) for turn in behind)
        return behind if wanted == 0 else [*behind, *self._find_turns("", self._sight.served, wanted)]

    def _room_of(self, turn: Turn, wanted: int) -> int:
        """Say how many of those wanted there may be of a partition: for its limits, and in the worker."""
        return self._rooms.of(turn.partition, room(self._part, turn.measured, wanted))

    def _find_turns(self, first: str, last: str | None, wanted: int) -> Sequence[Turn]:
        question = {
            **_question(self._sight.queue, None, self._part, self._now),
            "names": array(self._sight.names),
            "full": array(self._rooms.full),
            "first": first,
            "last": last,
            "wanted": wanted,
        }
        return records.turns(self._connection.value(sql.FIND_TURNS, question))


def _measure(connection: Connection, queue: str, partition: str | None, limit: Limit, now: int) -> Measured:
    """Count what the limit of a queue, or of a partition of it, is compared with; nothing where there is none."""
    if limit.concurrency is None and limit.rate is None:
        return Measured(None, None, None)
    statement = sql.MEASURE_QUEUE if partition is None else sql.MEASURE_PARTITION
    return records.measured(connection.value(statement, _question(queue, partition, limit, now)))


def _question(queue: str, partition: str | None, limit: Limit, now: int) -> dict[str, object]:
    return {
        "queue": queue,
        "partition": partition,
        "concurrency": limit.concurrency,
        "rate": None if limit.rate is None else limit.rate.limit,
        "since": window_begins(limit, now),
    }


def _write_starts(connection: Connection, queue: str, limits: QueueLimits, partitions: Sequence[str], now: int) -> None:
    """Remember starts where a rate counts them, and forget those that no window reaches any more."""
    reach = reach_of(limits, now)
    if reach is not None:
        connection.execute(sql.FORGET_STARTS, {"queue": queue, "before": reach})
        connection.execute(sql.INSERT_STARTS, {"queue": queue, "partitions": array(partitions), "now": now})


def _queues_of(request: AdmitRequest) -> str:
    return array(offer.queue for offer in request.offers)


def _earliest(moments: Iterable[int | None]) -> int | None:
    return min((moment for moment in moments if moment is not None), default=None)

"""Admissions on Postgres: who is given a slot next, of the workflows that stand in queues and of the steps that wait.

Slots of a queue that limits them, or has partitions, are taken by who holds its row. That is asked for in a statement
of its own, which waits for nobody; what is counted then is counted in statements that begin after it, so that whatever
the holders before took is seen. A queue that needs none of that is not held. All is first looked at without holding
anything: where there is nothing to give, nothing is written. What is looked at is found through indexes, so that it
costs no more where many stand in a queue, or are delayed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Final, NamedTuple

from everlog.core.limits import Limit, Measured, free_at, of_partition, of_queue, reach_of, room, window_begins
from everlog.errors import NotFound
from everlog.store import AdmitRequest, PartitionRooms, QueueLimits, QueueOffer, QueueRow, SlotAnswer, SlotWanted
from everlog_postgres import queue_records as records
from everlog_postgres.arrays import bigints, texts
from everlog_postgres.connection import Ask, Connection, Question, Rows
from everlog_postgres.queue_records import Sight, Turn
from everlog_postgres.statements import Statements

SOON: Final = 20_000
"""Microseconds after which to look again at what another transaction had locked."""

_CANDIDATES: Final = 4
"""So many are looked at for each that is wanted where nobody is held off: others may be taking the first of them."""

_PATIENCE: Final = 0.5
_NOTHING: Final = b""

Choice = tuple[str, str]
"""A workflow that is to be admitted, and its partition."""


class Admitted(NamedTuple):
    """The rows of those who were admitted, as take_heads gives them, with their histories and inboxes."""

    rows: Rows
    events: Rows
    inbox: Rows
    next_due: int | None


class Admissions:
    """Gives the slots of the queues in the schema of a connection. `clock` stands for that of the server, if given."""

    def __init__(
        self, connection: Connection, sql: Statements, now: Callable[[], int], clock: Callable[[], int] | None
    ) -> None:
        self._connection: Final = connection
        self._sql: Final = sql
        self._now: Final = now
        self._clock: Final = clock

    def look(self, request: AdmitRequest) -> tuple[list[Sight], int | None]:
        """Give the queues from which somebody may be admitted now; if none, when time alone may change that.

        Makes due who was delayed until now.
        """
        now = self._now()
        sights = self._see(self._connection.ask, request)
        if any(sight.next_due is not None and sight.next_due <= now for sight in sights):
            late = {"queues": _queues_of(request), "names": _names_of(request), "now": now}
            self._connection.write(Question(self._sql.queues.become_due, late))
            sights = self._see(self._connection.ask, request)
        open_now: list[Sight] = []
        moments: list[int | None] = []
        for sight, offer, wanted in _offered(request, sights):
            admission = _Admission(self._connection.ask, self._sql, sight, offer, now)
            if admission.choose(wanted):
                open_now.append(sight)
            moments += [sight.next_due, admission.next_window(wanted)]
        return open_now, _earliest(moments)

    def _see(self, ask: Ask, request: AdmitRequest) -> list[Sight]:
        return records.sights(ask(self._look_at(request))[0])

    def _look_at(self, request: AdmitRequest) -> Question:
        question = {"queues": _queues_of(request), "names": _names_of(request)}
        return Question(self._sql.queues.look_at_queues, question)

    def admit(self, request: AdmitRequest, seen: Sequence[Sight]) -> Admitted | None:
        """Admit from the queues that were seen; None where another transaction's lock was in the way."""

        def work(ask: Ask) -> tuple[Admitted, bool]:
            return self._admit(ask, request, seen), False

        return self._connection.transacts_or_is_locked(work, patience=_PATIENCE, note=_NOTHING)

    def _admit(self, ask: Ask, request: AdmitRequest, seen: Sequence[Sight]) -> Admitted:
        to_hold = {sight.queue for sight in seen if _is_limited(sight)}
        held, now, rows = self._hold(ask, to_hold, self._look_at(request))
        rows_taken: Rows = []
        moments: list[int | None] = []
        for sight, offer, most in _offered(request, records.sights(rows)):
            tokens = request.tokens[len(rows_taken) :]
            wanted = min(most, len(tokens))
            admission = _Admission(ask, self._sql, sight, offer, now)
            moments.append(sight.next_due)
            if _is_limited(sight) and sight.queue not in held:
                moments.append(now + SOON if wanted and sight.names else None)
                continue
            taken, is_sure = admission.take(wanted, tokens, request.worker)
            rows_taken.extend(taken)
            moments.append(admission.next_window(wanted - len(taken)) if is_sure else now + SOON)
        ours = {"worker": request.worker, "tokens": texts(request.tokens)}
        events, inbox = ask(
            Question(self._sql.read_histories, {**ours, "max_bytes": request.max_bytes}),
            Question(self._sql.read_inboxes, ours),
        )
        return Admitted(rows_taken, events, inbox, _earliest(moments))

    def _hold(self, ask: Ask, queues: Iterable[str], then: Question) -> tuple[set[str], int, Rows]:
        """Hold queues, as far as nobody else does; give which, the time after that, and what is asked after that."""
        hold = Question(self._sql.queues.hold_queues, {"queues": texts(sorted(queues))})
        held, ((now,),), rows = ask(hold, Question(self._sql.server_time), then)
        return {row[0] for row in held}, now if self._clock is None else self._clock(), rows

    def take_slots(self, worker: str, wanted: Sequence[SlotWanted]) -> SlotAnswer:
        """Take slots for steps; where there is none to give, nothing is held."""
        rows = self._rows(self._connection.ask(self._list_queues)[0], wanted)
        limited = {name for name, row in rows.items() if _has_limits(row.limits)}
        slots = _Slots(self._connection.ask, self._sql, rows, self._now(), frozenset())
        slots.choose(worker, wanted)
        if not slots.new:
            return slots.answer(wanted)

        def work(ask: Ask) -> tuple[SlotAnswer, bool]:
            to_hold = limited.intersection(slot.queue for slot in slots.new)
            held, now, found = self._hold(ask, to_hold, self._list_queues)
            after = self._rows(found, wanted)
            not_ours = {name for name, row in after.items() if _has_limits(row.limits)} - held
            ours = _Slots(ask, self._sql, after, now, not_ours)
            ours.choose(worker, wanted)
            ours.write(worker)
            return ours.answer(wanted), False

        taken = self._connection.transacts_or_is_locked(work, patience=_PATIENCE, note=_NOTHING)
        return taken or SlotAnswer(taken=[False] * len(wanted), next_due=self._now() + SOON)

    @property
    def _list_queues(self) -> Question:
        return Question(self._sql.queues.list_queues)

    def _rows(self, found: Rows, wanted: Sequence[SlotWanted]) -> dict[str, QueueRow]:
        rows = {row.name: row for row in records.queues(found)}
        for slot in wanted:
            if slot.queue not in rows:
                raise NotFound(f"there is no queue {slot.queue!r} of which a slot could be taken; declare it first")
        return rows

    def free_slots(self, worker: str, slots: Sequence[str]) -> None:
        """Give back slots of steps."""
        self._connection.write(Question(self._sql.queues.free_slots, {"worker": worker, "slots": texts(slots)}))


class _Admission:
    """The admission from one queue at one moment."""

    def __init__(self, ask: Ask, sql: Statements, sight: Sight, offer: QueueOffer, now: int) -> None:
        self._ask = ask
        self._sql = sql
        self._sight = sight
        self._now = now
        self._whole = of_queue(sight.limits)
        self._part = of_partition(sight.limits)
        self._rooms = PartitionRooms(offer)

    def choose(self, wanted: int) -> list[Choice]:
        """Choose who is admitted, up to so many, in order."""
        wanted = room(self._whole, self._measure_queue(), wanted) if self._sight.names and wanted > 0 else 0
        if wanted == 0:
            return []
        free = self._free_partitions(wanted)
        return self._find(free, wanted, depth=wanted - len(free) + 1) if free else []

    def _free_partitions(self, wanted: int) -> list[tuple[str, int]]:
        """Give the partitions that have slots to give, and how many."""
        if not self._sight.has_partitions and not _has_limit(self._part):
            return [("", self._rooms.of("", wanted))]
        found = [(turn.partition, self._room_of(turn, wanted)) for turn in self._turns(wanted)]
        return [(partition, places) for partition, places in found if places > 0]

    def _find(self, free: Sequence[tuple[str, int]], wanted: int, *, depth: int) -> list[Choice]:
        question = {
            "queue": self._sight.queue,
            "names": texts(self._sight.names),
            "partitions": texts([partition for partition, _ in free]),
            "rooms": bigints([places for _, places in free]),
            "depth": depth,
            "wanted": wanted,
        }
        rows = self._ask(Question(self._sql.queues.find_admissible, question))[0]
        return [(workflow_id, partition) for workflow_id, partition in rows]

    def take(self, wanted: int, tokens: Sequence[str], worker: str) -> tuple[Rows, bool]:
        """Admit up to so many; give their rows, in order, and whether nobody was passed over since he was locked."""
        if _is_limited(self._sight):
            chosen = self.choose(wanted)
            most = len(chosen)
        else:
            wanted = self._rooms.of("", wanted)
            many = _CANDIDATES * wanted
            chosen = self._find([("", many)], many, depth=many) if wanted > 0 and self._sight.names else []
            most = min(wanted, len(chosen))
        if not chosen:
            return [], True
        question = {
            "workflow_ids": texts([workflow_id for workflow_id, _ in chosen]),
            "partitions": texts([partition for _, partition in chosen]),
            "queue": self._sight.queue,
            "tokens": texts(tokens),
            "worker": worker,
            "limit": most,
        }
        rows = sorted(self._ask(Question(self._sql.queues.admit_heads, question))[0], key=lambda row: int(row[0]))
        partitions = dict(chosen)
        admitted = [partitions[row[1]] for row in rows]
        for partition in admitted:
            self._rooms.take(partition)
        if rows and _is_limited(self._sight):
            self._write(admitted)
        return [row[1:] for row in rows], len(rows) == most

    def _write(self, partitions: Sequence[str]) -> None:
        """Remember the turn, and the starts."""
        served = {"queue": self._sight.queue, "partition": partitions[-1]}
        self._ask(
            Question(self._sql.queues.serve_partition, served),
            *_starts(self._sql, self._sight.queue, self._sight.limits, partitions, self._now),
        )

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
        return _measure(self._ask, self._sql, self._sight.queue, None, self._whole, self._now)

    def _turns(self, wanted: int) -> Sequence[Turn]:
        """Give the partitions in which somebody is due, in turn, until so many have a slot to give."""
        behind = self._find_turns(f"{self._sight.served}{records.NEXT}", None, wanted)
        wanted -= sum(self._room_of(turn, 1) for turn in behind)
        return behind if wanted == 0 else [*behind, *self._find_turns("", self._sight.served, wanted)]

    def _room_of(self, turn: Turn, wanted: int) -> int:
        """Say how many of those wanted there may be of a partition: for its limits, and in the worker."""
        return self._rooms.of(turn.partition, room(self._part, turn.measured, wanted))

    def _find_turns(self, first: str, last: str | None, wanted: int) -> list[Turn]:
        question = {
            **_question(self._sight.queue, None, self._part, self._now),
            "names": texts(self._sight.names),
            "full": texts(self._rooms.full),
            "first": first,
            "last": last,
            "wanted": wanted,
        }
        return records.turns(self._ask(Question(self._sql.queues.find_turns, question))[0])


class _Slots:
    """The slots that steps of one worker take at one moment, save of those queues that are not ours to take from."""

    def __init__(self, ask: Ask, sql: Statements, rows: Mapping[str, QueueRow], now: int, not_ours: Set[str]) -> None:
        self.new: list[SlotWanted] = []
        self._taken: list[bool] = []
        self._ask = ask
        self._sql = sql
        self._rows = rows
        self._now = now
        self._not_ours = not_ours

    def choose(self, worker: str, wanted: Sequence[SlotWanted]) -> None:
        """Choose which slots are taken; those that the worker has are."""
        named = {"worker": worker, "slots": texts(sorted({slot.slot for slot in wanted}))}
        had = set(records.names(self._ask(Question(self._sql.queues.find_slots, named))[0]))
        rooms: dict[tuple[str, str | None], int] = {}
        for slot in wanted:
            if slot.slot not in had:
                whole, part = (slot.queue, None), (slot.queue, slot.partition)
                for one in (whole, part):
                    if one not in rooms:
                        rooms[one] = self._room(self._rows[slot.queue], one[1], len(wanted))
                if rooms[whole] > 0 and rooms[part] > 0:
                    rooms[whole] -= 1
                    rooms[part] -= 1
                    had.add(slot.slot)
                    self.new.append(slot)
            self._taken.append(slot.slot in had)

    def _room(self, row: QueueRow, partition: str | None, wanted: int) -> int:
        """Say how many slots a queue, or a partition of it, has to give."""
        if row.paused or row.name in self._not_ours:
            return 0
        limit = of_queue(row.limits) if partition is None else of_partition(row.limits)
        return room(limit, _measure(self._ask, self._sql, row.name, partition, limit, self._now), wanted)

    def write(self, worker: str) -> None:
        """Take what was chosen."""
        taken = {
            "worker": worker,
            "slots": texts([slot.slot for slot in self.new]),
            "queues": texts([slot.queue for slot in self.new]),
            "partitions": texts([slot.partition for slot in self.new]),
        }
        starts: list[Question] = []
        for queue in sorted({slot.queue for slot in self.new}):
            partitions = [slot.partition for slot in self.new if slot.queue == queue]
            starts += _starts(self._sql, queue, self._rows[queue].limits, partitions, self._now)
        self._ask(Question(self._sql.queues.insert_slots, taken), *starts)

    def answer(self, wanted: Sequence[SlotWanted]) -> SlotAnswer:
        """Say what is taken, and when another may be."""
        others = {(slot.queue, slot.partition) for slot, has in zip(wanted, self._taken, strict=True) if not has}
        moments = [self._free_at(self._rows[queue], partition) for queue, partition in others]
        return SlotAnswer(taken=self._taken, next_due=_earliest(moments))

    def _free_at(self, row: QueueRow, partition: str) -> int | None:
        if row.paused:
            return None
        whole, part = of_queue(row.limits), of_partition(row.limits)
        when = free_at(whole, _measure(self._ask, self._sql, row.name, None, whole, self._now), self._now)
        if when == self._now:
            when = free_at(part, _measure(self._ask, self._sql, row.name, partition, part, self._now), self._now)
        # One that is free and was not taken was not ours: another transaction had the queue locked.
        return self._now + SOON if when == self._now else when


def _measure(ask: Ask, sql: Statements, queue: str, partition: str | None, limit: Limit, now: int) -> Measured:
    """Count what the limit of a queue, or of a partition of it, is compared with; nothing where there is none."""
    if not _has_limit(limit):
        return Measured(None, None, None)
    statement = sql.queues.measure_queue if partition is None else sql.queues.measure_partition
    return records.measured(ask(Question(statement, _question(queue, partition, limit, now)))[0])


def _question(queue: str, partition: str | None, limit: Limit, now: int) -> dict[str, object]:
    return {
        "queue": queue,
        "partition": partition,
        "concurrency": limit.concurrency,
        "rate": None if limit.rate is None else limit.rate.limit,
        "since": window_begins(limit, now),
    }


def _starts(sql: Statements, queue: str, limits: QueueLimits, partitions: Sequence[str], now: int) -> list[Question]:
    """Give what remembers starts where a rate counts them, and forgets those that no window reaches any more."""
    reach = reach_of(limits, now)
    if reach is None:
        return []
    starts = {"queue": queue, "partitions": texts(partitions), "now": now}
    forget = Question(sql.queues.forget_starts, {"queue": queue, "before": reach})
    return [forget, Question(sql.queues.insert_starts, starts)]


def _offered(request: AdmitRequest, sights: Sequence[Sight]) -> Iterator[tuple[Sight, QueueOffer, int]]:
    """Give those of the queues that were seen in the order of the offers, and how many are wanted of each at most."""
    seen = {sight.queue: sight for sight in sights}
    for offer in request.offers:
        if offer.queue in seen:
            most = len(request.tokens)
            yield seen[offer.queue], offer, most if offer.room is None else min(most, offer.room)


def _has_limit(limit: Limit) -> bool:
    return limit.concurrency is not None or limit.rate is not None


def _has_limits(limits: QueueLimits) -> bool:
    return _has_limit(of_queue(limits)) or _has_limit(of_partition(limits))


def _is_limited(sight: Sight) -> bool:
    """Say whether who admits must hold the queue: for its limits, or for the turns of its partitions."""
    return _has_limits(sight.limits) or sight.has_partitions or sight.served != ""


def _queues_of(request: AdmitRequest) -> object:
    return texts([offer.queue for offer in request.offers])


def _names_of(request: AdmitRequest) -> object:
    return texts(sorted(set(request.names)))


def _earliest(moments: Iterable[int | None]) -> int | None:
    return min((moment for moment in moments if moment is not None), default=None)

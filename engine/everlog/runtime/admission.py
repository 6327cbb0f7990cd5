"""Admission: when this worker asks its queues for workflows, and for how many of each. Which ones, the store says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from everlog.core.queues import QueueOffer
from everlog.host import Host
from everlog.runtime.queue_book import QueueBook
from everlog.runtime.residents import NEVER, Resident
from everlog.store import AdmitRequest, Claimed


class Admission:
    """The queues from which a worker takes; `served` names them, None: all of the store."""

    def __init__(self, book: QueueBook, host: Host, served: Sequence[str] | None) -> None:
        self._book = book
        self._host = host
        self._served = None if served is None else frozenset(served)
        self._held: dict[Resident, tuple[str, str]] = {}
        """The workflows of queues that are in memory, and the queue and partition of each."""
        self._turn = 0
        self.coming = 0
        """How many that were claimed are not in memory yet, since their heads are to say first that they run."""
        self.wanted = True
        """Whether something may have changed since the store was last asked."""
        self._next_due: float = NEVER

    def is_due(self, now: float) -> bool:
        """Tell whether the store is to be asked, if there is room."""
        return self._may_ask() and (self.wanted or now >= self._next_due)

    def next_due(self) -> float:
        """Give the store time at which the passing of time may let another be admitted."""
        return self._next_due if self._may_ask() else NEVER

    def _may_ask(self) -> bool:
        """Tell whether there are queues to ask about. Not while it is unknown how much room there will be."""
        return not self.coming and bool(self._book.rows) and self._served != frozenset()

    def admit(self, worker: str, names: Iterable[str], most: int) -> Sequence[Claimed]:
        """Take up to `most` workflows of these names. Raises `StoreError`."""
        offers = self._offers()
        self.wanted, self._next_due = False, NEVER
        if not offers or not most:
            return ()
        if all(offer.room is not None for offer in offers):
            most = min(most, sum(offer.room or 0 for offer in offers))
        tokens = [self._host.token() for _ in range(most)]
        request = AdmitRequest(worker=worker, tokens=tokens, names=sorted(names), offers=offers)
        try:
            answer = self._book.store().admit(request)
        except BaseException:
            self.wanted = True
            raise
        self.wanted = bool(answer.claimed)  # until it gives none
        if answer.next_due is not None:
            self._next_due = answer.next_due
        return answer.claimed

    def took(self, resident: Resident) -> None:
        """Count a workflow that is in memory now."""
        place = resident.execution.place
        if place is not None:
            self._held[resident] = place.queue, place.partition

    def let_go(self, resident: Resident) -> None:
        """Count it no more: it gave back its slot, or has left room for another."""
        if self._held.pop(resident, None) is not None:
            self.wanted = True

    def _offers(self) -> list[QueueOffer]:
        """Give the queues that have room here, another one first each time."""
        offers: list[QueueOffer] = []
        parts = Counter(self._held.values())
        held = Counter(queue for queue, _ in self._held.values())
        for name, row in self._book.rows.items():
            if self._served is None or name in self._served:
                most = row.limits.worker_concurrency
                room = None if most is None else most - held[name]
                if room is None or room > 0:
                    each = row.limits.partition_worker_concurrency
                    rooms = {} if each is None else {of: each - n for (queue, of), n in parts.items() if queue == name}
                    offers.append(QueueOffer(queue=name, room=room, partition_room=each, partition_rooms=rooms))
        if not offers:
            return offers
        self._turn = (self._turn + 1) % len(offers)
        return offers[self._turn :] + offers[: self._turn]

"""The rules of the store machine for queues: declarations, admissions, slots. Who stands in one comes by a commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from everlog.store import (
    AdmitRequest,
    NewWorkflow,
    Place,
    QueueLimits,
    QueueOffer,
    SlotWanted,
    State,
    SupportsQueues,
)
from everlog.testing import machine_words as words
from everlog.testing.machine_stores import Stores, plain
from everlog.testing.machine_words import IDS, NAMES, PARTITIONS, QUEUES, SLOTS, WORKERS, Placed

T = TypeVar("T")


class QueueRules(Stores):
    """What can be done with queues, where all stores have some; otherwise nobody is enqueued."""

    @property
    def have_queues(self) -> bool:
        """Say whether all stores have queues. A subclass may know that one has none, though it has the methods."""
        return all(isinstance(store, SupportsQueues) for store in self.stores.values())

    def place(self, placed: Placed) -> Place:
        """Make the place that was drawn."""
        return Place(
            queue=placed.queue,
            partition=placed.partition,
            priority=placed.priority,
            due_at=0 if placed.due_in is None else self.time + placed.due_in,
            dedup_key=placed.dedup_key,
            takes_key=placed.takes_key,
        )

    def can_be(self, state: State) -> State:
        """Give a state that was drawn, or another where nobody can be enqueued."""
        return "queued" if state == "enqueued" and not self.have_queues else state

    @precondition(lambda self: self.have_queues)
    @rule(queue=st.sampled_from(QUEUES), limits=words.limits)
    def declare_queue(self, queue: str, limits: QueueLimits) -> None:
        """Declare a queue, again perhaps."""
        self._ask(lambda store: store.declare_queues([(queue, limits)]))

    @precondition(lambda self: self.have_queues)
    @rule(
        queue=st.sampled_from(QUEUES),
        limits=st.none() | words.limits,
        paused=st.sampled_from((None, False, False, True)),
    )
    def change_queue(self, queue: str, limits: QueueLimits | None, paused: bool | None) -> None:
        """Change a queue."""
        self._ask(lambda store: store.change_queue(queue, limits=limits, paused=paused))

    @precondition(lambda self: self.have_queues)
    @rule(queue=st.sampled_from(QUEUES))
    def delete_queue(self, queue: str) -> None:
        """Delete a queue that may be used."""
        self._ask(lambda store: store.delete_queue(queue))

    @precondition(lambda self: self.have_queues)
    @rule(worker=st.sampled_from(WORKERS), count=st.integers(1, 4))
    def admit_any(self, worker: str, count: int) -> None:
        """Admit as a worker does."""
        self.admit(worker, count, list(NAMES), [QueueOffer(queue=queue) for queue in QUEUES], 16_000_000)

    @precondition(lambda self: self.have_queues)
    @rule(
        worker=st.sampled_from(WORKERS),
        count=st.integers(0, 4),
        names=st.lists(st.sampled_from(NAMES), unique=True),
        offers=st.lists(
            st.builds(
                QueueOffer,
                queue=st.sampled_from(QUEUES),
                room=st.sampled_from((None, 0, 1, 3)),
                partition_room=st.sampled_from((None, None, 1, 2)),
                partition_rooms=st.dictionaries(st.sampled_from(PARTITIONS), st.integers(0, 2), max_size=2),
            ),
            unique_by=lambda offer: offer.queue,
        ),
        max_bytes=st.sampled_from((0, 20, 16_000_000)),
    )
    def admit(self, worker: str, count: int, names: list[str], offers: Sequence[QueueOffer], max_bytes: int) -> None:
        """Admit some."""
        self.time += 1
        request = AdmitRequest(
            worker=worker,
            tokens=[self.new_token() for _ in range(count)],
            names=names,
            offers=offers,
            max_bytes=max_bytes,
        )
        self.remember(self._ask(lambda store: store.admit(request)).claimed)

    @precondition(lambda self: self.have_queues)
    @rule(
        worker=st.sampled_from(WORKERS),
        wanted=st.lists(
            st.tuples(st.sampled_from(SLOTS), st.sampled_from(QUEUES), st.sampled_from(PARTITIONS[:2])), max_size=3
        ),
    )
    def take_slots(self, worker: str, wanted: list[tuple[str, str, str]]) -> None:
        """Take slots for steps, of queues that are there."""
        self.time += 1
        known = {row.name for row in self.model.queues()}
        slots = [SlotWanted(slot=slot, queue=queue, partition=p) for slot, queue, p in wanted if queue in known]
        self._ask(lambda store: store.take_slots(worker, slots))

    @precondition(lambda self: self.have_queues)
    @rule(worker=st.sampled_from(WORKERS), slots=st.lists(st.sampled_from(SLOTS)))
    def free_slots(self, worker: str, slots: list[str]) -> None:
        """Give slots back, taken or not."""
        self._ask(lambda store: store.free_slots(worker, slots))

    @precondition(lambda self: self.have_queues)
    @rule(queue=st.sampled_from(QUEUES), key=st.sampled_from(("k1", "k2", "k3")))
    def find_place(self, queue: str, key: str) -> None:
        """Look who has a key."""
        self._ask(lambda store: store.find_place(queue, key))

    def _ask(self, call: Callable[[SupportsQueues], T]) -> T:
        """Do the same to all stores that have queues, and compare what they answer; give that."""
        expected = call(self.model)
        for name, store in self.stores.items():
            if isinstance(store, SupportsQueues):
                assert plain(call(store)) == plain(expected), name
        return expected


def content(store: SupportsQueues) -> dict[str, object]:
    """Give everything that can be read of the queues of a store."""
    return {
        "queues": plain(store.queues()),
        "places": plain(store.places(IDS)),
        "counts": plain(store.count_queues(QUEUES)),
    }


def without_second_keys(creations: Sequence[NewWorkflow], own: Place | None) -> list[NewWorkflow]:
    """Leave out creations whose dedup_key was given before in the same commit, which no engine may do."""
    given: set[tuple[str, str]] = set()
    if own is not None and own.dedup_key is not None:
        given.add((own.queue, own.dedup_key))
    kept: list[NewWorkflow] = []
    for new in creations:
        if new.place is not None and new.place.dedup_key is not None:
            key = (new.place.queue, new.place.dedup_key)
            if key in given:
                continue
            given.add(key)
        kept.append(new)
    return kept
